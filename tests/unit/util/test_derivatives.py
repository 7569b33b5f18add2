"""Forward mode gives right derivatives of every kind of model, and torch.func an error where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ase.build import bulk
from helpers import GRADIENT_FORCES, KINDS, small_model, small_spec
from potentials import crystal, smooth_potential
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx

from gemnet_blocks import Structures
from gemnet_blocks.geometry.graphs import measured_graphs
from gemnet_blocks.spec import Execution, build

Outputs = Callable[[Structures], list[Tensor]]

MODELS: dict[str, Callable[[], nn.Module]] = {
    "without forces": lambda: small_model(heads__forces=None),
    "direct forces": small_model,
    "gradient forces": lambda: small_model(**GRADIENT_FORCES),
    "right angles": lambda: small_model(
        heads__forces={"type": "gradient", "dynamic_scaling": True}, bases__collinear={"type": "right_angle"}
    ),
    "listed sums": lambda: build(small_spec(**GRADIENT_FORCES), seed=0, execution=Execution(angular="explicit")),
    "recomputation": lambda: build(small_spec(**GRADIENT_FORCES), seed=0, execution=Execution(memory_budget=0)),
    "potential": lambda: smooth_potential(),
    "fading neighbors": lambda: smooth_potential(neighbors__ties="smooth", graphs__main__max_neighbors=6),
}


def outputs(model: nn.Module, structures: Structures, **options: Any) -> list[Tensor]:
    prediction = model(structures, **options)
    return [v for v in (prediction.energy, prediction.forces, prediction.stress) if v is not None]


def check_forward_mode(of: Outputs, structures: Structures) -> None:
    """Compare tangents along random displacements of atoms and cells with finite differences."""
    generator = torch.Generator().manual_seed(0)
    moved = torch.randn(structures.positions.shape, generator=generator, dtype=torch.float64)
    periodic = structures.periodic.any(dim=-1)[:, None, None]
    strained = 0.1 * periodic * torch.randn(structures.cells.shape, generator=generator, dtype=torch.float64)

    def at(step: float) -> list[Tensor]:
        positions, cells = structures.positions + step * moved, structures.cells + step * strained
        with torch.no_grad():
            return of(replace(structures, positions=positions, cells=cells))

    with forward_ad.dual_level():
        positions = forward_ad.make_dual(structures.positions, moved)
        cells = forward_ad.make_dual(structures.cells, strained)
        tangents = [
            forward_ad.unpack_dual(v).tangent for v in of(replace(structures, positions=positions, cells=cells))
        ]
    for tangent, above, below in zip(tangents, at(1e-5), at(-1e-5), strict=True):
        slope = (above - below) / 2e-5
        torch.testing.assert_close(tangent, slope, rtol=1e-5, atol=1e-5 * float(slope.abs().max()))


@pytest.mark.parametrize("kind", MODELS)
def test_forward_mode_equals_finite_differences(kind: str) -> None:
    model = MODELS[kind]().double()
    structures = KINDS["slab"]() if kind not in ("potential", "fading neighbors") else Structures.from_ase(crystal())
    check_forward_mode(lambda structures: outputs(model, structures), structures)


def test_forward_mode_of_stresses_and_without_graphs() -> None:
    model, structures = smooth_potential(), Structures.from_ase(crystal())
    check_forward_mode(lambda structures: outputs(model, structures, stress=True), structures)
    with torch.no_grad():
        check_forward_mode(lambda structures: outputs(model, structures, stress=True), structures)


def test_reverse_mode_of_stresses_includes_the_volume() -> None:
    model, structures = smooth_potential(), Structures.from_ase(crystal())
    cells = structures.cells.clone().requires_grad_()
    pressure = outputs(model, replace(structures, cells=cells), stress=True)[2].diagonal(dim1=1, dim2=2).sum()
    (slope,) = torch.autograd.grad(pressure, cells)
    step = 1e-5 * torch.ones_like(cells)
    above, below = (
        outputs(model, replace(structures, cells=structures.cells + s * step), stress=True)[2] for s in (1, -1)
    )
    expected = (above - below).diagonal(dim1=1, dim2=2).sum() / 2e-5
    torch.testing.assert_close(slope.sum(), expected, rtol=1e-6, atol=1e-9)


def test_forward_mode_over_weights() -> None:
    model, structures = small_model(**GRADIENT_FORCES), KINDS["slab"]()
    weights = {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}
    along = {name: torch.randn_like(weight) for name, weight in weights.items()}

    def forces(weights: dict[str, Tensor]) -> Tensor:
        found: Tensor = torch.func.functional_call(model, weights, (structures,)).forces
        return found

    with forward_ad.dual_level():
        dual = {name: forward_ad.make_dual(weight, along[name]) for name, weight in weights.items()}
        tangent = forward_ad.unpack_dual(forces(dual)).tangent
    above, below = (forces({n: w + step * along[n] for n, w in weights.items()}) for step in (1e-6, -1e-6))
    torch.testing.assert_close(tangent, (above - below) / 2e-6, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("forces", [None, {"type": "gradient"}])
def test_functional_derivatives_agree(forces: dict[str, str] | None) -> None:
    model, structures = small_model(heads__forces=forces), Structures.from_ase(bulk("Cu", cubic=True)[:2])
    positions = structures.positions + 0.1 * torch.randn_like(structures.positions)

    def energy(positions: Tensor) -> Tensor:
        found: Tensor = model(replace(structures, positions=positions)).energy.sum()
        return found

    hessian = torch.autograd.functional.hessian(energy, positions)
    for options in ({"vectorize": True}, {"vectorize": True, "outer_jacobian_strategy": "forward-mode"}):
        torch.testing.assert_close(torch.autograd.functional.hessian(energy, positions, **options), hessian)
    along = torch.randn_like(positions)
    product = torch.autograd.functional.hvp(energy, positions, along)[1]
    torch.testing.assert_close((hessian * along).sum(dim=(2, 3)), product)


TRANSFORMS: dict[str, Callable[[Callable[[Tensor], Tensor], Tensor], Any]] = {
    "grad": lambda f, x: torch.func.grad(f)(x),
    "vjp": lambda f, x: torch.func.vjp(f, x),
    "jvp": lambda f, x: torch.func.jvp(f, (x,), (x,)),
    "jacrev": lambda f, x: torch.func.jacrev(f)(x),
    "jacfwd": lambda f, x: torch.func.jacfwd(f)(x),
    "hessian": lambda f, x: torch.func.hessian(f)(x),
    "vmap": lambda f, x: torch.func.vmap(f)(x[None]),
    "linearize": lambda f, x: torch.func.linearize(f, x),
    "make_fx": lambda f, x: make_fx(f)(x),
    "make_fx with fake tensors": lambda f, x: make_fx(f, tracing_mode="fake")(x),
    "fake tensors": lambda f, x: f(FakeTensorMode(allow_non_fake_inputs=True).from_tensor(x)),
}


@pytest.mark.parametrize("kind", ["without forces", "potential"])
def test_transforms_of_positions_are_refused_with_the_way_out(kind: str) -> None:
    model, structures = MODELS[kind](), Structures.from_ase(crystal())

    def energy(positions: Tensor) -> Tensor:
        found: Tensor = model(replace(structures, positions=positions)).energy.sum()
        return found

    way_out = r"torch\.func .*: differentiate with torch\.autograd\.grad.*forward_ad"
    for transform in TRANSFORMS.values():
        with pytest.raises(NotImplementedError, match=way_out):
            transform(energy, structures.positions)


def test_batch_objects_with_transformed_positions_or_cells_are_refused() -> None:
    model, structures = small_model(heads__forces=None), Structures.from_ase(crystal())

    def energy(positions: Tensor, cells: Tensor) -> Tensor:
        batch = SimpleNamespace(pos=positions, cell=cells, atomic_numbers=structures.numbers)
        found: Tensor = model(Structures.from_batch(batch)).energy.sum()
        return found

    for transform in TRANSFORMS.values():
        for function, argument in (
            (lambda positions: energy(positions, structures.cells), structures.positions),
            (lambda cells: energy(structures.positions, cells), structures.cells),
        ):
            with pytest.raises(NotImplementedError, match=r"torch\.func .*torch\.autograd\.grad"):
                transform(function, argument)


def test_transforms_of_cells_weights_and_graphs_are_refused() -> None:
    model, structures = small_model(**GRADIENT_FORCES), Structures.from_ase(crystal())
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    stacked = {name: torch.stack([weight, weight]) for name, weight in weights.items()}

    def of_weights(weights: dict[str, Tensor]) -> Tensor:
        found: Tensor = torch.func.functional_call(model, weights, (structures,)).forces.sum()
        return found

    def of_cells(cells: Tensor) -> Tensor:
        strained = replace(structures, cells=cells)
        graphs = measured_graphs(strained, model.topology(strained), torch.float64)
        found: Tensor = graphs.main.edges.distance.sum()
        return found

    for transformed, argument in (
        (torch.func.grad(of_weights), weights),
        (torch.func.vmap(of_weights), stacked),
        (partial(torch.func.linearize, of_weights), weights),
        (torch.func.grad(of_cells), structures.cells),
        (torch.func.vmap(of_cells), structures.cells[None]),
        (partial(torch.func.linearize, of_cells), structures.cells),
    ):
        with pytest.raises(NotImplementedError, match=r"torch\.func .*torch\.autograd\.grad"):
            transformed(argument)


def test_ensembles_of_direct_forces_may_be_mapped_over_weights() -> None:
    model, structures = small_model(), Structures.from_ase(crystal())
    weights = {name: torch.stack([w, 1.01 * w]).detach() for name, w in model.named_parameters()}
    call = torch.func.functional_call
    together = torch.func.vmap(lambda weights: call(model, weights, (structures,)).forces)(weights)
    for number in range(2):
        alone = call(model, {name: w[number] for name, w in weights.items()}, (structures,)).forces
        torch.testing.assert_close(together[number], alone)


def test_compiled_layers_refuse_forward_mode() -> None:
    model, structures = small_model(), Structures.from_ase(crystal())
    model.compiled = True  # as it is of models that are built so, which takes long
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="without `compile`"):
        model(replace(structures, positions=forward_ad.make_dual(structures.positions, structures.positions)))
