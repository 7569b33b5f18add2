"""Potentials: models with units, references and a meaning."""

from __future__ import annotations

import copy
import pickle
from dataclasses import fields, replace

import pytest
import torch
from ase import Atoms
from helpers import assert_close, molecule, slab, small_cell, small_model, small_spec
from potentials import REFERENCES, crystals, smooth_potential, smooth_spec

from gemnet_blocks.errors import StructureError
from gemnet_blocks.potential import Potential
from gemnet_blocks.potential.references import References
from gemnet_blocks.structures import Prediction, Structures

FRAMES = [molecule(5), small_cell(), slab(), Atoms("H", positions=[[0, 0, 0]])]


def assert_identical(one: Prediction, other: Prediction) -> None:
    """Bit for bit the same, types included."""
    ours, theirs = values_of(one), values_of(other)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype
        assert torch.equal(value, theirs[name]), name


def values_of(prediction: Prediction) -> dict[str, torch.Tensor]:
    """All tensors of a prediction by name."""
    values = {field.name: getattr(prediction, field.name) for field in fields(Prediction)}
    values |= values.pop("properties")
    return {name: value for name, value in values.items() if value is not None}


def expected_references(frames: list[Atoms], references: References) -> list[float]:
    return [references.offset + sum(references.per_element[number] for number in atoms.numbers) for atoms in frames]


# -- sums -------------------------------------------------------------------------------------------------------------


def test_outputs_are_scaled_and_references_added() -> None:
    references = replace(REFERENCES, offset=0.75)
    potential, structures = smooth_potential(references=references), Structures.from_ase(FRAMES)
    raw, found = potential.model(structures), potential(structures)
    expected = torch.tensor(expected_references(FRAMES, references), dtype=torch.float64)
    assert_close(potential.reference_energy(structures), expected)
    assert_close(found.energy, 2.5 * raw.energy + expected)
    assert_close(found.forces, 2.5 * raw.forces)
    assert found.stress is None


def test_stresses_are_scaled() -> None:
    potential, structures = smooth_potential(), Structures.from_ase(crystals())
    assert_close(potential(structures, stress=True).stress, 2.5 * potential.model(structures, stress=True).stress)


@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_energies_of_atoms_add_up(reduce: str) -> None:
    references = replace(REFERENCES, offset=0.75)
    potential = smooth_potential(references=references, heads__energy={"reduce": reduce})
    structures = Structures.from_ase(FRAMES)
    found = potential(structures)
    total = torch.zeros(len(structures), dtype=torch.float64).index_add(0, structures.structure, found.atom_energies)
    assert_close(total, found.energy)


def test_direct_forces_have_energies_of_atoms_too() -> None:
    spec = small_spec()
    prediction = Potential(small_model(), spec, REFERENCES)(Structures.from_ase(small_cell()))
    assert float(prediction.atom_energies.sum().detach()) == pytest.approx(float(prediction.energy.detach()))


def test_large_energies_keep_their_digits_in_single_precision() -> None:
    references = References({29: -45_000.123456789}, scale=1e-3, meaning="total")
    potential = smooth_potential(torch.float32, references)
    prediction = potential(Structures.from_ase(crystals()[0]))
    assert prediction.energy.dtype == prediction.atom_energies.dtype == torch.float64
    assert prediction.forces.dtype == torch.float32
    rest = float(prediction.energy.detach()) + 4 * 45_000.123456789
    raw = float(potential.model(Structures.from_ase(crystals()[0])).energy.detach())
    assert rest == pytest.approx(1e-3 * raw, abs=1e-9)


def test_references_stay_in_double_precision() -> None:
    potential = smooth_potential(references=References({6: 1 / 3, 8: 1 / 7}, 1.0, "total"))
    structures = Structures.from_ase(small_cell())
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        assert potential.to(dtype).reference_energy(structures).tolist() == [1 / 3 + 1 / 7]
        assert potential.dtype == dtype


def test_everything_is_differentiable_in_training_and_nothing_otherwise() -> None:
    potential, structures = smooth_potential(), Structures.from_ase(crystals()[:2])
    prediction = potential(structures, stress=True)
    weights = [weight for weight in potential.parameters() if weight.requires_grad]
    assert values_of(prediction).keys() == {"energy", "forces", "stress", "atom_energies"}
    for name, value in values_of(prediction).items():
        found = torch.autograd.grad(value.square().sum(), weights, retain_graph=True, allow_unused=True)
        assert sum(float(gradient.abs().sum()) for gradient in found if gradient is not None) > 0, name
    with torch.no_grad():
        prediction = potential(structures, stress=True)
    assert not any(value.requires_grad for value in values_of(prediction).values())


# -- neighbors that are given -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("published", [False, True])
def test_neighbors_found_before_stand_for_a_search(published: bool) -> None:
    """Caps and the shorter cutoffs of some edge sets are applied to them as to those of a search."""
    potential = Potential(small_model(), small_spec(), REFERENCES) if published else smooth_potential()
    structures = Structures.from_ase(FRAMES)
    expected = potential(structures)
    assert_identical(potential(structures, given=potential.neighbors(structures)), expected)
    more = potential.model.backbone.graphs.search(structures, potential.cutoff + 2)
    assert len(more) > len(potential.neighbors(structures))
    assert_identical(potential(structures, given=more), expected)


# -- what is refused, and copies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("symbol", ["Au", "B", "Og"])  # beyond the greatest known one, between, beyond the model's
def test_elements_without_reference_are_refused(symbol: str) -> None:
    structures = Structures.from_ase([small_cell(), Atoms(symbol)])
    with pytest.raises(StructureError, match=rf"structure 1 contains {symbol}, .*known elements: H, C, N, O, Cu"):
        smooth_potential()(structures)


def test_a_potential_without_any_reference_refuses_all() -> None:
    potential = smooth_potential(references=References({}, 1.0, "adsorption"))
    with pytest.raises(StructureError, match="known elements: none"):
        potential(Structures.from_ase(small_cell()))


def test_atomic_numbers_below_one_are_refused() -> None:
    structures = Structures.from_ase(small_cell())
    with pytest.raises(StructureError, match="structure 0 has an atomic number below 1"):
        smooth_potential()(replace(structures, numbers=-structures.numbers))


def test_the_record_must_be_plain() -> None:
    potential = smooth_potential()
    with pytest.raises(TypeError, match="JSON"):
        Potential(potential.model, smooth_spec(), REFERENCES, {"steps": object()})


def test_copies_predict_the_same() -> None:
    potential, structures = smooth_potential(torch.float32), Structures.from_ase(FRAMES)
    expected = potential(structures)
    for other in (copy.deepcopy(potential), pickle.loads(pickle.dumps(potential))):
        assert_identical(other(structures), expected)
        assert other.spec == potential.spec
        assert other.references == potential.references
        assert other.record == {"seed": 0}
    with torch.no_grad():  # a copy of its own
        copied = copy.deepcopy(potential)
        for weight in copied.parameters():
            weight.zero_()
    assert_identical(potential(structures), expected)


def test_references_are_no_weights() -> None:
    """They come with the meaning, so that loading weights cannot change them."""
    potential = smooth_potential()
    assert all(name.startswith("model.") for name in potential.state_dict())
