"""Hashes of the structures that a model was trained and validated on, which its file stores."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from gemnet_blocks.data.dataset import Group, LabelledDataset, grouped
from gemnet_blocks.data.fingerprints import Hashes, possible_fingerprints
from gemnet_blocks.data.labelled import LabelledStructures, collate
from gemnet_blocks.data.leakage import DatasetSummary, structure_keys

_VERSION = 2
"""The version of the written hashes: fingerprints. Version 1, which can still be read, had hashes of positions."""

_MAX_HASHES = 2_000_000
"""Maximum number of stored hashes per part, 16 MB: the smallest hashes represent larger datasets."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Counts of the evaluated structures that a model was trained or validated on.

    Attributes:
        structures: the number of evaluated structures.
        trained_on: the number of them that the model was trained on.
        validated_on: the number of others that the model was validated on, that is chosen by.
        complete: whether the model's record contains all of its training and validation structures.
        first: file and frame of the first such structure, if there is one.
        moved: whether structures of the record are recognized at other positions.
    """

    structures: int
    trained_on: int
    validated_on: int
    complete: bool
    first: str | None = None
    moved: bool = True

    def __str__(self) -> str:
        least = "" if self.complete else "at least "
        such = "" if self.first is None else f" (the first is {self.first})"
        return (
            f"{least}{self.trained_on} of {self.structures} evaluated structures were trained on, {self.validated_on} "
            f"validated on{such}"
        )

    @property
    def limits(self) -> str:
        """A sentence on the changes of a structure despite which it is recognized."""
        if self.moved:
            return (
                "Structures are recognized if they were rotated, shifted, wrapped, renumbered or rounded to 0.0001 Å, "
                "but not if they were changed further, strained or repeated"
            )
        return (
            "The model file is of an earlier release: structures are recognized at the same positions only, not if "
            "they were rotated, shifted, wrapped or rounded"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON can hold them."""
        return {"trained_on": self.trained_on, "validated_on": self.validated_on, "complete": self.complete}


@dataclass(frozen=True, slots=True, eq=False)
class TrainedFrames:
    """Hashes of the structures that a model was trained and validated on, 8 bytes each.

    Hashes are fingerprints, which depend on elements and interatomic distances. They do not depend on labels, files,
    the order of atoms, the position and orientation of a structure, or the choice of its lattice vectors.

    Attributes:
        train: hashes of the training set, ascending.
        validation: hashes of the validation set, ascending.
        complete: whether these hashes are all of both sets.
        moved: whether all hashes are fingerprints; those of earlier releases depend on positions and lattice vectors,
            rounded to 0.001 Å.
    """

    train: Hashes
    validation: Hashes
    complete: bool
    moved: bool = True

    @classmethod
    def of(cls, summaries: Mapping[str, DatasetSummary]) -> TrainedFrames:
        """Make the record of a run from the summaries of its `train` and `validation` parts."""
        parts = [summaries.get(name) for name in ("train", "validation")]
        train, validation = (np.zeros(0, np.uint64) if part is None else np.sort(part.fingerprints) for part in parts)
        return cls._limited(train, validation, all(part.complete for part in parts if part is not None))

    @classmethod
    def _limited(cls, train: Hashes, validation: Hashes, complete: bool, moved: bool = True) -> TrainedFrames:
        """A record of at most `_MAX_HASHES` hashes of each part."""
        complete = complete and max(len(train), len(validation)) <= _MAX_HASHES
        return cls(train[:_MAX_HASHES], validation[:_MAX_HASHES], complete, moved)

    def and_of_source(self, source: TrainedFrames | None) -> TrainedFrames:
        """Add the structures of the model that training began with.

        Args:
            source: the record of that model; None if it has none, so that the record of both is not complete.
        """
        if source is None:
            return replace(self, complete=False)
        return self._limited(
            np.union1d(self.train, source.train),
            np.union1d(self.validation, source.validation),
            self.complete and source.complete,
            self.moved and source.moved,
        )

    def overlap(self, dataset: LabelledDataset) -> Overlap:
        """Count the structures of a dataset that are in this record; reads all of them.

        Raises:
            StructureError: a structure cannot be read.
        """
        counter = OverlapCounter(self, dataset)
        for group in grouped((index, dataset[index]) for index in range(len(dataset))):
            counter.add(group)
        return counter.overlap()

    def to_text(self) -> str:
        """Return the record as text for a file."""
        parts = {"train": self.train, "validation": self.validation}
        texts = {name: base64.b64encode(hashes.astype("<u8").tobytes()).decode() for name, hashes in parts.items()}
        return json.dumps({"version": _VERSION, "complete": self.complete, "moved": self.moved, **texts})

    @classmethod
    def from_text(cls, text: str) -> TrainedFrames | None:
        """Read what `to_text` wrote; None if a newer version wrote it.

        Raises:
            ValueError: the text is not a record.
        """
        record = json.loads(text)
        if not isinstance(record, dict) or not all(
            isinstance(record.get(name), str) for name in ("train", "validation")
        ):
            raise ValueError("expected a mapping with the texts train and validation")
        if record.get("version") not in (1, _VERSION):
            return None
        train, validation = (
            np.frombuffer(base64.b64decode(record[name], validate=True), dtype="<u8").astype(np.uint64)
            for name in ("train", "validation")
        )
        return cls(np.sort(train), np.sort(validation), record.get("complete") is True, record.get("moved") is True)

    def part_of(self, item: LabelledStructures, fingerprints: Hashes) -> str | None:
        """The part, `train` or `validation`, that contains a structure.

        Args:
            item: the structure.
            fingerprints: its possible fingerprints.
        """
        if not self.moved:
            keys = b"".join(key[:8] for key in structure_keys(item.structures))
            fingerprints = np.concatenate([fingerprints, np.frombuffer(keys, dtype="<u8").astype(np.uint64)])
        for name, known in (("train", self.train), ("validation", self.validation)):
            places = np.searchsorted(known, fingerprints)
            within = places < len(known)
            if (known[places[within]] == fingerprints[within]).any():
                return name
        return None


@final
class OverlapCounter:
    """Counts the structures of a dataset that are in a record, while the dataset is read for another purpose.

    Args:
        frames: the record.
        dataset: the evaluated dataset.
    """

    def __init__(self, frames: TrainedFrames, dataset: LabelledDataset) -> None:
        self._frames, self._dataset = frames, dataset
        self._counts: Counter[str] = Counter()
        self._first: str | None = None

    def add(self, group: Group) -> None:
        """Look for some structures in the record; every structure of the dataset must be added once."""
        possible = possible_fingerprints(collate([item for _, item in group]).structures)
        for (index, item), fingerprints in zip(group, possible, strict=True):
            if (part := self._frames.part_of(item, fingerprints)) is not None:
                self._counts[part] += 1
                self._first = self._first or self._dataset.place(index)

    def overlap(self) -> Overlap:
        """Return the counts."""
        frames, counts = self._frames, self._counts
        return Overlap(
            len(self._dataset), counts["train"], counts["validation"], frames.complete, self._first, frames.moved
        )
