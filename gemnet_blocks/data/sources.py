"""Where frames come from: one interface for files of all kinds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gemnet_blocks.data.frame import Frame, LabelRules, checked
from gemnet_blocks.data.units import Units


class FrameSource(ABC):
    """The frames of a file or folder, in its units and unchecked.

    Attributes:
        name: the path, for messages.
        streamed: whether frames are read one at a time when they are needed; otherwise all are kept in memory.
        known_counts: the number of atoms of every frame; None where only reading all frames would tell.
    """

    streamed: ClassVar[bool] = False
    name: str
    known_counts: npt.NDArray[np.int64] | None = None

    @abstractmethod
    def __len__(self) -> int:
        """The number of frames."""

    @abstractmethod
    def frame(self, index: int) -> Frame:
        """Frame number `index`, from 0.

        Raises:
            StructureError: it cannot be read; names the file and the frame.
        """

    def atoms(self, index: int) -> Any:
        """Frame number `index` as ASE atoms, without labels; positions are taken to be in Å.

        Raises:
            StructureError: it cannot be read; names the file and the frame.
        """
        from ase import Atoms
        from ase.constraints import FixAtoms

        frame = self.frame(index)
        valid = checked(frame, LabelRules(Units(), frozenset()), self.place(index))
        return Atoms(
            numbers=valid.numbers,
            positions=valid.positions,
            cell=valid.cell,
            pbc=valid.periodic,
            tags=None if frame.tags is None else valid.tags,
            constraint=FixAtoms(mask=valid.fixed) if valid.fixed.any() else None,
            info=dict(frame.text),
        )

    def frames(self) -> Iterator[Frame]:
        """All frames in order."""
        return (self.frame(index) for index in range(len(self)))

    def atom_counts(self) -> npt.NDArray[np.int64] | None:
        """The number of atoms of every frame, where it is known without reading all of them."""
        return self.known_counts

    def place(self, index: int) -> str:
        """What messages call a frame."""
        return f"{self.name}, frame {index}"
