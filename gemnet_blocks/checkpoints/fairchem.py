"""Loading and saving of weights under the names of published checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gemnet_blocks.checkpoints.fairchem_keys import (
    GEMNET_2021,
    GEMNET_T,
    published_names,
    shared_suffixes,
    unused_prefixes,
)
from gemnet_blocks.errors import StateError
from gemnet_blocks.interactions.quadruplet import QuadrupletInteraction, SharedQuadrupletGeometry
from gemnet_blocks.interactions.triplet import TripletInteraction
from gemnet_blocks.layers.projection import RadialAngularProjection
from gemnet_blocks.util.weights import no_key_fits, unwrapped, without_wrappers


@dataclass(frozen=True, slots=True)
class LoadReport:
    """Report on the keys of a state dictionary.

    Attributes:
        loaded: keys that were loaded.
        missing: keys that the model needs and the state lacks.
        unexpected: keys that the model does not have.
        wrong_shape: keys whose arrays do not fit, with both shapes.
        ignored: keys that published models store but never use.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: tuple[str, ...]
    ignored: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """True if the state and the model have the same keys and shapes."""
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
    """The layout of a published weight: our weight reshaped to `shape`, permuted by `axes`, reshaped to `stored`.

    Attributes:
        shape: the shape before the permutation.
        axes: the permutation.
        stored: the published shape; None for the permuted one.
        alternating: whether entries of odd index along our last axis have the opposite sign.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    stored: tuple[int, ...] | None = None
    alternating: bool = False

    @property
    def permuted(self) -> tuple[int, ...]:
        return tuple(self.shape[axis] for axis in self.axes)


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """One of our weights with its published names and layout."""

    tensor: Tensor
    names: tuple[str, ...]
    layout: _Layout

    @property
    def stored_shape(self) -> tuple[int, ...]:
        return self.layout.permuted if self.layout.stored is None else self.layout.stored

    def read(self, stored: Tensor) -> Tensor:
        axes = [self.layout.axes.index(axis) for axis in range(len(self.layout.axes))]
        return self._with_signs(stored.reshape(self.layout.permuted).permute(axes).reshape(self.tensor.shape))

    def stored(self) -> Tensor:
        signed = self._with_signs(self.tensor.detach().clone())
        return signed.reshape(self.layout.shape).permute(self.layout.axes).contiguous().reshape(self.stored_shape)

    def _with_signs(self, weight: Tensor) -> Tensor:
        if not self.layout.alternating:
            return weight
        odd = torch.arange(weight.shape[-1], device=weight.device) % 2 == 1
        return torch.where(odd, -weight, weight)


def load_fairchem_state(module: nn.Module, state_dict: Mapping[str, Tensor], strict: bool = True) -> LoadReport:
    """Load weights that are stored under the names of published models.

    Prefixes of wrappers, such as `module.`, `_orig_mod.`, `net.`, `ema_model.module.`, `backbone.` and `heads.energy.`,
    are removed from the keys so that most keys fit. The model is not changed if the state does not fit.

    Args:
        module: a model built from a spec, a `GemNetOC`, `GemNetT`, `GemNet2021` or one of their heads. Interactions and
            edge sets must have their usual names.
        state_dict: weights by key, alone or under the key `model`, as in training checkpoints of GemNet of 2021.
        strict: raise an error for missing and unexpected keys; otherwise report them and load the other keys. Arrays
            of the wrong shape always raise an error.

    Returns:
        A report on every key.

    Raises:
        StateError: keys are missing, unexpected or of the wrong shape, or occur twice with different prefixes; the
            message lists them. Also if none of the keys is known, even if `strict` is False.
    """
    if isinstance(state_dict.get("model"), Mapping):
        state_dict = state_dict["model"]  # type: ignore[assignment]
    places = _places(module)
    by_name = {name: place for place in places for name in place.names}
    state = unwrapped(state_dict, by_name)
    # one of the names of a weight suffices
    missing = [place.names[0] for place in places if not any(name in state for name in place.names)]
    unused = unused_prefixes(module)
    unexpected = [name for name in state if name not in by_name and not name.startswith(unused)]
    wrong = [
        f"{name} (expected {by_name[name].stored_shape}, found {tuple(value.shape)})"
        for name, value in state.items()
        if name in by_name and tuple(value.shape) != by_name[name].stored_shape
    ]
    wrong += [
        f"{name} (expected a floating-point type, found {value.dtype})"
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
    """Return the weights of a model under the names of published models; the inverse of `load_fairchem_state`.

    Raises:
        StateError: the model has weights that published models do not have.
    """
    state = {name: place.stored() for place in _places(module) for name in place.names}
    if GEMNET_2021 in shared_suffixes(module):  # factors that are not fitted are 0 here and 1 there
        state |= {name: value + (value == 0) for name, value in state.items() if name.endswith(".scale_factor")}
    # published models also store a basis that they never use; its values do not matter
    unused = {
        name.replace("radial_basis.", prefix, 1): value.clone()
        for prefix in unused_prefixes(module)
        for name, value in state.items()
        if name.startswith("radial_basis.")
    }
    return state | unused


def trained_keys(module: nn.Module, state_dict: Mapping[str, Tensor]) -> list[tuple[str, ...]]:
    """Return the keys of each trained weight in the order of the state; a weight may have several keys."""
    by_name = {name: place.tensor for place in _places(module) for name in place.names}
    groups: dict[object, list[str]] = {}
    for key, name in without_wrappers(state_dict, by_name).items():
        tensor = by_name.get(name)
        for prefix in unused_prefixes(module):  # the unused basis is among the trained weights too
            if tensor is None and name.startswith(prefix):
                like = by_name.get(name.replace(prefix, "radial_basis.", 1))
                tensor = None if like is None else torch.empty(0, requires_grad=like.requires_grad)
        if tensor is not None and tensor.requires_grad:
            groups.setdefault(id(tensor) if name in by_name else name, []).append(key)
    return [tuple(keys) for keys in groups.values()]


def energy_weights(module: nn.Module) -> list[Tensor]:
    """Return the weights of the last layers of the energy head, in which the energy is linear."""
    last = "out_energy.linear.weight"
    return [place.tensor for place in _places(module) if any(name.endswith(last) for name in place.names)]


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
        raise StateError(f"published models do not have the weights {', '.join(unnamed)}")
    return places


def _layouts(module: nn.Module, gemnet_t: bool) -> dict[int, _Layout]:
    """Return the layouts of weights whose published layout differs from ours, by the identity of the tensor."""
    layouts: dict[int, _Layout] = {}
    for part in module.modules():
        if isinstance(part, RadialAngularProjection):
            radial, size, angular = part.weight.shape
            # GemNet-OC stores (n, l, k) but reads the array as (n, k, l); GemNet-T stores (l, n, k)
            published = _Layout((radial, angular, size), (0, 1, 2))
            layouts.setdefault(id(part.weight), _Layout((radial, size, angular), (2, 0, 1)) if gemnet_t else published)
        elif isinstance(part, SharedQuadrupletGeometry) and gemnet_t:
            radial, size, angular = shape = part.circular_projection.weight.shape
            # A matrix in GemNet-Q, with columns (l, n). Its angle φ_abd is π minus ours, and P_l(-z) = (-1)^l P_l(z).
            stored = (size, angular * radial)
            layouts[id(part.circular_projection.weight)] = _Layout(shape, (1, 2, 0), stored, alternating=True)
        elif isinstance(part, TripletInteraction | QuadrupletInteraction) and gemnet_t:
            weight, features = part.contraction.linear.weight, part.message.down.linear.out_features
            # ours: (out, k × f); GemNet-T's: (f, k, out)
            layouts[id(weight)] = _Layout((weight.shape[0], weight.shape[1] // features, features), (2, 1, 0))
    return layouts


def _contradictions(places: list[_Place], state: Mapping[str, Tensor]) -> list[str]:
    """Describe keys that stand for the same weight but have different values."""
    lines = []
    for place in places:
        present = [name for name in place.names if name in state]
        for name in present[1:]:
            first, other = state[present[0]], state[name]
            if first.shape == other.shape and not torch.equal(first, other):
                lines.append(f"{name} (differs from {present[0]}, which is the same weight)")
    return lines


def averaged_state(module: nn.Module, state: Mapping[str, Tensor], averages: Mapping[str, Any]) -> dict[str, Tensor]:
    """Replace the trained weights of a state by their moving averages.

    The averages are a list in the order of the state, in which a weight with several names occurs once.

    Args:
        module: the model of the state.
        state: weights by published name, in the order of the checkpoint.
        averages: the section `ema` of the checkpoint.

    Raises:
        StateError: the number of averages differs from that of trained weights, or a shape differs.
    """
    shadows = averages.get("shadow_params")
    if not isinstance(shadows, (list, tuple)) or not all(isinstance(value, Tensor) for value in shadows):
        raise StateError("the checkpoint's section ema does not contain a list shadow_params of averaged weights")
    groups = trained_keys(module, state)
    if len(groups) != len(shadows):
        raise StateError(
            f"expected {len(groups)} averaged weights, one per trained weight, found {len(shadows)}: convert the "
            "checkpoint without --ema"
        )
    averaged = dict(state)
    for names, value in zip(groups, shadows, strict=True):
        for name in names:
            if state[name].shape != value.shape:
                raise StateError(
                    f"the averaged weights have another order than the weights: expected the shape "
                    f"{tuple(state[name].shape)} of {name}, found {tuple(value.shape)}"
                )
            averaged[name] = value
    return averaged
