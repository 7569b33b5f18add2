"""Weights under the names of published GemNet-OC checkpoints, into and out of our models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gemnet_blocks.basis.geometry import RadialAngularProjection
from gemnet_blocks.checkpoints.fairchem_keys import published_names, without_own_prefixes
from gemnet_blocks.errors import StateError

PREFIXES = ("module.", "backbone.")
"""What wrappers put in front of every name; up to two of these are removed."""


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

    Up to two prefixes `module.` or `backbone.` of all keys are removed. Nothing is changed when the state does not fit.

    Args:
        module: a model made from a spec, one of the façade classes or one of its heads. Interactions and edge sets
            must have their usual names.
        state_dict: arrays by key.
        strict: raise when keys are missing or unexpected; otherwise only report them and load the others. Arrays of
            the wrong shape always raise.

    Returns:
        What became of each key.

    Raises:
        StateError: lists exactly the keys that are missing, unexpected or of the wrong shape.
    """
    state = _without_prefixes(state_dict)
    places = _places(module)
    by_name = {name: place for place in places for name in place.names}
    # a weight with several names needs only the one that is there
    missing = [place.names[0] for place in places if not any(name in state for name in place.names)]
    unused = _unused_names(module)
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
    return {
        name: place.tensor.detach().clone().reshape(place.stored_shape)
        for place in _places(module)
        for name in place.names
    }


def _places(module: nn.Module) -> list[_Place]:
    stored_shapes = {
        id(part.weight): (part.weight.shape[0], part.weight.shape[2], part.weight.shape[1])
        for part in module.modules()
        if isinstance(part, RadialAngularProjection)
    }
    present = _interactions_of(module)
    places, unnamed = [], []
    for key, tensor in module.state_dict(keep_vars=True).items():
        name = without_own_prefixes(key)
        names = [other for other in published_names(name) if _belongs(other, present)]
        if not names:
            unnamed.append(key)
        shape = stored_shapes.get(id(tensor), tuple(tensor.shape))
        places.append(_Place(tensor, tuple(names), shape))
    if unnamed:
        raise StateError(f"published models have no names for the weights {', '.join(unnamed)}")
    return places


def _interactions_of(module: nn.Module) -> set[str]:
    """The interactions that share bases, by the suffix of their published names."""
    keys = {without_own_prefixes(key) for key in module.state_dict()}
    suffixes = {"triplet": "tint", "quadruplet": "qint", "atom_edge": "aeint", "edge_atom": "eaint"}
    return {
        suffix
        for name, suffix in suffixes.items()
        if any(key.startswith(f"geometry.interactions.{name}.") for key in keys)
    }


def _unused_names(module: nn.Module) -> tuple[str, ...]:
    """What published models store and never use: with edge–atom but no atom–edge interaction, a radial basis."""
    present = _interactions_of(module)
    return ("radial_basis_aeaint.",) if "eaint" in present and "aeint" not in present else ()


def _belongs(name: str, present: set[str]) -> bool:
    """Whether a published name of a basis belongs to an interaction that the model has."""
    head = name.split(".", 1)[0]
    if not head.startswith(("cbf_basis_", "sbf_basis_")):
        return True
    return head.rsplit("_", 1)[1] in present


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
    stripped = dict(state)
    for _ in range(2):
        for prefix in PREFIXES:
            if stripped and all(key.startswith(prefix) for key in stripped):
                stripped = {key.removeprefix(prefix): value for key, value in stripped.items()}
                break
    return stripped
