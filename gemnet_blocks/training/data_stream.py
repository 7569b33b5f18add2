"""Batches of a dataset, as training and validation take them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, final

import torch

from gemnet_blocks.data.batching import BudgetSampler, loader
from gemnet_blocks.data.dataset import LabelledDataset
from gemnet_blocks.data.labelled import LabelledStructures, collate
from gemnet_blocks.data.neighbor_cache import edge_counts_for, with_kept_pairs
from gemnet_blocks.data.opening import DataSplits, open_data
from gemnet_blocks.data.options import located
from gemnet_blocks.structures import Structures
from gemnet_blocks.training.distributed import Processes
from gemnet_blocks.training.options import TrainingConfig


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


def open_parts(config: TrainingConfig) -> DataSplits:
    """The data of a config, with neighbors kept on disk where it says so.

    Raises:
        StructureError, SpecError: see `open_data`.
    """
    data = open_data(config.data, config.folder, config.model)
    return with_kept_pairs(data, config.data, config.folder, config.model)


@final
class Feed:
    """Batches of one dataset within the budget of a config.

    Args:
        dataset: the structures.
        config: batches, seed, worker processes.
        processes: who else reads.
    """

    def __init__(self, dataset: LabelledDataset, config: TrainingConfig, processes: Processes) -> None:
        self._dataset = dataset
        self._config = config
        self._processes = processes
        cache = config.data.cache
        folder = None if cache is None else located(cache, config.folder)
        self._edge_counts = edge_counts_for(dataset, config.data.batch, config.model, folder)

    def training(self) -> TrainingStream:
        """Batches in another order in each epoch; a function of seed, epoch, rank and number of processes."""
        sampler = self._sampler(self._config.training.seed, self._processes)
        batches = loader(self._dataset, sampler, self._config.data.workers)

        def open_epoch(epoch: int, start: int) -> Epoch:
            sampler.set_epoch(epoch, start)
            return Epoch(batches, len(sampler.batches(epoch)))

        return TrainingStream(open_epoch)

    def places(self, place: Place) -> list[str]:
        """File and frame of the structures of a training batch."""
        indices = self._sampler(self._config.training.seed, self._processes).batches(place.epoch)[place.index]
        return [self._dataset.place(index) for index in indices]

    def validation(self) -> Callable[[], Iterable[LabelledStructures]]:
        """The share of a process, each structure once, to be gone through as often as wanted."""
        sampler = self._sampler(None, self._processes)
        batches: Any = loader(self._dataset, sampler, min(self._config.data.workers, len(sampler)))
        return lambda: batches

    def first(self, count: int) -> list[Structures]:
        """The first training batches in the order of a single process, the same on all."""
        chosen = self._sampler(self._config.training.seed, Processes()).batches(0)[:count]
        return [collate([self._dataset[index] for index in indices]).structures for indices in chosen]

    def _sampler(self, seed: int | None, processes: Processes) -> BudgetSampler:
        options = self._config.data.batch
        return BudgetSampler.of(self._dataset, options, seed, processes.rank, processes.world, self._edge_counts)
