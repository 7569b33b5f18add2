"""Files in which atoms coincide: opening them warns."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from data_files import crystals, molecules, opened, options, written

from gemnet_blocks.data.opening import open_files


def relabelled(frames: list[Atoms]) -> list[Atoms]:
    """The frames with zeros as labels, which those of EMT are not where atoms coincide."""
    for atoms in frames:
        atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((len(atoms), 3)))
    return frames


def test_opening_files_names_the_frames_and_atoms(tmp_path: Path) -> None:
    frames = crystals(6)
    frames[3].positions[1] = frames[3].positions[0] + frames[3].cell[1]
    frames[5].positions[2] = frames[5].positions[0] + [1e-6, 0, 0]
    written(tmp_path / "frames.xyz", relabelled(frames))
    with connect(tmp_path / "frames.db") as database:
        for atoms in frames:
            database.write(atoms)
    for file in ("frames.xyz", "frames.db"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            opened(tmp_path, files=[file])
        (message,) = (str(one.message) for one in caught)
        assert message.startswith("atoms coincide (less than 0.01 Å apart) in 2 of 6 structures: ")
        assert f"{file}, frame 3" in message
        assert "(atoms 0 (Cu) and 1 (Cu))" in message
        assert "(atoms 0 (Cu) and 2 (Cu))" in message


def test_files_to_evaluate_are_searched_too(tmp_path: Path) -> None:
    frames = molecules(3)
    frames[1].positions[1] = frames[1].positions[0]
    written(tmp_path / "frames.xyz", relabelled(frames))
    with pytest.warns(UserWarning, match=r"in 1 of 3 structures: frames.xyz, frame 1 \(atoms 0 \(C\) and 1 \(O\)"):
        open_files(["frames.xyz"], options(files=["frames.xyz"]), tmp_path)
