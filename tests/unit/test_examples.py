"""Labelled slabs to try things on."""

import numpy as np
from ase.io import read

from gemnet_blocks.examples import emt_slabs, write_emt_slabs


def test_labels_tags_and_fixed_atoms(tmp_path):
    frames = read(write_emt_slabs(tmp_path / "slabs.extxyz", 3, seed=1), index=":")
    assert len(frames) == 3
    for frame in frames:
        assert set(frame.get_tags()) == {0, 1, 2}
        assert np.isfinite(frame.get_potential_energy())
        assert abs(frame.get_forces(apply_constraint=False).sum(axis=0)).max() < 1e-6
        assert len(frame.constraints[0].index) == 4


def test_the_same_seed_gives_the_same_slabs():
    one, same, other = emt_slabs(2, seed=1), emt_slabs(2, seed=1), emt_slabs(2, seed=2)
    assert np.array_equal(one[1].positions, same[1].positions)
    assert one[1].get_potential_energy() != other[1].get_potential_energy()
