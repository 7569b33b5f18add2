"""Interactions, one triplet or quadruplet at a time.

Letters as in the papers (GemNet-OC, arXiv 2204.02782): c→a is the edge that hears, b→a another edge into a, d→b an edge
into b. u is the unit vector from source to target.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.interactions.atom_atom import AtomAtomInteraction, SharedAtomAtomGeometry
from gemnet_blocks.interactions.interaction import Embeddings
from gemnet_blocks.interactions.quadruplet import QuadrupletInteraction, SharedQuadrupletGeometry
from gemnet_blocks.interactions.triplet import (
    AtomEdgeInteraction,
    EdgeAtomInteraction,
    SharedTripletGeometry,
    TripletInteraction,
    TripletSum,
)
from gemnet_blocks.layers.projection import RadialValues
from gemnet_blocks.testing.oracles.bases import circular_functions, spherical_functions
from gemnet_blocks.testing.oracles.dihedrals import angles
from gemnet_blocks.testing.oracles.graphs import edges_of, quadruplets, triplets
from gemnet_blocks.testing.oracles.layers import (
    contract,
    dense,
    linear_of_flattened,
    message,
    project,
    scaled,
    stacked,
    to_both_directions,
)


def sum_over_triplets(
    module: TripletSum, graphs: Graphs, x: Float[Tensor, "inner_edges down"]
) -> Float[Tensor, "outer_edges angular down"]:
    """S[c→a, l, f] = Σ_b cir_l(φ_cab) x[b→a, f] with cos φ_cab = u_ca · u_ba."""
    outer, inner = graphs.edge_sets[module.request.outer], graphs.edge_sets[module.request.inner]
    zeros = x.new_zeros(outer.count, module.projection.weight.shape[2], x.shape[1])
    sums = list(zeros)
    for ca, ba in triplets(edges_of(outer), edges_of(inner)):
        circular = circular_functions(module.circular, outer.direction[ca] @ inner.direction[ba])
        sums[ca] = sums[ca] + torch.outer(circular, x[ba])
    return stacked(sums, zeros)


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
    shared: SharedTripletGeometry,
    embeddings: Embeddings,
    graphs: Graphs,
    radial: RadialValues,
) -> Float[Tensor, "edges edge_size"]:
    """The atom–edge interaction, atoms to edges: as `triplet`, from Dense(h)_b on an edge set of its own."""
    atoms_b = dense(block.message.dense, embeddings.atoms)[graphs.edge_sets[shared.inner].source]
    x = message(block.message, atoms_b, _linear(shared.radial, radial, shared.inner))
    sums = sum_over_triplets(shared.triplet_sum, graphs, x)
    z = contract(block.contraction, project(shared.triplet_sum.projection, radial.angular["main"]), sums)
    return to_both_directions(block.up, z, edges_of(graphs.main.edges))


def edge_atom(
    block: EdgeAtomInteraction,
    shared: SharedTripletGeometry,
    embeddings: Embeddings,
    graphs: Graphs,
    radial: RadialValues,
) -> Float[Tensor, "atoms atom_size"]:
    """The edge–atom interaction, edges to atoms.

    x as in `triplet`, z_a = scale · lin(flatten Σ_{c→a} Σ_l B[c→a, k, l] Σ_b cir_l(φ_cab) x_ba), result = Dense(z_a).
    """
    x = message(block.message, dense(block.message.dense, embeddings.edges), _linear(shared.radial, radial, "main"))
    sums = sum_over_triplets(shared.triplet_sum, graphs, x)
    outer = shared.triplet_sum.request.outer
    projection = project(shared.triplet_sum.projection, radial.angular[outer])
    zeros = x.new_zeros(len(embeddings.atoms), projection.shape[1], x.shape[1])
    per_atom = list(zeros)
    for i, ca in enumerate(edges_of(graphs.edge_sets[outer])):
        per_atom[ca.target] = per_atom[ca.target] + projection[i] @ sums[i]
    return dense(block.up, linear_of_flattened(block.contraction, stacked(per_atom, zeros)))


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
    return dense(block.up, linear_of_flattened(block.contraction, stacked(per_atom, zeros)))


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
        of_bd = angles(main.direction[ca], middle.direction[ba], main.direction[db], shared.collinear)
        circular = of_middle[ba] @ circular_functions(shared.circular, of_bd.cos_at_source)
        y = scaled(block.circular_scale, x[db] * (block.circular.weight @ circular))
        spherical = spherical_functions(shared.spherical, of_bd.cos_at_target, of_bd.azimuth)
        sums[ca] = sums[ca] + torch.outer(spherical, y)
    z = contract(block.contraction, of_outer, stacked(sums, zeros))
    return to_both_directions(block.up, z, edges)


def interaction(
    block: nn.Module, shared: nn.Module, embeddings: Embeddings, graphs: Graphs, radial: RadialValues
) -> Float[Tensor, "rows size"]:
    """Any interaction that is built in.

    Raises:
        TypeError: it is another one.
    """
    if isinstance(block, TripletInteraction) and isinstance(shared, SharedTripletGeometry):
        return triplet(block, shared, embeddings, graphs, radial)
    if isinstance(block, QuadrupletInteraction) and isinstance(shared, SharedQuadrupletGeometry):
        return quadruplet(block, shared, embeddings, graphs, radial)
    if isinstance(block, AtomEdgeInteraction) and isinstance(shared, SharedTripletGeometry):
        return atom_edge(block, shared, embeddings, graphs, radial)
    if isinstance(block, EdgeAtomInteraction) and isinstance(shared, SharedTripletGeometry):
        return edge_atom(block, shared, embeddings, graphs, radial)
    if isinstance(block, AtomAtomInteraction) and isinstance(shared, SharedAtomAtomGeometry):
        return atom_atom(block, shared, embeddings, graphs, radial)
    raise TypeError(f"no oracle knows the interaction {type(block).__name__} with {type(shared).__name__}: write one")


def _linear(layer: nn.Linear, radial: RadialValues, edge_set: str) -> Float[Tensor, "edges radial_size"]:
    """The projected radial functions of an edge set."""
    return radial.radial[edge_set] @ layer.weight.T
