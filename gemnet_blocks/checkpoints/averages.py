"""Moving averages of weights, which published checkpoints store without names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from gemnet_blocks.checkpoints.fairchem import trained_keys
from gemnet_blocks.errors import StateError


def averaged_state(module: nn.Module, state: Mapping[str, Tensor], averages: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state with averages in the place of trained weights.

    Averages are a list in the order of the model's trained weights, which is that of the state; a weight with several
    names comes once.

    Args:
        module: the model that the state is of.
        state: weights by their published names, in the order in which they were written.
        averages: the section `ema` of a checkpoint.

    Raises:
        StateError: there are more or fewer averages than trained weights, or one is of another shape.
    """
    shadows = averages.get("shadow_params")
    if not isinstance(shadows, (list, tuple)) or not all(isinstance(value, Tensor) for value in shadows):
        raise StateError("the checkpoint's section ema has no list shadow_params of averaged weights")
    groups = trained_keys(module, state)
    if len(groups) != len(shadows):
        raise StateError(
            f"the checkpoint has {len(shadows)} averaged weights where the model has {len(groups)} that are trained: "
            "they cannot be told apart"
        )
    averaged = dict(state)
    for names, value in zip(groups, shadows, strict=True):
        for name in names:
            if state[name].shape != value.shape:
                raise StateError(
                    f"the averaged weights are in another order: {name} is of shape {tuple(state[name].shape)}, "
                    f"the average at its place of {tuple(value.shape)}"
                )
            averaged[name] = value
    return averaged
