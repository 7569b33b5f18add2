"""The endless stream of training batches, which knows where it is and can start anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import final

import torch

from gemnet_blocks.data.labelled import LabelledStructures


@dataclass(frozen=True, slots=True)
class Place:
    """Where a batch is in the training set.

    Attributes:
        epoch: passes over the training set before this one.
        index: batches before this one in its epoch.
        count: batches of the epoch.
    """

    epoch: int = 0
    index: int = 0
    count: int = 1

    @property
    def last(self) -> bool:
        """Whether it is the last batch of its epoch."""
        return self.index + 1 >= self.count

    @property
    def next(self) -> Place:
        """The place after it; how many batches a new epoch has is not known here."""
        return Place(self.epoch + 1) if self.last else replace(self, index=self.index + 1)

    @property
    def epochs_done(self) -> float:
        """Epochs up to the batch, the batch included."""
        return self.epoch + (self.index + 1) / self.count


@final
class PlacedBatch:
    """A batch and its place; no dataclass, since Lightning would try to change what is in it.

    Args:
        batch: the structures.
        place: where it was.
    """

    __slots__ = ("batch", "place")

    def __init__(self, batch: LabelledStructures, place: Place) -> None:
        self.batch = batch
        self.place = place

    def to(self, device: torch.device) -> PlacedBatch:
        """The same on another device."""
        return PlacedBatch(self.batch.to(device), self.place)


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the training set, or the rest of one.

    Attributes:
        batches: what is left of it.
        count: how many batches all of it has.
    """

    batches: Iterable[LabelledStructures]
    count: int


@final
class TrainingStream:
    """Batches of epoch after epoch, without end.

    Args:
        open_epoch: the batches of epoch `epoch` from batch `start` on.
    """

    def __init__(self, open_epoch: Callable[[int, int], Epoch]) -> None:
        self._open_epoch = open_epoch
        self.start = Place()

    def __iter__(self) -> Iterator[PlacedBatch]:
        place = self.start
        while True:
            epoch = self._open_epoch(place.epoch, place.index)
            place = replace(place, count=epoch.count)
            for batch in epoch.batches:
                yield PlacedBatch(batch, place)
                place = replace(place, index=place.index + 1)
            place = Place(place.epoch + 1)
