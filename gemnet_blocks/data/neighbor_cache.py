"""Neighbor lists and edge counts that are stored on disk, so that they are computed once."""

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
from gemnet_blocks.data.dataset import Counts, DatasetView, LabelledDataset, grouped
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
"""Version of the files; files of other versions are not read."""


@dataclass(frozen=True, slots=True)
class PairSearch:
    """The neighbor search from which a model takes all of its edges.

    Attributes:
        reach: cutoff of the search in Å.
        periodic: whether the model uses the periodicity of structures.
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
        """A name that searches share exactly if they find the same pairs."""
        return hashlib.sha256(json.dumps([_VERSION, self.reach, self.periodic]).encode()).hexdigest()[:16]

    def __call__(self, structures: Structures) -> Pairs:
        if not self.periodic:
            structures = replace(structures, periodic=torch.zeros_like(structures.periodic))
        return neighbor_search("vesin")(structures, self.reach)


@final
class CachedPairs(DatasetView):
    """A dataset whose structures come with their neighbor lists, from files or from a search whose result is stored.

    The name of a file is a hash of the structure, to the last bit, of the cutoff and of the use of periodicity: a
    folder serves any number of datasets and models, and its files never become invalid. Neighbors are found from
    positions in float64.

    Args:
        dataset: the structures.
        graphs: the model's graph builder (`model.trunk.graphs`), or a spec.
        folder: the folder of the files, which worker processes may share.
    """

    def __init__(self, dataset: LabelledDataset, graphs: GraphBuilder | Spec, folder: Path) -> None:
        self.dataset = dataset
        self._search = PairSearch.of(graphs)
        self._folder = folder / self._search.name

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> LabelledStructures:
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
        return self.dataset.atom_counts

    @property
    def labels(self) -> frozenset[str]:
        return self.dataset.labels

    @property
    def streamed(self) -> bool:
        return True

    def _find(self, index: int) -> tuple[LabelledDataset, int]:
        return self.dataset, index


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
    found = load_arrays(path)
    if found is None:
        return None
    return Pairs(found["source"].long(), found["target"].long(), found["shift"].long().t(), found["distance"])


def with_kept_pairs(data: DataSplits, options: DataOptions, folder: Path, graphs: GraphBuilder | Spec) -> DataSplits:
    """Store the neighbor lists of all parts in the folder that `options.cache` names; without one, change nothing.

    Args:
        data: the result of `open_data` for these options.
        options: the data options.
        folder: the folder that a relative path is relative to.
        graphs: the model's graph builder, or its spec.

    Raises:
        SpecError: the folder cannot be written to.
    """
    if options.cache is None:
        return data
    kept = located(options.cache, folder)
    check_folder(kept, "data.cache")

    def wrapped(part: LabelledDataset | None) -> LabelledDataset | None:
        return None if part is None else CachedPairs(part, graphs, kept)

    train = CachedPairs(data.train, graphs, kept)
    return replace(data, train=train, validation=wrapped(data.validation), test=wrapped(data.test))


def edge_counts(
    dataset: LabelledDataset,
    cutoff: float,
    max_neighbors: int | None = None,
    periodic: bool = True,
    folder: Path | None = None,
) -> npt.NDArray[np.int64]:
    """Count the ordered pairs of atoms within a cutoff in each structure.

    Args:
        dataset: the structures.
        cutoff: cutoff of the model's main edges in Å.
        max_neighbors: maximum number of neighbors of an atom; None: no limit. Edges that symmetrization adds are not
            counted.
        periodic: whether the model uses the periodicity of structures.
        folder: a folder in which counts are stored; None: they are not stored.
    """
    kept = None if folder is None else folder / f"edges-{_name(dataset, cutoff, max_neighbors, periodic)}.safetensors"
    if kept is not None and (found := load_arrays(kept)) is not None:
        return found["counts"].numpy()
    search = PairSearch(cutoff, periodic)
    counts = [np.zeros(0, dtype=np.int64)]
    for group in grouped((index, dataset[index]) for index in range(len(dataset))):
        structures = collate([item for _, item in group]).structures
        per_atom = np.bincount(search(structures).target.numpy(), minlength=structures.atom_count)
        per_atom = per_atom if max_neighbors is None else per_atom.clip(max=max_neighbors)
        owner = structures.structure.numpy()
        counts.append(np.bincount(owner, per_atom, minlength=len(structures)).astype(np.int64))
    total = np.concatenate(counts)
    if kept is not None:
        save_arrays(kept, {"counts": torch.from_numpy(total)})
    return total


def edge_counts_for(
    dataset: LabelledDataset, batch: BatchOptions, spec: Spec, folder: Path | None = None
) -> npt.NDArray[np.int64] | None:
    """Count the edges of each structure in a model; None unless batches have a budget of edges.

    Args:
        dataset: the structures.
        batch: the budget.
        spec: the model.
        folder: a folder in which counts are stored; None: they are not stored.
    """
    if batch.edges is None:
        return None
    main = spec.graphs[MAIN]
    return edge_counts(dataset, main.cutoff, main.max_neighbors, spec.neighbors.periodic, folder)


def _name(dataset: LabelledDataset, cutoff: float, max_neighbors: int | None, periodic: bool) -> str:
    digest = hashlib.sha256(f"{cutoff!r} {max_neighbors} {periodic}".encode())
    for index in range(len(dataset)):
        digest.update(structure_hash(dataset[index].structures))
    return digest.hexdigest()[:32]
