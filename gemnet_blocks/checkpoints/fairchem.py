"""Weights under the names of published GemNet-OC checkpoints, into and out of our models."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gemnet_blocks.basis.geometry import RadialAngularProjection
from gemnet_blocks.checkpoints.fairchem_keys import published_names, shared_suffixes, unused_prefixes
from gemnet_blocks.errors import StateError

PREFIXES = re.compile(r"^((module|backbone|output_heads\.\w+)\.)+")
"""What wrappers and models of a backbone and heads put in front of names."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of the keys of a state dictionary.

    Attributes:
        loaded: keys that were read.
        missing: keys that the model needs and the state does not have.
        unexpected: keys that the model has no place for.
        wrong_shape: keys whose arrays do not fit, with both shapes.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: tuple[str, ...]

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


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """One of our weights: the tensor, its published names, and the shape that it is stored in there."""

    tensor: Tensor
    names: tuple[str, ...]
    stored_shape: tuple[int, ...]


def load_fairchem_state(module: nn.Module, state_dict: Mapping[str, Tensor], strict: bool = True) -> LoadReport:
    """Load weights stored under the names of published GemNet-OC models.

    The prefixes `module.`, `backbone.` and `output_heads.<name>.` of keys are removed. Nothing is changed when the
    state does not fit.

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
            there twice, with different prefixes.
    """
    state = _without_prefixes(state_dict)
    places = _places(module)
    by_name = {name: place for place in places for name in place.names}
    # a weight with several names needs only the one that is there
    missing = [place.names[0] for place in places if not any(name in state for name in place.names)]
    unused = unused_prefixes(module)
    unexpected = [name for name in state if name not in by_name and not name.startswith(unused)]
    wrong = [
        f"{name} ({tuple(value.shape)} where {by_name[name].stored_shape} is needed)"
        for name, value in state.items()
        if name in by_name and tuple(value.shape) != by_name[name].stored_shape
    ]
    wrong += _contradictions(places, state)
    loaded = [name for name in state if name in by_name]
    report = LoadReport(tuple(loaded), tuple(missing), tuple(unexpected), tuple(wrong))
    if wrong or (strict and not report.complete):
        raise StateError(f"the state does not fit the model: {report}")
    with torch.no_grad():
        for place in places:
            for name in place.names[::-1]:
                if name in state:
                    place.tensor.copy_(state[name].reshape(place.tensor.shape))
    return report


def fairchem_state(module: nn.Module) -> dict[str, Tensor]:
    """The weights of a model under the names of published GemNet-OC models; the inverse of `load_fairchem_state`.

    Raises:
        StateError: the model has weights that published models have no name for.
    """
    state = {
        name: place.tensor.detach().clone().reshape(place.stored_shape)
        for place in _places(module)
        for name in place.names
    }
    # published models also store a basis that they do not use; any values will do
    unused = {
        name.replace("radial_basis.", prefix, 1): value.clone()
        for prefix in unused_prefixes(module)
        for name, value in state.items()
        if name.startswith("radial_basis.")
    }
    return state | unused


def _places(module: nn.Module) -> list[_Place]:
    stored_shapes = {
        id(part.weight): (part.weight.shape[0], part.weight.shape[2], part.weight.shape[1])
        for part in module.modules()
        if isinstance(part, RadialAngularProjection)
    }
    present = shared_suffixes(module)
    places, unnamed = [], []
    for key, tensor in module.state_dict(keep_vars=True).items():
        names = published_names(key, present)
        if not names:
            unnamed.append(key)
        shape = stored_shapes.get(id(tensor), tuple(tensor.shape))
        places.append(_Place(tensor, tuple(names), shape))
    if unnamed:
        raise StateError(f"published models have no names for the weights {', '.join(unnamed)}")
    return places


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


def _without_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    stripped = {key: PREFIXES.sub("", key) for key in state}
    count = Counter(stripped.values())
    twice = [key for key, name in stripped.items() if count[name] > 1]
    if twice:
        raise StateError(f"the state has weights twice, with different prefixes: {', '.join(twice)}")
    return {stripped[key]: value for key, value in state.items()}
