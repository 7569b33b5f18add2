from __future__ import annotations

import numpy as np
import pytest
from data_files import opened, real
from numpy.testing import assert_allclose

from gemnet_blocks.data.units import StressOptions, Units, stress_unit
from gemnet_blocks.errors import StructureError

MATRIX = np.array([[1.0, 6, 5], [6, 2, 4], [5, 4, 3]])
VOIGT = np.array([1.0, 2, 3, 4, 5, 6])
VASP = np.array([1.0, 2, 3, 6, 4, 5])


@pytest.mark.parametrize(
    ("value", "order"),
    [
        (MATRIX, "xx yy zz yz xz xy"),
        (MATRIX.reshape(-1), "xx yy zz yz xz xy"),
        (VOIGT, "xx yy zz yz xz xy"),
        (VASP, "xx yy zz xy yz xz"),
        (np.array([1.0, 2, 3, 6, 5, 4]), "xx yy zz xy xz yz"),
    ],
)
def test_all_forms_make_the_same_matrix(value: np.ndarray, order: str) -> None:
    assert_allclose(StressOptions(order=order).matrix(value, Units(stress=2.0), 1, "here"), 2 * MATRIX)  # type: ignore[arg-type]


def test_compressive_numbers_change_sign() -> None:
    assert_allclose(StressOptions(sign="compressive").matrix(MATRIX, Units(), 1, "here"), -MATRIX)


def test_a_virial_is_divided_by_the_volume() -> None:
    rule = StressOptions(sign="compressive", kind="virial")
    assert_allclose(rule.matrix(MATRIX, Units(energy=3.0, stress=7.0), 12.0, "here"), -MATRIX / 4)
    with pytest.raises(StructureError, match="here: stress: the stress of a virial needs a cell"):
        rule.matrix(MATRIX, Units(), 0.0, "here")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ones(5), "expected 6 numbers, in the order .* or 9 numbers"),
        (np.array(["a"] * 6), "expected 6 numbers"),
        (MATRIX + np.eye(3, k=1), "expected a symmetric matrix, found 7 and 6 .* mean of the matrix and its transpose"),
    ],
)
def test_other_numbers_are_errors(value: np.ndarray, message: str) -> None:
    with pytest.raises(StructureError, match=f"here: stress: .*{message}"):
        StressOptions().matrix(value, Units(), 1, "here")


NOISE = np.diag([1e-3, 1e-3], k=1)
"""In an otherwise vanishing stress; far more than 0.1 %, and less than 1.6 MPa in kbar and, with 1000 Å³, in eV."""


@pytest.mark.parametrize(
    ("rule", "units", "volume"),
    [
        (StressOptions(), Units(stress=stress_unit("kbar")), 1.0),
        (StressOptions(sign="compressive"), Units(stress=stress_unit("kbar")), 1.0),
        (StressOptions(kind="virial"), Units(), 1000.0),
    ],
)
def test_rounding_is_not_asymmetry_in_any_unit(rule: StressOptions, units: Units, volume: float) -> None:
    found = rule.matrix(NOISE, units, volume, "here")
    assert_allclose(found, found.T)
    assert 0 < np.abs(found).max() < 1e-6
    with pytest.raises(StructureError, match="here: stress: expected a symmetric matrix, found 1 and 0"):
        rule.matrix(1e3 * NOISE, units, volume, "here")
    with pytest.raises(StructureError, match="expected a symmetric matrix"):
        StressOptions().matrix(NOISE, Units(), 1.0, "here")


def test_unknown_units_are_errors() -> None:
    with pytest.raises(ValueError, match="did you mean 'kbar'"):
        StressOptions(unit="kbars")


MLEARN = {"unit": "kbar", "sign": "compressive", "order": "xx yy zz xy xz yz"}
"""What `virial_stress_kbar` of the data set mlearn is.

Positive under compression, as VASP prints it, but not in VASP's order. The sheared silicon crystals (frames 195 to 212
of Si_train, 23 and 24 of Si_test) have the last two numbers exchanged: their cells are sheared in xz and yz, and by
their mirror plane the other component must vanish.
"""


def test_the_stress_of_mlearn_is_that_of_emt() -> None:
    """EMT copper is stiff and shears as copper does: all six components must go with DFT's, at a slope of about 1."""
    from ase.calculators.emt import EMT
    from ase.io import read

    folder = real("mlearn")
    data = opened(
        folder,
        train=["Cu_test.xyz"],
        labels=["stress"],
        keys={"stress": "virial_stress_kbar"},
        stress=MLEARN,
    )
    emt, dft = [], []
    for index, atoms in enumerate(read(folder / "Cu_test.xyz", ":")):
        atoms.calc = EMT()
        emt.append(atoms.get_stress(voigt=False).reshape(-1))
        dft.append(data.train[index].stress[0].numpy().reshape(-1))  # type: ignore[index]
    for place in (0, 1, 2, 4, 5, 8):
        first, second = np.array(emt)[:, place], np.array(dft)[:, place]
        assert np.corrcoef(first, second)[0, 1] > 0.97
        assert 0.5 < np.polyfit(first, second, 1)[0] < 2
    assert np.abs(dft).max() < 500 * stress_unit("kbar")
