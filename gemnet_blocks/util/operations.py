"""Count operations of torch that start work on a device, and those that wait for it.

On a GPU, an operation on small tensors costs its launch rather than its arithmetic, and reading a value on the host
waits until the device has caught up. This file imports torch alone, so that benchmarks can load it in any environment.
"""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Any, final

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

COUNTED = "views and allocations of memory without values are left out"
"""The rule by which operations are counted, for tables."""

_ALLOCATIONS = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}

_WITHOUT_WORK = {"_reshape_alias", "_unsafe_view", "lift_fresh", "promote_types", "result_type"}
"""Views that their schemas do not mark as views, and operations on types."""

_WAITING = {
    "_local_scalar_dense",
    "_unique",
    "_unique2",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "unique_consecutive",
    "unique_dim",
}
"""Operations whose result has a shape that depends on data, or that hand a number to Python."""

_BY_MASK = {"_index_put_impl_", "_unsafe_index", "index", "index_put", "index_put_"}

_TRANSFERS = {torch.Tensor.tolist, torch.Tensor.cpu}
"""Functions that bring tensors to the host without an operation of their own on a CPU."""


def computes(operation: Any) -> bool:
    """Return False for views and allocations, which start nothing on a device."""
    name = operation.overloadpacket.__name__
    aliases = [returned.alias_info for returned in operation._schema.returns]
    is_view = any(alias is not None and not alias.is_write for alias in aliases)
    return not (is_view or name in _WITHOUT_WORK or name in _ALLOCATIONS)


def waits(operation: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
    """Return True if an operation waits for the device, or would on a GPU."""
    name = operation.overloadpacket.__name__
    if name == "repeat_interleave":
        return keywords.get("output_size") is None
    if name in _BY_MASK:
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in arguments[1])
    return name in _WAITING


@final
class OperationCounter:
    """Counts operations inside a `with` block.

    Attributes:
        operations: operations that start work on a device; views and allocations are left out.
        waits: operations after which the host waits for the device: reading numbers, and results whose shape depends on
            data, such as `nonzero`, `unique` and indexing by a mask. On a CPU, those that would wait on a GPU count.
    """

    def __init__(self) -> None:
        self.operations = 0
        self.waits = 0
        self._modes = ExitStack()

    def __enter__(self) -> OperationCounter:
        self._modes.enter_context(_Operations(self))
        self._modes.enter_context(Transfers(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._modes.close()

    def waited(self) -> None:
        """Count a wait."""
        self.waits += 1


@final
class _Operations(TorchDispatchMode):
    def __init__(self, counter: OperationCounter) -> None:
        super().__init__()
        self._counter = counter

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self._counter.operations += computes(func)
        self._counter.waits += waits(func, args, kwargs)
        return func(*args, **kwargs)


@final
class Transfers(TorchFunctionMode):
    """Reports transfers of tensors to the host, which are not operations of torch on a CPU.

    Args:
        counter: an object whose method `waited` is called for every transfer.
    """

    def __init__(self, counter: Any) -> None:
        super().__init__()
        self._counter = counter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _TRANSFERS:
            self._counter.waited()
        return func(*args, **(kwargs or {}))
