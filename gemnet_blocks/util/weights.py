"""The common ground of models, potentials and published classes: what their weights survive."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from gemnet_blocks.errors import StateDictError, StateError, first_few

_WRAPPERS = (
    "module",
    "model",
    "ema",
    "ema_model",
    "_orig_mod",
    "_forward_module",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "backbone",
    r"output_heads\.\w+",
)
_PREFIXES = re.compile(rf"^(({'|'.join(_WRAPPERS)})\.)+")
_INSIDE = re.compile(r"(?<=\.)(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_COUNTERS = ("n_averaged",)
"""What torch's `AveragedModel` stores besides weights."""

Self = TypeVar("Self", bound="WeightedModule")


@contextmanager
def ordinary_tensors() -> Iterator[None]:
    """Make tensors that can be trained, also in inference mode; gradients are recorded as they would be outside."""
    recorded = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.set_grad_enabled(recorded):
        yield


def without_wrappers(key: str) -> str:
    """The name of a weight without what wrappers put in front of it, repeated and in any order.

    Wrappers are those of torch (`DataParallel`, `compile`, `AveragedModel`, FSDP), attributes of training loops such as
    `model` and `ema_model`, and models of a backbone and heads.
    """
    return _PREFIXES.sub("", _INSIDE.sub("", key))


def unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dictionary whose keys are `without_wrappers`, without the counters of averages.

    Raises:
        StateError: the state has a weight twice, with different prefixes.
    """
    names = {key: name for key in state if (name := without_wrappers(key)) not in _COUNTERS}
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

    State dictionaries are read with any of the prefixes that `without_wrappers` knows.
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

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Copy weights of a state dictionary into the module, whatever wrapper they were saved from.

        Args:
            state_dict: weights under the names of `state_dict()`; for published names see `load_fairchem_state`.
            strict: raise when keys are missing or unexpected.
            assign: take the tensors themselves instead of their values.

        Raises:
            StateError: no key is known, or a weight is there twice with different prefixes.
            RuntimeError: keys are missing or unexpected, or shapes differ.
        """
        own = self.state_dict()
        if not state_dict.keys() <= own.keys():
            names = {without_wrappers(name): name for name in own}
            renamed = {names.get(name, name): value for name, value in unwrapped(state_dict).items()}
            if own and renamed and not renamed.keys() & own.keys():
                advice = "Weights under published names are read with gemnet_blocks.checkpoints.load_fairchem_state"
                raise StateDictError(no_key_fits(own, state_dict, advice))
            state_dict = renamed
        return super().load_state_dict(state_dict, strict=strict, assign=assign)
