"""The layers of a model: embeddings, interactions, updates and read-outs."""

from gemnet_blocks.interactions.interaction import (
    BuildContext,
    Embeddings,
    Interaction,
    InteractionGeometry,
    InteractionOptions,
    Sizes,
)

__all__ = ["BuildContext", "Embeddings", "Interaction", "InteractionGeometry", "InteractionOptions", "Sizes"]
