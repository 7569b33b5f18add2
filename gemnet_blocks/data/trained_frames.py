"""The structures that a model was trained and validated on, remembered as hashes in its file."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gemnet_blocks.data.batching import BudgetSampler
from gemnet_blocks.data.dataset import LabelledDataset
from gemnet_blocks.data.fingerprints import ATOMS_AT_ONCE, Hashes, possible_fingerprints
from gemnet_blocks.data.labelled import LabelledStructures, collate
from gemnet_blocks.data.leakage import Survey, structure_keys

_VERSION = 2
"""The version of the hashes that are written: fingerprints. Version 1, which is read too, had hashes of positions."""

_AT_MOST = 2_000_000
"""Hashes kept of one part, 16 MB: of larger sets the smallest hashes stand for all."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many evaluated structures a model has seen before.

    Attributes:
        structures: the number of evaluated structures.
        trained_on: how many of them the model was trained on.
        validated_on: how many others it was validated on, that is chosen by.
        complete: whether the model's record has all of its training and validation structures.
        first: the place of the first one; None without any.
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
        """Say which structures are recognized, as those that are not found may be in the record all the same."""
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
        """The numbers, as JSON can hold them."""
        return {"trained_on": self.trained_on, "validated_on": self.validated_on, "complete": self.complete}


@dataclass(frozen=True, slots=True, eq=False)
class TrainedFrames:
    """Hashes of the structures that a model was trained and validated on, 8 bytes each.

    Hashes are fingerprints, which depend on elements and interatomic distances. They do not depend on labels, files,
    the order of atoms, or how a structure is placed and its lattice chosen.

    Attributes:
        train: hashes of the training set, ascending.
        validation: hashes of the validation set, ascending.
        complete: whether these are all of both sets.
        moved: whether all hashes are fingerprints; those of earlier releases depend on positions and lattice vectors,
            rounded to 0.001 Å.
    """

    train: Hashes
    validation: Hashes
    complete: bool
    moved: bool = True

    @classmethod
    def of(cls, surveys: Mapping[str, Survey]) -> TrainedFrames:
        """Make the record of a run from what was seen of the parts of its data."""
        parts = [surveys[name] for name in ("train", "validation") if name in surveys]
        train, validation = (
            np.sort(surveys[name].fingerprints) if name in surveys else np.zeros(0, np.uint64)
            for name in ("train", "validation")
        )
        complete = all(seen.complete for seen in parts) and max(len(train), len(validation)) <= _AT_MOST
        return cls(train[:_AT_MOST], validation[:_AT_MOST], complete)

    def and_of_source(self, source: TrainedFrames | None) -> TrainedFrames:
        """Add the structures of the model that training began with.

        Args:
            source: the record of that model; None if it has none, so that the record of both is not complete.
        """
        if source is None:
            return replace(self, complete=False)
        train = np.union1d(self.train, source.train)
        validation = np.union1d(self.validation, source.validation)
        complete = self.complete and source.complete and max(len(train), len(validation)) <= _AT_MOST
        return TrainedFrames(train[:_AT_MOST], validation[:_AT_MOST], complete, self.moved and source.moved)

    def overlap(self, dataset: LabelledDataset) -> Overlap:
        """Count the structures of a dataset that are in this record; reads all of them.

        Raises:
            StructureError: a structure cannot be read.
        """
        found = {"train": 0, "validation": 0}
        first = None
        for indices in BudgetSampler(dataset.atom_counts, ATOMS_AT_ONCE):
            items = [dataset[index] for index in indices]
            for index, hashes in zip(indices, self._possible_hashes(items), strict=True):
                part = self._part(hashes)
                if part is not None:
                    found[part] += 1
                    first = first or dataset.place(index)
        return Overlap(len(dataset), found["train"], found["validation"], self.complete, first, self.moved)

    def to_text(self) -> str:
        """The record as text for a file."""
        parts = {"train": self.train, "validation": self.validation}
        texts = {name: base64.b64encode(hashes.astype("<u8").tobytes()).decode() for name, hashes in parts.items()}
        return json.dumps({"version": _VERSION, "complete": self.complete, "moved": self.moved, **texts})

    @classmethod
    def from_text(cls, text: str) -> TrainedFrames | None:
        """Read what `to_text` wrote; None of a newer version.

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

    def _possible_hashes(self, items: Sequence[LabelledStructures]) -> Iterator[Hashes]:
        """The hashes by which each structure may be in this record."""
        for item, hashes in zip(items, possible_fingerprints(collate(items).structures), strict=True):
            if self.moved:
                yield hashes
            else:
                keys = b"".join(key[:8] for key in structure_keys(item.structures))
                yield np.concatenate([hashes, np.frombuffer(keys, dtype="<u8").astype(np.uint64)])

    def _part(self, hashes: Hashes) -> str | None:
        """The part that has a structure with one of these hashes."""
        for name, known in (("train", self.train), ("validation", self.validation)):
            places = np.searchsorted(known, hashes)
            within = places < len(known)
            if (known[places[within]] == hashes[within]).any():
                return name
        return None
