"""Assertions about symmetries, balances of forces, determinism, precision and copies of models."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.structures import Prediction, PropertyKind, Structures
from gemnet_blocks.testing.assertions.comparison import (
    Quantity,
    Tolerance,
    as_tolerance,
    assert_close,
    position_of_largest,
    tolerance_of,
)
from gemnet_blocks.testing.models import Model, predict
from gemnet_blocks.testing.symmetries import Symmetry


def assert_symmetry(
    model: Model, structures: Structures, symmetry: Symmetry, tolerance: Tolerance | float | None = None
) -> None:
    """Assert that a model is equivariant under a symmetry: f(g x) = g f(x).

    Energies and forces are compared, stresses if the model predicts them, and the properties of the further heads of a
    `GemNet`. Properties that are defined for molecules only are compared if the batch is not periodic.

    Args:
        model: a model that predicts energies of structures.
        structures: structures x.
        symmetry: symmetry g.
        tolerance: tolerance of energies in the model's unit and of forces in that unit per Å, relative to the largest
            |energy| and |force| of the batch; None: the tolerance of the type of the prediction.

    Raises:
        AssertionError: energies or forces differ, or are NaN or infinite.
        ValueError: the model does not return a prediction.
    """
    prediction = finite_prediction(model, structures)
    expected = symmetry.expected(prediction, structures)
    actual = finite_prediction(model, symmetry.apply(structures), f" of {symmetry!r}")
    _compare("energy of structure", actual.energy, expected.energy, symmetry, tolerance, "symmetry of energies")
    if actual.forces is not None and expected.forces is not None:
        _compare("force on atom", actual.forces, expected.forces, symmetry, tolerance, "symmetry of forces")
    if actual.stress is not None and expected.stress is not None:
        _compare("stress of structure", actual.stress, expected.stress, symmetry, tolerance, "symmetry of forces")
    for name, kind in property_kinds(model).items():
        if not (kind.molecular and bool(structures.periodic.any())):
            values = symmetry.expected_property(prediction.properties[name], kind, structures)
            what = f"{name} of {kind.per}"
            _compare(what, actual.properties[name], values, symmetry, tolerance, "symmetry of properties")


def assert_finite(model: Model, structures: Structures) -> None:
    """Assert that energies and forces are finite.

    Raises:
        AssertionError: an energy or force is NaN or infinite; the message names the first structure or atom.
        ValueError: the model does not return a prediction.
    """
    finite_prediction(model, structures)


def energy_spread(model: Model, structures: Structures, symmetries: Iterable[Symmetry]) -> Float[Tensor, " structures"]:
    """Compute the relative spread (max E - min E)/max |E| of the energies of equivalent structures, per structure.

    Energies that a symmetry multiplies, such as those of supercells, are divided by the same factor. The spread of
    zero energies is zero.

    Args:
        model: a model that predicts energies of structures.
        structures: structures to which each symmetry is applied.
        symmetries: symmetries that keep the number of structures, unlike `Alone`.

    Raises:
        AssertionError: an energy is NaN or infinite.
        ValueError: a symmetry changes the number of structures.
    """
    prediction = finite_prediction(model, structures)
    energies = [prediction.energy.detach()]
    for symmetry in symmetries:
        expected = symmetry.expected(prediction, structures).energy.detach()
        if expected.shape != energies[0].shape:
            raise ValueError(
                f"{symmetry!r} must keep the number of structures, but changes {len(structures)} to {len(expected)}"
            )
        actual = finite_prediction(model, symmetry.apply(structures), f" of {symmetry!r}").energy.detach()
        ratio = torch.where(expected == 0, torch.ones_like(expected), energies[0] / expected)
        energies.append(actual * ratio)
    table = torch.stack(energies)
    size = table.abs().amax(dim=0)
    return (table.amax(dim=0) - table.amin(dim=0)) / torch.where(size == 0, torch.ones_like(size), size)


def property_kinds(model: Model) -> Mapping[str, PropertyKind]:
    """Return the kinds of the properties that the further heads of a model predict, by name."""
    return model.property_kinds if isinstance(model, GemNet) else {}


def finite_prediction(model: Model, structures: Structures, whose: str = "") -> Prediction:
    """Return the prediction of a model after checking that it is finite, as `assert_finite` does."""
    prediction = predict(model, structures)
    properties = {f"{name} of row": values for name, values in prediction.properties.items()}
    predicted = {"energy of structure": prediction.energy, "force on atom": prediction.forces, **properties}
    for what, values in predicted.items():
        broken = torch.zeros(0) if values is None else ~values.detach().isfinite()
        if values is not None and bool(broken.any()):
            index = int(broken.reshape(len(values), -1).any(dim=1).nonzero()[0])
            raise AssertionError(f"the {what} {index}{whose} is not finite: {values[index].tolist()}")
    return prediction


def _compare(
    what: str,
    actual: Tensor,
    expected: Tensor,
    symmetry: Symmetry,
    tolerance: Tolerance | float | None,
    quantity: Quantity,
) -> None:
    if actual.shape != expected.shape:
        raise AssertionError(f"{what}: expected the shape {tuple(expected.shape)}, found {tuple(actual.shape)}")
    if not actual.numel():
        return
    actual, expected = actual.detach(), expected.detach().to(actual)
    deviation, size = (actual - expected).abs(), float(expected.abs().max())
    limit = as_tolerance(tolerance, quantity, actual.dtype).limit(size)
    if float(deviation.max()) > limit:
        index = position_of_largest(deviation)[0]
        raise AssertionError(
            f"{symmetry!r} changes the {what} {index} by {float(deviation.max()):.2e}: {actual[index].tolist()} "
            f"instead of {expected[index].tolist()}; the tolerance is {limit:.1e}, the largest in the batch {size:.2e}"
        )


def assert_momentum_balance(model: Model, structures: Structures, tolerance: Tolerance | float | None = None) -> None:
    """Assert that Σ F = 0 over the atoms of every structure, which follows from invariance under translations.

    Args:
        model: a model that predicts forces.
        structures: structures of any kind.
        tolerance: tolerance of |Σ F| relative to Σ |F|; None: the tolerance of the type of the forces.

    Raises:
        AssertionError: a sum is not zero.
        ValueError: the model does not predict forces.
    """
    forces = _forces(model, structures)
    _assert_zero("forces", forces, forces.norm(dim=-1), structures, tolerance)


def assert_torque_balance(model: Model, structures: Structures, tolerance: Tolerance | float | None = None) -> None:
    """Assert that Σ r × F = 0 over the atoms of every molecule, which follows from invariance under rotations.

    r is relative to the mean position of the atoms. Periodic structures are skipped, since a rotation of their atoms
    alone is not a symmetry.

    Args:
        model: a model that predicts forces.
        structures: structures, at least one of which is not periodic.
        tolerance: tolerance of |Σ r × F| relative to Σ |r| |F|; None: the tolerance of the type of the forces.

    Raises:
        AssertionError: a sum is not zero.
        ValueError: the model does not predict forces, or all structures are periodic.
    """
    free = ~structures.periodic.any(dim=1)
    if len(structures) and not bool(free.any()):
        raise ValueError("torques add up to zero in molecules only, but all structures are periodic")
    forces = _forces(model, structures)
    dtype = forces.dtype
    forces = torch.where(free[structures.structure][:, None], forces, 0).double()
    arms = structures.positions.detach().double() - _means(structures)[structures.structure]
    torques = torch.linalg.cross(arms, forces)
    _assert_zero("torques", torques, arms.norm(dim=-1) * forces.norm(dim=-1), structures, tolerance, dtype)


def _forces(model: Model, structures: Structures) -> Float[Tensor, "atoms 3"]:
    forces = finite_prediction(model, structures).forces
    if forces is None:
        raise ValueError("the model does not predict forces")
    return forces.detach()


def _means(structures: Structures) -> Float[Tensor, "structures 3"]:
    positions = structures.positions.detach().double()
    total = positions.new_zeros(len(structures), 3).index_add(0, structures.structure, positions)
    return total / structures.atom_counts.clamp(min=1)[:, None]


def _assert_zero(
    what: str,
    vectors: Float[Tensor, "atoms 3"],
    lengths: Float[Tensor, " atoms"],
    structures: Structures,
    tolerance: Tolerance | float | None,
    dtype: torch.dtype | None = None,
) -> None:
    allowed = as_tolerance(tolerance, "balance", dtype or vectors.dtype)
    zero = torch.zeros(len(structures), 3, dtype=torch.float64, device=vectors.device)
    total = zero.index_add(0, structures.structure, vectors.double()).norm(dim=-1)
    sizes = zero[:, 0].index_add(0, structures.structure, lengths.double())
    for index, (sum_, size) in enumerate(zip(total.tolist(), sizes.tolist(), strict=True)):
        if sum_ > allowed.limit(size):
            raise AssertionError(
                f"the {what} of structure {index} add up to {sum_:.3e}, not to zero; the tolerance is "
                f"{allowed.limit(size):.1e}, the sum of their lengths {size:.3e}"
            )


def assert_deterministic(model: Model, structures: Structures, times: int = 2) -> None:
    """Assert that repeated predictions are bitwise identical.

    Args:
        model: a model that predicts energies of structures.
        structures: structures of any kind.
        times: number of predictions to compare.

    Raises:
        AssertionError: energies or forces differ.
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
    """Assert that copies of a model in float32 and float64 make the same predictions.

    Args:
        module: a model that computes in the type of its weights; it is not modified.
        structures: structures, which are rounded to float32 for both copies.
        tolerance: tolerance of energies relative to the largest |energy|; None: that of single precision.
        force_tolerance: tolerance of forces relative to the largest |force|; None: that of single precision.

    Raises:
        AssertionError: energies or forces differ.
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
    """Assert that a module can be deep-copied and pickled, and that the copies compute bitwise identical results.

    Args:
        module: a module that returns a tensor or a prediction.
        arguments: arguments of the call.

    Raises:
        AssertionError: the module cannot be copied or pickled, or the results of a copy differ.
    """
    expected = _result(module, arguments)
    for how, twin in assert_copyable(module).items():
        _assert_same(f"results of the {how} module", _result(twin, arguments), expected)


def assert_copyable(module: nn.Module) -> dict[str, nn.Module]:
    """Assert that a module can be deep-copied and pickled, and return both copies.

    Raises:
        AssertionError: the module cannot be copied or pickled; the message gives the reason.
    """
    copies: dict[str, nn.Module] = {}
    for how, make in (("deep-copied", copy.deepcopy), ("pickled", _pickled)):
        try:
            copies[how] = make(module)
        except Exception as error:
            raise AssertionError(
                f"the module cannot be {how}: {type(error).__name__}: {error}. Remove lambdas, local functions and "
                "classes, and tensors with a computation graph from its attributes"
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
        raise AssertionError(f"{name}: both copies compute in {double.dtype} instead of the type of their weights")
    assert_close(single.detach().double(), double.detach(), tolerance, name)


def _assert_same(what: str, actual: Tensor, expected: Tensor) -> None:
    actual, expected = actual.detach(), expected.detach()
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise AssertionError(f"{what} differ in shape or type: {tuple(actual.shape)} {actual.dtype} the second time")
    same = (actual == expected) | (actual.isnan() & expected.isnan())
    if not bool(same.all()):
        deviation = float((actual - expected).abs().max())
        raise AssertionError(f"{what} are not repeatable: {int((~same).sum())} numbers differ by up to {deviation:.2e}")
