"""Graphs of a batch of structures: topology, distances, directions and the weights of fading neighbors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

import torch
from jaxtyping import Float
from pydantic import ValidationError
from torch import Tensor

from gemnet_blocks.errors import SpecError
from gemnet_blocks.geometry.edges import (
    EdgeSet,
    SymmetricEdges,
    distances_and_directions,
    edge_set,
    measured,
    safe_norm,
    vectors,
)
from gemnet_blocks.graph.builder import MAIN, EdgeSetOptions, GraphBuilder
from gemnet_blocks.graph.index_sets import IndexRequest, IndexSet
from gemnet_blocks.graph.max_neighbors import CapRule, either, soft_weights
from gemnet_blocks.graph.neighbor_list import NeighborSearch, SearchName, neighbor_search
from gemnet_blocks.graph.topology import BothDirections, Topology
from gemnet_blocks.structures import Structures, as_structures
from gemnet_blocks.util.html import upper_layer

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True, slots=True, eq=False)
class Graphs:
    """Geometry and topology of a batch of structures: the input of interactions.

    Attributes:
        structures: the structures.
        symmetric: the symmetrized edges that carry edge embeddings; None without an edge set `main`.
        edge_sets: all edge sets by name, including `main`.
        indices: triplets, quadruplets and other index sets by request.
    """

    structures: Structures
    symmetric: SymmetricEdges | None
    edge_sets: Mapping[str, EdgeSet]
    indices: Mapping[IndexRequest, IndexSet]

    @property
    def main(self) -> SymmetricEdges:
        """The symmetric edges that carry embeddings.

        Raises:
            ValueError: the edge set `main` is missing.
        """
        if self.symmetric is None:
            raise ValueError(f"expected an edge set 'main', which carries edge embeddings, found {self._names}: add it")
        return self.symmetric

    def __getitem__(self, name: str) -> EdgeSet:
        """Return an edge set by name.

        Raises:
            KeyError: the name is unknown.
        """
        if name not in self.edge_sets:
            raise KeyError(f"unknown edge set {name!r}; known: {self._names}")
        return self.edge_sets[name]

    @property
    def _names(self) -> str:
        return ", ".join(self.edge_sets)

    def __repr__(self) -> str:
        counts = ", ".join(f"{edges.count} edges of {name}" for name, edges in self.edge_sets.items())
        return f"Graphs({self.structures.atom_count} atoms, {counts or 'no edge sets'})"

    def _repr_html_(self) -> str:
        return upper_layer("plotting.notebook").html(self)


def build_graphs(
    structures: Structures | Atoms | Sequence[Atoms],
    rules: Mapping[str, EdgeSetOptions | Mapping[str, Any]],
    *,
    search: SearchName | NeighborSearch = "auto",
    ties: CapRule = "inclusive",
    tie_tolerance: float = 0.01,
    fade_width: float = 0.5,
    periodic: bool = True,
    requests: Sequence[IndexRequest] = (),
    dtype: torch.dtype = torch.float64,
) -> Graphs:
    """Find the neighbors of all atoms and measure the distance and direction of every edge.

    >>> from ase.build import bulk
    >>> from gemnet_blocks.graph import build_graphs
    >>> graphs = build_graphs(bulk("Cu"), {"near": {"cutoff": 3.0}})
    >>> graphs["near"].degree, graphs["near"].distance.mean()
    (tensor([12]), tensor(2.5527, dtype=torch.float64))

    Edge sets may have any names. An edge set `main` is symmetrized as in models: every edge has its opposite, so that
    atoms may have more than `max_neighbors` neighbors. All other edge sets are one-way: an atom may be among the
    nearest neighbors of another one, but not the other way round. Without `main`, `graphs.main` is an error.

    Args:
        structures: structures or ASE atoms. Distances and directions carry gradients to the positions and cells of
            `Structures`.
        rules: the cutoff in Å, such as 6.0, and further options of each edge set by name, as in a spec's `graphs`.
        search: the neighbor search or its name; all give identical results.
        ties: handling of neighbors at the same distance as the farthest of `max_neighbors`, as in a spec.
        tie_tolerance: distances that differ by at most this count as equal, in Å.
        fade_width: distance over which neighbors fade out with smooth ties, in Å.
        periodic: whether to use the periodicity of structures; False treats all as isolated.
        requests: index sets, such as `TripletRequest("main", "main")` for triplets.
        dtype: the floating-point type of distances and directions.

    Raises:
        SpecError: a rule is invalid, or is within an edge set that does not exist.
        ValueError: the search or the handling of ties is unknown, or the type is not a floating-point type.
        StructureError: a structure cannot be computed.
    """
    if ties not in get_args(CapRule):
        raise ValueError(f"ties is {ties!r}: choose one of {', '.join(get_args(CapRule))}")
    if not dtype.is_floating_point:
        raise ValueError(f"expected a floating-point type such as torch.float64, got {dtype}")
    edge_sets = _parents_first({name: _options(name, rule) for name, rule in rules.items()})
    builder = GraphBuilder(
        edge_sets,
        measured=list(edge_sets),
        requests=requests,
        search=search if isinstance(search, NeighborSearch) else neighbor_search(search),
        ties=ties,
        tie_tolerance=tie_tolerance,
        fade_width=fade_width,
        periodic=periodic,
    )
    structures = as_structures(structures)
    # without joint operations, since their results may be differentiated one after another
    return measured_graphs(structures, replace(builder(structures, dtype), joint=None), dtype)


def measured_graphs(structures: Structures, topology: Topology, dtype: torch.dtype) -> Graphs:
    """Compute distances, directions and weights of all edges of a topology.

    Args:
        structures: the structures; results are differentiable with respect to their positions and cells.
        topology: the topology of these structures.
        dtype: the floating-point type of distances and directions.
    """
    weights = pair_weights(structures, topology)
    if topology.both_directions is not None:
        assert topology.reverse is not None
        weights[MAIN] = _symmetrized(weights[MAIN], topology.both_directions, topology.reverse)
    if topology.joint is None:
        sets = topology.edges.items()
        edge_sets = {name: measured(edges, structures, dtype, weights.get(name)) for name, edges in sets}
    else:
        counts = [edges.count for edges in topology.edges.values()]
        distance, direction = distances_and_directions(topology.joint, structures, dtype)
        parts = zip(topology.edges.items(), distance.split(counts), direction.split(counts), strict=True)
        edge_sets = {name: edge_set(edges, d, u, weights.get(name)) for (name, edges), d, u in parts}
    symmetric = None if topology.reverse is None else SymmetricEdges(edge_sets[MAIN], topology.reverse)
    return Graphs(structures, symmetric, edge_sets, topology.indices)


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
    one_way = weight.new_zeros(reverse.shape[0]).index_copy(0, both.edge, weight.index_select(0, both.pair))
    return either(one_way, one_way.index_select(0, reverse))


def _options(name: str, rule: EdgeSetOptions | Mapping[str, Any]) -> EdgeSetOptions:
    """Validate the options of an edge set."""
    if isinstance(rule, EdgeSetOptions):
        options = rule
    else:
        try:
            options = EdgeSetOptions.model_validate(rule)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, one['loc']))}: {one['msg']}, got {one['input']!r}".lstrip(": ")
                for one in error.errors()
            )
            fields = ", ".join(EdgeSetOptions.model_fields)
            raise SpecError(f"edge set {name!r}: {problems}; the options of an edge set are {fields}") from error
    if name != MAIN and options.symmetrize is not None:
        raise SpecError(f"edge set {name!r}: only {MAIN!r} can be symmetrized: remove `symmetrize`")
    return options


def _parents_first(rules: Mapping[str, EdgeSetOptions]) -> dict[str, EdgeSetOptions]:
    """Sort edge sets so that each follows the one that it is within."""
    if not rules:
        raise SpecError("expected at least one edge set, such as {'main': {'cutoff': 6.0}}, found none")
    ordered: dict[str, EdgeSetOptions] = {}
    while len(ordered) < len(rules):
        rest = {name: rule for name, rule in rules.items() if name not in ordered}
        ready = {name: rule for name, rule in rest.items() if rule.within is None or rule.within in ordered}
        if not ready:
            named = ", ".join(f"{name!r} is within {rule.within!r}" for name, rule in rest.items())
            raise SpecError(f"expected every edge set to be within another of {', '.join(rules)}, but {named}")
        ordered |= ready
    return ordered
