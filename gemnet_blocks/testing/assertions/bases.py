"""Assertions about radial, circular and spherical bases."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemnet_blocks.basis.circular import CircularBasis
from gemnet_blocks.basis.fourier_bessel import DegreeRadialBasis
from gemnet_blocks.basis.radial import RadialBasis
from gemnet_blocks.basis.spherical import SphericalBasis
from gemnet_blocks.geometry.angles import Azimuth
from gemnet_blocks.testing.assertions.comparison import assert_close, tolerance_of
from gemnet_blocks.testing.assertions.counterexample import Check, holds
from gemnet_blocks.testing.assertions.smoothness import largest_jump
from gemnet_blocks.testing.assertions.symmetry import assert_copies, assert_copyable

SHAPES = ((), (0,), (3,), (2, 3))
"""Shapes of arguments that a basis must accept."""
SAMPLES = 512
"""Initial number of intervals on each path."""
RESOLUTION = 1e-9
"""Final spacing in the search for jumps, in units of the path."""
LARGEST_JUMP = 1e-6
"""Tolerance of jumps, relative to the largest value or derivative on the path."""


@dataclass(frozen=True, slots=True, eq=False)
class Functions:
    """Basis functions of one or more variables, in float64.

    Attributes:
        module: basis under test, which is not modified.
        call: function that evaluates a module at variables of equal shape (*shape) and returns (*shape, count).
        count: number of functions.
        variables: names of the variables.
        points: values of each variable, (points,), at which the functions must be finite with two derivatives.
        interior: values of each variable, (points,), at which derivatives must agree with finite differences.
        paths: start and end of straight lines along which neither values nor first derivatives may jump.
        assertion: the public assertion, for the code of counterexamples.
    """

    module: nn.Module
    call: Callable[[nn.Module, tuple[Tensor, ...]], Tensor]
    count: int
    variables: tuple[str, ...]
    points: tuple[Float[Tensor, " points"], ...]
    interior: tuple[Float[Tensor, " interior_points"], ...]
    paths: Float[Tensor, "paths 2 variables"]
    assertion: Callable[..., object]

    def holds(self, name: str, example: dict[str, object]) -> AbstractContextManager[None]:
        return holds(name, example, Check(self.assertion, self.module, ()))

    def double(self) -> nn.Module:
        return copy.deepcopy(self.module).double()

    def example(self, index: int) -> dict[str, object]:
        return self.example_at(tuple(x[index] for x in self.points))

    def example_at(self, point: tuple[Tensor, ...]) -> dict[str, object]:
        return {name: float(x) for name, x in zip(self.variables, point, strict=True)}


def assert_functions(functions: Functions) -> tuple[str, ...]:
    """Check the properties of all kinds of basis functions, and return the names of these properties.

    Raises:
        CounterExample: a property is violated.
    """
    with functions.holds("copies", {}):
        assert_copyable(functions.module)
        assert_copies(_Called(functions.double(), functions.call), *functions.points)
    return (
        "copies",
        *_assert_shapes(functions),
        *_assert_finite(functions),
        *_assert_elementwise(functions),
        *_assert_continuous(functions),
        *_assert_derivatives(functions),
        *_assert_parameters(functions),
        *_assert_precise(functions),
    )


class _Called(nn.Module):
    """A basis that takes the variables of `Functions`."""

    def __init__(self, module: nn.Module, call: Callable[[nn.Module, tuple[Tensor, ...]], Tensor]) -> None:
        super().__init__()
        self.module, self.call = module, call

    def forward(self, *variables: Tensor) -> Tensor:
        return self.call(self.module, variables)


def _assert_shapes(functions: Functions) -> tuple[str, ...]:
    module = functions.double()
    for shape in SHAPES:
        with functions.holds("shape", {"shape": shape}):
            size = torch.Size(shape).numel()
            variables = tuple(x[:size].reshape(shape) for x in functions.interior)
            result = functions.call(module, variables)
            expected = (*shape, functions.count)
            if tuple(result.shape) != expected:
                raise AssertionError(f"expected a result of shape {expected}, found {tuple(result.shape)}")
            if result.dtype != torch.float64:
                raise AssertionError(f"expected a result of type torch.float64, found {result.dtype}")
    return ("shape",)


def _assert_finite(functions: Functions) -> tuple[str, ...]:
    """Check values and first and second derivatives of a random combination of all functions."""
    variables = tuple(x.detach().clone().requires_grad_() for x in functions.points)
    with functions.holds("finite values", {}):
        values = functions.call(functions.double(), variables)
    _finite("finite values", values, functions)
    # NaN and infinity of any function remain in a random combination
    weights = torch.randn(functions.count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for name in ("finite first derivatives", "finite second derivatives"):
        total = (values * weights).sum() if values.ndim > 1 else values.sum()
        if not total.requires_grad:
            break
        found = torch.autograd.grad(total, variables, create_graph=True, allow_unused=True)
        pieces = [torch.zeros_like(x) if g is None else g for g, x in zip(found, variables, strict=True)]
        factors = torch.tensor([0.7, -1.3, 0.4, 1.9], dtype=torch.float64)
        values = sum((f * piece for f, piece in zip(factors, pieces, strict=False)), torch.zeros(()))
        for piece in pieces:
            _finite(name, piece[:, None], functions)
    return ("finite values", "finite first derivatives", "finite second derivatives")


def _finite(name: str, values: Tensor, functions: Functions) -> None:
    broken = (~values.detach().isfinite()).flatten(1).any(dim=1).nonzero()
    if len(broken):
        index = int(broken[0])
        with functions.holds(name, functions.example(index)):
            raise AssertionError(f"values are NaN or infinite at {len(broken)} points")


def _assert_elementwise(functions: Functions) -> tuple[str, ...]:
    module = functions.double()
    together = functions.call(module, functions.points)
    for index in range(0, len(functions.points[0]), 7):
        alone = functions.call(module, tuple(x[index : index + 1] for x in functions.points))[0]
        with functions.holds("elementwise", functions.example(index)):
            assert_close(together[index], alone, name="values at a point among others and alone")
    return ("elementwise",)


def _assert_continuous(functions: Functions) -> tuple[str, ...]:
    """Check that neither values nor first derivatives jump along the paths."""
    module = functions.double()
    for start, end in functions.paths:

        def variables(t: Tensor, start: Tensor = start, end: Tensor = end) -> tuple[Tensor, ...]:
            return (start + (end - start) * t[:, None]).unbind(dim=1)

        def values(t: Tensor) -> Tensor:
            return functions.call(module, variables(t)).detach()

        def derivatives(t: Tensor) -> Tensor:
            return column_derivatives(lambda t: functions.call(module, variables(t)), t)

        for name, function, what, follows in (
            ("continuous values", values, "function", "energies"),
            ("continuous derivatives", derivatives, "the derivative of function", "forces"),
        ):
            largest = float(function(torch.linspace(0, 1, SAMPLES + 1, dtype=torch.float64)).abs().max())
            if largest == 0:
                continue
            limit = LARGEST_JUMP * largest
            jump = largest_jump(lambda t: function(t) / limit, SAMPLES, RESOLUTION)  # noqa: B023 (called here)
            if jump.size > 1:
                at = variables(torch.tensor([jump.at + jump.width / 2], dtype=torch.float64))
                with functions.holds(name, functions.example_at(at)):
                    raise AssertionError(
                        f"{what} {jump.column} jumps by {jump.size * limit:.3g} (largest on the path: {largest:.3g}), "
                        f"so {follows} jump there"
                    )
    return ("continuous values", "continuous derivatives")


def column_derivatives(
    function: Callable[[Tensor], Tensor], t: Float[Tensor, " points"], order: int = 1
) -> Float[Tensor, "points columns"]:
    """Differentiate each column of an elementwise function with respect to its variable."""
    t = t.detach().requires_grad_()
    columns = []
    for column in function(t).unbind(dim=-1):
        for _ in range(order):
            found = None
            if column.requires_grad:  # the column may depend on parameters only
                (found,) = torch.autograd.grad(column.sum(), t, create_graph=True, allow_unused=True)
            column = torch.zeros_like(t) if found is None else found
        columns.append(column.detach())
    return torch.stack(columns, dim=-1)


def _assert_derivatives(functions: Functions) -> tuple[str, ...]:
    module = functions.double()
    inputs = tuple(x.detach().clone().requires_grad_() for x in functions.interior)
    values = functions.call(module, inputs)
    if not values.requires_grad:
        with functions.holds("derivatives", {}):
            if bool((values != values[0]).any()):
                raise AssertionError(
                    "the functions are not differentiable: look for detach(), item(), numpy() or comparisons"
                )
        return ("derivatives", "second derivatives")

    def function(*variables: Tensor) -> Tensor:
        return functions.call(module, variables)

    for name, check in (
        ("derivatives", torch.autograd.gradcheck),
        ("second derivatives", torch.autograd.gradgradcheck),
    ):
        with functions.holds(name, {}), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            check(function, inputs, fast_mode=True)
    return ("derivatives", "second derivatives")


def _assert_parameters(functions: Functions) -> tuple[str, ...]:
    module = functions.double()
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if not trained:
        return ()
    values = functions.call(module, functions.points)
    weights = torch.randn(values.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = torch.autograd.grad((values * weights).sum(), list(trained.values()), allow_unused=True)
    for name, gradient in zip(trained, found, strict=True):
        with functions.holds("gradients to parameters", {"parameter": name}):
            if gradient is None or not bool(gradient.any()):
                raise AssertionError("the gradient of this parameter is zero: the functions do not depend on it")
            if not bool(gradient.isfinite().all()):
                raise AssertionError("the gradient of this parameter is NaN or infinite")
    return ("gradients to parameters",)


def _assert_precise(functions: Functions) -> tuple[str, ...]:
    points = tuple(x.float() for x in functions.points)
    with functions.holds("single precision", {}):
        single = functions.call(copy.deepcopy(functions.module).float(), points)
        if single.dtype != torch.float32:
            raise AssertionError(f"expected a result of type torch.float32, found {single.dtype}")
        double = functions.call(functions.double(), tuple(x.double() for x in points))
        allowed = tolerance_of("single precision functions", torch.float32)
        assert_close(single.double(), double, allowed, "values in float32 and float64")
    return ("single precision",)


NEAR = 1e-6
"""Distance from the cutoff at which derivatives must vanish, in units of the cutoff."""
VANISHING = 1e-3
"""Tolerance of vanishing derivatives relative to the largest one. The relative second derivative there is about 10⁻⁶
for a function with a triple zero at the cutoff and about 1 for one with a double zero."""


def assert_radial_basis(basis: RadialBasis) -> tuple[str, ...]:
    """Assert every property that models require of a radial basis.

    The result has the shape (*shape, count), or (*shape, degrees, count) if the functions depend on the degree, and the
    type of the distances, and is elementwise; values are zero from the cutoff on, where first and second derivatives
    vanish; values and two derivatives are finite at all distances, including 0; values and first derivatives do not
    jump; derivatives agree with finite differences; all trained parameters have gradients; float32 agrees with float64;
    the basis can be pickled and deep-copied.

    Args:
        basis: the basis, which is not modified.

    Returns:
        The names of the properties that were checked.

    Raises:
        CounterExample: a property is violated; the message names the property and the point.
    """
    cutoff = basis.cutoff
    scaled = torch.linspace(0, 1, 251, dtype=torch.float64)  # not exact in binary, so that rounding is tested
    ends = [1e-12, 1e-7, 1e-3, 1 - 1e-7, 1 - 1e-15, 1 + 1e-15, 1 + 1e-7, 1.01, 1.5, 10]
    interior = torch.tensor([0.06, 0.13, 0.31, 0.44, 0.57, 0.72, 0.86, 1.2], dtype=torch.float64)
    functions = Functions(
        module=basis,
        call=_of_all_degrees if isinstance(basis, DegreeRadialBasis) else _at_distances,
        count=basis.count * (basis.degree_count if isinstance(basis, DegreeRadialBasis) else 1),
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
    """Assert every property that models require of a circular basis, a function of z = cos φ.

    The result has the shape (*shape, count) and the type of the cosines, and is elementwise; values and two derivatives
    are finite on [-1, 1], also for rounding errors beyond; values and first derivatives do not jump; derivatives agree
    with finite differences; all trained parameters have gradients; float32 agrees with float64; the basis can be
    pickled and deep-copied.

    Args:
        basis: the basis, which is not modified.

    Returns:
        The names of the properties that were checked.

    Raises:
        CounterExample: a property is violated; the message names the property and the point.
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
    """Assert every property that models require of a spherical basis, a function of z = cos φ and w = ρ exp(iθ).

    The properties are those of `assert_circular_basis`, with two derivatives to z, Re w and |Im w| for z from -1 to 1,
    θ from 0 to π and ρ from 0 (collinear atoms) to 1; `Azimuth.square` = ρ² is given. If ρ = 1, the result without
    `square` must be the same.

    Args:
        basis: the basis, which is not modified.

    Returns:
        The names of the properties that were checked.

    Raises:
        CounterExample: a property is violated; the message names the property and the point.
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


def _of_all_degrees(module: nn.Module, variables: tuple[Tensor, ...]) -> Tensor:
    result: Tensor = module(*variables)
    if result.ndim != variables[0].ndim + 2:
        raise AssertionError(f"expected a result of shape (*shape, degrees, count), found {tuple(result.shape)}")
    return result.flatten(-2)


_at_cosines = _at_distances


def _at_azimuths(module: nn.Module, variables: tuple[Tensor, ...]) -> Tensor:
    cos_polar, cosine, sine = variables
    result: Tensor = module(cos_polar, Azimuth(cosine, sine, cosine * cosine + sine * sine))
    return result


def _near_ends() -> Float[Tensor, " points"]:
    """Return cosines near -1 and 1, including rounding errors beyond."""
    away = torch.tensor([1e-3, 1e-7, 1e-12, 2e-16, -4e-16], dtype=torch.float64)
    return torch.cat([1 - away, away - 1])


def _polar(points: list[tuple[float, float, float]]) -> tuple[Tensor, Tensor, Tensor]:
    """Convert points (cosine, θ, ρ) to cosines and Cartesian components of the azimuth."""
    cos_polar, angle, length = torch.tensor(points, dtype=torch.float64).unbind(dim=1)
    return cos_polar, length * angle.cos(), length * angle.sin().clamp(min=0)


def _assert_ends(functions: Functions, cutoff: float) -> None:
    """Check that values are zero beyond the cutoff and that derivatives vanish at the cutoff."""
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
        derivatives = column_derivatives(lambda d: functions.call(module, (d,)), distances, order).abs()
        largest = derivatives.amax()
        if float(derivatives[0].max()) > VANISHING * float(largest):
            raise AssertionError(
                f"the {name} derivative of function {int(derivatives[0].argmax())} must vanish at the cutoff, but is "
                f"{float(derivatives[0].max()):.3g} (its largest: {float(largest):.3g}): "
                f"{'forces jump' if order == 1 else 'forces bend'} when atoms leave the cutoff"
            )


def _assert_unit_azimuth(functions: Functions) -> None:
    module = functions.double()
    cos_polar, cosine, sine = _polar(
        [(z, angle, 1.0) for z in (-1.0, -0.4, 0.3, 1.0) for angle in (0.0, 0.9, 2.0, 3.1)]
    )
    with functions.holds("azimuth of length 1", {}):
        given = functions.call(module, (cos_polar, cosine, sine))
        assert_close(module(cos_polar, Azimuth(cosine, sine)), given, name="values without and with Azimuth.square")
