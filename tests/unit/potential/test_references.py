from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.constraints import FixAtoms
from pydantic import ValidationError

from gemnet_blocks.data.labelled import LabelledStructures, collate
from gemnet_blocks.errors import SpecError
from gemnet_blocks.potential.references import References
from gemnet_blocks.structures import Structures
from gemnet_blocks.training.references import ReferencesOptions, fit_references

H, C, O = 1, 6, 8  # noqa: E741
TRUE = {H: -13.6, C: -1026.8, O: -2041.2}


def labelled(symbols, energy=None, forces=None, fixed=()):
    positions = np.arange(3.0 * len(Atoms(symbols))).reshape(-1, 3)
    atoms = Atoms(symbols, positions=positions, constraint=FixAtoms(list(fixed)))
    return LabelledStructures(
        structures=Structures.from_ase(atoms),
        energy=None if energy is None else torch.tensor([energy], dtype=torch.float64),
        forces=None if forces is None else torch.as_tensor(forces, dtype=torch.float64),
        stress=None,
        frame=torch.zeros(1, dtype=torch.long),
    )


def exact(symbols):
    return sum(TRUE[number] for number in Atoms(symbols).numbers)


def test_least_squares_find_references_that_explain_the_energies():
    dataset = [labelled(symbols, exact(symbols), np.ones((len(Atoms(symbols)), 3))) for symbols in ("CO", "H2O", "CH4")]

    found = fit_references(dataset, "total")

    assert found.per_element == pytest.approx(TRUE, rel=1e-12)
    assert found.meaning == "total"


def test_least_squares_equal_those_of_all_frames_at_once():
    random = np.random.default_rng(0)
    formulas = ["CO", "CO", "CO", "H2O", "CH4", "CH4", "C2H6O", "CH3OH"]
    energies = [exact(symbols) + random.normal() for symbols in formulas]
    counts = np.array([[list(Atoms(symbols).numbers).count(number) for number in (H, C, O)] for symbols in formulas])
    expected = np.linalg.lstsq(counts.astype(float), np.array(energies), rcond=None)[0]

    found = fit_references([labelled(*pair) for pair in zip(formulas, energies, strict=True)], "total", scale=1.0)

    np.testing.assert_allclose(list(found.per_element.values()), expected, rtol=1e-12)


def test_one_composition_gets_references_of_least_norm_that_predict_its_mean():
    energies = [-4200.0, -4201.0, -4202.5]

    found = fit_references([labelled("C2H6O", energy) for energy in energies], "total", scale=1.0).per_element

    assert 6 * found[H] + 2 * found[C] + found[O] == pytest.approx(np.mean(energies), rel=1e-14)
    # the solution of least norm is a multiple of the counts
    assert found[H] / 6 == pytest.approx(found[O]) == pytest.approx(found[C] / 2)


def test_batches_count_like_their_structures():
    items = [labelled("CO", -10.0, np.ones((2, 3))), labelled("H2O", -7.0, 2 * np.ones((3, 3)))]

    together, apart = fit_references([collate(items)], "total"), fit_references(items, "total")

    assert together == apart


def test_given_references_by_symbol_number_or_text():
    dataset = [labelled("CO", 0.0, np.ones((2, 3)))]

    found = fit_references(dataset, "atomisation", {"C": -1, 8: -2.0, "1": -3.0})

    assert found.per_element == {1: -3.0, 6: -1.0, 8: -2.0}


def test_none_gives_zero_for_the_elements_seen():
    assert fit_references([labelled("CO", -3.0)], "adsorption", "none", 1.0).per_element == {6: 0.0, 8: 0.0}


@pytest.mark.parametrize(
    ("per_element", "message"),
    [
        ({"C": -1.0}, "no energy of O"),
        ({"C": -1.0, "Xx": 0.0}, "expected the symbol of an element.*got 'Xx'; did you mean Xe"),
        ({"C": -1.0, "": 0.0}, "got ''$"),
        ({"C": -1.0, "6": 0.0, "O": 1.0}, "C is given by symbol and by number"),
        ("least-squares", "expected least_squares, none or a mapping"),
    ],
)
def test_wrong_references_are_refused(per_element, message):
    with pytest.raises(SpecError, match=message):
        fit_references([labelled("CO", 0.0)], "total", per_element, 1.0)


def test_scale_is_the_rms_of_force_components():
    dataset = [labelled("CO", -3.0, [[1, 0, 0], [0, 2, 0]]), labelled("C", -3.0, [[0, 0, 3.0]])]

    assert fit_references(dataset, "total").scale == pytest.approx(math.sqrt((1 + 4 + 9) / 9))


def test_scale_of_free_atoms_leaves_fixed_ones_out():
    dataset = [labelled("CO", -3.0, [[1, 1, 1], [100, 0, 0]], fixed=[1])]

    assert fit_references(dataset, "total", atoms="free").scale == pytest.approx(1.0)


@pytest.mark.parametrize("forces", [None, np.zeros((2, 3))])
def test_scale_without_forces_is_that_of_energies_per_atom(forces):
    dataset = [labelled("CO", energy, forces) for energy in (-1e4 - 1, -1e4 + 1)]

    assert fit_references(dataset, "total").scale == pytest.approx(0.5)


def test_scale_of_free_atoms_needs_some():
    with pytest.raises(SpecError, match=r"references.atoms: no atom of the training set is free"):
        fit_references([labelled("CO", -3.0, [[1, 1, 1], [2, 0, 0]], fixed=[0, 1])], "total", atoms="free")


def test_scale_of_nothing_is_refused():
    with pytest.raises(SpecError, match="give a number in eV"):
        fit_references([labelled("CO", -3.0, np.zeros((2, 3)))], "total")


def test_least_squares_without_energies_are_refused():
    with pytest.raises(SpecError, match="needs energies"):
        fit_references([labelled("CO", None, np.ones((2, 3)))], "total")


def test_an_empty_dataset_and_scale_are_refused():
    with pytest.raises(SpecError, match="empty"):
        fit_references([], "total")
    with pytest.raises(ValueError, match="positive"):
        fit_references([labelled("CO", -3.0)], "total", "none", 0.0)


def test_a_mean_is_an_energy_of_each_structure_whatever_its_size():
    dataset = [labelled(symbols, -0.75 + 2 * spread) for symbols, spread in (("CO", 1), ("C2H6O", -1))]

    found = fit_references(dataset, "adsorption", "none", scale=2.887, mean=-0.75)

    assert (found.offset, found.scale, set(found.per_element.values())) == (-0.75, 2.887, {0.0})
    with pytest.raises(ValueError, match="finite"):
        fit_references(dataset, "adsorption", "none", scale=1.0, mean=math.nan)


def test_least_squares_and_scales_are_of_the_energies_without_the_mean():
    symbols = ("CO", "H2O", "CH4", "CO")
    dataset = [labelled(one, exact(one) + 5 + spread) for one, spread in zip(symbols, (1, 0, 0, -1), strict=True)]

    found = fit_references(dataset, "total", mean=5.0)

    assert found.per_element == pytest.approx(TRUE, rel=1e-12)
    assert found.scale == pytest.approx(math.sqrt(2 * (1 / 2) ** 2 / 4))


def test_references_round_trip_through_json():
    references = References({29: -3.7, 8: -4.9}, 0.25, "adsorption", offset=-0.5)

    document = json.loads(json.dumps(references.to_dict()))

    assert References.from_dict(document) == references
    assert list(references.per_element) == [8, 29]
    assert document["per_element"] == {"O": -4.9, "Cu": -3.7}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"meaning": "heat"}, "meaning"),
        ({"scale": 0.0}, "scale"),
        ({"offset": math.nan}, "offset"),
        ({"per_element": {"Cu": math.inf}}, "per_element"),
        ({"energy_unit": "Ha"}, "units"),
        ({"scale": None}, "expected the dictionary of to_dict"),
    ],
)
def test_wrong_documents_are_refused(change, message):
    document = References({29: -3.7}, 0.25, "total").to_dict() | change

    with pytest.raises(ValueError, match=message):
        References.from_dict(document)


def test_incomplete_documents_are_refused():
    with pytest.raises(ValueError, match="KeyError: 'scale'"):
        References.from_dict({"per_element": {}, "meaning": "total"})


def test_options_take_words_and_mappings():
    options = ReferencesOptions(per_element={"Cu": -3.7, "8": -5}, scale=1)

    assert options.per_element == {"Cu": -3.7, "8": -5.0}
    assert ReferencesOptions().per_element == "least_squares"
    with pytest.raises(ValidationError):
        ReferencesOptions(scale="energy_rms")
    with pytest.raises(ValidationError):
        ReferencesOptions(scale=0)


def test_elements_that_were_not_seen_have_an_energy_only_where_it_is_given():
    dataset = [labelled("CO", -3.0), labelled("CO2", -5.0)]
    assert set(fit_references(dataset, "total", scale=1.0).per_element) == {6, 8}
    found = fit_references(dataset, "total", scale=1.0, unseen=-1.5).per_element
    assert found[78] == -1.5
    assert found[8] == pytest.approx(-2.0)
