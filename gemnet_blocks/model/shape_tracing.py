"""Execute a model with shapes alone: graphs are real, floating-point tensors have neither memory nor values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from jaxtyping import Int
from torch import Tensor, nn

from gemnet_blocks.graph.builder import GraphBuilder
from gemnet_blocks.graph.edge_index import EdgeIndex
from gemnet_blocks.graph.index_sets import IndexRequest, QuadrupletRequest
from gemnet_blocks.graph.padded import chains
from gemnet_blocks.graph.pairs import Neighbors, Pairs
from gemnet_blocks.graph.quadruplets import Quadruplets, of_different_atoms, triplets_around_source
from gemnet_blocks.graph.ragged import Join, row_pointers, segments
from gemnet_blocks.graph.topology import Topology
from gemnet_blocks.graph.triplets import triplets
from gemnet_blocks.model.ledger import DispatchRecorder, MemoryLedger, tensors_in
from gemnet_blocks.structures import Structures

_VALUE = torch.ops.aten._local_scalar_dense
_META = torch.device("meta")


@final
class ShapeTensor(Tensor):
    """A tensor without values; autograd and autocast see it on the device of the real one.

    Attributes:
        meta: a meta tensor of the same shape and type. Views share its storage, which represents their memory.
    """

    meta: Tensor
    _recorder: ShapeRecorder

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, meta: Tensor, device: torch.device, recorder: ShapeRecorder) -> ShapeTensor:
        made: ShapeTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            meta.size(),
            strides=meta.stride(),
            storage_offset=meta.storage_offset(),
            dtype=meta.dtype,
            layout=meta.layout,
            device=device,
        )
        made.meta = meta
        made._recorder = recorder
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        symbol = next(
            tensor for tensor in tensors_in((*args, *(kwargs or {}).values())) if isinstance(tensor, ShapeTensor)
        )
        return symbol._recorder.__torch_dispatch__(func, types, args, kwargs)


@final
class ShapeRecorder(DispatchRecorder):
    """Records operations in a ledger without executing those on floating-point numbers.

    Integers and booleans that do not depend on symbolic numbers are computed, because shapes depend on them: indices
    and numbers of edges. A symbolic boolean counts as true.

    Args:
        ledger: the ledger.
        device: the device of the real tensors.
    """

    def __init__(self, ledger: MemoryLedger, device: torch.device) -> None:
        super().__init__(ledger)
        self._device = device
        self._makes_symbols = True

    @contextmanager
    def real(self) -> Iterator[None]:
        """Create real tensors; operations on symbols stay symbolic."""
        self._makes_symbols = False
        try:
            yield
        finally:
            self._makes_symbols = True

    def symbol(self, tensor: Tensor) -> Tensor:
        """Make a tensor of the same shape and type without values."""
        with self.unseen():
            return self._symbol(_without_numbers(tensor)).requires_grad_(tensor.requires_grad)

    @contextmanager
    def unseen(self) -> Iterator[None]:
        """Execute operations without recording them."""
        with torch.utils._python_dispatch._disable_current_modes():
            yield

    def memory(self, tensor: Tensor) -> Tensor:
        return tensor.meta if isinstance(tensor, ShapeTensor) else tensor

    def compute(self, func: Any, args: Any, kwargs: Any) -> Any:
        tensors = tensors_in((*args, *kwargs.values()))
        known = {id(tensor.meta): tensor for tensor in tensors if isinstance(tensor, ShapeTensor)}
        if known:
            if func.overloadpacket is _VALUE:
                return args[0].dtype == torch.bool or 1
            return self._symbols(func(*_meta(args), **{name: _meta(value) for name, value in kwargs.items()}), known)
        if not tensors and self._makes_symbols and any(one.name == "device" for one in func._schema.arguments):
            made = func(*args, **{**kwargs, "device": _META})
            if made.is_floating_point():
                return self._symbol(made)
        return func(*args, **kwargs)

    def _symbol(self, meta: Tensor) -> ShapeTensor:
        return ShapeTensor(meta, self._device, self)

    def _symbols(self, result: Any, known: dict[int, ShapeTensor]) -> Any:
        """Symbols in place of tensors without numbers; those that an operation changed are what they were."""
        if isinstance(result, Tensor):
            return known[id(result)] if id(result) in known else self._symbol(result)
        if isinstance(result, list | tuple):
            return type(result)(self._symbols(one, known) for one in result)
        return result


def _meta(value: Any) -> Any:
    """Replace tensors by meta tensors, and devices by the meta device."""
    if isinstance(value, ShapeTensor):
        return value.meta
    if isinstance(value, Tensor):
        return _without_numbers(value)
    if isinstance(value, torch.device):
        return _META
    if isinstance(value, list | tuple):
        return type(value)(map(_meta, value))
    return value


def _without_numbers(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=_META)


@final
class CountedTopology(nn.Module):
    """Builds the topology of given structures, and counts quadruplets instead of listing them.

    Args:
        builder: builds topologies.
        structures: the real structures, which replace the symbolic ones.
        recorder: makes the symbols.

    Attributes:
        counts: the numbers of edges, triplets and quadruplets.
    """

    def __init__(self, builder: GraphBuilder, structures: Structures, recorder: ShapeRecorder) -> None:
        super().__init__()
        self._builder = builder
        self._structures = structures
        self._recorder = recorder
        self.counts: dict[str, int] = {}

    def forward(
        self,
        structures: Structures,
        dtype: torch.dtype,
        given: Pairs | Neighbors | None = None,
    ) -> Topology:
        """Build the topology; `structures` may be symbols."""
        builder = copy(self._builder)
        requests = {one: _counted(one.suited(dtype), self._recorder) for one in builder.requests}
        builder.requests = tuple(requests.values())
        with self._recorder.real():
            found = builder(self._structures, dtype, given)
        self.counts = found.counts()
        return replace(found, indices={one: found.indices[counted] for one, counted in requests.items()})


def _counted(request: IndexRequest, recorder: ShapeRecorder) -> IndexRequest:
    return _CountedQuadruplets(request, recorder) if isinstance(request, QuadrupletRequest) else request


@final
@dataclass(frozen=True, slots=True)
class _CountedQuadruplets(IndexRequest):
    """The number of quadruplets of each edge c→a, without a list of them."""

    request: QuadrupletRequest
    recorder: ShapeRecorder

    @property
    def name(self) -> str:
        """The name of the combinations in tables."""
        return self.request.name

    def build(self, edge_sets: Mapping[str, EdgeIndex]) -> Quadruplets:
        """Count the quadruplets, and record the operations of listing them."""
        edges, middle = edge_sets[self.request.outer], edge_sets[self.request.middle]
        with self.recorder.unseen():
            count = _per_edge(edges, middle)
        around_target, around_source = triplets(edges, middle), triplets_around_source(edges, middle)
        joined = int(around_source.outer.bincount(minlength=middle.count)[around_target.inner].sum())
        number = self.recorder.symbol(torch.empty(1, dtype=torch.long, device="meta"))
        pairs = Join(number.repeat(joined), number.repeat(joined))
        of_different_atoms(pairs, edges, middle, around_source, around_target)
        item = pairs.item
        del pairs
        first = row_pointers(around_target.outer, edges.count)[:-1]
        target_triplet = torch.repeat_interleave(first, count)
        kept = number.repeat(len(target_triplet))
        by_outer = segments(around_target.outer.index_select(0, target_triplet), edges.count)
        return Quadruplets(around_source, around_target, item.index_select(0, kept), target_triplet, by_outer)


def _per_edge(edges: EdgeIndex, middle: EdgeIndex) -> Int[Tensor, " edges"]:
    """Count the quadruplets c→a←b←d of each edge c→a."""
    found = chains(edges, middle)
    count = torch.zeros_like(edges.source)
    for group, closing in zip(found.around_target.groups, found.closing, strict=True):
        here = found.sources[group.inner][:, None, :] * group.pair - (closing >= 0).long()
        count = count.index_add(0, group.outer.flatten(), here.sum(dim=2).flatten())
    return count
