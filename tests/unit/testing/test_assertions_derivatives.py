"""Derivatives, balance, repeatability and precision of right and wrong models."""

from __future__ import annotations

import pytest
import torch
from ase import Atoms
from assertion_models import (
    Changed,
    HardCutoff,
    PairPotential,
    Untrainable,
    by_chance,
    by_coordinate,
    by_direction,
    of_other_sign,
    one_sided,
    turning,
)
from helpers import GRADIENT_FORCES, line, molecule, small_cell, small_model
from torch import nn

from gemnet_blocks.geometry.edges import measure
from gemnet_blocks.graph.neighbor_list import VesinSearch
from gemnet_blocks.structures import Prediction, Structures
from gemnet_blocks.testing.assertions import (
    assert_copies,
    assert_deterministic,
    assert_forces_are_gradient,
    assert_momentum_balance,
    assert_precision,
    assert_second_derivatives,
    assert_torque_balance,
)
from gemnet_blocks.testing.assertions.smoothness import special_structures

BATCH = Structures.from_ase([molecule(5), small_cell(), Atoms()])
MOLECULES = Structures.from_ase([molecule(5), molecule(3, seed=1)])


def test_forces_that_are_the_gradient() -> None:
    for structures in (BATCH, MOLECULES, Structures.from_ase([]), Structures.from_ase(line(0, 20))):
        assert_forces_are_gradient(PairPotential(), structures)
    assert_forces_are_gradient(PairPotential().float(), BATCH)
    assert_forces_are_gradient(small_model(**GRADIENT_FORCES), MOLECULES)


@pytest.mark.parametrize("change", [of_other_sign, one_sided, by_coordinate])
def test_forces_that_are_not_the_gradient(change) -> None:
    with pytest.raises(AssertionError, match=r"forces of structure \d are not the gradient .* the forces predict"):
        assert_forces_are_gradient(Changed(change), MOLECULES, tolerance=1e-8)


def test_kinks_are_seen_from_each_side() -> None:
    def model(structures: Structures) -> Prediction:
        x = structures.positions[:, 0]
        energy = torch.zeros(len(structures), dtype=x.dtype).index_add(0, structures.structure, x.abs())
        return Prediction(energy, torch.stack([-x.sign(), 0 * x, 0 * x], dim=1))

    kink, aside = (Structures.from_ase(Atoms("H", [[x, 0, 0]])) for x in (0, 0.1))
    assert_forces_are_gradient(model, kink)
    assert_forces_are_gradient(model, aside, to_each_side=True)
    with pytest.raises(AssertionError, match=r"along a random direction \(forward from here\) the energy changes"):
        assert_forces_are_gradient(model, kink, to_each_side=True)
    for right in (PairPotential(), PairPotential().float()):
        assert_forces_are_gradient(right, BATCH, to_each_side=True)


def test_special_structures_have_few_neighbors_and_no_net_pull() -> None:
    for cutoff in (2.0, 3.0, 12.0):
        for one in special_structures(cutoff, (1, 8)):
            edges = measure(VesinSearch()(one, cutoff), one, torch.float64)
            assert 1 <= int(edges.degree.min()) <= int(edges.degree.max()) <= 6
            gap = (edges.distance - cutoff).abs()
            assert float(gap.min()) > 0.05 * cutoff
            pull = torch.zeros(one.atom_count, 3, dtype=torch.float64).index_add(0, edges.target, edges.direction)
            lengths = pull.norm(dim=1)
            assert one.atom_count in (2, 4) or float(lengths.min()) < 1e-12


def test_steep_energies_are_differentiated_with_small_steps() -> None:
    def model(structures: Structures) -> Prediction:
        x = structures.positions[:, 0]
        energy = torch.zeros(len(structures), dtype=x.dtype).index_add(0, structures.structure, torch.sin(x / 1e-3))
        forces = torch.zeros_like(structures.positions)
        forces[:, 0] = -torch.cos(x / 1e-3) / 1e-3
        return Prediction(energy, forces)

    assert_forces_are_gradient(model, MOLECULES)


def test_models_without_forces_pass() -> None:
    for check in (assert_forces_are_gradient, assert_momentum_balance, assert_torque_balance):
        with pytest.raises(ValueError, match="does not predict forces"):
            check(lambda structures: PairPotential()(structures).energy, MOLECULES)


def test_second_derivatives() -> None:
    for structures in (BATCH, MOLECULES, Structures.from_ase([]), Structures.from_ase(line(0, 20))):
        assert_second_derivatives(PairPotential(), structures)
    assert_second_derivatives(small_model(**GRADIENT_FORCES), MOLECULES)
    with pytest.raises(AssertionError, match=r"not differentiable: it changes by .* Look for detach"):
        assert_second_derivatives(Untrainable(), MOLECULES)
    with pytest.raises(ValueError, match=r"computes in torch.float32: call double"):
        assert_second_derivatives(PairPotential().float(), MOLECULES)


class _Halved(torch.autograd.Function):
    """x³ whose gradient is right and whose second derivative is half of what it should be."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * 3 * x * x.detach()


def test_wrong_second_derivatives() -> None:
    def model(structures: Structures) -> torch.Tensor:
        return _Halved.apply(structures.positions).sum().expand(1)

    with pytest.raises(AssertionError, match="second derivatives of the energy are not those of its gradient"):
        assert_second_derivatives(model, Structures.from_ase(molecule(3)))


def test_infinite_second_derivatives() -> None:
    def model(structures: Structures) -> torch.Tensor:
        return (structures.positions[:, 0].clamp(min=0) ** 1.5).sum().expand(1)

    with pytest.raises(AssertionError, match="the second derivatives of the energy are not finite for atom 0"):
        assert_second_derivatives(model, Structures.from_ase(line(0, 1)))


def test_balance_of_forces() -> None:
    for structures in (BATCH, MOLECULES, Structures.from_ase([])):
        assert_momentum_balance(PairPotential(), structures)
        assert_momentum_balance(PairPotential().float(), structures)
    for change in (one_sided, by_direction):
        with pytest.raises(
            AssertionError, match=r"the forces of structure 0 add up to \d.*, not to zero; the tolerance"
        ):
            assert_momentum_balance(Changed(change), BATCH)


def test_balance_of_torques() -> None:
    assert_torque_balance(PairPotential(), MOLECULES)
    assert_torque_balance(PairPotential(), BATCH)  # its crystal is skipped
    assert_torque_balance(PairPotential(), Structures.from_ase([]))
    with pytest.raises(AssertionError, match=r"the torques of structure 0 add up to \d.*, not to zero"):
        assert_torque_balance(Changed(turning), MOLECULES)
    assert_momentum_balance(Changed(turning), MOLECULES)
    with pytest.raises(ValueError, match="all structures are periodic"):
        assert_torque_balance(PairPotential(), Structures.from_ase(small_cell()))


def test_repeatability() -> None:
    assert_deterministic(PairPotential(), BATCH)
    assert_deterministic(lambda s: torch.full((len(s),), torch.nan), BATCH)
    with pytest.raises(AssertionError, match="energies are not repeatable: 3 numbers differ"):
        assert_deterministic(Changed(by_chance), BATCH)


def test_repeatability_of_forces() -> None:
    random = iter(range(10))
    with pytest.raises(AssertionError, match=r"forces are not repeatable: 21 numbers differ by up to 1.00e"):
        assert_deterministic(lambda s: (torch.zeros(3), torch.full((7, 3), float(next(random)))), BATCH)


class Cancelling(PairPotential):
    """A difference of large numbers."""

    def energy(self, structures):
        return (super().energy(structures) + 1e4) - 1e4


class AlwaysDouble(PairPotential):
    """Takes no notice of the type of its weights."""

    def energy(self, structures):
        return super().energy(structures).double()


def test_single_precision() -> None:
    model = PairPotential()
    assert_precision(model, BATCH)
    assert model.strength.dtype == torch.float64
    assert_precision(small_model(), MOLECULES)
    with pytest.raises(AssertionError, match="energies in float32 and float64: differ by"):
        assert_precision(Cancelling(), BATCH)
    with pytest.raises(AssertionError, match=r"both copies compute in torch.float64"):
        assert_precision(AlwaysDouble(), BATCH)
    assert_precision(Cancelling(), BATCH, tolerance=1e-2)


class WithLambda(PairPotential):
    """Cannot be pickled."""

    def __init__(self) -> None:
        super().__init__()
        self.activation = lambda x: x


class Forgetful(nn.Module):
    """Loses a number when it is copied."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = 2.0

    def __getstate__(self):
        return {**self.__dict__, "factor": 1.0}

    def forward(self, x):
        return self.factor * x


def test_copies() -> None:
    assert_copies(PairPotential(), MOLECULES)
    with pytest.raises(AssertionError, match=r"cannot be pickled: .*lambda.* Remove lambdas"):
        assert_copies(WithLambda(), MOLECULES)
    with pytest.raises(AssertionError, match="results of the deep-copied module are not repeatable: 3 numbers differ"):
        assert_copies(Forgetful(), torch.ones(3))


def test_hard_cutoffs_have_right_gradients_elsewhere() -> None:
    assert_forces_are_gradient(HardCutoff(), MOLECULES)
