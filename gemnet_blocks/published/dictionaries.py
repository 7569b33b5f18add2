"""Conversion of graphs, index sets and bases to and from the dictionaries of tensors of published GemNet-OC models.

Edges run from `edge_index[0]` (source) to `edge_index[1]` (target) along `vector`. `cell_offset`, in lattice vectors,
is added to the difference of positions and therefore is the opposite of `Pairs.shift`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gemnet_blocks.geometry.angles import dot, quadruplet_angles
from gemnet_blocks.geometry.edges import EdgeSet, measure, safe_norm, vectors
from gemnet_blocks.graph.edge_index import edge_index
from gemnet_blocks.graph.index_sets import IndexSet
from gemnet_blocks.graph.max_neighbors import CapRule, within_cap
from gemnet_blocks.graph.pairs import Pairs
from gemnet_blocks.graph.quadruplets import Quadruplets
from gemnet_blocks.graph.ragged import segments
from gemnet_blocks.graph.symmetrize import Symmetrization, symmetrize
from gemnet_blocks.graph.triplets import Triplets
from gemnet_blocks.model.geometry_encoder import GeometryEncoder
from gemnet_blocks.structures import Structures

Dictionary = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class GraphData:
    """Edges of a batch, as `generate_graph` of published models returns them.

    Attributes:
        edge_index: source and target atom of each edge.
        edge_distance: length of each edge in Å.
        edge_distance_vec: vector from the target to the image of the source in Å.
        cell_offsets: translation of the source to its image, in lattice vectors.
        offset_distances: the same translation in Å.
        neighbors: number of edges of each structure.
        batch_full: structure of each atom.
        atomic_numbers_full: atomic number of each atom.
        node_offset: first atom of a graph that is divided among processes; always 0.
    """

    edge_index: Int[Tensor, "2 edges"]
    edge_distance: Float[Tensor, " edges"]
    edge_distance_vec: Float[Tensor, "edges 3"]
    cell_offsets: Int[Tensor, "edges 3"]
    offset_distances: Float[Tensor, "edges 3"]
    neighbors: Int[Tensor, " structures"]
    batch_full: Int[Tensor, " atoms"]
    atomic_numbers_full: Int[Tensor, " atoms"]
    node_offset: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class SparseEntries:
    """Entries of a sparse matrix, with the accessors of torch-sparse's `SparseTensor`.

    Attributes:
        rows: row of each entry, in ascending order.
        columns: column of each entry; several entries may have the same row and column.
        values: value of each entry.
        shape: number of rows and columns of the matrix.
    """

    rows: Int[Tensor, " entries"]
    columns: Int[Tensor, " entries"]
    values: Int[Tensor, " entries"]
    shape: tuple[int, int]

    @property
    def storage(self) -> SparseEntries:
        return self

    def row(self) -> Int[Tensor, " entries"]:
        return self.rows

    def col(self) -> Int[Tensor, " entries"]:
        return self.columns

    def value(self) -> Int[Tensor, " entries"]:
        return self.values

    def sparse_sizes(self) -> tuple[int, int]:
        return self.shape


def graph_data(pairs: Pairs, structures: Structures, dtype: torch.dtype) -> GraphData:
    """Compute the edges along pairs; distances are differentiable with respect to positions and cells."""
    edges = edge_index(pairs, structures)
    vector = vectors(edges, structures, torch.promote_types(structures.positions.dtype, dtype))
    return GraphData(
        edge_index=torch.stack([pairs.source, pairs.target]),
        edge_distance=safe_norm(vector).to(dtype),
        edge_distance_vec=-vector.to(dtype),
        cell_offsets=pairs.shift,
        offset_distances=edges.translations.in_cells(structures.cells).t().to(dtype),
        neighbors=count_per_structure(pairs.target, structures.structure, len(structures)),
        batch_full=structures.structure,
        atomic_numbers_full=structures.numbers,
    )


def graph_dictionary(edges: EdgeSet, structures: Structures) -> Dictionary:
    """Convert a graph; `target_neighbor_idx` numbers the edges into each atom."""
    return {
        "edge_index": torch.stack([edges.source, edges.target]),
        "distance": edges.distance,
        "vector": edges.direction,
        "cell_offset": -edges.shift.to(edges.distance.dtype),
        "num_neighbors": count_per_structure(edges.target, structures.structure, len(structures)),
        "target_neighbor_idx": _position_in_run(edges.target),
    }


def pairs_of(graph: Mapping[str, Tensor]) -> Pairs:
    """Convert the edges of a graph to `Pairs`, in the order of the graph."""
    source, target = graph["edge_index"]
    return Pairs(source, target, -graph["cell_offset"].long(), graph["distance"].detach().double())


def chosen_edges(graph: Mapping[str, Tensor], rows: Tensor, structures: Structures) -> Dictionary:
    """Return the graph that consists of the edges `rows` of a graph."""
    edge_index = graph["edge_index"][:, rows]
    return {
        "edge_index": edge_index,
        **{key: graph[key][rows] for key in ("distance", "vector", "cell_offset")},
        "num_neighbors": count_per_structure(edge_index[1], structures.structure, len(structures)),
    }


def symmetrized(graph: Mapping[str, Tensor], structure: Tensor, rule: Symmetrization) -> tuple[Dictionary, Tensor]:
    """Return the graph that contains the opposite of every edge, and the index of the opposite of each edge."""
    found = symmetrize(pairs_of(graph), rule)
    vector = graph["vector"][found.origin]
    dictionary = {
        "edge_index": torch.stack([found.pairs.source, found.pairs.target]),
        "distance": graph["distance"][found.origin],
        "vector": torch.where(found.flipped[:, None], -vector, vector),
        "cell_offset": -found.pairs.shift.to(graph["cell_offset"].dtype),
        "num_neighbors": count_per_structure(found.pairs.target, structure),
    }
    return dictionary, found.reverse


def index_dictionary(index: IndexSet | None, edge_sets: Mapping[str, EdgeSet]) -> Dictionary:
    """Convert triplets or quadruplets (None: empty); `out_agg` numbers those of each receiving edge.

    `adj_edges` of the triplets d→b→a is a sparse matrix with a row per edge b→a and a column per atom d; its values
    number the triplets.
    """
    if isinstance(index, Triplets):
        return {"in": index.inner, "out": index.outer, "out_agg": _position_in_run(index.outer)}
    if isinstance(index, Quadruplets):
        return {
            "triplet_in": {
                "in": index.around_source.inner,
                "out": index.around_source.outer,
                "adj_edges": _numbered(index.around_source, edge_sets),
            },
            "triplet_out": {"in": index.around_target.inner, "out": index.around_target.outer},
            "out": index.outer,
            "trip_in_to_quad": index.source_triplet,
            "trip_out_to_quad": index.target_triplet,
            "out_agg": _position_in_run(index.outer),
        }
    return {}


def _numbered(triplets: Triplets, edge_sets: Mapping[str, EdgeSet]) -> SparseEntries:
    main, numbers = edge_sets["main"], torch.arange(triplets.count, device=triplets.outer.device)
    shape = (edge_sets["quad"].count, main.atom_count)
    return SparseEntries(triplets.outer, main.source.index_select(0, triplets.inner), numbers, shape)


def quadruplets_of(index: Mapping[str, Any]) -> Quadruplets:
    """Convert the dictionary of quadruplets back to `Quadruplets`."""
    source, target = (_listed(index[key]["out"], index[key]["in"]) for key in ("triplet_in", "triplet_out"))
    target_triplet = index["trip_out_to_quad"]
    by_outer = segments(target.outer[target_triplet], target.by_outer.count)
    return Quadruplets(source, target, index["trip_in_to_quad"], target_triplet, by_outer)


def _listed(outer: Tensor, inner: Tensor) -> Triplets:
    count = int(outer.max()) + 1 if len(outer) else 0
    return Triplets(outer, inner, segments(outer, count))


def bases_of(
    encoder: GeometryEncoder, graphs: Mapping[str, Dictionary], indices: Mapping[str, Dictionary], num_atoms: int
) -> dict[str, Any]:
    """Evaluate the bases of each interaction, by the name of the interaction; `indices` have the same names.

    Each value is {"rad": …, "cir": …, "sph": …}: the projected radial basis, then for circular and spherical bases a
    pair of the projected radial part and of the angular functions. The angular functions have one column per triplet
    or quadruplet of an edge, padded with zeros. For edge–atom interactions, atoms take the place of edges and edges
    the place of triplets. The atom–atom interaction has the projected radial basis only.
    """
    shared: Mapping[str, Any] = dict(encoder.interactions.items())
    radial, angular = (
        {name: basis(graphs[name]["distance"]) for name, basis in bases.items() if graphs.get(name)}
        for bases in (encoder.bases.radial, encoder.bases.angular)
    )

    def circular(name: str, outer: str, inner: str) -> list[Tensor]:
        index, part = indices[name], shared[name].triplet_sum
        cosine = dot(graphs[outer]["vector"][index["out"]], graphs[inner]["vector"][index["in"]])
        functions = _columns(part.circular(cosine), index["out"], index["out_agg"], len(graphs[outer]["distance"]))
        return [part.projection(angular[outer]), functions]

    found: dict[str, Any] = {}
    if "triplet" in shared:
        found["triplet"] = {"rad": shared["triplet"].radial(radial["main"]), "cir": circular("triplet", "main", "main")}
    if "quadruplet" in shared:
        found["quadruplet"] = _quadruplet_bases(shared["quadruplet"], graphs, indices["quadruplet"], radial, angular)
    if "atom_edge" in shared:
        rad = shared["atom_edge"].radial(radial["atom_edge"])
        found["atom_edge"] = {"rad": rad, "cir": circular("atom_edge", "main", "atom_edge")}
    if "edge_atom" in shared:
        to_edges, functions = circular("edge_atom", "atom_edge", "main")
        to_atoms = _by_target(to_edges.transpose(1, 2), graphs["atom_edge"], num_atoms)
        rad = shared["edge_atom"].radial(radial["main"])
        found["edge_atom"] = {"rad": rad, "cir": [to_atoms, functions]}
    if "atom_atom" in shared:
        found["atom_atom"] = _by_target(shared["atom_atom"].radial(radial["atom"])[:, None], graphs["atom"], num_atoms)
    return found


def count_per_structure(target: Tensor, structure: Tensor, count: int | None = None) -> Tensor:
    """Count the edges of each structure; without `count`, the last atom belongs to the last structure."""
    if count is None:
        count = int(structure[-1]) + 1 if len(structure) else 0
    return torch.bincount(structure[target], minlength=count)


def _quadruplet_bases(
    part: Any,
    graphs: Mapping[str, Dictionary],
    index: Dictionary,
    radial: Mapping[str, Tensor],
    angular: Mapping[str, Tensor],
) -> Dictionary:
    quadruplets = quadruplets_of(index)
    angles = quadruplet_angles(graphs["main"]["vector"], graphs["quad"]["vector"], quadruplets, part.collinear)
    by_middle = part.circular_projection(angular["quad"])[quadruplets.around_source.outer]
    functions = part.spherical(angles.cos_at_target[quadruplets.target_triplet], angles.dihedral)
    edge_count = len(graphs["main"]["distance"])
    return {
        "rad": part.radial(radial["main"]),
        "cir": (by_middle @ part.circular(angles.cos_at_source)[:, :, None])[:, :, 0],
        "sph": [
            part.spherical_projection(angular["main"]),
            _columns(functions, index["out"], index["out_agg"], edge_count),
        ],
    }


def _columns(values: Tensor, row: Tensor, column: Tensor, row_count: int) -> Tensor:
    """Arrange (items, features) values as (rows, features, columns), padded with zeros."""
    column_count = int(column.max()) + 1 if len(column) else 0
    padded = values.new_zeros(row_count, column_count, values.shape[1])
    return padded.index_put((row, column), values).transpose(1, 2)


def _by_target(values: Tensor, graph: Dictionary, num_atoms: int) -> Tensor:
    """Arrange (edges, l, k) values as (atoms, k, edges into the atom × l), padded with zeros."""
    length, size = values.shape[1:]
    columns = _columns(values.flatten(1), graph["edge_index"][1], graph["target_neighbor_idx"], num_atoms)
    return columns.transpose(1, 2).reshape(num_atoms, columns.shape[2] * length, size).transpose(1, 2)


def _position_in_run(ascending: Tensor) -> Tensor:
    """Number the items of each run of equal values from 0."""
    return torch.arange(len(ascending), device=ascending.device) - torch.searchsorted(ascending, ascending)


STORED_CUTOFF, STORED_MAX_NEIGHBORS = 6.0, 50
"""Cutoff in Å and number of neighbors of the graphs stored in the Open Catalyst data sets."""


def stored_pairs(
    data: Any, structures: Structures, cutoff: float, cap: int, ties: CapRule, periodic: bool
) -> Pairs | None:
    """Select the nearest edges within a cutoff from those stored in a batch.

    Args:
        data: a batch with the attributes `edge_index` and `cell_offsets`.
        structures: the structures of the batch.
        cutoff: cutoff in Å.
        cap: maximum number of neighbors per atom; 0: no limit.
        ties: how to treat neighbors at the same distance as the last one.
        periodic: use `cell_offsets`.

    Returns:
        The edges; None if the batch stores none, or the requested graph is larger than data sets store.
    """
    if cutoff > STORED_CUTOFF or cap > STORED_MAX_NEIGHBORS:
        return None
    found = every_stored_pair(data, structures, periodic)
    if found is None:
        return None
    pairs = found.select(found.distance <= cutoff)
    if cap <= 0:
        return pairs
    assert ties != "smooth"  # published models never use smooth limits
    return pairs.select(within_cap(pairs, structures.atom_count, cap, ties))


def every_stored_pair(data: Any, structures: Structures, periodic: bool) -> Pairs | None:
    """Return all edges stored in a batch, or None if it stores none; the arguments are those of `stored_pairs`."""
    edge_index = getattr(data, "edge_index", None)
    if edge_index is None:
        return None
    offsets = getattr(data, "cell_offsets", None) if periodic else None
    shift = edge_index.new_zeros(edge_index.shape[1], 3) if offsets is None else offsets.long()
    target, order = edge_index[1].long().sort(stable=True)
    pairs = Pairs(edge_index[0].long()[order], target, shift[order], torch.zeros_like(target, dtype=torch.float64))
    with torch.no_grad():
        distance = measure(pairs, structures.to(dtype=torch.float64), torch.float64).distance
    pairs = Pairs(pairs.source, pairs.target, pairs.shift, distance)
    return pairs.select(pairs.canonical_order())
