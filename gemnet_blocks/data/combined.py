"""Labelled structures chosen from others, and several sets in a row."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import final

import numpy as np

from gemnet_blocks.data.dataset import Counts, LabelledDataset, within
from gemnet_blocks.data.labelled import LabelledStructures


@final
class Subset(LabelledDataset):
    """Some structures of a dataset, in a given order.

    Args:
        dataset: where they are from.
        indices: which ones.
    """

    def __init__(self, dataset: LabelledDataset, indices: Sequence[int] | Counts) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> LabelledStructures:
        """One structure."""
        return self.dataset[int(self.indices[within(index, len(self))])]

    @property
    def atom_counts(self) -> Counts:
        """The number of atoms of each structure."""
        return self.dataset.atom_counts[self.indices]

    @property
    def labels(self) -> frozenset[str]:
        """Which of energy, forces and stress every structure has."""
        return self.dataset.labels

    @property
    def streamed(self) -> bool:
        """Whether structures are read from disk each time."""
        return self.dataset.streamed

    def place(self, index: int) -> str:
        """File and frame number."""
        return self.dataset.place(int(self.indices[within(index, len(self))]))

    def file(self, index: int) -> str:
        """The name of a structure's file."""
        return self.dataset.file(int(self.indices[within(index, len(self))]))

    def value(self, index: int, key: str) -> str:
        """What the file says of a structure under a key."""
        return self.dataset.value(int(self.indices[within(index, len(self))]), key)


@final
class Concatenation(LabelledDataset):
    """Several datasets, one after another; `frame` stays the number within each one's file.

    Args:
        datasets: at least one.
    """

    def __init__(self, datasets: Sequence[LabelledDataset]) -> None:
        if not datasets:
            raise ValueError("a concatenation needs at least one dataset")
        self.datasets = tuple(datasets)
        self._ends = np.cumsum([len(dataset) for dataset in self.datasets])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> LabelledStructures:
        """One structure."""
        dataset, within = self._find(index)
        return dataset[within]

    @cached_property
    def atom_counts(self) -> Counts:
        """The number of atoms of each structure."""
        return np.concatenate([dataset.atom_counts for dataset in self.datasets])

    @property
    def labels(self) -> frozenset[str]:
        """Labels that all of them have."""
        return frozenset.intersection(*(dataset.labels for dataset in self.datasets))

    @property
    def streamed(self) -> bool:
        """Whether structures are read from disk each time."""
        return any(dataset.streamed for dataset in self.datasets)

    def place(self, index: int) -> str:
        """File and frame number."""
        dataset, within = self._find(index)
        return dataset.place(within)

    def file(self, index: int) -> str:
        """The name of a structure's file."""
        dataset, within = self._find(index)
        return dataset.file(within)

    def value(self, index: int, key: str) -> str:
        """What the file says of a structure under a key."""
        dataset, within = self._find(index)
        return dataset.value(within, key)

    def _find(self, index: int) -> tuple[LabelledDataset, int]:
        index = within(index, len(self))
        which = int(np.searchsorted(self._ends, index, side="right"))
        return self.datasets[which], index - (int(self._ends[which - 1]) if which else 0)
