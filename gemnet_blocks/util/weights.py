"""The base class of models, potentials and published classes, which keeps their weights trainable and readable."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from gemnet_blocks.errors import StateDictError, StateError, first_few

_WRAPPERS = re.compile(r"^(module\.)+|(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Wrappers of torch: `DataParallel` in front of a key; `compile`, FSDP and activation checkpointing anywhere in it."""
_COUNTERS = ("n_averaged",)
"""What torch's `AveragedModel` stores besides weights."""

Self = TypeVar("Self", bound="WeightedModule")


@contextmanager
def ordinary_tensors() -> Iterator[None]:
    """Make tensors that can be trained, also in inference mode; gradients are recorded as they would be outside."""
    recorded = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.set_grad_enabled(recorded):
        yield


def _trainable(value: Any) -> Any:
    """Copy a tensor that was made in inference mode; every other value stays as it is."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


def without_wrappers(keys: Iterable[str], expected: Collection[str]) -> dict[str, str]:
    """Find the weight's name behind each key of a state dictionary, without the prefixes of wrappers.

    Wrappers (`DataParallel`, `compile`, `AveragedModel`, the attributes of training loops) put a prefix of their choice
    in front of all names of a model; models of a backbone and heads have one for each part. Of all prefixes that a key
    can be read with, it loses the one that makes the most keys fit, and the shortest of these.

    Args:
        keys: the keys of the state dictionary.
        expected: the names that the model knows.

    Returns:
        The name for each key; a key stays as it is if no key with its prefixes fits.
    """
    splits = {key: list(_prefixes(_WRAPPERS.sub("", key))) for key in keys}
    known = set(expected)
    fits = Counter(prefix for found in splits.values() for prefix, name in found if name in known)
    # `max` takes the first, thus shortest, of several prefixes with the same count
    return {key: max(found, key=lambda split: fits[split[0]])[1] for key, found in splits.items()}


def _prefixes(key: str) -> Iterator[tuple[str, str]]:
    """Split a key at each of its dots, first without a prefix."""
    yield "", key
    for dot in re.finditer(r"\.", key):
        yield key[: dot.end()], key[dot.end() :]


def unwrapped(state: Mapping[str, Tensor], expected: Collection[str]) -> dict[str, Tensor]:
    """Rename the weights of a state dictionary by `without_wrappers`, and leave out the counters of averages.

    Raises:
        StateError: the state has a weight twice, with different prefixes.
    """
    weights = [key for key in state if key in expected or key.rpartition(".")[2] not in _COUNTERS]
    names = without_wrappers(weights, expected)
    count = Counter(names.values())
    twice = [key for key, name in names.items() if count[name] > 1]
    if twice:
        raise StateError(
            f"the state has weights twice, with different prefixes: {first_few(twice, 6, ', ')}: keep the keys of one "
            "prefix"
        )
    return {name: state[key] for key, name in names.items()}


def no_key_fits(expected: Collection[str], found: Collection[str], advice: str = "") -> str:
    """The message for a state of which no key is known."""
    return (
        f"no key of the state fits the model: expected keys such as {first_few(expected, 3, ', ')}, found "
        f"{first_few(found, 3, ', ')}. "
        f"{advice or 'Check that the weights are those of this model'}"
    )


class WeightedModule(nn.Module):
    """A module whose weights can be trained wherever it is moved or copied, inference mode included.

    State dictionaries are read with any prefix that wrappers put in front of the names.
    """

    def _apply(self: Self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        with ordinary_tensors():
            return super()._apply(fn, recurse)

    def __deepcopy__(self: Self, memo: dict[int, Any]) -> Self:
        with ordinary_tensors():
            other = self.__new__(type(self))
            memo[id(self)] = other
            other.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return other

    def __setstate__(self, state: dict[str, Any]) -> None:
        if torch.is_inference_mode_enabled():  # the tensors have just been unpickled, and could not be trained
            with ordinary_tensors():
                state = copy.deepcopy(state)
        super().__setstate__(state)

    @ordinary_tensors()
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Copy weights of a state dictionary into the module, whatever wrapper they were saved from.

        Args:
            state_dict: weights under the names of `state_dict()`; for published names see `load_fairchem_state`.
            strict: raise when keys are missing or unexpected.
            assign: take the tensors themselves instead of their values; those made in inference mode are copied.

        Raises:
            StateError: no key fits, or the state has a weight twice with different prefixes.
            RuntimeError: keys are missing or unexpected, or shapes differ.
        """
        own = self.state_dict()
        if not state_dict.keys() <= own.keys():
            names = {name.removeprefix("model."): name for name in own}
            found = unwrapped(state_dict, names)
            if own and found and not found.keys() & names.keys():
                advice = "Weights under published names are read with gemnet_blocks.checkpoints.load_fairchem_state"
                raise StateDictError(no_key_fits(own, state_dict, advice))
            state_dict = {names.get(name, name): value for name, value in found.items()}
        if assign:
            state_dict = {name: _trainable(value) for name, value in state_dict.items()}
        return super().load_state_dict(state_dict, strict=strict, assign=assign)
