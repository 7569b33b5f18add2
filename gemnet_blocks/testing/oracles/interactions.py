"""Reference definitions of interactions, one triplet or quadruplet at a time.

Notation of GemNet-OC (arXiv 2204.02782): c→a is the receiving edge, b→a another edge into a, d→b an edge into b, and u
the unit vector from source to target.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.interactions.atom_atom import AtomAtomInteraction, SharedAtomAtomGeometry
from gemnet_blocks.interactions.interaction import Embeddings
from gemnet_blocks.interactions.message import SymmetricUp
from gemnet_blocks.interactions.quadruplet import QuadrupletInteraction, SharedQuadrupletGeometry
from gemnet_blocks.interactions.senders import EmbeddedSenders
from gemnet_blocks.interactions.triplet import (
    AtomEdgeInteraction,
    EdgeAtomInteraction,
    SharedTripletGeometry,
    TripletInteraction,
    TripletSum,
)
from gemnet_blocks.layers.dense import Dense
from gemnet_blocks.layers.radial_bases import RadialValues
from gemnet_blocks.testing.oracles.bases import angles, circular_functions, spherical_functions
from gemnet_blocks.testing.oracles.graphs import edges_of, quadruplets, triplets
from gemnet_blocks.testing.oracles.layers import (
    contract,
    dense,
    edge_embedding,
    linear_of_flattened,
    message,
    project,
    scaled,
    stacked,
    summed,
    to_both_directions,
)


def sum_over_triplets(
    module: TripletSum, graphs: Graphs, x: Float[Tensor, "inner_edges down"]
) -> Float[Tensor, "outer_edges angular down"]:
    """Compute S[c→a, l, f] = Σ_b cir_l(φ_cab) x[b→a, f] with cos φ_cab = u_ca · u_ba."""
    outer, inner = graphs.edge_sets[module.request.outer], graphs.edge_sets[module.request.inner]
    zeros = x.new_zeros(outer.count, module.projection.weight.shape[2], x.shape[1])

    def term(ca: int, ba: int) -> Tensor:
        return torch.outer(circular_functions(module.circular, outer.direction[ca] @ inner.direction[ba]), x[ba])

    return summed(((ca, term(ca, ba)) for ca, ba in triplets(edges_of(outer), edges_of(inner))), zeros)


def triplet(
    block: TripletInteraction,
    shared: SharedTripletGeometry,
    embeddings: Embeddings,
    graphs: Graphs,
    radial: RadialValues,
) -> Float[Tensor, "edges edge_size"]:
    """Compute the triplet interaction, edges to edges.

    x = Dense_down(scale · (Dense(m) ⊙ lin(rad))), S[c→a, l] = Σ_b cir_l(φ_cab) x_ba,
    z = scale · lin(flatten Σ_l B[c→a, k, l] S[c→a, l]), result = (Dense₁(z) + Dense₂(z)[reverse])/√2.
    """
    return _triplet_message(block, shared, _sent(block, shared, embeddings, graphs, radial), graphs, radial)


def atom_edge(
    block: AtomEdgeInteraction,
    shared: SharedTripletGeometry,
    embeddings: Embeddings,
    graphs: Graphs,
    radial: RadialValues,
) -> Float[Tensor, "edges edge_size"]:
    """Compute the atom–edge interaction, atoms to edges: `triplet` with Dense(h)_b and another edge set."""
    atoms_b = dense(block.message.dense, embeddings.atoms)[graphs.edge_sets[shared.inner].source]
    x = message(block.message, atoms_b, _linear(shared.radial, radial, shared.inner))
    return _triplet_message(block, shared, x, graphs, radial)


def _sent(
    block: TripletInteraction | EdgeAtomInteraction,
    shared: SharedTripletGeometry,
    embeddings: Embeddings,
    graphs: Graphs,
    radial: RadialValues,
) -> Float[Tensor, "inner_edges down"]:
    """Compute the message x_ba of every edge b→a of the edge set that sends.

    The edges have the embeddings m of the main edges; or Dense([h_b, h_a, rad]) if they reach farther. Edges that are
    not main edges then send nothing, and the others fade out with the main edges.
    """
    inner, main = graphs.edge_sets[shared.inner], graphs.main.edges
    functions, m = radial.radial[shared.inner], embeddings.edges
    if isinstance(block.senders, EmbeddedSenders):
        m = edge_embedding(block.senders.embedding, embeddings.atoms, functions, inner)
    elif shared.inner != "main":
        place = {edge: index for index, edge in enumerate(edges_of(main))}
        weights = m.new_ones(len(m)) if main.weight is None else main.weight
        found = [place.get(edge) for edge in edges_of(inner)]
        m = stacked([m.new_zeros(m.shape[1]) if index is None else m[index] for index in found], m[:0])
        functions = stacked(
            [row * 0 if index is None else row * weights[index] for row, index in zip(functions, found, strict=True)],
            functions[:0],
        )
    return message(block.message, dense(block.message.dense, m), functions @ shared.radial.weight.T)


def _triplet_message(
    block: TripletInteraction | AtomEdgeInteraction,
    shared: SharedTripletGeometry,
    x: Float[Tensor, "inner_edges down"],
    graphs: Graphs,
    radial: RadialValues,
) -> Float[Tensor, "edges edge_size"]:
    sums = sum_over_triplets(shared.triplet_sum, graphs, x)
    z = contract(block.contraction, project(shared.triplet_sum.projection, radial.angular["main"]), sums)
    assert isinstance(block.up, SymmetricUp)
    return to_both_directions(block.up, z, edges_of(graphs.main.edges))


def edge_atom(
    block: EdgeAtomInteraction,
    shared: SharedTripletGeometry,
    embeddings: Embeddings,
    graphs: Graphs,
    radial: RadialValues,
) -> Float[Tensor, "atoms atom_size"]:
    """Compute the edge–atom interaction, edges to atoms.

    With x of `triplet`, z_a = scale · lin(flatten Σ_{c→a} Σ_l B[c→a, k, l] Σ_b cir_l(φ_cab) x_ba), result = Dense(z_a).
    """
    x = _sent(block, shared, embeddings, graphs, radial)
    sums = sum_over_triplets(shared.triplet_sum, graphs, x)
    outer = shared.triplet_sum.request.outer
    projection = project(shared.triplet_sum.projection, radial.angular[outer])
    zeros = x.new_zeros(len(embeddings.atoms), projection.shape[1], x.shape[1])
    terms = ((ca.target, projection[i] @ sums[i]) for i, ca in enumerate(edges_of(graphs.edge_sets[outer])))
    assert isinstance(block.up, Dense)
    return dense(block.up, linear_of_flattened(block.contraction, summed(terms, zeros)))


def atom_atom(
    block: AtomAtomInteraction,
    shared: SharedAtomAtomGeometry,
    embeddings: Embeddings,
    graphs: Graphs,
    radial: RadialValues,
) -> Float[Tensor, "atoms atom_size"]:
    """Compute the atom–atom interaction Dense(z_a), z_a = scale · lin(flatten Σ_{b→a} R[b→a, k] x_b), x = Dense(h)."""
    x = dense(block.down, embeddings.atoms)
    projected = _linear(shared.radial, radial, shared.graph)
    zeros = x.new_zeros(len(x), projected.shape[1], x.shape[1])
    edges = edges_of(graphs.edge_sets[shared.graph])
    terms = ((ba.target, torch.outer(projected[i], x[ba.source])) for i, ba in enumerate(edges))
    return dense(block.up, linear_of_flattened(block.contraction, summed(terms, zeros)))


def quadruplet(
    block: QuadrupletInteraction,
    shared: SharedQuadrupletGeometry,
    embeddings: Embeddings,
    graphs: Graphs,
    radial: RadialValues,
) -> Float[Tensor, "edges edge_size"]:
    """Compute the quadruplet interaction, edges to edges.

    With x of `triplet`, y_dba = scale · (x_db ⊙ lin(Σ_l B_cir[b→a, :, l] cir_l(φ_abd))),
    S[c→a, i] = Σ_{b, d} sph_i(φ_cab, θ_cabd) y_dba, z = scale · lin(flatten Σ_i B_sph[c→a, k, i] S[c→a, i]),
    result = (Dense₁(z) + Dense₂(z)[reverse])/√2.
    """
    main, middle = graphs.main.edges, graphs.edge_sets[shared.graph]
    edges = edges_of(main)
    x = message(block.message, dense(block.message.dense, embeddings.edges), _linear(shared.radial, radial, "main"))
    of_middle = project(shared.circular_projection, radial.angular[shared.graph])
    of_outer = project(shared.spherical_projection, radial.angular["main"])
    zeros = x.new_zeros(len(edges), of_outer.shape[2], x.shape[1])

    def term(ca: int, ba: int, db: int) -> Tensor:
        found = angles(main.direction[ca], middle.direction[ba], main.direction[db], shared.collinear)
        circular = of_middle[ba] @ circular_functions(shared.circular, found.cos_at_source)
        y = scaled(block.circular_scale, x[db] * (block.circular.weight @ circular))
        return torch.outer(spherical_functions(shared.spherical, found.cos_at_target, found.azimuth), y)

    sums = summed(((one.outer, term(*one)) for one in quadruplets(edges, edges_of(middle))), zeros)
    z = contract(block.contraction, of_outer, sums)
    return to_both_directions(block.up, z, edges)


def interaction(
    block: nn.Module, shared: nn.Module, embeddings: Embeddings, graphs: Graphs, radial: RadialValues
) -> Float[Tensor, "rows size"]:
    """Compute a built-in interaction of any type.

    Raises:
        TypeError: the interaction is not built in.
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
    raise TypeError(f"oracles do not define the interaction {type(block).__name__} with {type(shared).__name__}")


def _linear(layer: nn.Linear, radial: RadialValues, edge_set: str) -> Float[Tensor, "edges radial_size"]:
    return radial.radial[edge_set] @ layer.weight.T
