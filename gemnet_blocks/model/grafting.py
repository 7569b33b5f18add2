"""Warm starts: the weights of a trained model in another one, whose new parts leave the function unchanged at first.

The last weights of every new part start at zero. Where a sum of n terms is divided by √n, a further term changes the
divisor; models that start from another one therefore keep its divisors, see `kept_divisors`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from gemnet_blocks.interactions.interaction import Interaction, InteractionGeometry
from gemnet_blocks.layers.activations import SiQU
from gemnet_blocks.layers.dense import Dense
from gemnet_blocks.layers.embeddings import EdgeEmbedding, ElementEmbedding
from gemnet_blocks.layers.radial_bases import RadialBases
from gemnet_blocks.layers.residual import factor_at_zero_of, last_weights_of
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.layers.state_embedding import StateEmbedding
from gemnet_blocks.layers.stream_updates import StreamUpdate
from gemnet_blocks.model.block import AtomUpdate, Block, BlockDivisors
from gemnet_blocks.model.gemnet import Backbone, GemNet
from gemnet_blocks.model.geometry_encoder import GeometryEncoder
from gemnet_blocks.model.product_readout import ProductOutputBlock
from gemnet_blocks.model.property_heads import PropertyHead
from gemnet_blocks.model.readout import (
    ConcatenatedOutputBlock,
    ConcatenatedReadout,
    LastLinear,
    OutputBlock,
    OutputNetwork,
    SummedOutputBlock,
)
from gemnet_blocks.model.stream_values import StreamValues
from gemnet_blocks.model.streams import StreamLayer

NewWeights = Literal["grafted", "drawn"]
"""grafted: new parts start at zero, so that the function is unchanged at first; drawn: they start as in training from
random weights."""

_FEATURES = (ConcatenatedOutputBlock, ProductOutputBlock)
_OPEN = (
    *(GemNet, Backbone, GeometryEncoder, RadialBases, Block, StreamLayer, StateEmbedding),
    *(ConcatenatedReadout, SummedOutputBlock, *_FEATURES, nn.ModuleDict, nn.ModuleList),
)
"""Modules that consist of parts, some of which another model may lack."""

_REPLACEABLE = (Interaction, InteractionGeometry, StreamUpdate, PropertyHead)
"""Parts that count as new ones in the place of parts of another class."""

_STACKS = ("before_skip", "after_skip", "atom_layers")
"""Residual layers of blocks without which the features pass unchanged."""

_ADDABLE = (
    *("trunk.geometry.", "trunk.edge_embedding", "trunk.state_embedding", "trunk.streams.", "trunk.blocks."),
    *("trunk.output_blocks.", "read_out.edges", "heads."),
)
"""Beginnings of the names of parts that may be new."""

_WITHOUT_WEIGHTS = ("energy", "short_range", "forces", "trunk.graphs")
"""Parts that have no weights in any model."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A part of a model, and the part of another model in its place.

    Attributes:
        path: its name among the modules of the model.
        new: the part.
        old: the part of the other model; None if there is none.
    """

    path: str
    new: nn.Module
    old: nn.Module | None

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def replaced(self) -> bool:
        """True if the part is of another class than the one in its place."""
        return self.old is not None and type(self.old) is not type(self.new)

    @property
    def added(self) -> bool:
        """True if the part has no place in the other model, or residual layers where the other has none."""
        empty = isinstance(self.old, nn.Sequential) and not len(self.old)
        return self.old is None or (empty and isinstance(self.new, nn.Sequential) and len(self.new) > 0)


def parts(new: nn.Module, old: nn.Module | None, path: str = "") -> Iterator[Part]:
    """Pair the smallest parts of a model that another one may lack with those in their place."""
    alike = type(old) is type(new) or (isinstance(old, _FEATURES) and isinstance(new, _FEATURES))
    if not isinstance(new, _OPEN) or not alike:
        yield Part(path, new, old)
        return
    others = {} if old is None else dict(old.named_children())
    for name, child in new.named_children():
        yield from parts(child, others.get(name), f"{path}.{name}" if path else name)


@dataclass(frozen=True, slots=True, eq=False)
class _Copy:
    """A weight of the new model that takes its values from one of the old model.

    Attributes:
        place: the weight.
        value: the weight of the old model; None: a scale factor of one.
        factor: whether the weight is a scale factor, which has multiplied by one if it was not fitted.
    """

    place: Tensor
    value: Tensor | None
    factor: bool = False

    def complete(self, grafted: bool) -> None:
        """Copy the values into the common rows and columns; further columns become zero in grafted models."""
        if self.value is None or (self.factor and not self.value):
            self.place.fill_(1.0)
            return
        if grafted and self.place.shape[1:] != self.value.shape[1:]:
            self.place.zero_()
        common = tuple(slice(min(sizes)) for sizes in zip(self.place.shape, self.value.shape, strict=True))
        self.place[common].copy_(self.value[common])


@final
class Grafting:
    """The weights of an old model in a new one.

    Args:
        new: the new model, with the divisors of `kept_divisors` if its function shall be unchanged; on the meta device
            for a check alone.
        old: the old model.
        new_weights: grafted or drawn.

    Attributes:
        problems: weights of the old model that do not fit, and new parts that cannot start at zero; with drawn weights,
            these weights are drawn.
        added: the names of the new parts.
        removed: the names of the parts of the old model that the new one lacks.
    """

    def __init__(self, new: GemNet, old: GemNet, new_weights: NewWeights = "grafted") -> None:
        self.problems: list[str] = []
        self.added: list[str] = []
        self._copies: list[_Copy] = []
        self._zeros: list[Tensor] = []
        self._grafted = new_weights == "grafted"
        self._known = streams_of(old)
        for part in parts(new, old):
            self._add(part)
        gone = (part for part in parts(old, new) if part.added or part.replaced)
        self.removed = [part.path for part in gone if _weighted(part.new) or isinstance(part.new, Interaction)]

    def _add(self, part: Part) -> None:
        if part.path in _WITHOUT_WEIGHTS:
            return
        if part.replaced and not isinstance(part.new, _REPLACEABLE) and self._grafted:
            old, new = type(part.old).__name__, type(part.new).__name__
            self.problems.append(f"{part.path} is {new} instead of {old}")
        elif part.added or (part.replaced and isinstance(part.new, _REPLACEABLE)):
            self._add_new(part)
        else:
            self._add_copies(part)

    def _add_new(self, part: Part) -> None:
        if _weighted(part.new) or isinstance(part.new, Interaction):
            self.added.append(part.path)
        if not self._grafted:
            return
        inside = part.name in _STACKS or part.old is None or part.replaced
        if not part.path.startswith(_ADDABLE) or not inside or part.name == "after_atom":
            self.problems.append(f"{part.path} is new, and would change the function")
            return
        try:
            self._zeros += zeros_of(part, self._known)
        except NotImplementedError as error:
            self.problems.append(f"{part.path} is new: {error}")
        except ValueError as error:
            self.problems.append(f"{part.path} {error}")

    def _add_copies(self, part: Part) -> None:
        assert part.old is not None
        given, begin = part.old.state_dict(), f"{part.path}." if part.path else ""
        modules = part.new.named_modules()
        factors = {f"{name}.factor".removeprefix(".") for name, one in modules if isinstance(one, ScaleFactor)}
        for name, place in part.new.state_dict().items():
            value = given.get(name)
            if name in factors:
                self._copies.append(_Copy(place, value, factor=True))
            elif value is None:
                self.problems.append(f"{begin}{name} is missing")
            elif not _fits(part.new, name, place, value):
                shapes = f"expected {place.dtype} {tuple(place.shape)}, found {value.dtype} {tuple(value.shape)}"
                self.problems.append(f"{begin}{name}: {shapes}")
            else:
                self._copies.append(_Copy(place, value))
        if unused := sorted(given.keys() - part.new.state_dict().keys()):
            self.problems += [f"{begin}{name} is not part of the model" for name in unused]

    @torch.no_grad()
    def take(self) -> None:
        """Copy the weights of the old model; new parts keep their initial weights."""
        for one in self._copies:
            one.complete(self._grafted)

    @torch.no_grad()
    def graft(self) -> None:
        """Set the last weights of new parts to zero; scale factors of these parts should have been fitted before."""
        for weight in self._zeros:
            weight.zero_()

    @property
    def taken(self) -> int:
        """The number of weights whose values are those of the old model, without scale factors of one."""
        return sum(min(one.place.numel(), one.value.numel()) for one in self._copies if one.value is not None)


def streams_of(model: GemNet) -> frozenset[str]:
    """Return the names of the embeddings and feature streams of a model."""
    backbone = model.backbone
    return frozenset({"atoms", *["edges"] * (backbone.edge_embedding is not None), *backbone.streams})


def _weighted(part: nn.Module) -> bool:
    return any(True for _ in part.parameters())


def _fits(part: nn.Module, name: str, place: Tensor, value: Tensor) -> bool:
    """Return whether a weight can be taken, in whole or, for further elements or output blocks, in part."""
    if place.is_floating_point() != value.is_floating_point():
        return False
    if place.shape == value.shape:
        return True
    if isinstance(part, ElementEmbedding):
        return place.shape[1:] == value.shape[1:]
    reads_outputs = isinstance(part, OutputNetwork) and name == "layers.0.linear.weight"
    return reads_outputs and len(place) == len(value)


def zeros_of(part: Part, known: Collection[str]) -> list[Tensor]:
    """Return the weights of a new part which at zero leave the function of the old model unchanged.

    Args:
        part: the new part.
        known: embeddings and streams of the old model. Messages to others need not be zero, and must not, since
            two factors of zero in a row would never change.

    Raises:
        NotImplementedError: a custom part does not tell its last weights.
        ValueError: the part would never learn.
    """
    if isinstance(part.new, Block):
        children = (one for name, child in part.new.named_children() for one in _of_child(name, child))
        return [weight for path, child in children for weight in zeros_of(Part(path, child, None), known)]
    found = list(_last_weights(part, known))
    layers = [one for one in part.new.modules() if isinstance(one, Dense) and isinstance(one.activation, SiQU)]
    flat = any(layer.linear.weight is weight for layer in layers for weight in found)
    if flat or (found and isinstance(getattr(part.new, "activation", None), SiQU)):
        raise ValueError("is new, and would never learn from zero, where the activation siqu has the slope zero")
    return found


def _of_child(name: str, child: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the parts of a block with names."""
    if not isinstance(child, nn.ModuleDict):
        yield name, child
        return
    for inner, one in child.items():
        yield f"{name}.{inner}", one


def _last_weights(part: Part, known: Collection[str]) -> Iterable[Tensor]:
    new = part.new
    if isinstance(new, Interaction):
        streams = [stream for stream in new.receivers if stream in known]
        return new.last_weights(streams) if streams else ()
    if isinstance(new, StreamLayer):
        return new.update.last_weights() if new.stream.name in known else ()
    if isinstance(new, StreamUpdate):
        return new.last_weights()
    if isinstance(new, AtomUpdate):
        first = new.layers[0] if len(new.layers) else None
        return [first.linear.weight if isinstance(first, Dense) else new.radial.weight]
    if isinstance(new, OutputBlock | OutputNetwork | LastLinear | PropertyHead):
        return _outputs(new)
    if part.name in ("dense", "concatenation", "before_skip", "after_skip") and "edges" not in known:
        return ()
    if part.name in _STACKS and isinstance(new, nn.Sequential):
        return last_weights_of(new)
    if part.name == "dense" and isinstance(new, Dense):
        return [new.linear.weight]
    if part.name == "concatenation" and isinstance(new, EdgeEmbedding):
        return [new.dense.linear.weight]
    return ()


def _outputs(part: nn.Module) -> Iterator[Tensor]:
    """Yield the weights of the linear maps to the results of a head, a readout or an output block."""
    for one in part.modules():
        if isinstance(one, LastLinear):
            yield one.linear.weight
        elif isinstance(one, StreamValues):
            yield from one.last.weights


def kept_divisors(new: Block, old: Block | None, known: Collection[str]) -> BlockDivisors | None:
    """Find the divisors with which a block whose new parts are zero computes the same as a block of the old model.

    Args:
        new: the block; divisors in its options are kept.
        old: the block of the old model; None: the new block is an addition, which changes neither atoms nor edges nor
            streams of the old model.
        known: embeddings and streams of the old model.

    Returns:
        The divisors that differ from the usual ones; None if there are none.
    """
    before, usual = None if old is None else old.all_divisors(), new.all_divisors()
    added_update = new.update is not None and (old is None or old.update is None)
    added_concatenation = new.concatenation is not None and (old is None or old.concatenation is None)

    def factor(name: str) -> float:
        stack, other = getattr(new, name), None if old is None else getattr(old, name)
        return factor_at_zero_of(stack) if other is None or not len(other) else 1.0

    wanted: dict[str, float] = {
        "atoms": (1.0 if before is None else _number(before.atoms)) * factor("atom_layers"),
        "update": 1.0 if before is None or added_update else _number(before.update),
    }
    if "edges" in known:
        wanted["skip"] = (1.0 if before is None else _number(before.skip)) * factor("after_skip")
        wanted["concatenation"] = 1.0 if before is None or added_concatenation else _number(before.concatenation)
        if before is not None:
            wanted["edges"] = _number(before.edges) * factor("before_skip")
    kept: dict[str, Any] = {name: value for name, value in wanted.items() if value != getattr(usual, name)}
    kept |= new.divisors.model_dump(exclude_none=True, exclude={"streams"})
    streams = {
        name: value
        for name, value in _stream_divisors(new, old, before).items()
        if name in known and value != usual.streams[name]
    }
    found = BlockDivisors(**kept, streams=streams | new.divisors.streams)
    return None if found == BlockDivisors() else found


def _stream_divisors(new: Block, old: Block | None, before: BlockDivisors | None) -> Mapping[str, float]:
    found = {}
    for name, layer in new.streams.items():
        assert isinstance(layer, StreamLayer)
        other = None if old is None else dict(old.streams.items()).get(name)
        same = isinstance(other, StreamLayer) and type(other.update) is type(layer.update)
        own = 1.0 if before is None else before.streams.get(name, 1.0)
        found[name] = own * (1.0 if same else layer.update.factor_at_zero)
    return found


def _number(divisor: float | None) -> float:
    assert divisor is not None  # all divisors of a block are known
    return divisor
