"""Batches of a dataset, as training and validation take them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, final

from gemnet_blocks.data.batching import BudgetSampler, loader
from gemnet_blocks.data.dataset import LabelledDataset
from gemnet_blocks.data.edge_counts import edge_counts_for
from gemnet_blocks.data.labelled import LabelledStructures, collate
from gemnet_blocks.data.neighbor_cache import with_kept_pairs
from gemnet_blocks.data.opening import DataSplits, open_data
from gemnet_blocks.data.options import located
from gemnet_blocks.structures import Structures
from gemnet_blocks.training.distributed import Processes
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.training.stream import Epoch, Place, TrainingStream


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
