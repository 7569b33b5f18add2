"""Memory and products of matrices of every operation, by the part of the model that asks for them."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from gemnet_blocks.parts import Observer


class Ledger(Observer):
    """What is in memory, and what was.

    Attributes:
        flops: of products of matrices, by part; a multiplication and an addition are two.
        live: bytes of the tensors that are in memory, by the part that made them.
        peak: the greatest number of bytes at any time.
        at_peak: `live` at that time.
        peak_during: the greatest number of bytes, of whatever part, while each part was computed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops: dict[str, int] = {}
        self.live: dict[str, int] = {}
        self.peak = 0
        self.peak_during: dict[str, int] = {}
        self._at_peak: dict[str, int] = {}
        self._total = 0
        self._rising = False
        self._storages: dict[int, weakref.ref[Any]] = {}

    @property
    def at_peak(self) -> dict[str, int]:
        """`live` at the time of the peak."""
        return dict(self.live if self._rising else self._at_peak)

    def before_change(self) -> None:
        """Nothing is to be done."""

    def multiplied(self, count: int) -> None:
        """Note so many operations."""
        self.flops[self.part] = self.flops.get(self.part, 0) + count

    def allocated(self, tensor: Tensor) -> None:
        """Note a tensor, until nothing holds its memory any longer."""
        storage = tensor.untyped_storage()
        key = id(storage)
        known = self._storages.get(key)
        if known is not None and known() is storage:
            return
        part, size = self.part, storage.nbytes()

        def freed(reference: weakref.ref[Any]) -> None:
            if self._storages.get(key) is reference:
                del self._storages[key]
            if self._rising:
                self._at_peak, self._rising = dict(self.live), False
            self.live[part] -= size
            self._total -= size

        self._storages[key] = weakref.ref(storage, freed)
        self.live[part] = self.live.get(part, 0) + size
        self._total += size
        if self._total > self.peak:
            self.peak, self._rising = self._total, True
        self.peak_during[part] = max(self.peak_during.get(part, 0), self._total)


class Bookkeeper(TorchDispatchMode):
    """Enters every operation of torch into a ledger.

    Args:
        ledger: the ledger.
    """

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute one operation."""
        kwargs = kwargs or {}
        result = self.compute(func, args, kwargs)
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.ledger.multiplied(int(formula(*args, **kwargs, out_val=result)))
        strided = [tensor for tensor in tensors_in((result,)) if tensor.layout == torch.strided]
        if strided:
            given = {id(self.memory(tensor).untyped_storage()) for tensor in tensors_in((*args, *kwargs.values()))}
            for tensor in map(self.memory, strided):
                if id(tensor.untyped_storage()) not in given:
                    self.ledger.allocated(tensor)
        return result

    def memory(self, tensor: Tensor) -> Tensor:
        """The tensor whose storage stands for that of another: itself."""
        return tensor

    def compute(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The result of one operation."""
        return func(*args, **kwargs)


def tensors_in(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among arguments or results of an operation, those in lists included."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors_in(value)
    return found
