"""Conformal widths: their definition, and the coverage of new values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gemnet_blocks.potential.calibration import FLOOR, Calibration, Width, least_structures


def drawn(generator: np.random.Generator, structures: int, atoms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors with heavy tails, standard deviations that know half of their size, and their structures."""
    owner = np.repeat(np.arange(structures), generator.integers(1, atoms + 1, structures))
    size = np.exp(generator.normal(0, 1, structures))[owner] * np.exp(generator.normal(0, 0.3, len(owner)))
    return (
        np.abs(generator.standard_t(3, len(owner))) * size,
        size * np.exp(generator.normal(0, 0.5, len(owner))),
        owner,
    )


def test_the_width_is_the_smallest_that_covers() -> None:
    errors, deviations, owner = drawn(np.random.default_rng(0), 25, 6)
    found = Width.fitted(errors, deviations, owner, 0.8)

    def covered(factor: float) -> float:
        inside = errors <= factor * (deviations + FLOOR * deviations.mean())
        return sum(inside[owner == one].mean() for one in range(25)) / 26

    assert found.floor == pytest.approx(FLOOR * deviations.mean())
    assert covered(found.factor * (1 + 1e-9)) >= 0.8 - 1e-9
    assert covered(found.factor * (1 - 1e-9)) < 0.8
    assert torch.allclose(found.of(torch.tensor([2.0])), torch.tensor([found.factor * (2 + found.floor)]))


@pytest.mark.parametrize(("atoms", "level"), [(1, 0.9), (1, 0.5), (8, 0.9)])
def test_new_values_are_covered_as_promised(atoms: int, level: float) -> None:
    generator = np.random.default_rng(1)
    inside = []
    for _ in range(300):
        errors, deviations, owner = drawn(generator, 80, atoms)
        fitted = owner < 40
        width = Width.fitted(errors[fitted], deviations[fitted], owner[fitted], level)
        new = errors[~fitted] <= width.factor * (deviations[~fitted] + width.floor)
        inside.append(np.mean([new[owner[~fitted] == one].mean() for one in range(40, 80)]))
    # the mean over calibration sets lies between the level and the level + 1/(n + 1)
    assert level - 0.01 < np.mean(inside) < level + 1 / 41 + 0.01


def test_levels_need_a_number_of_structures() -> None:
    assert [least_structures(level) for level in (0.5, 0.9, 0.95)] == [1, 9, 19]
    values = np.ones(8)
    with pytest.raises(ValueError, match=r"a level of 0\.9 needs at least 9 structures with labels, got 8"):
        Width.fitted(values, values, np.arange(8), 0.9)
    with pytest.raises(ValueError, match="needs at least 9 structures"):  # many atoms are not many structures
        Width.fitted(np.ones(80), np.ones(80), np.arange(80) % 8, 0.9)
    assert Width.fitted(np.ones(9), np.ones(9), np.arange(9), 0.9).factor == pytest.approx(1 / 1.1)
    for level in (0, 1, -0.1, 90, math.nan):
        with pytest.raises(ValueError, match="level between 0 and 1"):
            least_structures(level)


def test_members_that_agree_have_intervals_of_one_width() -> None:
    errors = np.arange(1.0, 20.0)
    found = Width.fitted(errors, np.zeros(19), np.arange(19), 0.9)
    assert found.of(torch.zeros(2, dtype=torch.float64)).tolist() == [18.0, 18.0]


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        Width.fitted(np.array([1.0, np.nan]), np.ones(2), np.arange(2), 0.5)
    with pytest.raises(ValueError, match="finite factor"):
        Width(math.inf, 0.0)


def test_calibrations_are_restored() -> None:
    found = Calibration(0.9, 40, Width(1.5, 0.1), None)
    assert Calibration.from_dict(found.to_dict()) == found
    for wrong in ({}, {"level": 0.9}, {**found.to_dict(), "forces": {"factor": 1}}, {**found.to_dict(), "energy": 3}):
        with pytest.raises(ValueError, match="is not a calibration"):
            Calibration.from_dict(wrong)
