"""The interface of all labelled structures by index."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from gemnet_blocks.data.labelled import LabelledStructures
from gemnet_blocks.errors import SpecError

Counts = npt.NDArray[np.int64]

FILE, FORMULA = "file", "formula"
"""Keys that every frame of a file has: the name of its file, and its chemical formula in Hill's order."""


class LabelledDataset(Dataset[LabelledStructures], ABC):
    """Structures with labels, in eV and Å, in float64 on the CPU."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of structures."""

    @abstractmethod
    def __getitem__(self, index: int) -> LabelledStructures:
        """One structure and what is known of it.

        Raises:
            StructureError: it cannot be read; names file and frame.
        """

    @property
    @abstractmethod
    def atom_counts(self) -> Counts:
        """The number of atoms of each structure."""

    @property
    @abstractmethod
    def labels(self) -> frozenset[str]:
        """Which of energy, forces and stress every structure has."""

    @property
    def streamed(self) -> bool:
        """Whether structures are read from disk each time."""
        return False

    def place(self, index: int) -> str:
        """File and frame number of a structure, for messages and tables."""
        return f"structure {index}"

    def file(self, index: int) -> str:
        """The name of a structure's file; empty where it is from none."""
        return ""

    def value(self, index: int, key: str) -> str:
        """What a structure's file says of it under a key.

        Raises:
            SpecError: there is no such key.
        """
        if key == FORMULA:
            return formula(self[index].structures.numbers.numpy())
        raise SpecError(f"{self.place(index)}: has nothing named {key!r} to group by: there is {FORMULA}")

    def groups(self, key: str, pattern: str | None = None) -> list[str]:
        """The group of every structure.

        Args:
            key: what the file says of a structure, such as `name`; or `file` or `formula`.
            pattern: a regular expression; the group is what its first parenthesis, or all of it, matches at the start.

        Raises:
            SpecError: a structure has no such key, or its value does not match.
        """
        compiled = None if pattern is None else _compiled(pattern)  # before anything is read
        values = [self.value(index, key) for index in range(len(self))]
        return values if compiled is None else [self._matched(i, value, compiled) for i, value in enumerate(values)]

    def _matched(self, index: int, value: str, pattern: re.Pattern[str]) -> str:
        match = pattern.match(value)
        found = match and match.group(1 if pattern.groups else 0)
        if found is None:
            raise SpecError(f"{self.place(index)}: {value!r} does not match the pattern {pattern.pattern!r} of groups")
        return found


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise SpecError(f"the pattern {pattern!r} of groups is no regular expression: {error}") from None


def formula(numbers: npt.NDArray[np.int64]) -> str:
    """The chemical formula in Hill's order."""
    from ase.formula import Formula
    from ase.symbols import Symbols

    return Formula(str(Symbols(np.asarray(numbers)))).format("hill")


def within(index: int, count: int) -> int:
    """An index from 0, from one that may count from the end.

    Raises:
        IndexError: there is no such structure.
    """
    if not -count <= index < count:
        raise IndexError(f"structure {index} of {count}")
    return index % count
