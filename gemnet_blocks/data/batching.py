"""Which structures make a batch: budgets, the order of an epoch, shares of several processes, and loading."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, final

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator
from torch.utils.data import DataLoader, Sampler

from gemnet_blocks.data.dataset import LabelledDataset
from gemnet_blocks.data.labelled import LabelledStructures, collate
from gemnet_blocks.errors import SpecError, StructureError
from gemnet_blocks.options import Options

Budget = Annotated[int, Field(ge=1)]
"""How much one batch may hold."""

Costs = npt.NDArray[np.int64]


class BatchOptions(Options):
    """How much one batch holds, on each process: exactly one of the three. A structure that exceeds a budget on its
    own is a batch of its own."""

    structures: Budget | None = None
    """So many structures."""
    atoms: Budget | None = None
    """As many structures as have at most so many atoms together."""
    edges: Budget | None = None
    """As many structures as have at most so many edges together: ordered pairs within the model's main cutoff."""

    @model_validator(mode="after")
    def _exactly_one(self) -> BatchOptions:
        given = [name for name in ("structures", "atoms", "edges") if getattr(self, name) is not None]
        if len(given) != 1:
            found = "none is given" if not given else f"{' and '.join(given)} are given"
            raise ValueError(f"needs exactly one of structures, atoms and edges, such as {{structures: 8}}; {found}")
        return self

    @property
    def budget(self) -> int:
        """The number that is given."""
        return self.structures or self.atoms or self.edges or 0

    def costs(self, dataset: LabelledDataset, edge_counts: Costs | None = None) -> Costs:
        """What each structure takes of the budget.

        Args:
            dataset: the structures.
            edge_counts: see `gemnet_blocks.data.neighbor_cache.edge_counts`; needed for a budget of edges.

        Raises:
            ValueError: edges are budgeted and not counted.
        """
        if self.structures is not None:
            return np.ones(len(dataset), dtype=np.int64)
        if self.atoms is not None:
            return dataset.atom_counts
        if edge_counts is None:
            raise ValueError("a budget of edges needs `edge_counts`: count them with edge_counts(dataset, cutoff)")
        return edge_counts


@final
class BudgetSampler(Sampler[list[int]]):
    """The batches of an epoch as lists of indices; a function of its arguments and the epoch alone.

    Structures are taken in the order of a permutation drawn from (seed, epoch), or in their own order, and a batch ends
    where the next structure would exceed the budget. With `world` processes, one step takes the next `world` batches,
    one for each process; so with a budget of structures, all processes together see in each step what a single process
    with `world` times the budget sees.

    With `even`, for training, every process has equally many batches, and each is as full as the budget allows: what is
    left over at the end of an epoch, at most one step's worth, is left out, as another permutation brings it. Where
    there is less than one step's worth in all, it is shared out. Without `even`, for evaluation, nothing is left out,
    and processes may differ by one batch.

    Args:
        costs: what each structure takes of the budget.
        budget: how much one batch of one process holds.
        seed: of the permutations; None: structures in their own order.
        rank: this process, from 0.
        world: the number of processes.
        even: see above; by default, whether there is a seed.

    Raises:
        ValueError: numbers that make no sense.
        SpecError: fewer structures than processes to train on.
    """

    def __init__(
        self,
        costs: Sequence[int] | Costs,
        budget: int,
        seed: int | None = None,
        rank: int = 0,
        world: int = 1,
        even: bool | None = None,
    ) -> None:
        if budget < 1 or world < 1 or not 0 <= rank < world:
            raise ValueError(f"a budget of {budget} for process {rank} of {world} makes no sense")
        self.costs, self.budget = np.asarray(costs, dtype=np.int64), budget
        self.seed, self.rank, self.world = seed, rank, world
        self.even = seed is not None if even is None else even
        if self.even and len(self.costs) < world:
            raise SpecError(f"{len(self.costs)} structures cannot be shared by {world} processes: use fewer processes")
        self.epoch = self.start = 0
        self._known: tuple[int, list[list[int]]] | None = None

    @classmethod
    def of(
        cls,
        dataset: LabelledDataset,
        options: BatchOptions,
        seed: int | None = None,
        rank: int = 0,
        world: int = 1,
        edge_counts: Costs | None = None,
    ) -> BudgetSampler:
        """The batches of a dataset; warns of structures that exceed the budget on their own."""
        costs = options.costs(dataset, edge_counts)
        large = np.flatnonzero(costs > options.budget)
        if len(large):
            unit = "atoms" if options.atoms is not None else "edges"
            warnings.warn(
                f"{len(large)} structures exceed the budget of {options.budget} {unit} and are batches of their own, "
                f"the first one being {dataset.place(int(large[0]))} with {int(costs[large[0]])} {unit}",
                stacklevel=2,
            )
        return cls(costs, options.budget, seed, rank, world)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose what iteration goes through.

        Args:
            epoch: its number, from 0.
            start: how many batches of it are skipped, to resume in its midst.
        """
        self.epoch, self.start = epoch, start

    def batches(self, epoch: int) -> list[list[int]]:
        """All batches of an epoch on this process."""
        if self._known is None or self._known[0] != epoch:
            self._known = epoch, self._shares(self._packed(epoch))
        return self._known[1]

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches(self.epoch)[self.start :])

    def __len__(self) -> int:
        return max(0, len(self.batches(self.epoch)) - self.start)

    def _packed(self, epoch: int) -> list[list[int]]:
        """The batches of all processes, in order."""
        count = len(self.costs)
        order = np.arange(count) if self.seed is None else np.random.default_rng((self.seed, epoch)).permutation(count)
        batches: list[list[int]] = []
        filled = 0
        for index in order.tolist():
            cost = int(self.costs[index])
            if not batches or filled + cost > self.budget:
                batches.append([])
                filled = 0
            batches[-1].append(index)
            filled += cost
        return batches

    def _shares(self, batches: list[list[int]]) -> list[list[int]]:
        if not self.even:
            return batches[self.rank :: self.world]
        whole = batches[:-1] if self._is_short(batches) else batches
        steps = len(whole) // self.world
        if steps == 0:  # less than one step's worth in all
            everything = [index for batch in batches for index in batch]
            return [[int(index) for index in np.array_split(np.array(everything), self.world)[self.rank]]]
        return whole[self.rank : steps * self.world : self.world]

    def _is_short(self, batches: list[list[int]]) -> bool:
        """Whether the last batch ends because nothing is left."""
        return bool(batches) and int(self.costs[batches[-1]].sum()) < self.budget


class _Batches(DataLoader[LabelledStructures]):
    """A data loader that raises the errors of worker processes as they are, without the workers' tracebacks."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        try:
            with torch.device("cpu"):  # where torch draws a seed that it reads at once
                batches = super().__iter__()
            yield from batches
        except StructureError as error:
            name = f"{type(error).__module__}.{type(error).__name__}: "
            raise StructureError(str(error).rsplit(name, 1)[-1].rstrip()) from None


def loader(
    dataset: LabelledDataset, sampler: BudgetSampler, workers: int = 0, pin_memory: bool = False
) -> DataLoader[Any]:
    """Batches of labelled structures, read by worker processes.

    Args:
        dataset: the structures.
        sampler: which of them make a batch; `sampler.set_epoch` before each pass.
        workers: how many processes read ahead; 0: this one reads.
        pin_memory: whether batches are put where a GPU copies from without waiting.

    Iterating raises a StructureError where a structure cannot be read.
    """
    return _Batches(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        worker_init_fn=_leave_signals_to_the_main_process,
        # seeds that nobody uses must not be drawn from the generator that a run saves and goes on with
        generator=torch.Generator("cpu"),
    )


def _leave_signals_to_the_main_process(_: int) -> None:
    """Ctrl-C and schedulers reach all processes; a worker that ends at once would take the main process with it.

    SIGTERM stays as it is: by it the main process ends workers.
    """
    for name in ("SIGINT", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
