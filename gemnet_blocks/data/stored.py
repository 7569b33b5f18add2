"""Labelled structures from files: kept in memory, or read each time."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import final

import numpy as np
import torch

from gemnet_blocks.data.dataset import FILE, FORMULA, Counts, LabelledDataset, formula, within
from gemnet_blocks.data.frame import Frame, LabelRules, checked, packed
from gemnet_blocks.data.labelled import LabelledStructures
from gemnet_blocks.data.sources import FrameSource
from gemnet_blocks.errors import SpecError
from gemnet_blocks.graph.coinciding import coinciding_atoms, coinciding_message
from gemnet_blocks.structures import Structures


@final
class MemoryDataset(LabelledDataset):
    """All frames of a source, checked and kept in memory.

    Args:
        source: where frames come from.
        rules: what they must have.

    Raises:
        StructureError: a frame is wrong; names file and frame.
    """

    def __init__(self, source: FrameSource, rules: LabelRules) -> None:
        self._name, self._labels = source.name, rules.required
        frames = [checked(frame, rules, source.place(index)) for index, frame in enumerate(source.frames())]
        places = [source.place(index) for index in range(len(frames))]
        self._all = packed(frames, range(len(frames)), places, rules)
        self._text = [frame.text for frame in frames]
        unread = {place: found for place, frame in zip(places, frames, strict=True) if (found := rules.unread(frame))}
        rules.report(unread, len(frames))
        structures = self._all.structures
        if coinciding := coinciding_atoms(structures).by_structure(structures, places.__getitem__):
            warnings.warn(coinciding_message(coinciding, len(frames)), stacklevel=2)
        self._counts = np.array([len(frame.numbers) for frame in frames], dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self._counts)])

    def __len__(self) -> int:
        return len(self._counts)

    def __getitem__(self, index: int) -> LabelledStructures:
        """One structure, as views of what is kept."""
        index = within(index, len(self))
        atoms = slice(int(self._starts[index]), int(self._starts[index + 1]))
        one = slice(index, index + 1)
        whole, known = self._all.structures, self._all
        return LabelledStructures(
            structures=Structures(
                positions=whole.positions[atoms],
                numbers=whole.numbers[atoms],
                structure=torch.zeros_like(whole.structure[atoms]),
                cells=whole.cells[one],
                periodic=whole.periodic[one],
                tags=whole.tags[atoms],
                fixed=whole.fixed[atoms],
            ),
            energy=None if known.energy is None else known.energy[one],
            forces=None if known.forces is None else known.forces[atoms],
            stress=None if known.stress is None else known.stress[one],
            frame=known.frame[one],
        )

    @property
    def atom_counts(self) -> Counts:
        """The number of atoms of each structure."""
        return self._counts

    @property
    def labels(self) -> frozenset[str]:
        """Which of energy, forces and stress every structure has."""
        return self._labels

    def place(self, index: int) -> str:
        """File and frame number."""
        return f"{self._name}, frame {within(index, len(self))}"

    def file(self, index: int) -> str:
        """The name of the file."""
        return self._name

    def value(self, index: int, key: str) -> str:
        """What the file says of a structure under a key."""
        index = within(index, len(self))
        if key == FORMULA and key not in self._text[index]:
            return formula(self[index].structures.numbers.numpy())
        return _value(self._text[index], key, self._name, self.place(index))


@final
class StreamedDataset(LabelledDataset):
    """The frames of a source, each read, checked and converted when it is needed.

    Args:
        source: where frames come from; it must survive being copied to worker processes.
        rules: what every frame must have.
    """

    def __init__(self, source: FrameSource, rules: LabelRules) -> None:
        self._source, self._rules = source, rules
        self._warned = False

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> LabelledStructures:
        """One structure, read from disk."""
        index = within(index, len(self))
        return packed([self._frame(index)], [index], [self.place(index)], self._rules)

    @cached_property
    def atom_counts(self) -> Counts:
        """The number of atoms of each structure; reads all frames once where the file does not say."""
        counts = self._source.atom_counts()
        if counts is None:
            counts = np.array([len(frame.numbers) for frame in self._source.frames()], dtype=np.int64)
        return counts

    @property
    def labels(self) -> frozenset[str]:
        """Which of energy, forces and stress every structure has."""
        return self._rules.required

    @property
    def streamed(self) -> bool:
        """Structures are read from disk each time."""
        return True

    def place(self, index: int) -> str:
        """File and frame number."""
        return self._source.place(within(index, len(self)))

    def file(self, index: int) -> str:
        """The name of the file."""
        return self._source.name

    def value(self, index: int, key: str) -> str:
        """What the file says of a structure under a key."""
        frame = self._source.frame(within(index, len(self)))
        if key == FORMULA and key not in frame.text:
            return formula(frame.numbers)
        return _value(frame.text, key, self._source.name, self.place(index))

    def _frame(self, index: int) -> Frame:
        frame, place = checked(self._source.frame(index), self._rules, self.place(index)), self.place(index)
        found = self._rules.unread(frame)
        if found and (self._rules.refuses(found) or not self._warned):
            self._rules.report({place: found}, 1)
            self._warned = True  # once, not for every frame that is read
        return frame


def _value(text: Mapping[str, str], key: str, file: str, place: str) -> str:
    if key in text:
        return text[key]
    if key == FILE:
        return file
    keys = ", ".join(sorted({*text, FILE, FORMULA}))
    raise SpecError(f"{place}: has nothing named {key!r} to group by: there are {keys}")
