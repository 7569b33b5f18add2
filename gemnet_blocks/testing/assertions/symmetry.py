"""What must not change an energy does not, and turns forces as it must."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from gemnet_blocks.structures import Prediction, Structures
from gemnet_blocks.testing.assertions.comparison import position_of_largest
from gemnet_blocks.testing.assertions.tolerances import Quantity, Tolerance, as_tolerance
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
