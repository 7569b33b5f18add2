"""Weights under the names of published checkpoints of GemNet-OC and GemNet-T, into and out of our models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gemnet_blocks.checkpoints.fairchem_keys import GEMNET_T, published_names, shared_suffixes, unused_prefixes
from gemnet_blocks.errors import StateError
from gemnet_blocks.interactions.triplet import TripletInteraction
from gemnet_blocks.layers.projection import RadialAngularProjection
from gemnet_blocks.util.weights import no_key_fits, unwrapped, without_wrappers


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of the keys of a state dictionary.

    Attributes:
        loaded: keys that were read.
        missing: keys that the model needs and the state does not have.
        unexpected: keys that the model has no place for.
        wrong_shape: keys whose arrays do not fit, with both shapes.
        ignored: keys that published models store and never use.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: tuple[str, ...]
    ignored: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every key found its place and every weight its key."""
        return not (self.missing or self.unexpected or self.wrong_shape)

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} keys loaded"]
        for label, keys in (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of the wrong shape", self.wrong_shape),
        ):
            if keys:
                lines.append(f"{len(keys)} {label}: {', '.join(keys)}")
        return "; ".join(lines)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a weight is stored: our array in another shape, then with its axes in another order.

    Attributes:
        shape: the shape before axes change places.
        axes: which of them comes where in what is stored.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """One of our weights: the tensor, its published names, and how it is stored there."""

    tensor: Tensor
    names: tuple[str, ...]
    layout: _Layout

    @property
    def stored_shape(self) -> tuple[int, ...]:
        return tuple(self.layout.shape[axis] for axis in self.layout.axes)

    def read(self, stored: Tensor) -> Tensor:
        """Our weight of a stored one."""
        axes = [self.layout.axes.index(axis) for axis in range(stored.ndim)]
        return stored.permute(axes).reshape(self.tensor.shape)

    def stored(self) -> Tensor:
        """What is stored of our weight, a copy."""
        return self.tensor.detach().clone().reshape(self.layout.shape).permute(self.layout.axes).contiguous()


def load_fairchem_state(module: nn.Module, state_dict: Mapping[str, Tensor], strict: bool = True) -> LoadReport:
    """Load weights stored under the names of published models.

    Keys lose the prefixes of wrappers, such as `module.`, `_orig_mod.`, `net.`, `ema_model.module.`, `backbone.` and
    `heads.energy.`: whichever prefix makes the most keys fit. Nothing is changed when the state does not fit.

    Args:
        module: a model made from a spec, one of the façade classes or one of its heads. Interactions and edge sets
            must have their usual names.
        state_dict: arrays by key.
        strict: raise when keys are missing or unexpected; otherwise only report them and load the others. Arrays of
            the wrong shape always raise.

    Returns:
        What became of each key.

    Raises:
        StateError: lists exactly the keys that are missing, unexpected or of the wrong shape; or the keys that are
            there twice, with different prefixes; or no key is known, whether strict or not.
    """
    places = _places(module)
    by_name = {name: place for place in places for name in place.names}
    state = unwrapped(state_dict, by_name)
    # a weight with several names needs only the one that is there
    missing = [place.names[0] for place in places if not any(name in state for name in place.names)]
    unused = unused_prefixes(module)
    unexpected = [name for name in state if name not in by_name and not name.startswith(unused)]
    wrong = [
        f"{name} ({tuple(value.shape)} where {by_name[name].stored_shape} is needed)"
        for name, value in state.items()
        if name in by_name and tuple(value.shape) != by_name[name].stored_shape
    ]
    wrong += [
        f"{name} ({value.dtype}, of no floating-point type)"
        for name, value in state.items()
        if name in by_name and not value.is_floating_point()
    ]
    wrong += _contradictions(places, state)
    loaded = [name for name in state if name in by_name]
    if state and by_name and not loaded:
        raise StateError(no_key_fits(by_name, state_dict))
    ignored = [name for name in state if name not in by_name and name.startswith(unused)]
    report = LoadReport(tuple(loaded), tuple(missing), tuple(unexpected), tuple(wrong), tuple(ignored))
    if wrong or (strict and not report.complete):
        raise StateError(f"the state does not fit the model: {report}")
    with torch.no_grad():
        for place in places:
            for name in place.names[::-1]:
                if name in state:
                    place.tensor.copy_(place.read(state[name]))
    return report


def fairchem_state(module: nn.Module) -> dict[str, Tensor]:
    """The weights of a model under the names of published models; the inverse of `load_fairchem_state`.

    Raises:
        StateError: the model has weights that published models have no name for.
    """
    state = {name: place.stored() for place in _places(module) for name in place.names}
    # published models also store a basis that they do not use; any values will do
    unused = {
        name.replace("radial_basis.", prefix, 1): value.clone()
        for prefix in unused_prefixes(module)
        for name, value in state.items()
        if name.startswith("radial_basis.")
    }
    return state | unused


def trained_keys(module: nn.Module, state_dict: Mapping[str, Tensor]) -> list[tuple[str, ...]]:
    """The keys of each trained weight, in the order of the state; a weight may have several.

    Args:
        module: the model that the state is of.
        state_dict: arrays by key.
    """
    by_name = {name: place.tensor for place in _places(module) for name in place.names}
    groups: dict[object, list[str]] = {}
    for key, name in without_wrappers(state_dict, by_name).items():
        tensor = by_name.get(name)
        for prefix in unused_prefixes(module):  # a basis that is not used is trained by name
            if tensor is None and name.startswith(prefix):
                like = by_name.get(name.replace(prefix, "radial_basis.", 1))
                tensor = None if like is None else torch.empty(0, requires_grad=like.requires_grad)
        if tensor is not None and tensor.requires_grad:
            groups.setdefault(id(tensor) if name in by_name else name, []).append(key)
    return [tuple(keys) for keys in groups.values()]


def energy_weights(module: nn.Module) -> list[Tensor]:
    """The weights of the last layers of energies, which are linear in them."""
    names = ("out_energy.linear.weight",)
    return [place.tensor for place in _places(module) if any(name.endswith(names) for name in place.names)]


def _places(module: nn.Module) -> list[_Place]:
    present = shared_suffixes(module)
    layouts = _layouts(module, GEMNET_T in present)
    places, unnamed = [], []
    for key, tensor in module.state_dict(keep_vars=True).items():
        names = published_names(key, present)
        if not names:
            unnamed.append(key)
        layout = layouts.get(id(tensor), _Layout(tuple(tensor.shape), tuple(range(tensor.ndim))))
        places.append(_Place(tensor, tuple(names), layout))
    if unnamed:
        raise StateError(f"published models have no names for the weights {', '.join(unnamed)}")
    return places


def _layouts(module: nn.Module, gemnet_t: bool) -> dict[int, _Layout]:
    """How weights are stored that are stored otherwise than we have them, by the identity of the tensor."""
    layouts = {}
    for part in module.modules():
        if isinstance(part, RadialAngularProjection):
            radial, size, angular = part.weight.shape
            # GemNet-OC fills an array (n, l, k) and reads it as (n, k, l); GemNet-T stores (l, n, k)
            published = _Layout((radial, angular, size), (0, 1, 2))
            layouts[id(part.weight)] = _Layout((radial, size, angular), (2, 0, 1)) if gemnet_t else published
        elif isinstance(part, TripletInteraction) and gemnet_t:
            weight, features = part.contraction.linear.weight, part.message.down.linear.out_features
            # ours: (out, k × f); GemNet-T's: (f, k, out)
            layouts[id(weight)] = _Layout((weight.shape[0], weight.shape[1] // features, features), (2, 1, 0))
    return layouts


def _contradictions(places: list[_Place], state: Mapping[str, Tensor]) -> list[str]:
    """Names of one and the same weight whose arrays differ."""
    lines = []
    for place in places:
        there = [name for name in place.names if name in state]
        for name in there[1:]:
            first, other = state[there[0]], state[name]
            if first.shape == other.shape and not torch.equal(first, other):
                lines.append(f"{name} (differs from {there[0]}, which is the same weight)")
    return lines


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
