"""The ASE calculator."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_stress
from ase.constraints import FixAtoms
from ase.io import read, write
from ase.stress import voigt_6_to_full_3x3_stress
from helpers import molecule, slab, small_cell, small_model, small_spec
from potentials import REFERENCES, crystal, crystals, smooth_potential

from gemnet_blocks.calculator import GemNetCalculator
from gemnet_blocks.errors import StructureError
from gemnet_blocks.graph.verlet_list import VerletList
from gemnet_blocks.potential import Potential
from gemnet_blocks.potential.model_file import save_potential
from gemnet_blocks.spec import Execution
from gemnet_blocks.structures import Structures


def direct_potential(**changes: object) -> Potential:
    """Published rules and direct forces."""
    return Potential(small_model(**changes), small_spec(**changes), REFERENCES)


# -- results ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", range(3))
def test_results_are_those_of_the_potential(which: int) -> None:
    potential, atoms = smooth_potential(), crystals()[which]
    expected = potential(Structures.from_ase(atoms), stress=True)
    atoms.calc = GemNetCalculator(potential)
    assert atoms.get_potential_energy() == float(expected.energy.detach())
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    np.testing.assert_array_equal(atoms.get_forces(), expected.forces.detach().numpy())
    np.testing.assert_array_equal(atoms.get_potential_energies(), expected.atom_energies.detach().numpy())
    stress = atoms.get_stress()
    assert stress.shape == (6,)
    np.testing.assert_array_equal(voigt_6_to_full_3x3_stress(stress), expected.stress[0].detach().numpy())
    assert abs(stress).max() > 1e-3


def test_the_stress_has_ase_s_sign_and_order() -> None:
    atoms = small_cell()
    atoms.calc = GemNetCalculator(smooth_potential())
    numerical = calculate_numerical_stress(atoms, eps=1e-5)
    np.testing.assert_allclose(atoms.get_stress(), numerical, atol=1e-7)


def test_a_file_serves_as_well(tmp_path: Path) -> None:
    path, potential, atoms = tmp_path / "model.safetensors", smooth_potential(), crystal()
    save_potential(potential, path)
    energies = []
    for source in (potential, path, str(path)):
        atoms.calc = GemNetCalculator(source)
        energies.append(atoms.get_potential_energy())
    assert energies[0] == energies[1] == energies[2]
    explicit = GemNetCalculator(path, execution=Execution(angular="explicit"))
    assert explicit.get_potential_energy(atoms) == pytest.approx(energies[0], abs=1e-9)
    assert explicit.meaning == "total"
    with pytest.raises(ValueError, match="`execution` cannot change a model that is already built"):
        GemNetCalculator(potential, execution=Execution())


def test_any_type_leaves_the_potential_as_it_is() -> None:
    potential, atoms = smooth_potential(), crystal()
    exact = GemNetCalculator(potential).get_forces(atoms)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.3), (torch.float64, 0)):
        calculator = GemNetCalculator(potential, dtype=dtype)
        forces = calculator.get_forces(atoms)
        assert forces.dtype == np.float64
        np.testing.assert_allclose(forces, exact, atol=tolerance * abs(exact).max())
        assert potential.dtype == torch.float64
        assert (calculator.potential is potential) == (dtype == torch.float64)


def test_a_memory_budget_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    potential, seen = smooth_potential(), []
    monkeypatch.setattr(potential.model, "_exceeds", lambda budget, *_: bool(seen.append(budget)))
    GemNetCalculator(potential, memory_budget=5e9).get_potential_energy(crystal())
    assert seen == [5e9]


def test_odd_structures() -> None:
    calculator = GemNetCalculator(smooth_potential())
    for atoms in (Atoms(), Atoms("H"), Atoms("H2", positions=[[0, 0, 0], [0, 0, 90]]), molecule(4)):
        atoms.calc = calculator
        assert np.isfinite(atoms.get_potential_energy())
        assert atoms.get_forces().shape == (len(atoms), 3)


def test_a_failed_calculation_leaves_no_earlier_results() -> None:
    calculator = GemNetCalculator(smooth_potential())
    calculator.calculate(crystal(), ["energy"])
    unknown = Atoms("Og")
    with pytest.raises(StructureError):
        calculator.calculate(unknown, ["energy"])
    unknown.calc = calculator
    with pytest.raises(StructureError):
        unknown.get_potential_energy()


# -- what changes results ---------------------------------------------------------------------------------------------


def test_results_are_computed_once() -> None:
    atoms = crystal()
    atoms.calc = GemNetCalculator(smooth_potential())
    atoms.get_potential_energy()
    results = atoms.calc.results
    atoms.get_forces()
    atoms.get_stress()
    assert atoms.calc.results is results
    atoms.rattle(0.01)
    atoms.get_stress()
    assert atoms.calc.results is not results


def test_tags_come_along_and_count() -> None:
    """Models that select edges by tags must see when they change."""
    atoms = slab()
    potential = direct_potential(graphs__quad__tags=[2])
    atoms.calc = GemNetCalculator(potential)
    before = atoms.get_potential_energy()
    atoms.set_tags([0, 0, 2, 2, 2])
    assert atoms.get_potential_energy() != before
    assert atoms.get_potential_energy() == float(potential(Structures.from_ase(atoms)).energy.detach())
    atoms.set_tags([0, 0, 1, 1, 2])
    assert atoms.get_potential_energy() == before


def test_a_default_tag_is_for_atoms_without_tags() -> None:
    potential, atoms = direct_potential(graphs__quad__tags=[1]), small_cell()
    tagged = GemNetCalculator(potential, default_tag=2).get_potential_energy(atoms)
    del atoms.arrays["tags"]
    with pytest.raises(StructureError, match="no tags"):
        GemNetCalculator(potential).get_potential_energy(atoms)
    ones, twos = (GemNetCalculator(potential, default_tag=tag).get_potential_energy(atoms) for tag in (1, 2))
    assert ones != twos
    assert tagged not in (ones, twos)  # its own tags are 1 and 2
    assert not atoms.has("tags")


def test_fixed_atoms_are_held_by_ase() -> None:
    atoms = crystal()
    atoms.set_constraint(FixAtoms([0, 2]))
    atoms.calc = GemNetCalculator(smooth_potential())
    assert not atoms.get_forces()[[0, 2]].any()
    assert atoms.get_forces(apply_constraint=False)[[0, 2]].all()


# -- the skin ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("published", [False, True])
def test_a_skin_changes_no_result(published: bool) -> None:
    potential = direct_potential() if published else smooth_potential()
    with_skin, without = GemNetCalculator(potential, skin=0.4), GemNetCalculator(potential, skin=0)
    atoms = slab() if published else small_cell()
    for step in range(12):
        atoms.rattle(0.02, seed=step)
        if step % 4 == 3 and not published:
            atoms.set_cell(atoms.cell[:] * 1.01, scale_atoms=True)
        for name in ("energy", "forces", "energies", *([] if published else ["stress"])):
            np.testing.assert_array_equal(with_skin.get_property(name, atoms), without.get_property(name, atoms))
    assert isinstance(with_skin.search, VerletList)
    assert 1 <= with_skin.search.searches < 12


def test_models_of_isolated_structures_are_given_no_images() -> None:
    calculator, atoms = GemNetCalculator(smooth_potential(neighbors__periodic=False)), small_cell()
    energy = calculator.get_potential_energy(atoms)
    atoms.pbc = False
    assert calculator.get_potential_energy(atoms) == energy
    assert energy != GemNetCalculator(smooth_potential()).get_potential_energy(small_cell())


def test_negative_skins_are_refused() -> None:
    with pytest.raises(ValueError, match="skin must be a positive, finite number"):
        GemNetCalculator(smooth_potential(), skin=-0.5)


# -- what there is not ------------------------------------------------------------------------------------------------


def test_direct_forces_have_no_stress() -> None:
    atoms = small_cell()
    atoms.calc = GemNetCalculator(direct_potential())
    assert "stress" not in atoms.calc.implemented_properties
    with pytest.raises(PropertyNotImplementedError, match=r"stress needs gradient forces.*gradient"):
        atoms.get_stress()
    assert atoms.get_forces().any()


def test_structures_without_volume_have_no_stress() -> None:
    atoms = small_cell()
    atoms.pbc = (True, True, False)
    atoms.calc = GemNetCalculator(smooth_potential())
    assert atoms.get_forces().any()
    with pytest.raises(PropertyNotImplementedError, match="periodic in all three directions"):
        atoms.get_stress()


def test_models_without_forces() -> None:
    atoms = small_cell()
    atoms.calc = GemNetCalculator(direct_potential(heads__forces=None))
    assert atoms.calc.implemented_properties == ["energy", "free_energy", "energies"]
    assert np.isfinite(atoms.get_potential_energy())
    with pytest.raises(PropertyNotImplementedError, match="this model does not predict forces"):
        atoms.get_forces()
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_magnetic_moments()


def test_elements_without_reference() -> None:
    atoms = Atoms("Au")
    atoms.calc = GemNetCalculator(smooth_potential())
    with pytest.raises(StructureError, match="Au"):
        atoms.get_potential_energy()


# -- copies and files -------------------------------------------------------------------------------------------------


def test_copies_are_independent() -> None:
    atoms = crystal()
    calculator = GemNetCalculator(smooth_potential())
    energy = calculator.get_potential_energy(atoms)
    copied = copy.deepcopy(calculator)
    atoms.rattle(0.1)
    assert copied.get_potential_energy(atoms) != energy
    assert calculator.get_potential_energy(atoms) == copied.get_potential_energy(atoms)


def test_results_are_written_by_ase(tmp_path: Path) -> None:
    atoms = crystal()
    atoms.calc = GemNetCalculator(smooth_potential())
    energy, stress = atoms.get_potential_energy(), atoms.get_stress()
    write(tmp_path / "out.xyz", atoms)
    again = read(tmp_path / "out.xyz")
    assert again.get_potential_energy() == pytest.approx(energy)
    np.testing.assert_allclose(again.get_stress(), stress)


# -- coinciding atoms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [[0, 0, 0], [1e-6, 0, 0], [3.61, 0, 3.61]])
def test_coinciding_atoms_are_refused_unless_they_are_allowed(offset: list[float]) -> None:
    atoms = crystal()
    atoms += Atoms("Cu", positions=[atoms.positions[2] + offset])
    with pytest.raises(StructureError, match=r"coinciding atoms 2 \(Cu\) and 4 \(Cu\).*allow_coinciding=True"):
        GemNetCalculator(smooth_potential()).get_potential_energy(atoms)
    allowed = GemNetCalculator(smooth_potential(), allow_coinciding=True)
    assert np.isfinite(allowed.get_potential_energy(atoms))
    atoms.pbc = False
    if np.linalg.norm(offset) > 1:  # in an open cell they are not at the same place
        assert np.isfinite(GemNetCalculator(smooth_potential()).get_potential_energy(atoms))
