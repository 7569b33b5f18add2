"""How many edges structures have, for batches with a budget of edges."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from gemnet_blocks.data.batching import BatchOptions
from gemnet_blocks.data.cache_files import load_arrays, save_arrays, structure_hash
from gemnet_blocks.data.dataset import LabelledDataset
from gemnet_blocks.data.labelled import collate
from gemnet_blocks.graph.builder import MAIN
from gemnet_blocks.graph.neighbor_list import neighbor_search
from gemnet_blocks.spec.schema import Spec
from gemnet_blocks.structures import Structures

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
