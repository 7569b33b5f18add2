"""Activation checkpointing: recompute intermediate results in the backward pass instead of storing them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, final

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

Result = TypeVar("Result")
Module = TypeVar("Module", bound=nn.Module)

VALUES_AT_ONCE = 2**19
"""The number of values of an array that a slice of rows is mapped to; small enough for a processor's cache."""

ATOMS_AT_ONCE = 32
"""The number of atoms that recomputed sums over neighbors compute at once."""


class Evaluation(ABC):
    """How modules evaluate functions that have large intermediate results. The choice changes no value.

    Modules with an attribute `evaluation` evaluate their functions by it; see `evaluated_by`.
    """

    @abstractmethod
    def __call__(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Evaluate the function."""

    @abstractmethod
    def by_rows(self, function: Callable[..., Tensor], *rows: Tensor) -> Tensor:
        """Evaluate a function that maps each row independently, from tensors with equally many rows to one such."""

    @abstractmethod
    def atoms_at_once(self, atoms_at_most: int | None) -> int | None:
        """The number of atoms that sums over neighbors compute at once; None: all."""

    @abstractmethod
    def rows_at_once(self, width: int) -> int | None:
        """The number of rows of that many values that are computed at once; None: all."""


@final
class Stored(Evaluation):
    """Store all intermediate results for the backward pass.

    Args:
        in_slices: compute a slice of atoms at a time if an interaction has a limit; False: always all atoms at once, so
            that the number of steps does not depend on the structures.
    """

    def __init__(self, in_slices: bool = True) -> None:
        self._in_slices = in_slices

    @override
    def __call__(self, function: Callable[..., Result], *arguments: Any) -> Result:
        return function(*arguments)

    @override
    def by_rows(self, function: Callable[..., Tensor], *rows: Tensor) -> Tensor:
        return function(*rows)

    @override
    def atoms_at_once(self, atoms_at_most: int | None) -> int | None:
        return atoms_at_most if self._in_slices else None

    @override
    def rows_at_once(self, width: int) -> int | None:
        return None


@final
class Recomputed(Evaluation):
    """Store only the arguments of functions, and evaluate a slice of rows or atoms at a time."""

    @override
    def __call__(self, function: Callable[..., Result], *arguments: Any) -> Result:
        if not torch.is_grad_enabled():
            return function(*arguments)
        result: Result = checkpoint(function, *arguments, use_reentrant=False)
        return result

    @override
    def by_rows(self, function: Callable[..., Tensor], *rows: Tensor) -> Tensor:
        at_once = self.rows_at_once(max(tensor[:1].numel() for tensor in rows))
        if len(rows[0]) <= at_once:
            return self(function, *rows)
        slices = zip(*(tensor.split(at_once) for tensor in rows), strict=True)
        return torch.cat([self(function, *part) for part in slices])

    @override
    def atoms_at_once(self, atoms_at_most: int | None) -> int:
        return min(atoms_at_most or ATOMS_AT_ONCE, ATOMS_AT_ONCE)

    @override
    def rows_at_once(self, width: int) -> int:
        return max(1, VALUES_AT_ONCE // max(1, width))


STORED = Stored()
WHOLE = Stored(in_slices=False)
RECOMPUTED = Recomputed()


def evaluated_by(evaluation: Evaluation, module: Module) -> Module:
    """Make a copy of a module that shares its weights and hooks, and evaluates its functions in the given way.

    Modules whose attribute `in_steps` is false stay unchanged, because their callers evaluate them as a whole.
    """
    if getattr(module, "in_steps", True) is False:
        return module
    children = {
        name: child and evaluated_by(evaluation, child)  # an attribute may be None in place of a module
        for name, child in module._modules.items()
    }
    changed = any(child is not module._modules[name] for name, child in children.items())
    if not changed and "evaluation" not in vars(module):
        return module
    copy = module.__new__(type(module))
    vars(copy).update(vars(module), _modules=children)
    if "evaluation" in vars(module):
        vars(copy)["evaluation"] = evaluation
    return copy


@contextmanager
def fixed(module: nn.Module) -> Iterator[None]:
    """Compute no gradients with respect to the module's parameters inside, and store nothing for them."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
