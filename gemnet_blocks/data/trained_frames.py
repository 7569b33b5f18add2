"""The structures that a model was trained and validated on, remembered as hashes in its file."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gemnet_blocks.data.dataset import LabelledDataset
from gemnet_blocks.data.leakage import Survey, structure_keys
from gemnet_blocks.structures import Structures

Hashes = npt.NDArray[np.uint64]

_VERSION = 1
"""The version of the hashes; records of another one are not read."""

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
    """

    structures: int
    trained_on: int
    validated_on: int
    complete: bool
    first: str | None = None

    def __str__(self) -> str:
        least = "" if self.complete else "at least "
        such = "" if self.first is None else f" (the first is {self.first})"
        return (
            f"{least}{self.trained_on} of {self.structures} evaluated structures were trained on, {self.validated_on} "
            f"validated on{such}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The numbers, as JSON can hold them."""
        return {"trained_on": self.trained_on, "validated_on": self.validated_on, "complete": self.complete}


@dataclass(frozen=True, slots=True, eq=False)
class TrainedFrames:
    """Hashes of the structures that a model was trained and validated on, 8 bytes each.

    A hash depends on elements, positions, periodic lattice vectors and periodicity, rounded to 0.001 Å. It does not
    depend on labels, the order of atoms, or files.

    Attributes:
        train: hashes of the training set, ascending.
        validation: hashes of the validation set, ascending.
        complete: whether these are all of both sets.
    """

    train: Hashes
    validation: Hashes
    complete: bool

    @classmethod
    def of(cls, surveys: Mapping[str, Survey]) -> TrainedFrames:
        """Make the record of a run from what was seen of the parts of its data."""
        parts = [surveys[name] for name in ("train", "validation") if name in surveys]
        train, validation = (_hashes(surveys[name].keys if name in surveys else []) for name in ("train", "validation"))
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
        return TrainedFrames(train[:_AT_MOST], validation[:_AT_MOST], complete)

    def overlap(self, dataset: LabelledDataset) -> Overlap:
        """Count the structures of a dataset that are in this record; reads all of them.

        Raises:
            StructureError: a structure cannot be read.
        """
        found = {"train": 0, "validation": 0}
        first = None
        for index in range(len(dataset)):
            part = self._part(dataset[index].structures)
            if part is not None:
                found[part] += 1
                first = first or dataset.place(index)
        return Overlap(len(dataset), found["train"], found["validation"], self.complete, first)

    def to_text(self) -> str:
        """The record as text for a file."""
        parts = {"train": self.train, "validation": self.validation}
        texts = {name: base64.b64encode(hashes.astype("<u8").tobytes()).decode() for name, hashes in parts.items()}
        return json.dumps({"version": _VERSION, "complete": self.complete, **texts})

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
        if record.get("version") != _VERSION:
            return None
        train, validation = (
            np.frombuffer(base64.b64decode(record[name], validate=True), dtype="<u8").astype(np.uint64)
            for name in ("train", "validation")
        )
        return cls(np.sort(train), np.sort(validation), record.get("complete") is True)

    def _part(self, structures: Structures) -> str | None:
        """The part that has a structure."""
        for hash_ in map(_hash, structure_keys(structures)):
            for name, hashes in (("train", self.train), ("validation", self.validation)):
                place = np.searchsorted(hashes, hash_)
                if place < len(hashes) and hashes[place] == hash_:
                    return name
        return None


def _hashes(keys: list[bytes]) -> Hashes:
    return np.sort(np.frombuffer(b"".join(key[:8] for key in keys), dtype="<u8").astype(np.uint64))


def _hash(key: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(key[:8], "little"))
