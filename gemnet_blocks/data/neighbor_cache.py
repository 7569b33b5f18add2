"""Neighbors of each structure kept on disk, so that they are searched for once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np
import numpy.typing as npt
import torch

from gemnet_blocks.data.batching import BatchOptions
from gemnet_blocks.data.cache_files import load_arrays, save_arrays, structure_hash
from gemnet_blocks.data.dataset import Counts, LabelledDataset
from gemnet_blocks.data.labelled import LabelledStructures, collate
from gemnet_blocks.data.opening import DataSplits
from gemnet_blocks.data.options import DataOptions, located
from gemnet_blocks.graph.builder import MAIN, GraphBuilder
from gemnet_blocks.graph.neighbor_list import neighbor_search
from gemnet_blocks.graph.pairs import Pairs
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.structures import Structures
from gemnet_blocks.util.files import check_folder

_VERSION = 1
"""Of the files; others are not read."""


@dataclass(frozen=True, slots=True)
class PairSearch:
    """The one search from which a model takes all its edges.

    Attributes:
        reach: how far it looks, in Å.
        periodic: whether structures repeat where they say so.
    """

    reach: float
    periodic: bool

    @classmethod
    def of(cls, graphs: GraphBuilder | Spec) -> PairSearch:
        """The search of a model's graph builder, or of the models that a spec describes."""
        if isinstance(graphs, GraphBuilder):
            return cls(graphs.reach, graphs.periodic)
        in_use = graphs.graphs_in_use()
        reach = max(rule.cutoff for name, rule in graphs.graphs.items() if name in in_use and rule.within is None)
        return cls(reach, graphs.neighbors.periodic)

    @property
    def name(self) -> str:
        """Equal for searches that find equal pairs; all ways of searching do."""
        return hashlib.sha256(json.dumps([_VERSION, self.reach, self.periodic]).encode()).hexdigest()[:16]

    def __call__(self, structures: Structures) -> Pairs:
        """The pairs of structures."""
        if not self.periodic:
            structures = replace(structures, periodic=torch.zeros_like(structures.periodic))
        return neighbor_search("vesin")(structures, self.reach)


@final
class CachedPairs(LabelledDataset):
    """A dataset whose structures come with their neighbors, from files or else from a search whose result is kept.

    A file is named by the structure, to the last bit, and by how far the model looks and whether it repeats structures;
    so a folder serves any number of datasets and models, and nothing in it is ever out of date. Neighbors are those of
    the positions in float64.

    Args:
        dataset: the structures.
        graphs: the model's graph builder (`model.trunk.graphs`), or a spec.
        folder: where files are kept; worker processes may share it.
    """

    def __init__(self, dataset: LabelledDataset, graphs: GraphBuilder | Spec, folder: Path) -> None:
        self.dataset = dataset
        self._search = PairSearch.of(graphs)
        self._folder = folder / self._search.name

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> LabelledStructures:
        """One structure, with pairs: what `Potential` takes as `given`."""
        item = self.dataset[index]
        name = structure_hash(item.structures).hex()
        path = self._folder / name[:2] / f"{name[2:40]}.safetensors"
        pairs = _load(path)
        if pairs is None:
            pairs = self._search(item.structures)
            _save(path, pairs)
        return replace(item, pairs=pairs)

    @property
    def atom_counts(self) -> Counts:
        """The number of atoms of each structure."""
        return self.dataset.atom_counts

    @property
    def labels(self) -> frozenset[str]:
        """Which of energy, forces and stress every structure has."""
        return self.dataset.labels

    @property
    def streamed(self) -> bool:
        """Pairs are read from disk each time."""
        return True

    def place(self, index: int) -> str:
        """File and frame number."""
        return self.dataset.place(index)

    def file(self, index: int) -> str:
        """The name of a structure's file."""
        return self.dataset.file(index)

    def value(self, index: int, key: str) -> str:
        """What the file says of a structure under a key."""
        return self.dataset.value(index, key)


def _save(path: Path, pairs: Pairs) -> None:
    small = len(pairs) == 0 or int(pairs.shift.abs().max()) < 128
    tensors = {
        "source": pairs.source.int(),
        "target": pairs.target.int(),
        "shift": pairs.shift.t().to(torch.int8 if small else torch.int32),
        "distance": pairs.distance,
    }
    save_arrays(path, tensors)


def _load(path: Path) -> Pairs | None:
    """Pairs of a file; None where it is missing or damaged, as after a disk ran full."""
    found = load_arrays(path)
    if found is None:
        return None
    return Pairs(found["source"].long(), found["target"].long(), found["shift"].long().t(), found["distance"])


def with_kept_pairs(data: DataSplits, options: DataOptions, folder: Path, graphs: GraphBuilder | Spec) -> DataSplits:
    """The same parts, whose neighbors are kept in the folder that `options.cache` names, if it does.

    Args:
        data: what `open_data` returned for these options.
        options: see above.
        folder: what a relative path is relative to.
        graphs: the model's graph builder, or its spec.

    Raises:
        SpecError: that folder cannot be written to.
    """
    if options.cache is None:
        return data
    kept = located(options.cache, folder)
    check_folder(kept, "data.cache")

    def wrapped(part: LabelledDataset | None) -> LabelledDataset | None:
        return None if part is None else CachedPairs(part, graphs, kept)

    train = CachedPairs(data.train, graphs, kept)
    return replace(data, train=train, validation=wrapped(data.validation), test=wrapped(data.test))


_AT_ONCE = 32


def edge_counts(
    dataset: LabelledDataset,
    cutoff: float,
    max_neighbors: int | None = None,
    periodic: bool = True,
    folder: Path | None = None,
) -> npt.NDArray[np.int64]:
    """Count the ordered pairs of atoms within a cutoff, of each structure.

    Args:
        dataset: the structures.
        cutoff: that of the model's main edges, in Å.
        max_neighbors: the cap of the model's main edges; where it has one, an atom counts as many at most. Edges that
            symmetrization adds are not counted.
        periodic: whether structures repeat where they say so.
        folder: where counts are kept for the next time; None: nowhere.
    """
    kept = None if folder is None else folder / f"edges-{_name(dataset, cutoff, max_neighbors, periodic)}.safetensors"
    if kept is not None and (found := load_arrays(kept)) is not None:
        return found["counts"].numpy()
    search = neighbor_search("vesin")
    counts: list[npt.NDArray[np.int64]] = []
    for start in range(0, len(dataset), _AT_ONCE):
        several = range(start, min(start + _AT_ONCE, len(dataset)))
        structures = collate([dataset[index] for index in several]).structures
        pairs = search(structures if periodic else _isolated(structures), cutoff)
        per_atom = torch.bincount(pairs.target, minlength=structures.atom_count)
        if max_neighbors is not None:
            per_atom = per_atom.clamp(max=max_neighbors)
        counts.append(
            torch.zeros(len(structures), dtype=torch.long, device="cpu")
            .index_add(0, structures.structure, per_atom)
            .numpy()
        )
    total = np.concatenate(counts) if counts else np.zeros(0, dtype=np.int64)
    if kept is not None:
        save_arrays(kept, {"counts": torch.from_numpy(total)})
    return total


def edge_counts_for(
    dataset: LabelledDataset, batch: BatchOptions, spec: Spec, folder: Path | None = None
) -> npt.NDArray[np.int64] | None:
    """What `BudgetSampler.of` needs to know of the edges of a model: nothing unless batches have a budget of edges.

    Args:
        dataset: the structures.
        batch: the budget.
        spec: the model.
        folder: where counts are kept for the next time; None: nowhere.
    """
    if batch.edges is None:
        return None
    main = spec.graphs[MAIN]
    return edge_counts(dataset, main.cutoff, main.max_neighbors, spec.neighbors.periodic, folder)


def _isolated(structures: Structures) -> Structures:
    return replace(structures, periodic=torch.zeros_like(structures.periodic))


def _name(dataset: LabelledDataset, cutoff: float, max_neighbors: int | None, periodic: bool) -> str:
    digest = hashlib.sha256(f"{cutoff!r} {max_neighbors} {periodic}".encode())
    for index in range(len(dataset)):
        digest.update(structure_hash(dataset[index].structures))
    return digest.hexdigest()[:32]
