"""Interface of labelled datasets, and its implementations in memory, on disk, as subsets and as concatenations."""

from __future__ import annotations

import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import final

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from gemnet_blocks.data.frame import Frame, FrameSource, LabelRules, checked, packed
from gemnet_blocks.data.labelled import LabelledStructures
from gemnet_blocks.errors import SpecError
from gemnet_blocks.graph.coinciding import coinciding_atoms, coinciding_message
from gemnet_blocks.spec.catalog import near

Counts = npt.NDArray[np.int64]

FILE, FORMULA = "file", "formula"
"""Keys that every frame of a file has: the name of its file, and its chemical formula in Hill's order."""

Group = Sequence[tuple[int, LabelledStructures]]
"""Several structures, each with its index in a dataset."""

_ATOMS_PER_GROUP = 2000
"""Number of atoms whose neighbors are best searched for together."""


class LabelledDataset(Dataset[LabelledStructures], ABC):
    """Structures with labels, in eV and Å, in float64 on the CPU."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of structures."""

    @abstractmethod
    def __getitem__(self, index: int) -> LabelledStructures:
        """One structure and its labels.

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
        """The labels that every structure has: energy, forces, stress and further properties."""

    @property
    def streamed(self) -> bool:
        """Whether structures are read from disk at each access."""
        return False

    def place(self, index: int) -> str:
        """File and frame number of a structure, for messages and tables."""
        return f"structure {index}"

    def file(self, index: int) -> str:
        """The name of a structure's file; empty if the structure is not from a file."""
        return ""

    def value(self, index: int, key: str) -> str:
        """The value that a structure's file gives under a key.

        Raises:
            SpecError: the key is unknown.
        """
        if key == FORMULA:
            return formula(self[index].structures.numbers.numpy())
        raise SpecError(f"{self.place(index)}: expected a key to group by, {FORMULA}, got {key!r}")

    def groups(self, key: str, pattern: str | None = None) -> list[str]:
        """Find the group of every structure.

        Args:
            key: a key under which the file describes each structure, such as `name`; or `file` or `formula`.
            pattern: a regular expression, matched from the start of the value; its first parenthesis is the group, or
                the whole match without parentheses.

        Raises:
            SpecError: a structure lacks the key, or its value does not match; begins with `key` or `pattern`.
        """
        compiled = None if pattern is None else _compiled(pattern)  # before anything is read
        try:
            values = [self.value(index, key) for index in range(len(self))]
        except SpecError as error:
            raise SpecError(f"key: {error}") from None
        return values if compiled is None else [self._matched(i, value, compiled) for i, value in enumerate(values)]

    def _matched(self, index: int, value: str, pattern: re.Pattern[str]) -> str:
        match = pattern.match(value)
        found = match and match.group(1 if pattern.groups else 0)
        if found is None:
            where = self.place(index)
            raise SpecError(f"pattern: {where}: {value!r} does not match the pattern {pattern.pattern!r} of groups")
        return found


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise SpecError(f"pattern: the pattern {pattern!r} of groups is not a regular expression: {error}") from None


def formula(numbers: npt.NDArray[np.int64]) -> str:
    """The chemical formula in Hill's order."""
    from ase.formula import Formula
    from ase.symbols import Symbols

    return Formula(str(Symbols(np.asarray(numbers)))).format("hill")


def grouped(items: Iterable[tuple[int, LabelledStructures]]) -> Iterator[Group]:
    """Collect structures into groups of about 2000 atoms, whose neighbors are searched for together."""
    group: list[tuple[int, LabelledStructures]] = []
    atoms = 0
    for index, item in items:
        group.append((index, item))
        atoms += item.structures.atom_count
        if atoms >= _ATOMS_PER_GROUP:
            yield group
            group, atoms = [], 0
    if group:
        yield group


def within(index: int, count: int) -> int:
    """Turn an index, which may be negative, into one from 0 to `count` - 1.

    Raises:
        IndexError: the index is out of range.
    """
    if not -count <= index < count:
        raise IndexError(f"structure {index} of {count}")
    return index % count


class DatasetView(LabelledDataset):
    """A dataset whose structures are those of other datasets."""

    @abstractmethod
    def _find(self, index: int) -> tuple[LabelledDataset, int]:
        """The dataset of a structure, and the structure's index in it."""

    def __getitem__(self, index: int) -> LabelledStructures:
        dataset, inner = self._find(index)
        return dataset[inner]

    @final
    def place(self, index: int) -> str:
        dataset, inner = self._find(index)
        return dataset.place(inner)

    @final
    def file(self, index: int) -> str:
        dataset, inner = self._find(index)
        return dataset.file(inner)

    @final
    def value(self, index: int, key: str) -> str:
        dataset, inner = self._find(index)
        return dataset.value(inner, key)


@final
class Subset(DatasetView):
    """Some structures of a dataset, in a given order.

    Args:
        dataset: the dataset.
        indices: the structures.
    """

    def __init__(self, dataset: LabelledDataset, indices: Sequence[int] | Counts) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def atom_counts(self) -> Counts:
        return self.dataset.atom_counts[self.indices]

    @property
    def labels(self) -> frozenset[str]:
        return self.dataset.labels

    @property
    def streamed(self) -> bool:
        return self.dataset.streamed

    def _find(self, index: int) -> tuple[LabelledDataset, int]:
        return self.dataset, int(self.indices[within(index, len(self))])


@final
class Concatenation(DatasetView):
    """Several datasets, one after another; `frame` stays the number within the file of each.

    Args:
        datasets: at least one dataset.
    """

    def __init__(self, datasets: Sequence[LabelledDataset]) -> None:
        if not datasets:
            raise ValueError("a concatenation needs at least one dataset")
        self.datasets = tuple(datasets)
        self._ends = np.cumsum([len(dataset) for dataset in self.datasets])

    def __len__(self) -> int:
        return int(self._ends[-1])

    @cached_property
    def atom_counts(self) -> Counts:
        return np.concatenate([dataset.atom_counts for dataset in self.datasets])

    @property
    def labels(self) -> frozenset[str]:
        return frozenset.intersection(*(dataset.labels for dataset in self.datasets))

    @property
    def streamed(self) -> bool:
        return any(dataset.streamed for dataset in self.datasets)

    def _find(self, index: int) -> tuple[LabelledDataset, int]:
        index = within(index, len(self))
        which = int(np.searchsorted(self._ends, index, side="right"))
        return self.datasets[which], index - (int(self._ends[which - 1]) if which else 0)


@final
class MemoryDataset(LabelledDataset):
    """All frames of a source, checked and kept in memory.

    Args:
        source: the source of the frames.
        rules: the labels that each frame must have, and the meaning of their numbers.

    Raises:
        StructureError: a frame is wrong; names file and frame.
    """

    def __init__(self, source: FrameSource, rules: LabelRules) -> None:
        self._name, self._labels, self._kinds = source.name, rules.required, rules.properties
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
        index = within(index, len(self))
        atoms = slice(int(self._starts[index]), int(self._starts[index + 1]))
        one = slice(index, index + 1)
        whole, known = self._all.structures, self._all
        return LabelledStructures(
            structures=whole.part(index, atoms),
            energy=None if known.energy is None else known.energy[one],
            forces=None if known.forces is None else known.forces[atoms],
            stress=None if known.stress is None else known.stress[one],
            frame=known.frame[one],
            properties={
                name: values[atoms if self._kinds[name].per == "atom" else one]
                for name, values in known.properties.items()
            },
        )

    @property
    def atom_counts(self) -> Counts:
        return self._counts

    @property
    def labels(self) -> frozenset[str]:
        return self._labels

    def place(self, index: int) -> str:
        return f"{self._name}, frame {within(index, len(self))}"

    def file(self, index: int) -> str:
        return self._name

    def value(self, index: int, key: str) -> str:
        index = within(index, len(self))
        if key == FORMULA and key not in self._text[index]:
            return formula(self[index].structures.numbers.numpy())
        return _value(self._text[index], key, self._name, self.place(index))


@final
class StreamedDataset(LabelledDataset):
    """The frames of a source, each read, checked and converted at each access.

    Args:
        source: the source of the frames, which worker processes receive a copy of.
        rules: the labels that each frame must have, and the meaning of their numbers.
    """

    def __init__(self, source: FrameSource, rules: LabelRules) -> None:
        self._source, self._rules = source, rules
        self._warned = False

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> LabelledStructures:
        index = within(index, len(self))
        return packed([self._frame(index)], [index], [self.place(index)], self._rules)

    @cached_property
    def atom_counts(self) -> Counts:
        counts = self._source.known_counts
        if counts is None:  # the file does not state them
            counts = np.array([len(frame.numbers) for frame in self._source.frames()], dtype=np.int64)
        return counts

    @property
    def labels(self) -> frozenset[str]:
        return self._rules.required

    @property
    def streamed(self) -> bool:
        return True

    def place(self, index: int) -> str:
        return self._source.place(within(index, len(self)))

    def file(self, index: int) -> str:
        return self._source.name

    def value(self, index: int, key: str) -> str:
        frame = self._source.frame(within(index, len(self)))
        if key == FORMULA and key not in frame.text:
            return formula(frame.numbers)
        return _value(frame.text, key, self._source.name, self.place(index))

    def _frame(self, index: int) -> Frame:
        frame, place = checked(self._source.frame(index), self._rules, self.place(index)), self.place(index)
        found = self._rules.unread(frame)
        if found and (self._rules.refuses(found) or not self._warned):
            self._rules.report({place: found}, 1)
            self._warned = True  # only for the first such frame
        return frame


def _value(text: Mapping[str, str], key: str, file: str, place: str) -> str:
    if key in text:
        return text[key]
    if key == FILE:
        return file
    keys = sorted({*text, FILE, FORMULA})
    raise SpecError(f"{place}: expected a key to group by, one of {', '.join(keys)}, got {key!r}{near(key, keys)}")
