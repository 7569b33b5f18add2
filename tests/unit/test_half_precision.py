"""Half precision, by autocast or of the weights, leaves geometry and bases in single precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from potentials import smooth_spec
from torch import Tensor

from gemnet_blocks import Structures
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.spec import Execution, build

MODELS = [
    ("gradient", "smooth", "factorized"),
    ("gradient", "right_angle", "explicit"),
    ("direct", "right_angle", "factorized"),
]
"""The forces, the rule for collinear atoms and the method of angular sums."""

TOLERANCE = {torch.float16: 0.02, torch.bfloat16: 0.15}


def molecules() -> Structures:
    """Molecules with collinear atoms, or all in a plane."""
    names = ("CO2", "C2H2", "C6H6")
    line = Atoms("Cu4", positions=[(0, 0, 1.8 * place) for place in range(4)])
    return Structures.from_ase([*map(molecule, names), line], dtype=torch.float32)


def crystals() -> Structures:
    """Perfect crystals, whose neighbors are collinear, and one that is rattled, which has forces."""
    rattled = bulk("Cu", cubic=True)
    rattled.rattle(0.1, seed=0)
    return Structures.from_ase([bulk("Cu", cubic=True), bulk("NaCl", "rocksalt", a=5.64), rattled], dtype=torch.float32)


def model_of(forces: str, rule: str, angular: Any) -> GemNet:
    spec = smooth_spec(heads__forces={"type": forces}, bases__collinear={"type": rule})
    return build(spec, seed=0, execution=Execution(angular=angular))


def computed(model: GemNet, structures: Structures) -> list[Tensor]:
    """Energies, forces and stresses, and the size of the gradient of a loss to the weights."""
    stress = model.forces is not None and bool(structures.periodic.all()) and hasattr(model.forces, "with_stress")
    prediction = model(structures, stress=stress)
    found = [value for value in (prediction.energy, prediction.forces, prediction.stress) if value is not None]
    assert all(value.dtype == torch.float32 for value in found)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    loss = torch.stack([value.square().mean() for value in found]).sum()
    gradients = torch.autograd.grad(loss, trained, allow_unused=True)
    return [*found, torch.stack([g.float().norm() for g in gradients if g is not None]).norm()]


@cache
def expected(forces: str, rule: str, periodic: bool) -> list[Tensor]:
    return computed(model_of(forces, rule, "auto"), crystals() if periodic else molecules())


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("of_weights", [False, True], ids=["autocast", "weights"])
@pytest.mark.parametrize(("forces", "rule", "angular"), MODELS)
def test_predictions_and_gradients_are_close_to_single_precision(
    forces: str, rule: str, angular: str, of_weights: bool, dtype: torch.dtype
) -> None:
    model = model_of(forces, rule, angular).to(dtype if of_weights else torch.float32)
    context: AbstractContextManager[Any] = nullcontext() if of_weights else torch.autocast("cpu", dtype)
    for structures in (molecules(), crystals()):
        with context:
            found = computed(model, structures.to(dtype=dtype) if of_weights and rule == "smooth" else structures)
        for value, exact in zip(found, expected(forces, rule, bool(structures.periodic.all())), strict=True):
            assert value.isfinite().all()
            assert float((value - exact).detach().norm()) < TOLERANCE[dtype] * max(1, float(exact.detach().norm()))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("radial", ["gaussian", "spherical_bessel", "bernstein"])
def test_bases_stay_in_single_precision(radial: str, dtype: torch.dtype) -> None:
    spec = smooth_spec(bases__radial={"type": radial, "count": 6}, bases__circular={"type": "gaussian", "count": 3})
    bases = build(spec, seed=0).backbone.geometry.bases
    distances = torch.linspace(0.5, 3, 20)
    wide = bases.radial["main"](distances)
    narrow = bases.to(dtype).radial["main"](distances)
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow, wide, rtol=1e-6, atol=1e-6)


def test_weights_can_be_widened_again() -> None:
    model, structures = model_of("gradient", "smooth", "auto"), molecules()
    assert model.half().backbone.dtype == torch.float16
    found = model.double()(structures)
    assert found.energy.dtype == torch.float64
    torch.testing.assert_close(found.energy.float(), expected("gradient", "smooth", False)[0], rtol=0.02, atol=0.02)


def odd_structures() -> Structures:
    """An isolated atom, atoms beyond the cutoff, atoms on a line, a large cell and two atoms at one place."""
    far = Atoms("Cu2", positions=[(0, 0, 0), (0, 0, 40.0)])
    line = Atoms("Cu3", positions=[(0, 0, 0), (0, 0, 2.0), (0, 0, 4.0)])
    large = Atoms("CuO", positions=[(0, 0, 0), (999.0, 999.0, 999.0)], cell=[1000.0] * 3, pbc=True)
    twice = Atoms("Cu3", positions=[(0, 0, 0), (0, 0, 0), (1.5, 0, 0)])
    return Structures.from_ase([Atoms("Cu"), far, line, large, twice], dtype=torch.float32)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("forces", ["direct", "gradient"])
def test_autocast_of_odd_structures_is_finite_and_close(forces: str, dtype: torch.dtype) -> None:
    model, structures = model_of(forces, "smooth", "auto"), odd_structures()
    exact = computed(model, structures)
    with torch.autocast("cpu", dtype):
        found = computed(model, structures)
    for value, reference in zip(found, exact, strict=True):
        assert value.isfinite().all()
        assert float((value - reference).detach().norm()) < TOLERANCE[dtype] * max(1, float(reference.detach().norm()))
