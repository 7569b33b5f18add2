"""What interactions say, and what they can learn, inside of a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gemnet_blocks.model.block import Block
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.structures import Structures


def assert_messages(model: GemNet, structures: Structures, silent: bool = True) -> None:
    """The messages of all interactions are of the right shape and finite.

    Args:
        model: a model with interactions.
        structures: of any kind.
        silent: whether messages may be zero everywhere.

    Raises:
        AssertionError: says how many numbers are NaN or infinite, or that all are zero.
        ValueError: a message is not of one row for each main edge or atom.
    """
    modules = interactions_of(model)
    for message in messages_of(model, modules, structures):
        if not bool(message.isfinite().all()):
            raise AssertionError(f"{int((~message.isfinite()).sum())} of {message.numel()} numbers are not finite")
        if not silent and not bool(message.any()):
            raise AssertionError("the message is zero everywhere, whatever its weights")


def assert_learning(model: GemNet, structures: Structures, weight: str) -> None:
    """The energy has a finite gradient to a weight of an interaction, other than zero.

    Args:
        model: a model with interactions.
        structures: in which everything that interactions look for occurs.
        weight: its name in `weights_of(model)`.

    Raises:
        AssertionError: says what is wrong with it.
    """
    energy = model(structures).energy.sum()
    (gradient,) = torch.autograd.grad(energy, [weights_of(model)[weight]], allow_unused=True)
    if gradient is None or not bool(gradient.any()):
        raise AssertionError("the energy does not depend on this weight: its gradient is zero")
    if not bool(gradient.isfinite().all()):
        raise AssertionError("its gradient is NaN or infinite")


def interactions_of(model: GemNet) -> list[nn.Module]:
    """All interactions, block after block."""
    found: list[nn.Module] = []
    for block in model.trunk.blocks:
        assert isinstance(block, Block)
        found.extend(block.interactions.values())
    return found


def weights_of(model: GemNet) -> dict[str, nn.Parameter]:
    """The trained parameters of the interactions, in all blocks and in the parts that blocks share."""
    parts: dict[str, nn.Module] = {}
    for index, block in enumerate(model.trunk.blocks):
        assert isinstance(block, Block)
        parts[f"block {index}"] = block.interactions
    parts["shared geometry"] = model.trunk.geometry.interactions
    return {
        f"{place}: {key}": parameter
        for place, part in parts.items()
        for key, parameter in part.named_parameters()
        if parameter.requires_grad
    }


def messages_of(model: GemNet, modules: list[nn.Module], structures: Structures) -> list[Tensor]:
    """What modules return while the model computes."""
    found: list[Tensor] = []
    with _listening(modules, found):
        model(structures)
    return found


@contextmanager
def _listening(modules: list[nn.Module], to: list[Tensor]) -> Iterator[None]:
    def listen(_module: nn.Module, _arguments: object, output: Tensor) -> None:
        to.append(output)

    handles = [module.register_forward_hook(listen) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
