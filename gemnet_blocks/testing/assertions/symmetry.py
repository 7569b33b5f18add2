"""What must not change an energy does not, and turns forces as it must."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemnet_blocks.structures import Prediction, Structures
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
    """The prediction for changed structures is the changed prediction: f(g x) = g f(x).

    Args:
        model: anything that predicts energies of structures.
        structures: x.
        symmetry: g.
        tolerance: of energies in the model's unit and of forces in that unit per Å, relative to the largest
            |energy| and |force| of the batch; None: what the type of the prediction allows.

    Raises:
        AssertionError: energies or forces differ, or are NaN or infinite.
        ValueError: the model returns no prediction.
    """
    prediction = finite_prediction(model, structures)
    expected = symmetry.expected(prediction, structures)
    actual = finite_prediction(model, symmetry.apply(structures), f" of {symmetry!r}")
    _compare("energy of structure", actual.energy, expected.energy, symmetry, tolerance, "symmetry of energies")
    if actual.forces is not None and expected.forces is not None:
        _compare("force on atom", actual.forces, expected.forces, symmetry, tolerance, "symmetry of forces")


def assert_finite(model: Model, structures: Structures) -> None:
    """Energies and forces are finite numbers.

    Raises:
        AssertionError: names the first structure or atom whose energy or force is NaN or infinite.
        ValueError: the model returns no prediction.
    """
    finite_prediction(model, structures)


def energy_spread(model: Model, structures: Structures, symmetries: Iterable[Symmetry]) -> Float[Tensor, " structures"]:
    """How far the energies of structures that are all the same are apart: (max E - min E)/max |E|, per structure.

    Energies that a symmetry multiplies, as a supercell does, are compared after division. A spread of energies that
    are all zero is zero.

    Args:
        model: anything that predicts energies of structures.
        structures: to be changed by each symmetry in turn.
        symmetries: none that takes structures away, as `Alone` does.

    Raises:
        AssertionError: an energy is NaN or infinite.
        ValueError: a symmetry leaves another number of structures.
    """
    prediction = finite_prediction(model, structures)
    energies = [prediction.energy.detach()]
    for symmetry in symmetries:
        expected = symmetry.expected(prediction, structures).energy.detach()
        if expected.shape != energies[0].shape:
            raise ValueError(f"{symmetry!r} makes {len(expected)} structures of {len(structures)}: there is no spread")
        actual = finite_prediction(model, symmetry.apply(structures), f" of {symmetry!r}").energy.detach()
        ratio = torch.where(expected == 0, torch.ones_like(expected), energies[0] / expected)
        energies.append(actual * ratio)
    table = torch.stack(energies)
    size = table.abs().amax(dim=0)
    return (table.amax(dim=0) - table.amin(dim=0)) / torch.where(size == 0, torch.ones_like(size), size)


def finite_prediction(model: Model, structures: Structures, whose: str = "") -> Prediction:
    """The prediction, if all of it is finite.

    Raises:
        AssertionError: names the first structure or atom whose energy or force is NaN or infinite.
        ValueError: the model returns no prediction.
    """
    prediction = predict(model, structures)
    for what, values in (("energy of structure", prediction.energy), ("force on atom", prediction.forces)):
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
        raise AssertionError(f"{what}: shape {tuple(actual.shape)}, but {tuple(expected.shape)} is needed")
    if not actual.numel():
        return
    actual, expected = actual.detach(), expected.detach().to(actual)
    deviation, size = (actual - expected).abs(), float(expected.abs().max())
    limit = as_tolerance(tolerance, quantity, actual.dtype).limit(size)
    if float(deviation.max()) > limit:
        index = position_of_largest(deviation)[0]
        raise AssertionError(
            f"{symmetry!r} changes the {what} {index} by {float(deviation.max()):.2e}: {actual[index].tolist()} "
            f"instead of {expected[index].tolist()}; allowed are {limit:.1e}, with {size:.2e} the largest in the batch"
        )


def assert_momentum_balance(model: Model, structures: Structures, tolerance: Tolerance | float | None = None) -> None:
    """Σ F = 0 over the atoms of every structure: true of gradients of energies that no translation changes.

    Args:
        model: anything that predicts forces.
        structures: of any kind.
        tolerance: of |Σ F|, relative to Σ |F|; None: what the type of the forces allows.

    Raises:
        AssertionError: names the structure and the sum.
        ValueError: the model predicts no forces.
    """
    forces = _forces(model, structures)
    _assert_zero("forces", forces, forces.norm(dim=-1), structures, tolerance)


def assert_torque_balance(model: Model, structures: Structures, tolerance: Tolerance | float | None = None) -> None:
    """Σ r × F = 0 over the atoms of every structure without periodicity: true where no rotation changes energies.

    r is measured from the mean position of the structure's atoms. Periodic structures in the batch are skipped: a
    rotation of their atoms alone is no symmetry.

    Args:
        model: anything that predicts forces.
        structures: at least one of them without periodicity, unless there are none.
        tolerance: of |Σ r × F|, relative to Σ |r| |F|; None: what the type of the forces allows.

    Raises:
        AssertionError: names the structure and the sum.
        ValueError: the model predicts no forces, or all structures are periodic.
    """
    free = ~structures.periodic.any(dim=1)
    if len(structures) and not bool(free.any()):
        raise ValueError("all structures are periodic: torques add up to zero in molecules only")
    forces = _forces(model, structures)
    dtype = forces.dtype
    forces = torch.where(free[structures.structure][:, None], forces, 0).double()
    arms = structures.positions.detach().double() - _means(structures)[structures.structure]
    torques = torch.linalg.cross(arms, forces)
    _assert_zero("torques", torques, arms.norm(dim=-1) * forces.norm(dim=-1), structures, tolerance, dtype)


def _forces(model: Model, structures: Structures) -> Float[Tensor, "atoms 3"]:
    forces = finite_prediction(model, structures).forces
    if forces is None:
        raise ValueError("the model predicts no forces")
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
                f"the {what} of structure {index} add up to {sum_:.3e}, not to zero; allowed are "
                f"{allowed.limit(size):.1e}, with {size:.3e} the sum of their lengths"
            )


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
