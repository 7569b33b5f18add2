from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from helpers import KINDS, SMOOTH, assert_close, assert_same_function, differentiable, graphs_of
from torch import Tensor

from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.model.heads import DirectForces, DynamicScale, Energy, GradientForces
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles

# -- energies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_energy_equals_the_oracle(any_structures: Structures, reduce: str) -> None:
    atoms = torch.randn(any_structures.atom_count, dtype=torch.float64, requires_grad=True)
    arguments = (atoms, any_structures.structure, len(any_structures))
    assert_same_function(Energy(reduce, Sums())(*arguments), oracles.energy(*arguments, reduce), [atoms])


def test_structures_without_atoms_have_no_energy() -> None:
    atoms, structure = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([1, 1, 3])
    assert Energy("sum", Sums())(atoms, structure, 5).tolist() == [0, 3, 0, 6, 0]
    assert Energy("mean", Sums())(atoms, structure, 5).tolist() == [0, 1.5, 0, 6, 0]


# -- direct forces ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coupled", [False, True])
def test_direct_forces_equal_the_oracle(any_structures: Structures, coupled: bool) -> None:
    structures = differentiable(any_structures)
    main = graphs_of(structures).main
    magnitude = torch.randn(main.edges.count, dtype=torch.float64, requires_grad=True)
    fast = DirectForces(coupled, Sums())(magnitude, main)
    slow = oracles.direct_forces(magnitude, main, coupled)
    assert_same_function(fast, slow, [magnitude, structures.positions])


@pytest.mark.parametrize("kind", SMOOTH)
def test_coupled_forces_add_up_to_zero_and_others_do_not(kind: str) -> None:
    structures = KINDS[kind]()
    main = graphs_of(structures).main
    magnitude = torch.randn(main.edges.count, dtype=torch.float64)
    coupled, free = (DirectForces(choice, Sums())(magnitude, main) for choice in (True, False))
    assert_close(coupled.sum(dim=0), torch.zeros(3, dtype=torch.float64))
    assert free.sum(dim=0).abs().max() > 0.1
    assert coupled.abs().max() > 0.1


# -- gradient forces --------------------------------------------------------------------------------------------------


def springs(positions: Tensor) -> Tensor:
    """The energies of two structures, quadratic in the positions."""
    return torch.stack([positions[:2].square().sum(), 3 * positions[2:].square().sum()])


@pytest.mark.parametrize("dynamic_scaling", [False, True])
@pytest.mark.parametrize("create_graph", [False, True])
def test_gradient_forces_are_the_negative_gradient(dynamic_scaling: bool, create_graph: bool) -> None:
    positions = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    forces = GradientForces(dynamic_scaling)(springs(positions), positions, create_graph)
    factors = torch.tensor([2.0, 2, 6, 6, 6], dtype=torch.float64)[:, None]
    assert_close(forces.detach(), -factors * positions.detach())
    assert forces.requires_grad == create_graph
    if create_graph:
        (second,) = torch.autograd.grad(forces.sum(), positions)
        assert_close(second, -factors.expand(5, 3))


@pytest.mark.parametrize("dynamic_scaling", [False, True])
def test_energies_that_do_not_depend_on_positions_give_no_forces(dynamic_scaling: bool) -> None:
    positions = torch.randn(5, 3, requires_grad=True)
    head = GradientForces(dynamic_scaling)
    for energy in (torch.ones(2), torch.ones(2, requires_grad=True) * 2):
        assert torch.equal(head(energy, positions, create_graph=False), torch.zeros(5, 3))


def overflowing(slope: float) -> tuple[Tensor, Tensor]:
    positions = torch.ones(2, 3, requires_grad=True)
    return (positions * slope).sum(dim=(0, 1))[None], positions


def test_the_scale_is_halved_until_gradients_are_finite() -> None:
    scale = DynamicScale()
    assert scale.value == 2**8
    energy, positions = overflowing(1e37)  # float32 ends at 3.4e38, so that 32 · 10³⁷ fits
    gradient = scale.gradient(energy, positions, create_graph=False)
    assert scale.value == 32
    torch.testing.assert_close(gradient, torch.full((2, 3), 1e37))
    scale.gradient(*overflowing(1.0), create_graph=False)
    assert scale.value == 32  # and stays there


def test_the_scale_is_doubled_after_2000_good_steps_in_a_row() -> None:
    scale = DynamicScale()
    easy, hard = overflowing(1.0), overflowing(2e36)  # 128 · 2·10³⁶ fits

    def steps(count: int, energy_and_positions: tuple[Tensor, Tensor]) -> None:
        for _ in range(count):
            scale.gradient(*energy_and_positions, create_graph=False)

    steps(1999, easy)
    assert scale.value == 256
    steps(1, hard)  # the first attempt fails: the count starts again, with this step's second attempt
    assert scale.value == 128
    steps(1998, easy)
    assert scale.value == 128
    steps(1, easy)
    assert scale.value == 256
    steps(2000, easy)
    assert scale.value == 512


def test_gradients_that_are_never_finite_are_returned_as_they_are() -> None:
    scale = DynamicScale(attempts=5)
    gradient = scale.gradient(*overflowing(float("nan")), create_graph=False)
    assert gradient.isnan().all()
    assert scale.value == 2**8


@pytest.mark.parametrize("make", [lambda: GradientForces(True), lambda: GradientForces(False)])
def test_scaling_does_not_change_the_weights_of_a_model(make: Callable[[], GradientForces]) -> None:
    assert make().state_dict() == {}
