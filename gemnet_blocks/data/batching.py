"""Batches within a budget of structures, atoms or edges, shared by several processes, and their loading."""

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
"""The size of a batch."""

Costs = npt.NDArray[np.int64]


class BatchOptions(Options):
    """The size of a batch on each process: exactly one of the three fields. A structure that alone exceeds the budget
    becomes a batch of one structure."""

    structures: Budget | None = None
    """The number of structures in a batch. Typical: 4 to 32."""
    atoms: Budget | None = None
    """Maximum number of atoms in a batch. Prefer it to `structures` if structures differ much in size."""
    edges: Budget | None = None
    """Maximum number of edges in a batch: ordered pairs of atoms within the main cutoff of the model. Memory and time
    are proportional to it."""

    @model_validator(mode="after")
    def _exactly_one(self) -> BatchOptions:
        given = [name for name in ("structures", "atoms", "edges") if getattr(self, name) is not None]
        if len(given) != 1:
            found = "none is given" if not given else f"{' and '.join(given)} are given"
            raise ValueError(f"needs exactly one of structures, atoms and edges, such as {{structures: 8}}; {found}")
        return self

    @property
    def budget(self) -> int:
        """The value of the given field."""
        return self.structures or self.atoms or self.edges or 0

    def costs(self, dataset: LabelledDataset, edge_counts: Costs | None = None) -> Costs:
        """Compute the share of the budget that each structure of a dataset uses.

        Raises:
            ValueError: a budget of edges needs `edge_counts`, the number of edges of each structure.
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
    """The batches of an epoch as lists of indices, which depend on the arguments and the epoch only.

    Structures are taken in the order of a permutation drawn from (seed, epoch), or in the order of the dataset, and a
    batch ends if the next structure would exceed the budget. With `world` processes, each step takes the next `world`
    batches, one per process: with a budget of structures, a step of all processes equals a step of a single process
    with `world` times the budget.

    With `even`, for training, all processes have equally many full batches; the remainder of an epoch, less than one
    step, is omitted, since the next permutation contains it. A dataset smaller than one step is divided among the
    processes. Without `even`, for evaluation, no structure is omitted, and processes may differ by one batch.

    Args:
        costs: the share of the budget that each structure uses.
        budget: the size of one batch of one process.
        seed: seed of the permutations; None keeps the order of the dataset.
        rank: the number of this process, from 0.
        world: the number of processes.
        even: see above; None: True if there is a seed.

    Raises:
        ValueError: the budget is not positive, or the rank is not below `world`.
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
            raise ValueError(
                f"expected a positive budget and a rank below {world}, got budget {budget} and rank {rank}"
            )
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
        """The batches of a dataset; warns of structures that alone exceed the budget."""
        costs = options.costs(dataset, edge_counts)
        large = np.flatnonzero(costs > options.budget)
        if len(large):
            unit = "atoms" if options.atoms is not None else "edges"
            warnings.warn(
                f"{len(large)} structures exceed the budget of {options.budget} {unit} and become batches of one "
                f"structure; the first is {dataset.place(int(large[0]))} with {int(costs[large[0]])} {unit}",
                stacklevel=2,
            )
        return cls(costs, options.budget, seed, rank, world)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch of the next iteration, counted from 0, and the number of its batches to skip on resuming."""
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
        if steps == 0:  # the dataset is smaller than one step
            everything = [index for batch in batches for index in batch]
            return [[int(index) for index in np.array_split(np.array(everything), self.world)[self.rank]]]
        return whole[self.rank : steps * self.world : self.world]

    def _is_short(self, batches: list[list[int]]) -> bool:
        """Whether the last batch ends with the dataset instead of the budget."""
        return bool(batches) and int(self.costs[batches[-1]].sum()) < self.budget


class _Batches(DataLoader[LabelledStructures]):
    """A data loader that raises the errors of worker processes without the workers' tracebacks."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        try:
            with torch.device("cpu"):  # torch draws a seed here and reads it at once
                batches = super().__iter__()
            yield from batches
        except StructureError as error:
            name = f"{type(error).__module__}.{type(error).__name__}: "
            raise StructureError(str(error).rsplit(name, 1)[-1].rstrip()) from None


def loader(
    dataset: LabelledDataset, sampler: BudgetSampler, workers: int = 0, pin_memory: bool = False
) -> DataLoader[Any]:
    """Make a loader of the batches that a sampler chooses.

    Iterating raises a StructureError if a structure cannot be read.

    Args:
        dataset: the structures.
        sampler: chooses the batches; call `sampler.set_epoch` before each pass.
        workers: the number of processes that read ahead; 0: this process reads.
        pin_memory: whether batches are copied to page-locked memory, from which a GPU copies asynchronously.
    """
    return _Batches(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        worker_init_fn=_leave_signals_to_the_main_process,
        # unused seeds must not be drawn from the generator whose state a run saves
        generator=torch.Generator("cpu"),
    )


def _leave_signals_to_the_main_process(_: int) -> None:
    """Ignore the signals by which Ctrl-C and schedulers stop all processes: the main process fails if a worker ends.

    SIGTERM is not ignored, since the main process ends workers by it.
    """
    for name in ("SIGINT", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
