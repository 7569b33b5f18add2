"""Reference definitions of embeddings, interaction blocks, output blocks, readout and heads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from ase.data import covalent_radii
from jaxtyping import Float, Int
from torch import Tensor, nn

from gemnet_blocks.geometry.edges import EdgeSet, SymmetricEdges
from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.interactions.interaction import Embeddings, Interaction
from gemnet_blocks.layers.embeddings import AtomEmbedding, ElementEmbedding, PeriodicTableEmbedding
from gemnet_blocks.layers.radial_bases import RadialValues
from gemnet_blocks.model.block import AtomUpdate, Block
from gemnet_blocks.model.geometry_encoder import GeometryEncoder
from gemnet_blocks.model.product_readout import ProductOutputBlock, SummedProductReadout
from gemnet_blocks.model.readout import (
    ConcatenatedOutputBlock,
    ConcatenatedReadout,
    Contributions,
    Output,
    OutputNetwork,
    SummedOutputBlock,
    SummedReadout,
)
from gemnet_blocks.model.short_range import Zbl
from gemnet_blocks.testing.oracles.bases import polynomial_envelope
from gemnet_blocks.testing.oracles.graphs import edges_of, reverse
from gemnet_blocks.testing.oracles.interactions import interaction
from gemnet_blocks.testing.oracles.layers import dense, edge_embedding, scaled, stacked, summed, through


def atom_update(
    module: AtomUpdate, m: Float[Tensor, "edges edge_size"], radial: Float[Tensor, "edges radial"], edges: EdgeSet
) -> Float[Tensor, "atoms atom_size"]:
    """Compute g_a = layers(scale · Σ_{c→a} m_ca ⊙ lin(rad_ca))."""
    terms = m * (radial @ module.radial.weight.T)
    zeros = m.new_zeros(edges.atom_count, m.shape[1])
    per_atom = summed(zip(edges.target.tolist(), terms, strict=True), zeros)
    return through(module.layers, scaled(module.scale, per_atom))


def output_block(
    module: nn.Module, embeddings: Embeddings, radial: Float[Tensor, "edges radial"], edges: EdgeSet
) -> Output:
    """Compute x_a by `atom_update`, then layers((x_a + h_a)/√2) if present, and x_ca = scale · (layers(m) ⊙ lin(rad)).

    Summed output blocks return lin(x_a) and lin(x_ca); those with one product, x_ca = layers(scale · (m ⊙ lin(rad))).

    Raises:
        TypeError: the output block is not built in.
    """
    if isinstance(module, SummedOutputBlock):
        found = output_block(module.features, embeddings, radial, edges)
        atoms = found.atoms @ module.atoms.linear.weight.T
        if found.edges is None or module.edges is None:
            return Output(atoms, None)
        return Output(atoms, found.edges @ module.edges.linear.weight.T)
    if isinstance(module, ProductOutputBlock):
        product = scaled(module.edge_scale, embeddings.edges * (radial @ module.update.radial.weight.T))
        return Output(atom_update(module.update, embeddings.edges, radial, edges), through(module.edge_layers, product))
    if not isinstance(module, ConcatenatedOutputBlock):
        raise TypeError(f"oracles do not define the output block {type(module).__name__}")
    x = atom_update(module.update, embeddings.edges, radial, edges)
    if module.after_atom is not None:
        x = through(module.after_atom, (x + embeddings.atoms) / math.sqrt(2))
    if module.edge_layers is None:
        return Output(x, None)
    y = through(module.edge_layers, embeddings.edges)
    return Output(x, scaled(module.edge_scale, y * (radial @ module.edge_radial.weight.T)))


def output_network(
    network: OutputNetwork, features: Sequence[Float[Tensor, "rows features"]]
) -> Float[Tensor, " rows"]:
    """Compute lin(layers([x_0, x_1, …])), one number per row."""
    return through(network.layers, torch.cat(list(features), dim=1)) @ network.last.linear.weight[0]


def read_out(module: nn.Module, outputs: Sequence[Output]) -> Contributions:
    """Compute one number per atom and, for direct forces, per edge from all output blocks.

    Raises:
        TypeError: the readout is not built in.
    """
    if isinstance(module, SummedReadout | SummedProductReadout):
        total = outputs[0]
        for one in outputs[1:]:
            edges = None if total.edges is None or one.edges is None else total.edges + one.edges
            total = Output(total.atoms + one.atoms, edges)
        return Contributions(total.atoms[:, 0], None if total.edges is None else total.edges[:, 0])
    if not isinstance(module, ConcatenatedReadout):
        raise TypeError(f"oracles do not define the readout {type(module).__name__}")
    atoms = output_network(module.atoms, [output.atoms for output in outputs])
    of_edges = [output.edges for output in outputs if output.edges is not None]
    return Contributions(atoms, None if module.edges is None else output_network(module.edges, of_edges))


def energy(
    atoms: Float[Tensor, " atoms"], structure: Int[Tensor, " atoms"], count: int, reduce: Literal["sum", "mean"]
) -> Float[Tensor, " structures"]:
    """Compute E_s = Σ_a e_a over the atoms of each structure, or their mean; 0 without atoms."""
    zeros = atoms.new_zeros(count)
    total = summed(zip(structure.tolist(), atoms, strict=True), zeros)
    if reduce == "sum":
        return total
    return total / torch.bincount(structure, minlength=count).clamp(min=1)


def repulsion(module: Zbl, edges: EdgeSet, numbers: Int[Tensor, " atoms"]) -> Float[Tensor, " atoms"]:
    """Compute e_a = Σ_{c→a} w_ca u(d/R) (e²/4πε₀) Z_c Z_a φ(d/a) / 2s, with d² + (0.01 Å)² for d².

    R = r_c + r_a, with 0.8 times the covalent radius, or that of hydrogen, in whole picometers.
    """
    terms = []
    for c, a, distance in zip(edges.source.tolist(), edges.target.tolist(), edges.distance, strict=True):
        d = (distance**2 + 0.01**2).sqrt()
        z_c, z_a = int(numbers[c]), int(numbers[a])
        x = d * (z_c**0.23 + z_a**0.23) / 0.46850
        phi = 0.18175 * (-3.19980 * x).exp() + 0.50986 * (-0.94229 * x).exp()
        phi = phi + 0.28022 * (-0.40290 * x).exp() + 0.02817 * (-0.20162 * x).exp()
        reach = min(sum(round(covalent_radii[z] * (1 if z == 1 else 0.8), 2) for z in (z_c, z_a)), module.cutoff)
        terms.append(14.399645 * z_c * z_a / d * phi * polynomial_envelope(distance / reach, 6) / 2)
    if edges.weight is not None:
        terms = [weight * term for weight, term in zip(edges.weight, terms, strict=True)]
    zeros = edges.distance.new_zeros(edges.atom_count)
    return summed(zip(edges.target.tolist(), terms, strict=True), zeros) / float(module.scale)


def direct_forces(magnitude: Float[Tensor, " edges"], main: SymmetricEdges, coupled: bool) -> Float[Tensor, "atoms 3"]:
    """Compute F_a = Σ_{c→a} f_ca u_ca; if `coupled`, f is averaged over both directions of an edge."""
    if coupled:
        magnitude = (magnitude + magnitude[reverse(edges_of(main.edges))]) / 2
    terms = magnitude[:, None] * main.edges.direction
    zeros = magnitude.new_zeros(main.edges.atom_count, 3)
    return summed(zip(main.edges.target.tolist(), terms, strict=True), zeros)


def atom_embedding(module: AtomEmbedding, numbers: Int[Tensor, " atoms"]) -> Float[Tensor, "atoms size"]:
    """Look up h_a = table[Z_a], or rows[r(Z_a)] + columns[c(Z_a)]; hydrogen has the first row of each table."""
    if isinstance(module, ElementEmbedding):
        table = module.table.weight
        rows = [table[number - 1] for number in numbers.tolist()]
    else:
        assert isinstance(module, PeriodicTableEmbedding)
        table = module.rows.weight
        rows = []
        for number in numbers.tolist():
            row, column = periodic_place(number)
            rows.append(table[row] + module.columns.weight[column])
    return stacked(rows, table.new_zeros(0, table.shape[1]))


def periodic_place(number: int) -> tuple[int, int]:
    """Find the row and column of an element by walking through a periodic table with 32 columns."""
    row, column = 0, 0
    for _ in range(1, number):
        if column == 31:
            row, column = row + 1, 0
        elif column == (0 if row == 0 else 1) and row < 5:  # gaps of the shorter rows
            column = 31 if row == 0 else 26 if row < 3 else 16
        else:
            column += 1
    return row, column


def block(
    module: Block, geometry: GeometryEncoder, embeddings: Embeddings, graphs: Graphs, radial: RadialValues
) -> Embeddings:
    """Compute one interaction block: messages, residual layers, the atom update and the concatenation layer.

    x = (Dense(m) + Σ messages to edges)/√n, h ← (h + Σ messages to atoms)/√n for n terms each; m ← after((m +
    before(x))/√2); h ← (layers(h) + update(m))/√2; m ← (m + layers(Dense([h_s, h_t, m])))/√2. Without an atom update,
    h ← layers(h); without a concatenation, m stays. The divisors of the spec replace √n and √2.
    """
    h, m, edges = embeddings.atoms, embeddings.edges, graphs.main.edges
    assert module.dense is not None
    assert geometry.update_radial is not None
    to_edges, to_atoms = [dense(module.dense, m)], [h]
    for name, part in module.interactions.items():
        read = radial.named(geometry.own[name]) if name in geometry.own else radial
        written = interaction(part, geometry.interactions[name], embeddings, graphs, read)
        assert isinstance(part, Interaction)
        (to_edges if part.writes == "edges" else to_atoms).append(written)
    given, root = module.divisors, math.sqrt(2)
    x = torch.stack(to_edges).sum(dim=0) / (given.edges or math.sqrt(len(to_edges)))
    h = torch.stack(to_atoms).sum(dim=0) / (given.atoms or math.sqrt(len(to_atoms)))
    m = through(module.after_skip, (m + through(module.before_skip, x)) / (given.skip or root))
    h = through(module.atom_layers, h)
    if module.update is not None:
        update_radial = radial.radial["main"] @ geometry.update_radial.weight.T
        h = (h + atom_update(module.update, m, update_radial, edges)) / (given.update or root)
    if module.concatenation is not None and module.concatenation_layers is not None:
        concatenated = through(module.concatenation_layers, edge_embedding(module.concatenation, h, m, edges))
        m = (m + concatenated) / (given.concatenation or root)
    return Embeddings(h, m)
