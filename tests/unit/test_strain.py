"""Stresses: derivatives of the energy with respect to strain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from helpers import GRADIENT_FORCES, assert_close, slab, small_cell, small_model
from potentials import crystals, smooth_potential
from torch import Tensor

from gemnet_blocks.aggregation.method import AngularMethod
from gemnet_blocks.errors import StructureError
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.spec import Execution
from gemnet_blocks.structures import Structures, strained

COMPONENTS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def stress_of(model: GemNet, structures: Structures, memory_budget: float | None = None) -> Tensor:
    stress = model(structures, memory_budget=memory_budget, stress=True).stress
    assert stress is not None
    return stress


def deformed(atoms: Atoms, strain: np.ndarray) -> Atoms:
    """Atoms in a cell multiplied by 1 + strain."""
    changed = atoms.copy()
    changed.set_cell(atoms.cell[:] @ (np.eye(3) + strain), scale_atoms=True)
    return changed


def slopes(model: GemNet, atoms: Atoms, step: float = 1e-4) -> Tensor:
    """The stress by finite differences of the energy, of fourth order in the step."""
    strains = np.zeros((len(COMPONENTS), 1, 3, 3))
    for strain, (i, j) in zip(strains[:, 0], COMPONENTS, strict=True):
        strain[i, j] += 0.5
        strain[j, i] += 0.5
    sizes = step * np.array([-2, -1, 1, 2])[:, None, None]
    frames = [deformed(atoms, strain) for strain in (strains * sizes).reshape(-1, 3, 3)]
    with torch.no_grad():
        energies = model(Structures.from_ase(frames)).energy.reshape(len(COMPONENTS), 4)
    found = torch.zeros(3, 3, dtype=torch.float64)
    weights = torch.tensor([1, -8, 8, -1], dtype=torch.float64) / (12 * step * atoms.get_volume())
    for slope, (i, j) in zip(energies @ weights, COMPONENTS, strict=True):
        found[i, j] = found[j, i] = slope
    return found


@pytest.mark.parametrize("angular", ["explicit", "factorized"])
@pytest.mark.parametrize("which", range(3))
def test_stress_is_the_slope_of_the_energy_under_strain(angular: AngularMethod, which: int) -> None:
    model, frames = smooth_potential(execution=Execution(angular=angular)).model, crystals()
    with torch.no_grad():
        stress = stress_of(model, Structures.from_ase(frames))[which]
    expected = slopes(model, frames[which])
    assert expected.abs().max() > 1e-3
    assert_close(stress, expected, 1e-9)
    assert torch.equal(stress, stress.T)


@pytest.mark.parametrize("angular", ["explicit", "factorized"])
def test_a_memory_budget_changes_no_stress(angular: AngularMethod) -> None:
    model, structures = smooth_potential(execution=Execution(angular=angular)).model, Structures.from_ase(small_cell())
    with torch.no_grad():
        assert_close(stress_of(model, structures, memory_budget=1.0), stress_of(model, structures))


def test_a_strain_of_zero_changes_nothing() -> None:
    structures = Structures.from_ase(crystals())
    moved = strained(structures).structures
    assert torch.equal(moved.positions, structures.positions)
    assert torch.equal(moved.cells, structures.cells)
    model = smooth_potential().model
    with_stress, without = model(structures, stress=True), model(structures)
    assert torch.equal(with_stress.energy, without.energy)
    assert_close(with_stress.forces, without.forces)
    assert without.stress is None


def test_the_cell_s_description_does_not_matter() -> None:
    model, atoms = smooth_potential().model, small_cell()
    other = atoms.copy()
    other.set_cell(atoms.cell[:] + [[0, 0, 0], [1, 0, 0], [0, -1, 0]] @ atoms.cell[:])
    other.positions[1] += 3 * atoms.cell[0]
    stress = stress_of(model, Structures.from_ase([atoms, other]))
    assert_close(stress[0], stress[1], 1e-11)


def test_stress_can_be_trained() -> None:
    model = smooth_potential().model
    structures = Structures.from_ase(crystals()[:2])
    weight = model.backbone.edge_embedding.dense.linear.weight
    weighting = torch.randn(2, 3, 3, dtype=torch.float64)
    direction = torch.randn_like(weight)

    def number() -> Tensor:
        return (stress_of(model, structures) * weighting).sum()

    (gradient,) = torch.autograd.grad(number(), weight)
    step, values = 1e-4, []
    for size in (step, -step):
        with torch.no_grad():
            weight += size * direction
        values.append(float(number().detach()))
        with torch.no_grad():
            weight -= size * direction
    assert float((gradient * direction).sum()) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


def test_published_rules_and_dynamic_scaling_have_the_same_stress() -> None:
    structures = Structures.from_ase(small_cell())
    plain = small_model(**GRADIENT_FORCES)
    scaled = small_model(heads__forces={"type": "gradient", "dynamic_scaling": True})
    assert_close(stress_of(scaled, structures), stress_of(plain, structures), 1e-11)


def test_the_energy_of_a_mean_has_a_stress_too() -> None:
    total, mean = (small_model(heads__energy={"reduce": kind}, **GRADIENT_FORCES) for kind in ("sum", "mean"))
    structures = Structures.from_ase(small_cell())
    assert_close(stress_of(mean, structures), stress_of(total, structures) / 2)


def test_empty_structures_have_zero_stress() -> None:
    cell = np.diag([30.0, 30, 30])
    frames = [Atoms(cell=cell, pbc=True), Atoms("Cu", cell=cell, pbc=True)]
    model = smooth_potential().model
    assert stress_of(model, Structures.from_ase(frames)).tolist() == torch.zeros(2, 3, 3).tolist()
    assert stress_of(model, Structures.from_ase([])).shape == (0, 3, 3)


def test_in_single_precision_it_is_of_the_weights_type() -> None:
    wide, narrow = smooth_potential().model, smooth_potential(torch.float32).model
    structures = Structures.from_ase(crystals())
    expected = stress_of(wide, structures)
    for given in (structures, structures.to(dtype=torch.float32)):
        stress = stress_of(narrow, given)
        assert stress.dtype == torch.float32
        assert_close(stress.double(), expected, 1e-5)


# -- what is refused --------------------------------------------------------------------------------------------------


def test_structures_without_a_volume_are_refused() -> None:
    structures = Structures.from_ase([small_cell(), slab()])
    with pytest.raises(StructureError, match=r"structure 1 has no stress.*not periodic in all three directions"):
        stress_of(smooth_potential().model, structures)


def test_flat_cells_are_refused() -> None:
    structures = Structures.from_ase(small_cell())
    flat = replace(structures, cells=torch.ones_like(structures.cells))
    with pytest.raises(StructureError, match="lattice vectors that do not span"):
        stress_of(smooth_potential().model, flat)


@pytest.mark.parametrize("forces", [None, {"type": "direct"}])
def test_models_without_gradient_forces_have_no_stress(forces: dict[str, str] | None) -> None:
    with pytest.raises(
        ValueError, match=r"stress needs gradient forces, and this model has (no|direct) forces: set `heads"
    ):
        stress_of(small_model(heads__forces=forces), Structures.from_ase(small_cell()))


def test_models_of_isolated_structures_have_no_stress() -> None:
    with pytest.raises(ValueError, match=r"stress needs periodic structures.*isolated.*periodic: false"):
        stress_of(smooth_potential(neighbors__periodic=False).model, Structures.from_ase(small_cell()))
