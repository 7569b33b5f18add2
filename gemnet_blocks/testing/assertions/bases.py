"""Checks of basis functions: of distances, of angles, and of angles and azimuths."""

from __future__ import annotations

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemnet_blocks.basis.circular import CircularBasis
from gemnet_blocks.basis.radial import RadialBasis
from gemnet_blocks.basis.spherical import SphericalBasis
from gemnet_blocks.geometry.angles import Azimuth
from gemnet_blocks.testing.assertions.comparison import assert_close
from gemnet_blocks.testing.assertions.functions import Functions, assert_functions, column_derivatives

NEAR = 1e-6
"""How near to the cutoff derivatives are looked at, in units of the cutoff."""
VANISHING = 1e-3
"""What counts as zero there, of the largest derivative: the second one of a function with a triple zero is 10⁻⁶ of it
times a moderate factor, of a function with a double zero about all of it."""


def assert_radial_basis(basis: RadialBasis) -> tuple[str, ...]:
    """All that models rely on in a radial basis.

    Shape (*shape, count) in the type of the distances; elementwise; zero at the cutoff and beyond, with first and
    second derivatives that go to zero there; finite with two derivatives everywhere, 0 and beyond the cutoff included;
    values and first derivatives that do not jump; derivatives that are those of the values; gradients to all trained
    parameters; float32 near float64; pickles and deep-copies.

    Args:
        basis: the basis; it stays as it is.

    Returns:
        The names of the properties that were checked.

    Raises:
        CounterExample: names the property that is violated, and where.
    """
    cutoff = basis.cutoff
    scaled = torch.linspace(0, 1, 251, dtype=torch.float64)  # not powers of two, which rounding leaves as they are
    ends = [1e-12, 1e-7, 1e-3, 1 - 1e-7, 1 - 1e-15, 1 + 1e-15, 1 + 1e-7, 1.01, 1.5, 10]
    interior = torch.tensor([0.06, 0.13, 0.31, 0.44, 0.57, 0.72, 0.86, 1.2], dtype=torch.float64)
    functions = Functions(
        module=basis,
        call=_at_distances,
        count=basis.count,
        variables=("distance",),
        points=(cutoff * torch.cat([scaled, torch.tensor(ends, dtype=torch.float64)]),),
        interior=(cutoff * interior,),
        paths=cutoff * torch.tensor([[[0.02], [0.97]]], dtype=torch.float64),
        assertion=assert_radial_basis,
    )
    checked = assert_functions(functions)
    with functions.holds("zero from the cutoff on", {"cutoff": cutoff}):
        _assert_ends(functions, cutoff)
    return *checked, "zero from the cutoff on"


def assert_circular_basis(basis: CircularBasis) -> tuple[str, ...]:
    """All that models rely on in a circular basis, a function of z = cos φ.

    Shape (*shape, count) in the type of the cosines; elementwise; finite with two derivatives on [-1, 1], ends and
    rounding errors beyond included; values and first derivatives that do not jump; derivatives that are those of the
    values; gradients to all trained parameters; float32 near float64; pickles and deep-copies.

    Args:
        basis: the basis; it stays as it is.

    Returns:
        The names of the properties that were checked.

    Raises:
        CounterExample: names the property that is violated, and where.
    """
    functions = Functions(
        module=basis,
        call=_at_cosines,
        count=basis.count,
        variables=("cos_angle",),
        points=(torch.cat([torch.linspace(-1, 1, 121, dtype=torch.float64), _near_ends()]),),
        interior=(torch.tensor([-0.93, -0.71, -0.32, 0.05, 0.18, 0.49, 0.77, 0.96], dtype=torch.float64),),
        paths=torch.tensor([[[-0.98], [0.98]]], dtype=torch.float64),
        assertion=assert_circular_basis,
    )
    return assert_functions(functions)


def assert_spherical_basis(basis: SphericalBasis) -> tuple[str, ...]:
    """All that models rely on in a spherical basis, a function of z = cos φ and of an azimuth w = ρ exp(iθ).

    As `assert_circular_basis`, with two derivatives to z, Re w and |Im w| at all z from -1 to 1, all θ from 0 to π,
    and lengths ρ from 0 (atoms on a line) to 1; `Azimuth.square` = ρ² is given. Where ρ is 1, the result without
    `square` must be the same as with it.

    Args:
        basis: the basis; it stays as it is.

    Returns:
        The names of the properties that were checked.

    Raises:
        CounterExample: names the property that is violated, and where.
    """
    cosines = [*torch.linspace(-1, 1, 11, dtype=torch.float64).tolist(), *_near_ends().tolist()]
    angles = [0.0, 1e-7, 0.4, math.pi / 2, 2.2, math.pi - 1e-7, math.pi]
    inside = [
        (-0.83, 0.3, 1.0),
        (-0.41, 2.1, 0.8),
        (0.12, 1.3, 0.5),
        (0.37, 0.7, 0.9),
        (0.71, 2.6, 1.0),
        (0.9, 1.9, 0.2),
    ]
    interior = _polar(inside)
    corners = torch.stack(interior, dim=1)
    functions = Functions(
        module=basis,
        call=_at_azimuths,
        count=basis.size,
        variables=("cos_polar", "azimuth_cosine", "azimuth_sine"),
        points=_polar(list(itertools.product(cosines, angles, [0.0, 1e-6, 0.5, 1.0]))),
        interior=interior,
        paths=torch.stack([corners[:-1], corners[1:]], dim=1),
        assertion=assert_spherical_basis,
    )
    checked = assert_functions(functions)
    _assert_unit_azimuth(functions)
    return *checked, "azimuth of length 1"


def _at_distances(module: nn.Module, variables: tuple[Tensor, ...]) -> Tensor:
    result: Tensor = module(*variables)
    return result


_at_cosines = _at_distances


def _at_azimuths(module: nn.Module, variables: tuple[Tensor, ...]) -> Tensor:
    cos_polar, cosine, sine = variables
    result: Tensor = module(cos_polar, Azimuth(cosine, sine, cosine * cosine + sine * sine))
    return result


def _near_ends() -> Float[Tensor, " points"]:
    """Cosines at, just within and by rounding just beyond -1 and 1."""
    away = torch.tensor([1e-3, 1e-7, 1e-12, 2e-16, -4e-16], dtype=torch.float64)
    return torch.cat([1 - away, away - 1])


def _polar(points: list[tuple[float, float, float]]) -> tuple[Tensor, Tensor, Tensor]:
    """Cosine, and cartesian components of the azimuth, of points (cosine, θ, ρ)."""
    cos_polar, angle, length = torch.tensor(points, dtype=torch.float64).unbind(dim=1)
    return cos_polar, length * angle.cos(), length * angle.sin().clamp(min=0)


def _assert_ends(functions: Functions, cutoff: float) -> None:
    """Zero beyond the cutoff, and derivatives that vanish at it."""
    module = functions.double()
    beyond = cutoff * torch.tensor([1, 1 + 1e-15, 1 + 1e-7, 1.01, 1.5, 2, 10, 1000], dtype=torch.float64)
    size = float(functions.call(module, functions.points).detach().abs().max())
    values = functions.call(module, (beyond,)).detach().abs()
    if not bool((values <= 1e-12 * size).all()):
        index = int((values > 1e-12 * size).any(dim=1).nonzero()[0])
        raise AssertionError(
            f"at {float(beyond[index]):.6g} Å, function {int(values[index].argmax())} is "
            f"{float(values[index].max()):.3g}, not 0: energies jump when atoms leave the cutoff"
        )
    distances = torch.cat([cutoff * torch.tensor([1 - NEAR], dtype=torch.float64), functions.interior[0]])
    for order, name in ((1, "first"), (2, "second")):
        derivatives = column_derivatives(module, distances, order).abs()
        largest = derivatives.amax()
        if float(derivatives[0].max()) > VANISHING * float(largest):
            raise AssertionError(
                f"just within the cutoff, the {name} derivative of function {int(derivatives[0].argmax())} is still "
                f"{float(derivatives[0].max()):.3g} (its largest: {float(largest):.3g}): it must go to zero, or "
                f"{'forces jump' if order == 1 else 'forces bend'} when atoms leave the cutoff"
            )


def _assert_unit_azimuth(functions: Functions) -> None:
    """Without its square, an azimuth has length 1."""
    module = functions.double()
    cos_polar, cosine, sine = _polar(
        [(z, angle, 1.0) for z in (-1.0, -0.4, 0.3, 1.0) for angle in (0.0, 0.9, 2.0, 3.1)]
    )
    with functions.holds("azimuth of length 1", {}):
        given = functions.call(module, (cos_polar, cosine, sine))
        assert_close(module(cos_polar, Azimuth(cosine, sine)), given, name="values without and with Azimuth.square")
