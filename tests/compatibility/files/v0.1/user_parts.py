"""Parts of a user's own, as the documentation of this version shows them."""

import torch

from gemnet_blocks.blocks.dense import linear
from gemnet_blocks.blocks.interaction import Interaction, InteractionGeometry, InteractionOptions
from gemnet_blocks.options import Size


class GatedOptions(InteractionOptions):
    """Atoms to atoms: a sum over neighbors, gated by their distance."""

    type: str
    graph: str = "atom"
    hidden: Size

    def edge_sets(self):
        return {"graph": self.graph}


class GatedGeometry(InteractionGeometry):
    def __init__(self, graph):
        super().__init__()
        self.graph = graph
        self.radial_on = (graph,)  # needs this edge set and its radial functions

    def forward(self, graphs, radial):
        return graphs.edge_sets[self.graph], radial.radial[self.graph]


class Gated(Interaction):
    Options, writes, reads = GatedOptions, "atoms", "atoms, their distances"

    def __init__(self, atom_size, hidden, radial_count):
        super().__init__()
        self.gate = linear(radial_count, hidden)
        self.down = linear(atom_size, hidden)
        self.up = linear(hidden, atom_size)

    @classmethod
    def shared_geometry(cls, options, context):
        return GatedGeometry(options.graph)

    @classmethod
    def from_options(cls, options, context):
        return cls(context.sizes.atom, options.hidden, context.radial_count)

    def forward(self, embeddings, geometry):
        edges, radial = geometry
        message = torch.tanh(self.gate(radial)) * self.down(embeddings.atoms)[edges.source]
        return self.up(message.new_zeros(edges.atom_count, message.shape[1]).index_add(0, edges.target, message))


import torch
from torch import nn

from gemnet_blocks.basis.radial import RadialBasis
from gemnet_blocks.options import Options, Size


class WavesOptions(Options):
    """Cosines with a trained phase."""

    type: str
    count: Size
    phase: float = 0.0


class Waves(RadialBasis):
    """f_k(x) = cos(kπx + phase)."""

    Options = WavesOptions

    def __init__(self, cutoff, count, envelope=None, phase=0.0):
        super().__init__(cutoff, count, envelope)
        self.phase = nn.Parameter(torch.tensor(phase))

    @classmethod
    def from_options(cls, options, cutoff, envelope=None):
        return cls(cutoff, options.count, envelope, options.phase)

    def raw(self, scaled_distance):
        return torch.cos(torch.pi * torch.arange(self.count) * scaled_distance[..., None] + self.phase)

from gemnet_blocks.blocks.dense import Dense
from gemnet_blocks.blocks.message import Message


class MixedOptions(InteractionOptions):
    """Atoms to atoms over the main edges, with the library's own message."""

    type: str
    down: Size


class Mixed(Interaction):
    """h_a ← Dense(Σ_{b→a} message(h_b, rad_ba))."""

    Options, writes, reads = MixedOptions, "atoms", "atoms, their distances"

    def __init__(self, atom_size, down, radial_count, activation):
        super().__init__()
        self.message = Message(atom_size, radial_count, down, activation)
        self.up = Dense(down, atom_size, activation)

    @classmethod
    def shared_geometry(cls, options, context):
        return GatedGeometry("main")

    @classmethod
    def from_options(cls, options, context):
        return cls(context.sizes.atom, options.down, context.radial_count, context.activation)

    def forward(self, embeddings, geometry):
        edges, radial = geometry
        message = self.message(embeddings.atoms, radial, edges.source)
        return self.up(message.new_zeros(edges.atom_count, message.shape[1]).index_add(0, edges.target, message))
