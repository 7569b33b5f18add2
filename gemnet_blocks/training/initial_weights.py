"""Initial weights that depend on a seed and their name alone, so that models that differ elsewhere share them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

Model = TypeVar("Model", bound=nn.Module)


def weights_by_name(make: Callable[[], Model], seed: int) -> Model:
    """Make a model whose initial weights are drawn each from a generator of its own.

    The generator of a weight starts from a hash of seed and name. So two models have equal weights wherever names and
    shapes are equal, whatever else they contain: what a seed changes and what an architecture changes are told apart.
    Weights have the distribution that their layers give them, as it is the layers that draw them.

    The model is made twice: the first time, it is observed which random numbers end up in which weight; the second
    time, the generator is set before they are drawn. Torch's global generator is left as it was.

    Args:
        make: makes the model; every time the same way.
        seed: of all weights.

    Raises:
        RuntimeError: it draws other random numbers the second time.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        observed = _Draws()
        with observed:
            model = make()
        seeds = _seeds(observed, model, seed)
        torch.manual_seed(seed)
        repeated = _Draws(seeds)
        with repeated:
            model = make()
    if repeated.count != observed.count:
        raise RuntimeError(
            f"the model drew random numbers {observed.count} times at first, then {repeated.count} times: "
            "initial weights must not depend on chance in any other way"
        )
    return model


def _seeds(draws: _Draws, model: nn.Module, seed: int) -> dict[int, int]:
    """The seed for each draw that ends up in a weight or buffer: of its name and its place among the draws of it."""
    seeds: dict[int, int] = {}
    for name, tensor in _named_tensors(model):
        for place, draw in enumerate(draws.behind(tensor)):
            seeds.setdefault(draw, _hash(seed, name, place))
    return seeds


def _named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _hash(seed: int, name: str, place: int) -> int:
    digest = hashlib.sha256(f"{seed}/{name}/{place}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1  # torch takes 63 bits


class _Draws(TorchDispatchMode):
    """Number every drawing of random numbers, and follow where they go.

    Memory that a tensor refers to descends from the draws behind all that was written into it; being overwritten
    as a whole makes it forget.

    Args:
        seeds: what the generator is set to before each draw, by number.
    """

    def __init__(self, seeds: Mapping[int, int] | None = None) -> None:
        super().__init__()
        self.count = 0
        self._seeds = seeds or {}
        self._origin: dict[int, frozenset[int]] = {}
        # as long as these are held, no other memory gets the same key
        self._held: dict[int, StorageWeakRef] = {}

    def behind(self, tensor: Tensor) -> list[int]:
        """The draws that a tensor descends from, in order."""
        return sorted(self._origin.get(_key(tensor), ()))

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        read = [one for one in _tensors([args, kwargs]) if one.device.type != "meta"]
        origin = frozenset().union(*(self._origin.get(_key(one), frozenset()) for one in read))
        if torch.Tag.nondeterministic_seeded in func.tags:
            if self.count in self._seeds:
                torch.manual_seed(self._seeds[self.count])
            origin |= {self.count}
            self.count += 1
        result = func(*args, **kwargs)
        mutable = func._schema.is_mutable
        whole = mutable and _overwrites(func, args)
        if whole:
            drawn = {self.count - 1} if torch.Tag.nondeterministic_seeded in func.tags else set()
            origin = frozenset(drawn).union(*(self._origin.get(_key(one), frozenset()) for one in _tensors(args[1:])))
        for one in _tensors([result]):
            if one.device.type != "meta":
                self._write(one, origin, mutable)
        return result

    def _write(self, tensor: Tensor, origin: frozenset[int], mutable: bool) -> None:
        key = _key(tensor)
        if key not in self._held:
            self._held[key] = StorageWeakRef(tensor.untyped_storage())
        elif not mutable:  # a view
            return
        self._origin[key] = origin


def _overwrites(func: Any, args: Sequence[Any]) -> bool:
    """Whether an operation replaces all of the memory behind its first argument."""
    name = func._schema.name.removeprefix("aten::")
    filling = torch.Tag.nondeterministic_seeded in func.tags or name in ("copy_", "zero_", "fill_")
    target = args[0] if args and isinstance(args[0], Tensor) else None
    if not filling or name in ("bernoulli_", "dropout_") or target is None:
        return False
    return target.numel() * target.element_size() == target.untyped_storage().nbytes()


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _tensors(values: Any) -> Iterator[Tensor]:
    """All tensors in nested lists and mappings."""
    pending = [values]
    while pending:
        value = pending.pop()
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            pending.extend(value)
        elif isinstance(value, Mapping):
            pending.extend(value.values())
