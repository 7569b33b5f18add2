"""Interaction block: all interactions, residual layers, the atom update and the concatenation layer."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, final

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.geometry.edges import EdgeSet
from gemnet_blocks.interactions.interaction import Embeddings, Interaction, Sizes
from gemnet_blocks.layers.activations import Activation
from gemnet_blocks.layers.dense import Dense, linear, skip
from gemnet_blocks.layers.embeddings import EdgeEmbedding
from gemnet_blocks.layers.residual import residuals
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.model.geometry_encoder import Geometry
from gemnet_blocks.model.streams import Combination, StreamLayer, combined, usual_divisor
from gemnet_blocks.options import Count, Options, Size
from gemnet_blocks.util.recompute import STORED, Evaluation

Projection = Literal["if_needed", "always"]
"""always: a stack of layers starts with a dense layer; if_needed: only if the width changes."""


def stack(
    in_size: int, size: int, residual_count: int, activation: Activation, projection: Projection
) -> nn.Sequential:
    """Make a dense layer to `size`, if needed, followed by residual layers."""
    layers = residuals(residual_count, size, activation)
    if in_size != size or projection == "always":
        layers.insert(0, Dense(in_size, size, activation))
    return layers


@final
class AtomUpdate(nn.Module):
    """The atom update, g_a = layers(scale · Σ_{c→a} m_ca ⊙ lin(rad_ca)).

    Args:
        edge_size: features of edge embeddings.
        atom_size: features of atom embeddings.
        radial_size: features of projected radial functions.
        residual_count: the number of residual layers.
        sums: how sums are computed.
        activation: the activation of the layers.
        projection: always: start with a dense layer; if_needed: only if edge_size ≠ atom_size.
    """

    def __init__(
        self,
        edge_size: int,
        atom_size: int,
        radial_size: int,
        residual_count: int,
        sums: Sums,
        activation: Activation = "silu",
        projection: Projection = "if_needed",
    ) -> None:
        super().__init__()
        self.radial = linear(radial_size, edge_size)
        self.scale = ScaleFactor()
        self.layers = stack(edge_size, atom_size, residual_count, activation, projection)
        self.sums = sums

    def forward(
        self,
        edges: Float[Tensor, "edges edge_size"],
        radial: Float[Tensor, "edges radial_size"],
        target: Int[Tensor, " edges"],
        atom_count: int,
    ) -> Float[Tensor, "atoms atom_size"]:
        """Compute the update of each atom."""
        return self.of_product(edges * self.radial(radial), edges, target, atom_count)

    def of_product(
        self,
        product: Float[Tensor, "edges edge_size"],
        edges: Float[Tensor, "edges edge_size"],
        target: Int[Tensor, " edges"],
        atom_count: int,
    ) -> Float[Tensor, "atoms atom_size"]:
        """Compute the update of each atom from the products m_ca ⊙ lin(rad_ca) of edge embeddings m."""
        return self.layers(self.scale(self.sums.by_index(product, target, atom_count), edges))


Divisor = Annotated[float, Field(gt=0)]
"""The number by which a sum is divided."""


class BlockDivisors(Options):
    """The divisors of the sums of a block in place of √n with n terms. Models that start from the weights of another
    model have those with which their new parts leave its function unchanged at first."""

    edges: Divisor | None = None
    """Divisor of Dense(m) + Σ messages to edges; null: √n."""
    skip: Divisor | None = None
    """Divisor of the skip connection of edges; null: √2."""
    atoms: Divisor | None = None
    """Divisor of h + Σ messages to atoms; null: that of `combine`."""
    update: Divisor | None = None
    """Divisor of the sum of atoms and their update; null: √2."""
    concatenation: Divisor | None = None
    """Divisor of the sum of edges and the result of the concatenation layer; null: √2."""
    streams: dict[str, Divisor] = Field(default_factory=dict)
    """Divisors of further feature streams with their messages, by name; null: those of `combine` of the stream."""


class BlockLayers(Options):
    """The layers of a block besides the interactions."""

    before_skip: Count
    """Residual layers on edges between the interactions and the skip connection."""
    after_skip: Count
    """Residual layers on edges after the skip connection."""
    concatenation: Count | None
    """Residual layers on edges in the concatenation layer; null: no concatenation, so that edges do not read the
    updated atoms."""
    update: Count | None
    """Residual layers of the atom update; null: no atom update, so that only interactions change the atoms."""
    atom: Count = 0
    """Residual layers on atoms between the interactions and the atom update."""
    update_projection: Projection = "if_needed"
    """always: the atom update starts with a dense layer; if_needed: only if atoms and edges differ in width."""
    combine: Combination = "skip"
    """How messages to atoms are combined with their embeddings. skip: (h + Σ messages)/√n with n terms, as in GemNet;
    add: h + Σ messages, as in PaiNN."""
    divisors: BlockDivisors | None = None
    """Divisors of the sums of the block; null: √n for sums of n terms."""


class BlockOptions(BlockLayers):
    """Options of equal blocks: their number, and their layers besides the interactions."""

    count: Count
    """The number of blocks, such as 4."""


class RepeatedBlock(BlockLayers):
    """Options of one or several successive blocks in a list of differing ones."""

    repeat: Size = 1
    """The number of successive blocks with these layers."""


@final
class Block(nn.Module):
    """One interaction block, which updates the edge embeddings m and the atom embeddings h.

    1. x = (Dense(m) + Σ messages to edges)/√n, h ← (h + Σ messages to atoms)/√n, n counting the terms
       (or h + Σ messages, see `BlockOptions.combine`);
    2. x ← residuals(x), m ← residuals((m + x)/√2);
    3. h ← residuals(h), h ← (h + update(m))/√2, or without an atom update only residuals(h);
    4. m ← (m + residuals(Dense([h_s, h_t, m])))/√2, unless there is no concatenation;
    5. each further feature stream receives its messages and is updated.

    Without edge embeddings, h ← residuals(h + messages) is all that remains of the first four steps.

    Args:
        sizes: widths of the embeddings.
        options: the numbers of layers.
        interactions: the interactions by name, in the order of computation.
        sums: how sums are computed.
        activation: the activation of all layers.
        edges: whether edges have embeddings.
        streams: the ends of the block for further feature streams, by name.
    """

    def __init__(
        self,
        sizes: Sizes,
        options: BlockLayers,
        interactions: Mapping[str, Interaction[Any]],
        sums: Sums,
        activation: Activation = "silu",
        edges: bool = True,
        streams: Mapping[str, StreamLayer] | None = None,
    ) -> None:
        super().__init__()
        self.combine: Combination = options.combine
        self.divisors = options.divisors or BlockDivisors()
        self.dense = Dense(sizes.edge, sizes.edge, activation) if edges else None
        self.interactions = nn.ModuleDict(dict(interactions))
        self.before_skip = residuals(options.before_skip, sizes.edge, activation)
        self.after_skip = residuals(options.after_skip, sizes.edge, activation)
        self.atom_layers = residuals(options.atom, sizes.atom, activation)
        self.update = self.concatenation = self.concatenation_layers = None
        if options.update is not None:
            self.update = AtomUpdate(
                sizes.edge, sizes.atom, sizes.radial, options.update, sums, activation, options.update_projection
            )
        if options.concatenation is not None:
            self.concatenation = EdgeEmbedding(sizes.atom, sizes.edge, sizes.edge, activation)
            self.concatenation_layers = residuals(options.concatenation, sizes.edge, activation)
        self.streams = nn.ModuleDict(dict(streams or {}))
        self.evaluation: Evaluation = STORED

    def all_divisors(self) -> BlockDivisors:
        """Return the divisors of all sums, also of those that the options leave out."""
        parts = [part for part in self.interactions.values() if isinstance(part, Interaction)]
        messages = Counter(stream for part in parts for stream in part.receivers)
        root = math.sqrt(2)
        usual: dict[str, Any] = {"edges": math.sqrt(1 + messages["edges"]), "skip": root, "update": root}
        usual |= {"atoms": usual_divisor(self.combine, messages["atoms"]), "concatenation": root}
        layers = {name: layer for name, layer in self.streams.items() if isinstance(layer, StreamLayer)}
        streams = {
            name: usual_divisor(layer.combine, messages[name]) if layer.divisor is None else layer.divisor
            for name, layer in layers.items()
        }
        given = self.divisors.model_dump(exclude_none=True)
        return BlockDivisors(**usual | given | {"streams": streams})

    def forward(self, embeddings: Embeddings, geometry: Geometry) -> Embeddings:
        """Update the embeddings."""
        h, m, edges = embeddings.atoms, embeddings.edges, geometry.main.edges
        by_rows = self.evaluation.by_rows
        messages: defaultdict[str, list[Tensor]] = defaultdict(list)
        if self.dense is not None:
            x = by_rows(self.dense, m)
            self._add_messages(messages, embeddings, geometry, to_edges=True)
            x = skip(x, *messages.pop("edges", ()), divisor=self.divisors.edges)
        self._add_messages(messages, embeddings, geometry, to_edges=False)
        h = combined(h, messages.pop("atoms", []), self.combine, self.divisors.atoms)
        if self.dense is not None:
            m = by_rows(self._skipped, m, x)
        h = self.atom_layers(h)
        if self.update is not None:
            arguments = m, geometry.update_radial, edges.target, edges.atom_count
            h = skip(h, self.evaluation(self.update, *arguments), divisor=self.divisors.update)
        found = Embeddings(h, self._concatenated(h, m, edges))
        streams = {
            name: self.evaluation(layer, embeddings.streams[name], messages[name], found, geometry)
            for name, layer in self.streams.items()
        }
        return replace(found, streams=streams) if streams else found

    def _skipped(
        self, m: Float[Tensor, "edges edge_size"], x: Float[Tensor, "edges edge_size"]
    ) -> Float[Tensor, "edges edge_size"]:
        return self.after_skip(skip(m, self.before_skip(x), divisor=self.divisors.skip))

    def _concatenated(
        self, h: Float[Tensor, "atoms atom_size"], m: Float[Tensor, "edges edge_size"], edges: EdgeSet
    ) -> Float[Tensor, "edges edge_size"]:
        concatenation, layers = self.concatenation, self.concatenation_layers
        if concatenation is None or layers is None:
            return m
        of_atoms, divisor = concatenation.of_atoms(h), self.divisors.concatenation

        def concatenated(m: Tensor, source: Tensor, target: Tensor) -> Tensor:
            return skip(m, layers(concatenation.of_edges(of_atoms, m, source, target)), divisor=divisor)

        return self.evaluation.by_rows(concatenated, m, edges.source, edges.target)

    def _add_messages(
        self, messages: defaultdict[str, list[Tensor]], embeddings: Embeddings, geometry: Geometry, to_edges: bool
    ) -> None:
        """Add the messages of the interactions that write edges, or of all others, to lists by stream."""
        for name, interaction in self.interactions.items():
            if isinstance(interaction, Interaction) and ("edges" in interaction.receivers) == to_edges:
                evaluate = STORED if interaction.in_steps else self.evaluation
                result = evaluate(interaction, embeddings, geometry.interactions[name])
                for stream, message in by_stream(name, interaction, result).items():
                    self._check_shape(name, stream, message, embeddings)
                    messages[stream].append(message)

    def _check_shape(self, name: str, stream: str, message: Tensor, embeddings: Embeddings) -> None:
        needed = embeddings[stream].shape
        layer = dict(self.streams.items()).get(stream)
        if isinstance(layer, StreamLayer) and layer.stream.on == "structures":
            needed = torch.Size((len(embeddings.atoms), needed[1]))
        if message.shape != needed:
            raise ValueError(
                f"interaction {name!r} writes to {stream}: its message is of shape {tuple(message.shape)}, "
                f"{tuple(needed)} is needed"
            )


def by_stream(name: str, interaction: Interaction[Any], result: Any) -> Mapping[str, Tensor]:
    """Return the messages of an interaction by stream.

    Raises:
        ValueError: there is not one message for each stream that the interaction writes.
    """
    receivers = interaction.receivers
    messages = {receivers[0]: result} if isinstance(result, Tensor) and len(receivers) == 1 else result
    if not isinstance(messages, Mapping) or set(messages) != set(receivers):
        found = (
            f"messages to {', '.join(map(str, messages))}" if isinstance(messages, Mapping) else type(result).__name__
        )
        raise ValueError(
            f"interaction {name!r} writes {', '.join(receivers)}: expected a mapping with one message for each of "
            f"them, got {found}"
        )
    return messages
