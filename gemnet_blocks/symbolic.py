"""Computing with shapes alone: floating-point numbers take no memory and no time, graphs are real."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._pytree import tree_map

from gemnet_blocks.ledger import Bookkeeper, Ledger, tensors_in

_VALUE = torch.ops.aten._local_scalar_dense


@final
class SymbolicBookkeeper(Bookkeeper):
    """Enters operations into a ledger without computing those on floating-point numbers.

    Integers and truth values that depend on no symbolic number are computed, as the shapes of the others depend on
    them: indices and numbers of edges. What is asked of a symbolic truth value is true.

    Args:
        ledger: the ledger.
    """

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._makes_symbols = True

    @contextmanager
    def real(self) -> Iterator[None]:
        """Make real numbers here; operations on symbols stay symbolic."""
        self._makes_symbols = False
        try:
            yield
        finally:
            self._makes_symbols = True

    def symbol(self, tensor: Tensor) -> Tensor:
        """A tensor of the same shape and type without numbers."""
        return self._fake.from_tensor(tensor.detach(), static_shapes=True).requires_grad_(tensor.requires_grad)

    @contextmanager
    def unseen(self) -> Iterator[None]:
        """Compute real tensors here that go into no ledger."""
        with torch.utils._python_dispatch._disable_current_modes():
            yield

    def compute(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The result of one operation."""
        tensors = tensors_in((*args, *kwargs.values()))
        if any(isinstance(tensor, FakeTensor) for tensor in tensors):
            if func.overloadpacket is _VALUE:
                return args[0].dtype == torch.bool or 1
            if not all(isinstance(tensor, FakeTensor) for tensor in tensors):
                args, kwargs = tree_map(self._as_symbol, (args, kwargs))
            return func(*args, **kwargs)
        if not tensors and self._makes_symbols:
            with self._fake:
                made = func(*args, **kwargs)
            if isinstance(made, Tensor) and made.is_floating_point():
                return made
        return func(*args, **kwargs)

    def _as_symbol(self, value: Any) -> Any:
        if isinstance(value, Tensor) and not isinstance(value, FakeTensor):
            return self._fake.from_tensor(value, static_shapes=True)
        return value
