"""Interactions: messages to edges, atoms or feature streams in every block of a model.

Each of them can be evaluated alone, on structures of your choice and random embeddings:

    >>> from ase.build import molecule
    >>> from gemnet_blocks.interactions import QuadrupletInteraction
    >>> QuadrupletInteraction.alone(molecule("C2H6"), {"down": 8, "up": 8})().shape
    torch.Size([56, 64])
"""

from gemnet_blocks.interactions.atom_atom import AtomAtomInteraction
from gemnet_blocks.interactions.interaction import (
    BuildContext,
    Embeddings,
    Interaction,
    InteractionGeometry,
    InteractionOptions,
    Sizes,
)
from gemnet_blocks.interactions.painn import PaiNNInteraction
from gemnet_blocks.interactions.quadruplet import QuadrupletInteraction
from gemnet_blocks.interactions.tensor_product import TensorProductInteraction
from gemnet_blocks.interactions.triplet import AtomEdgeInteraction, EdgeAtomInteraction, TripletInteraction

__all__ = [
    "AtomAtomInteraction",
    "AtomEdgeInteraction",
    "BuildContext",
    "EdgeAtomInteraction",
    "Embeddings",
    "Interaction",
    "InteractionGeometry",
    "InteractionOptions",
    "PaiNNInteraction",
    "QuadrupletInteraction",
    "Sizes",
    "TensorProductInteraction",
    "TripletInteraction",
]
