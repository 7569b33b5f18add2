"""Compilation of layers with torch.compile."""

from __future__ import annotations

from torch import nn

from gemnet_blocks.errors import SpecError
from gemnet_blocks.layers.dense import Dense, Residual
from gemnet_blocks.model.heads import GradientForces


def compile_layers(model: nn.Module) -> None:
    """Have the residual layers, and the dense layers outside them, compiled at their first use.

    Layers are compiled one by one: their code is static and their shapes are few, so that all of a kind share it.
    Sums over triplets and quadruplets are as many products as there are numbers of neighbors: they would be compiled
    anew for every batch.

    Raises:
        SpecError: the model's forces are the gradient of its energy, which training differentiates twice.
    """
    if any(isinstance(module, GradientForces) for module in model.modules()):
        raise SpecError(
            "execution: compile is for models with direct forces or none: compiled layers have no second derivatives, "
            "which gradient forces are trained with. Remove it, or set heads.forces.type to direct"
        )
    for layer in outermost(model):
        layer.compile(dynamic=True)


def outermost(module: nn.Module) -> list[nn.Module]:
    """The residual layers, and the dense layers that are in none of them."""
    found: list[nn.Module] = []
    for child in module.children():
        found += [child] if isinstance(child, Residual | Dense) else outermost(child)
    return found
