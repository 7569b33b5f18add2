"""Initial weights that depend only on a seed and their name, so that models that differ elsewhere share them."""

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
    """Build a model in which each initial weight comes from a separate random generator.

    The generator of a weight is seeded with a hash of seed and name. Two models thus have equal weights wherever names
    and shapes are equal, which separates the effect of the seed from that of the architecture. The layers draw the
    weights from their usual distributions.

    The model is built twice: the first time records which random numbers end up in which weight; the second time sets
    the generator before each draw. The state of torch's global generator is restored.

    Args:
        make: builds the model, in the same way at each call.
        seed: seed of all weights.

    Raises:
        RuntimeError: the model draws other random numbers the second time.
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
            f"expected as many draws of random numbers in both builds of the model, got {observed.count} and "
            f"{repeated.count}: make the number of draws deterministic"
        )
    return model


def _seeds(draws: _Draws, model: nn.Module, seed: int) -> dict[int, int]:
    """The seed of each draw that ends up in a weight or buffer, from its name and its place among its draws."""
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
    """Counts draws of random numbers, and records from which draws the memory of each tensor descends.

    Memory descends from the draws of all values that were written into it since it was last overwritten as a whole.

    Args:
        seeds: the seed that is set before each draw, by the number of the draw.
    """

    def __init__(self, seeds: Mapping[int, int] | None = None) -> None:
        super().__init__()
        self.count = 0
        self._seeds = seeds or {}
        self._origin: dict[int, frozenset[int]] = {}
        # references, so that no other memory gets the same key
        self._held: dict[int, StorageWeakRef] = {}

    def behind(self, tensor: Tensor) -> list[int]:
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
