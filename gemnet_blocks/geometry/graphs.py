"""Graphs of a batch of structures: topology, distances, directions and the weights of fading neighbors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gemnet_blocks.geometry.edges import EdgeSet, SymmetricEdges, measured, safe_norm, vectors
from gemnet_blocks.graph.builder import MAIN
from gemnet_blocks.graph.index_sets import IndexRequest, IndexSet
from gemnet_blocks.graph.max_neighbors import either, soft_weights
from gemnet_blocks.graph.topology import BothDirections, Topology
from gemnet_blocks.structures import Structures


@dataclass(frozen=True, slots=True, eq=False)
class Graphs:
    """Geometry and topology of a batch of structures: the input of interactions.

    Attributes:
        structures: the structures.
        main: the symmetrized edges that carry edge embeddings.
        edge_sets: all edge sets by name, including `main`.
        indices: triplets, quadruplets and other index sets by request.
    """

    structures: Structures
    main: SymmetricEdges
    edge_sets: Mapping[str, EdgeSet]
    indices: Mapping[IndexRequest, IndexSet]


def measured_graphs(structures: Structures, topology: Topology, dtype: torch.dtype) -> Graphs:
    """Compute distances, directions and weights of all edges of a topology.

    Args:
        structures: the structures; results are differentiable with respect to their positions and cells.
        topology: the topology of these structures.
        dtype: the floating-point type of distances and directions.
    """
    weights = pair_weights(structures, topology)
    if topology.both_directions is not None:
        weights[MAIN] = _symmetrized(weights[MAIN], topology.both_directions, topology.reverse)
    edge_sets = {name: measured(edges, structures, dtype, weights.get(name)) for name, edges in topology.edges.items()}
    return Graphs(structures, SymmetricEdges(edge_sets[MAIN], topology.reverse), edge_sets, topology.indices)


def pair_weights(structures: Structures, topology: Topology) -> dict[str, Float[Tensor, " pairs"]]:
    """Compute the weights of fading neighbors by edge set, before the symmetrization of `main`; see `soft_weights`."""
    weights: dict[str, Tensor] = {}
    for name, fading in topology.fading.items():
        inherited = None
        if fading.parent is not None:
            inherited = weights[fading.parent].index_select(0, fading.in_parent)
        if fading.candidates is None or fading.kept is None:
            assert inherited is not None
            weights[name] = inherited
            continue
        distance = safe_norm(vectors(fading.candidates, structures, torch.float64))
        candidates = soft_weights(
            distance,
            fading.candidates.target,
            structures.atom_count,
            fading.max_neighbors,
            fading.reach,
            fading.width,
            inherited,
        )
        weights[name] = candidates.index_select(0, fading.kept)
    return weights


def _symmetrized(
    weight: Float[Tensor, " pairs"], both: BothDirections, reverse: Tensor
) -> Float[Tensor, " main_edges"]:
    """Compute the weights of symmetrized edges from the weights of the pairs that were selected in one direction."""
    one_way = weight.new_zeros(len(reverse)).index_copy(0, both.edge, weight.index_select(0, both.pair))
    return either(one_way, one_way.index_select(0, reverse))
