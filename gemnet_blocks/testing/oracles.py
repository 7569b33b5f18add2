"""Slow, obvious definitions of what the library computes fast.

Every function reads like its equation: loops over edges, triplets and quadruplets, one term at a time, and nothing
shared with the fast code but weights and basis functions. Values and first derivatives are exact; use them on small
structures in float64.

Letters as in the papers (GemNet-OC, arXiv 2204.02782): c→a is the edge that hears, b→a another edge into a, d→b an edge
into b. u is the unit vector from source to target.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gemnet_blocks.basis.geometry import RadialAngularProjection, RadialValues
from gemnet_blocks.blocks.atom_atom import AtomAtomInteraction, SharedAtomAtomGeometry
from gemnet_blocks.blocks.atom_edge import AtomEdgeInteraction, SharedAtomEdgeGeometry
from gemnet_blocks.blocks.dense import Dense, Residual, ScaledSiLU, SiQU
from gemnet_blocks.blocks.edge_atom import EdgeAtomInteraction, SharedEdgeAtomGeometry
from gemnet_blocks.blocks.interaction import Embeddings
from gemnet_blocks.blocks.message import Contraction, Message, SymmetricUp
from gemnet_blocks.blocks.output import ConcatenatedOutputBlock
from gemnet_blocks.blocks.quadruplet import QuadrupletInteraction, SharedQuadrupletGeometry
from gemnet_blocks.blocks.read_out import Output
from gemnet_blocks.blocks.triplet import SharedTripletGeometry, TripletInteraction
from gemnet_blocks.blocks.triplet_sum import TripletSum
from gemnet_blocks.blocks.update import AtomUpdate
from gemnet_blocks.graph.caps import Ties
from gemnet_blocks.graph.edge_sets import Graphs
from gemnet_blocks.graph.edges import EdgeSet, SymmetricEdges
from gemnet_blocks.graph.neighbors import Pairs
from gemnet_blocks.graph.symmetrize import Symmetrization
from gemnet_blocks.scaling import ScaleFactor

Vector = Float[Tensor, "3"]
Scalar = Float[Tensor, ""]

# -- graphs -----------------------------------------------------------------------------------------------------------


class Edge(NamedTuple):
    """An edge from an image of atom `source` to atom `target`; `shift` says which image, in lattice vectors."""

    source: int
    target: int
    shift: tuple[int, int, int]

    @property
    def opposite(self) -> Edge:
        """The edge from target to source: seen from the source, the target is displaced by -shift."""
        x, y, z = self.shift
        return Edge(self.target, self.source, (-x, -y, -z))


class Triplet(NamedTuple):
    """Indices of the edges c→a (outer) and b→a (inner)."""

    outer: int
    inner: int


class Quadruplet(NamedTuple):
    """Indices of the edges c→a (outer), b→a (middle) and d→b (inner)."""

    outer: int
    middle: int
    inner: int


def edges_of(edges: EdgeSet | Pairs) -> list[Edge]:
    """The edges of a set or of the result of a search, one object each, in their order."""
    shifts = [(x, y, z) for x, y, z in edges.shift.tolist()]
    return [Edge(*ends) for ends in zip(edges.source.tolist(), edges.target.tolist(), shifts, strict=True)]


def within_cap(
    pairs: Pairs, max_neighbors: int, ties: Ties, tolerance: float = 0.01, squared: bool = False
) -> list[bool]:
    """Whether each pair's source is among the nearest k of its target.

    `strict`: the first k in the order of distance, source and shift. `inclusive`: d ≤ d_k + tolerance, where d_k is the
    distance of the k-th nearest. `inclusive_next`: d ≤ d_{k+1} + tolerance. Everything where there are not that many.

    Args:
        pairs: in any order.
        max_neighbors: the cap k.
        ties: what becomes of neighbors at the same distance.
        tolerance: in Å, or in Å² if `squared`.
        squared: compare squared distances.
    """
    edges = edges_of(pairs)
    distances = [d**2 if squared else d for d in pairs.distance.tolist()]
    kept = [False] * len(edges)
    for target in {edge.target for edge in edges}:
        into = [i for i, edge in enumerate(edges) if edge.target == target]
        into.sort(key=lambda i: (distances[i], edges[i].source, edges[i].shift))
        if ties == "strict":
            admitted = into[:max_neighbors]
        else:
            last = max_neighbors if ties == "inclusive" else max_neighbors + 1
            nearest = [distances[i] for i in into[:last]]
            limit = math.inf if len(nearest) < last else max(nearest, default=-math.inf) + tolerance
            admitted = [i for i in into if distances[i] <= limit]
        for i in admitted:
            kept[i] = True
    return kept


def symmetrize(edges: Iterable[Edge], rule: Symmetrization) -> set[Edge]:
    """The edges that a rule keeps, and the opposite of each.

    `union`: all of them. `lower_index`: those with source < target, and those between an atom and its own image with a
    lexicographically positive shift.
    """
    kept = set(edges)
    if rule == "lower_index":
        kept = {e for e in kept if e.source < e.target or (e.source == e.target and e.shift > (0, 0, 0))}
    return kept | {edge.opposite for edge in kept}


def reverse(edges: Sequence[Edge]) -> list[int]:
    """The index of the opposite of each edge."""
    return [edges.index(edge.opposite) for edge in edges]


def triplets(outer: Sequence[Edge], inner: Sequence[Edge]) -> set[Triplet]:
    """c→a and b→a with b ≠ c, comparing atom and image; with two edge sets, the mixed triplets."""
    return {
        Triplet(i, j)
        for i, ca in enumerate(outer)
        for j, ba in enumerate(inner)
        if ba.target == ca.target and (ba.source, ba.shift) != (ca.source, ca.shift)
    }


def quadruplets(edges: Sequence[Edge], middle: Sequence[Edge]) -> set[Quadruplet]:
    """c→a and d→b of `edges` around b→a of `middle`, with b ≠ c, d ≠ a and d ≠ c, comparing atom and image."""
    found = set()
    for outer, inner in triplets(edges, middle):
        ca, ba = edges[outer], middle[inner]
        for k, db in enumerate(edges):
            if db.target != ba.source:
                continue
            # d→b says where d is if b is at home; seen from a, b is displaced, and d with it
            x, y, z = (of_d + of_b for of_d, of_b in zip(db.shift, ba.shift, strict=True))
            d = (db.source, (x, y, z))
            if d not in ((ca.target, (0, 0, 0)), (ca.source, ca.shift)):
                found.add(Quadruplet(outer, inner, k))
    return found


class Angles(NamedTuple):
    """cos φ_abd, cos φ_cab and θ_cabd of one quadruplet."""

    cos_at_source: Scalar
    cos_at_target: Scalar
    dihedral: Scalar


def angles(u_ca: Vector, u_ba: Vector, u_db: Vector) -> Angles:
    """The angles of one quadruplet c→a←b←d from the directions of its edges.

    cos φ_abd = u_db · u_ba, cos φ_cab = u_ca · u_ba, θ_cabd = atan2(max(|n_c × n_d|, 10⁻⁹), n_c · n_d) with
    n_c = u_ca × u_ba and n_d = u_db × u_ba.
    """
    n_c, n_d = torch.linalg.cross(u_ca, u_ba), torch.linalg.cross(u_db, u_ba)
    sine = torch.linalg.vector_norm(torch.linalg.cross(n_c, n_d)).clamp(min=1e-9)
    return Angles(u_db @ u_ba, u_ca @ u_ba, torch.atan2(sine, n_c @ n_d))


# -- layers -----------------------------------------------------------------------------------------------------------


def dense(layer: Dense, x: Float[Tensor, "*rows in"]) -> Float[Tensor, "*rows out"]:
    """act(W x), with act(x) = x σ(x)/0.6 (`silu`), x² σ(x) (`siqu`) or x (`identity`)."""
    x = torch.einsum("...i,oi->...o", x, layer.linear.weight)
    if isinstance(layer.activation, ScaledSiLU):
        return x * torch.sigmoid(x) / 0.6
    return x * x * torch.sigmoid(x) if isinstance(layer.activation, SiQU) else x


def through(layers: nn.Module, x: Float[Tensor, "*rows in"]) -> Float[Tensor, "*rows out"]:
    """x through dense and residual layers, one after another; the latter are (x + Dense(Dense(x)))/√2."""
    for layer in layers.children():
        if isinstance(layer, Residual):
            x = (x + dense(layer.second, dense(layer.first, x))) / math.sqrt(2)
        else:
            assert isinstance(layer, Dense)
            x = dense(layer, x)
    return x


def scaled(scale: ScaleFactor, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """x times the fitted number, where 0 stands for not fitted."""
    return x * scale.factor if scale.fitted else x


def project(
    projection: RadialAngularProjection, radial: Float[Tensor, "edges radial"]
) -> Float[Tensor, "edges size angular"]:
    """B[e, k, l] = Σ_n rad[e, n] W[n, k, l]."""
    return torch.einsum("en,nkl->ekl", radial, projection.weight)


def message(
    module: Message, x: Float[Tensor, "rows in"], radial: Float[Tensor, "rows radial"]
) -> Float[Tensor, "rows down"]:
    """Dense_down(scale · (x ⊙ lin(rad))), x being Dense(embedding) already."""
    return dense(module.down, scaled(module.scale, x * (radial @ module.radial.weight.T)))


def contract(
    module: Contraction, projection: Float[Tensor, "rows size angular"], sums: Float[Tensor, "rows angular down"]
) -> Float[Tensor, "rows up"]:
    """scale · lin(flatten_kf Σ_l B[r, k, l] S[r, l, f])."""
    return linear_of_flattened(module, torch.einsum("rkl,rlf->rkf", projection, sums))


def linear_of_flattened(module: Contraction, x: Float[Tensor, "rows size down"]) -> Float[Tensor, "rows up"]:
    """scale · lin(flatten(x)), with k outside and f inside."""
    columns = [x[:, k, f] for k in range(x.shape[1]) for f in range(x.shape[2])]
    return scaled(module.scale, torch.stack(columns, dim=1) @ module.linear.weight.T)


def to_both_directions(
    module: SymmetricUp, x: Float[Tensor, "edges in"], edges: Sequence[Edge]
) -> Float[Tensor, "edges out"]:
    """(Dense₁(x) + Dense₂(x)[reverse])/√2."""
    return (dense(module.same, x) + dense(module.opposite, x)[reverse(edges)]) / math.sqrt(2)


# -- interactions -----------------------------------------------------------------------------------------------------


def sum_over_triplets(
    module: TripletSum, graphs: Graphs, x: Float[Tensor, "inner_edges down"]
) -> Float[Tensor, "outer_edges angular down"]:
    """S[c→a, l, f] = Σ_b cir_l(φ_cab) x[b→a, f] with cos φ_cab = u_ca · u_ba."""
    outer, inner = graphs.edge_sets[module.request.outer], graphs.edge_sets[module.request.inner]
    zeros = x.new_zeros(outer.count, module.projection.weight.shape[2], x.shape[1])
    sums = list(zeros)
    for ca, ba in triplets(edges_of(outer), edges_of(inner)):
        circular = module.circular(outer.direction[ca] @ inner.direction[ba])
        sums[ca] = sums[ca] + torch.outer(circular, x[ba])
    return _stacked(sums, zeros)


def triplet(
    block: TripletInteraction,
    shared: SharedTripletGeometry,
    embeddings: Embeddings,
    graphs: Graphs,
    radial: RadialValues,
) -> Float[Tensor, "edges edge_size"]:
    """The triplet interaction, edges to edges.

    x = Dense_down(scale · (Dense(m) ⊙ lin(rad))), S[c→a, l] = Σ_b cir_l(φ_cab) x_ba,
    z = scale · lin(flatten Σ_l B[c→a, k, l] S[c→a, l]), result = (Dense₁(z) + Dense₂(z)[reverse])/√2.
    """
    x = message(block.message, dense(block.message.dense, embeddings.edges), _linear(shared.radial, radial, "main"))
    sums = sum_over_triplets(shared.triplet_sum, graphs, x)
    z = contract(block.contraction, project(shared.triplet_sum.projection, radial.angular["main"]), sums)
    return to_both_directions(block.up, z, edges_of(graphs.main.edges))


def atom_edge(
    block: AtomEdgeInteraction,
    shared: SharedAtomEdgeGeometry,
    embeddings: Embeddings,
    graphs: Graphs,
    radial: RadialValues,
) -> Float[Tensor, "edges edge_size"]:
    """The atom–edge interaction, atoms to edges: as `triplet`, from Dense(h)_b on an edge set of its own."""
    atoms_b = dense(block.message.dense, embeddings.atoms)[graphs.edge_sets[shared.graph].source]
    x = message(block.message, atoms_b, _linear(shared.radial, radial, shared.graph))
    sums = sum_over_triplets(shared.triplet_sum, graphs, x)
    z = contract(block.contraction, project(shared.triplet_sum.projection, radial.angular["main"]), sums)
    return to_both_directions(block.up, z, edges_of(graphs.main.edges))


def edge_atom(
    block: EdgeAtomInteraction,
    shared: SharedEdgeAtomGeometry,
    embeddings: Embeddings,
    graphs: Graphs,
    radial: RadialValues,
) -> Float[Tensor, "atoms atom_size"]:
    """The edge–atom interaction, edges to atoms.

    x as in `triplet`, z_a = scale · lin(flatten Σ_{c→a} Σ_l B[c→a, k, l] Σ_b cir_l(φ_cab) x_ba), result = Dense(z_a).
    """
    x = message(block.message, dense(block.message.dense, embeddings.edges), _linear(shared.radial, radial, "main"))
    sums = sum_over_triplets(shared.triplet_sum, graphs, x)
    projection = project(shared.triplet_sum.projection, radial.angular[shared.graph])
    zeros = x.new_zeros(len(embeddings.atoms), projection.shape[1], x.shape[1])
    per_atom = list(zeros)
    for i, ca in enumerate(edges_of(graphs.edge_sets[shared.graph])):
        per_atom[ca.target] = per_atom[ca.target] + projection[i] @ sums[i]
    return dense(block.up, linear_of_flattened(block.contraction, _stacked(per_atom, zeros)))


def atom_atom(
    block: AtomAtomInteraction,
    shared: SharedAtomAtomGeometry,
    embeddings: Embeddings,
    graphs: Graphs,
    radial: RadialValues,
) -> Float[Tensor, "atoms atom_size"]:
    """The atom–atom interaction: x = Dense(h), z_a = scale · lin(flatten Σ_{b→a} R[b→a, k] x_b), Dense(z_a)."""
    x = dense(block.down, embeddings.atoms)
    projected = _linear(shared.radial, radial, shared.graph)
    zeros = x.new_zeros(len(x), projected.shape[1], x.shape[1])
    per_atom = list(zeros)
    for i, ba in enumerate(edges_of(graphs.edge_sets[shared.graph])):
        per_atom[ba.target] = per_atom[ba.target] + torch.outer(projected[i], x[ba.source])
    return dense(block.up, linear_of_flattened(block.contraction, _stacked(per_atom, zeros)))


def quadruplet(
    block: QuadrupletInteraction,
    shared: SharedQuadrupletGeometry,
    embeddings: Embeddings,
    graphs: Graphs,
    radial: RadialValues,
) -> Float[Tensor, "edges edge_size"]:
    """The quadruplet interaction, edges to edges.

    x as in `triplet`, y_dba = scale · (x_db ⊙ lin(Σ_l B_cir[b→a, :, l] cir_l(φ_abd))),
    S[c→a, i] = Σ_{b, d} sph_i(φ_cab, θ_cabd) y_dba, z = scale · lin(flatten Σ_i B_sph[c→a, k, i] S[c→a, i]),
    result = (Dense₁(z) + Dense₂(z)[reverse])/√2.
    """
    main, middle = graphs.main.edges, graphs.edge_sets[shared.graph]
    edges = edges_of(main)
    x = message(block.message, dense(block.message.dense, embeddings.edges), _linear(shared.radial, radial, "main"))
    of_middle = project(shared.circular_projection, radial.angular[shared.graph])
    of_outer = project(shared.spherical_projection, radial.angular["main"])
    zeros = x.new_zeros(len(edges), of_outer.shape[2], x.shape[1])
    sums = list(zeros)
    for ca, ba, db in quadruplets(edges, edges_of(middle)):
        phi_abd, phi_cab, theta = angles(main.direction[ca], middle.direction[ba], main.direction[db])
        circular = of_middle[ba] @ shared.circular(phi_abd)
        y = scaled(block.circular_scale, x[db] * (block.circular.weight @ circular))
        sums[ca] = sums[ca] + torch.outer(shared.spherical(phi_cab, theta.cos(), theta.sin()), y)
    z = contract(block.contraction, of_outer, _stacked(sums, zeros))
    return to_both_directions(block.up, z, edges)


# -- reading out ------------------------------------------------------------------------------------------------------


def atom_update(
    module: AtomUpdate, m: Float[Tensor, "edges edge_size"], radial: Float[Tensor, "edges radial"], edges: EdgeSet
) -> Float[Tensor, "atoms atom_size"]:
    """g_a = layers(scale · Σ_{c→a} m_ca ⊙ lin(rad_ca))."""
    terms = m * (radial @ module.radial.weight.T)
    zeros = m.new_zeros(edges.atom_count, m.shape[1])
    per_atom = list(zeros)
    for i, ca in enumerate(edges_of(edges)):
        per_atom[ca.target] = per_atom[ca.target] + terms[i]
    return through(module.layers, scaled(module.scale, _stacked(per_atom, zeros)))


def output_block(
    module: ConcatenatedOutputBlock, embeddings: Embeddings, radial: Float[Tensor, "edges radial"], edges: EdgeSet
) -> Output:
    """x_a as `atom_update`, then layers((x_a + h_a)/√2) where there are any; x_ca = scale · (layers(m) ⊙ lin(rad))."""
    x = atom_update(module.update, embeddings.edges, radial, edges)
    if module.after_atom is not None:
        x = through(module.after_atom, (x + embeddings.atoms) / math.sqrt(2))
    if module.edge_layers is None:
        return Output(x, None)
    y = through(module.edge_layers, embeddings.edges)
    return Output(x, scaled(module.edge_scale, y * (radial @ module.edge_radial.weight.T)))


def energy(
    atoms: Float[Tensor, " atoms"], structure: Int[Tensor, " atoms"], count: int, reduce: Literal["sum", "mean"]
) -> Float[Tensor, " structures"]:
    """E_s = Σ_a e_a over the atoms of each of `count` structures, or their mean; 0 without atoms."""
    zeros = atoms.new_zeros(count)
    energies = list(zeros)
    for s in range(count):
        own = [atoms[a] for a, of_atom in enumerate(structure.tolist()) if of_atom == s]
        energies[s] = sum(own, energies[s])
        if reduce == "mean" and own:
            energies[s] = energies[s] / len(own)
    return _stacked(energies, zeros)


def direct_forces(magnitude: Float[Tensor, " edges"], main: SymmetricEdges, coupled: bool) -> Float[Tensor, "atoms 3"]:
    """F_a = Σ_{c→a} f_ca u_ca; `coupled`: with the average of f over both directions of an edge."""
    edges = edges_of(main.edges)
    zeros = magnitude.new_zeros(main.edges.atom_count, 3)
    forces = list(zeros)
    for i, (ca, opposite) in enumerate(zip(edges, reverse(edges), strict=True)):
        f = (magnitude[i] + magnitude[opposite]) / 2 if coupled else magnitude[i]
        forces[ca.target] = forces[ca.target] + f * main.edges.direction[i]
    return _stacked(forces, zeros)


def _linear(layer: nn.Linear, radial: RadialValues, edge_set: str) -> Float[Tensor, "edges radial_size"]:
    """The projected radial functions of an edge set."""
    return radial.radial[edge_set] @ layer.weight.T


def _stacked(rows: list[Tensor], zeros: Tensor) -> Tensor:
    """One tensor of all rows; `zeros` has its shape, for the case that there are none."""
    return torch.stack(rows) if rows else zeros
