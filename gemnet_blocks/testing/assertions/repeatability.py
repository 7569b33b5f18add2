"""The same again: a second time, and in another floating-point type."""

from __future__ import annotations

import copy
import pickle

import torch
from torch import Tensor, nn

from gemnet_blocks.structures import Structures
from gemnet_blocks.testing.assertions.comparison import assert_close
from gemnet_blocks.testing.assertions.symmetry import finite_prediction
from gemnet_blocks.testing.assertions.tolerances import Tolerance, tolerance_of
from gemnet_blocks.testing.models import Model, predict


def assert_deterministic(model: Model, structures: Structures, times: int = 2) -> None:
    """The same prediction every time, bit by bit.

    Args:
        model: anything that predicts energies of structures.
        structures: of any kind.
        times: predictions to compare.

    Raises:
        AssertionError: says whether energies or forces differ, and by how much.
    """
    first = predict(model, structures)
    for _ in range(times - 1):
        again = predict(model, structures)
        _assert_same("energies", again.energy, first.energy)
        if first.forces is not None and again.forces is not None:
            _assert_same("forces", again.forces, first.forces)


def assert_precision(
    module: nn.Module,
    structures: Structures,
    tolerance: Tolerance | float | None = None,
    force_tolerance: Tolerance | float | None = None,
) -> None:
    """Deep copies of a model in float32 and float64 predict the same for the same structures.

    Args:
        module: a model that computes in the type of its weights; it stays as it is.
        structures: rounded to float32 first, so that both copies see the same numbers.
        tolerance: of energies, relative to the largest |energy|; None: what single precision allows.
        force_tolerance: of forces, likewise.

    Raises:
        AssertionError: says whether energies or forces differ, where and by how much.
    """
    structures = structures.to(dtype=torch.float32)
    single = finite_prediction(copy.deepcopy(module).float(), structures, " in float32")
    double = finite_prediction(copy.deepcopy(module).double(), structures.to(dtype=torch.float64), " in float64")
    allowed = tolerance or tolerance_of("single precision energies", torch.float32)
    _assert_near(single.energy, double.energy, allowed, "energies in float32 and float64")
    if single.forces is not None and double.forces is not None:
        allowed = force_tolerance or tolerance_of("single precision forces", torch.float32)
        _assert_near(single.forces, double.forces, allowed, "forces in float32 and float64")


def assert_copies(module: nn.Module, *arguments: object) -> None:
    """A module deep-copies and pickles, and the copies compute the same, bit by bit.

    Args:
        module: returns a tensor or a prediction.
        arguments: what it is called with.

    Raises:
        AssertionError: it cannot be copied or pickled, and why; or a copy computes something else.
    """
    expected = _result(module, arguments)
    for how, twin in assert_copyable(module).items():
        _assert_same(f"results of the {how} module", _result(twin, arguments), expected)


def assert_copyable(module: nn.Module) -> dict[str, nn.Module]:
    """A module deep-copies and pickles; returns the copies, by how they were made.

    Raises:
        AssertionError: it cannot be copied or pickled, and why.
    """
    copies: dict[str, nn.Module] = {}
    for how, make in (("deep-copied", copy.deepcopy), ("pickled", _pickled)):
        try:
            copies[how] = make(module)
        except Exception as error:
            raise AssertionError(
                f"the module cannot be {how}: {type(error).__name__}: {error}. Keep lambdas, local functions and "
                "classes, and tensors that are results of differentiable functions out of its attributes"
            ) from None
    return copies


def _pickled(module: nn.Module) -> nn.Module:
    twin: nn.Module = pickle.loads(pickle.dumps(module))
    return twin


def _result(module: nn.Module, arguments: tuple[object, ...]) -> Tensor:
    result = module(*arguments)
    return (result if isinstance(result, Tensor) else result.energy).detach()


def _assert_near(single: Tensor, double: Tensor, tolerance: Tolerance | float, name: str) -> None:
    if single.dtype == double.dtype:
        raise AssertionError(f"{name}: both copies compute in {double.dtype}, not in the type of their weights")
    assert_close(single.detach().double(), double.detach(), tolerance, name)


def _assert_same(what: str, actual: Tensor, expected: Tensor) -> None:
    actual, expected = actual.detach(), expected.detach()
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise AssertionError(f"{what} differ in shape or type: {tuple(actual.shape)} {actual.dtype} the second time")
    same = (actual == expected) | (actual.isnan() & expected.isnan())
    if not bool(same.all()):
        deviation = float((actual - expected).abs().max())
        raise AssertionError(f"{what} are not repeatable: {int((~same).sum())} numbers differ by up to {deviation:.2e}")
