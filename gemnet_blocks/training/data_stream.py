"""Batches for training and validation, and positions in the stream of training batches."""

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
class StreamPosition:
    """Position of a batch in the stream of training batches.

    Attributes:
        epoch: the number of its epoch, from 0.
        index: the number of the batch in its epoch, from 0.
        count: the number of batches in the epoch.
    """

    epoch: int = 0
    index: int = 0
    count: int = 1

    @property
    def last(self) -> bool:
        """Whether the batch is the last of its epoch."""
        return self.index + 1 >= self.count

    @property
    def next(self) -> StreamPosition:
        """The next position; the number of batches in a new epoch is not known yet."""
        return StreamPosition(self.epoch + 1) if self.last else replace(self, index=self.index + 1)

    @property
    def epochs_done(self) -> float:
        """The number of epochs after the batch, as a fraction."""
        return self.epoch + (self.index + 1) / self.count


@final
class PositionedBatch:
    """A batch and its position; not a dataclass, whose fields Lightning would modify."""

    __slots__ = ("batch", "place")

    def __init__(self, batch: LabelledStructures, place: StreamPosition) -> None:
        self.batch = batch
        self.place = place

    def to(self, device: torch.device) -> PositionedBatch:
        """Move the batch to another device."""
        return PositionedBatch(self.batch.to(device), self.place)


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the training set, or the rest of one.

    Attributes:
        batches: the remaining batches.
        count: the number of batches in the whole epoch.
    """

    batches: Iterable[LabelledStructures]
    count: int


@final
class TrainingStream:
    """An infinite stream of the batches of successive epochs.

    Args:
        open_epoch: opens an epoch, given by its number, from a batch on, given by its number.
    """

    def __init__(self, open_epoch: Callable[[int, int], Epoch]) -> None:
        self._open_epoch = open_epoch
        self.start = StreamPosition()

    def __iter__(self) -> Iterator[PositionedBatch]:
        place = self.start
        while True:
            epoch = self._open_epoch(place.epoch, place.index)
            place = replace(place, count=epoch.count)
            for batch in epoch.batches:
                yield PositionedBatch(batch, place)
                place = replace(place, index=place.index + 1)
            place = StreamPosition(place.epoch + 1)


def open_parts(config: TrainingConfig) -> DataSplits:
    """Open the data of a config, with stored neighbor lists if `data.cache` is set.

    Raises:
        StructureError, SpecError: see `open_data`.
    """
    data = open_data(config.data, config.folder, config.model)
    return with_kept_pairs(data, config.data, config.folder, config.model)


@final
class BatchLoader:
    """Loads batches of a dataset within the budget of a config.

    Args:
        dataset: the structures.
        config: the config, with size of batches, seed and worker processes.
        processes: the processes that share the dataset.
    """

    def __init__(self, dataset: LabelledDataset, config: TrainingConfig, processes: Processes) -> None:
        self._dataset = dataset
        self._config = config
        self._processes = processes
        cache = config.data.cache
        folder = None if cache is None else located(cache, config.folder)
        self._edge_counts = edge_counts_for(dataset, config.data.batch, config.model, folder)

    def training(self) -> TrainingStream:
        """The stream of training batches, which depends on seed, epoch, rank and number of processes only."""
        sampler = self._sampler(self._config.training.seed, self._processes)
        batches = loader(self._dataset, sampler, self._config.data.workers)

        def open_epoch(epoch: int, start: int) -> Epoch:
            sampler.set_epoch(epoch, start)
            return Epoch(batches, len(sampler.batches(epoch)))

        return TrainingStream(open_epoch)

    def places(self, place: StreamPosition) -> list[str]:
        """File and frame of each structure in a training batch."""
        indices = self._sampler(self._config.training.seed, self._processes).batches(place.epoch)[place.index]
        return [self._dataset.place(index) for index in indices]

    def validation(self) -> Callable[[], Iterable[LabelledStructures]]:
        """A function that opens the validation batches of this process, each structure once."""
        sampler = self._sampler(None, self._processes)
        batches: Any = loader(self._dataset, sampler, min(self._config.data.workers, len(sampler)))
        return lambda: batches

    def first(self, count: int) -> list[Structures]:
        """The first training batches of a single process, the same on all processes."""
        chosen = self._sampler(self._config.training.seed, Processes()).batches(0)[:count]
        return [collate([self._dataset[index] for index in indices]).structures for indices in chosen]

    def _sampler(self, seed: int | None, processes: Processes) -> BudgetSampler:
        options = self._config.data.batch
        return BudgetSampler.of(self._dataset, options, seed, processes.rank, processes.world, self._edge_counts)
