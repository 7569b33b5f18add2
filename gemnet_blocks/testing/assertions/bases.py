"""Checks of basis functions: of distances, of angles, and of angles and azimuths."""

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
from gemnet_blocks.basis.radial import RadialBasis
from gemnet_blocks.basis.spherical import SphericalBasis
from gemnet_blocks.geometry.angles import Azimuth
from gemnet_blocks.testing.assertions.comparison import assert_close, tolerance_of
from gemnet_blocks.testing.assertions.counterexample import Check, holds
from gemnet_blocks.testing.assertions.smoothness import largest_jump
from gemnet_blocks.testing.assertions.symmetry import assert_copies, assert_copyable

SHAPES = ((), (0,), (3,), (2, 3))
"""Of points that functions must take."""
SAMPLES = 512
"""Points on each path, to begin with."""
RESOLUTION = 1e-9
"""How closely jumps are looked at, in units of the path."""
LARGEST_JUMP = 1e-6
"""What counts as none, of the largest value or derivative on the path."""


@dataclass(frozen=True, slots=True, eq=False)
class Functions:
    """Basis functions of one or more variables, in float64.

    Attributes:
        module: what is checked; never changed.
        call: evaluates a module at variables of one shape, (*shape) each; returns (*shape, count).
        count: how many functions there are.
        variables: the names of the variables.
        points: values of each variable, (points,); where the functions must be finite with two derivatives.
        interior: values of each, (points,); where derivatives must be those that values show.
        paths: start and end of straight lines along which neither values nor first derivatives may jump.
        assertion: that about the basis which all this is part of.
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
        """Turn whatever is raised into a counterexample to a property."""
        return holds(name, example, Check(self.assertion, self.module, ()))

    def double(self) -> nn.Module:
        """A copy of the module in float64."""
        return copy.deepcopy(self.module).double()

    def example(self, index: int) -> dict[str, object]:
        """The values of the variables at one of `points`."""
        return self.example_at(tuple(x[index] for x in self.points))

    def example_at(self, point: tuple[Tensor, ...]) -> dict[str, object]:
        """The values of the variables at a point."""
        return {name: float(x) for name, x in zip(self.variables, point, strict=True)}


def assert_functions(functions: Functions) -> tuple[str, ...]:
    """All that is true of basis functions of any kind; returns the names of what was checked.

    Raises:
        CounterExample: names the property that is violated, and the point.
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
    """A module with what its arguments are made of in its place."""

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
            needed = (*shape, functions.count)
            if tuple(result.shape) != needed:
                raise AssertionError(f"a result of shape {tuple(result.shape)} where {needed} is needed")
            if result.dtype != torch.float64:
                raise AssertionError(f"a result of type {result.dtype} at points of type torch.float64")
    return ("shape",)


def _assert_finite(functions: Functions) -> tuple[str, ...]:
    """Values, and first and second derivatives of a random combination of all functions, at each point."""
    variables = tuple(x.detach().clone().requires_grad_() for x in functions.points)
    with functions.holds("finite values", {}):
        values = functions.call(functions.double(), variables)
    _finite("finite values", values, functions)
    # NaN and infinity in any function stay in a random combination; zeros weight times infinity is NaN
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
            raise AssertionError(f"{len(broken)} points where they are NaN or infinite, such as this one")


def _assert_elementwise(functions: Functions) -> tuple[str, ...]:
    module = functions.double()
    together = functions.call(module, functions.points)
    for index in range(0, len(functions.points[0]), 7):
        alone = functions.call(module, tuple(x[index : index + 1] for x in functions.points))[0]
        with functions.holds("elementwise", functions.example(index)):
            assert_close(together[index], alone, name="values at a point among others and alone")
    return ("elementwise",)


def _assert_continuous(functions: Functions) -> tuple[str, ...]:
    """No value and no first derivative jumps on the way from one point to another."""
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
                        f"{what} {jump.column} jumps by {jump.size * limit:.3g} (largest on the way: {largest:.3g}): "
                        f"{follows} jump there"
                    )
    return ("continuous values", "continuous derivatives")


def column_derivatives(
    function: Callable[[Tensor], Tensor], t: Float[Tensor, " points"], order: int = 1
) -> Float[Tensor, "points columns"]:
    """The derivatives of each column of an elementwise function to its variable."""
    t = t.detach().requires_grad_()
    columns = []
    for column in function(t).unbind(dim=-1):
        for _ in range(order):
            found = None
            if column.requires_grad:  # if only by parameters, there is no derivative to t
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
                    "the functions cannot be differentiated: look for detach(), item(), numpy() or comparisons"
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
                raise AssertionError("the functions do not depend on this parameter: its gradient is zero")
            if not bool(gradient.isfinite().all()):
                raise AssertionError("its gradient is NaN or infinite")
    return ("gradients to parameters",)


def _assert_precise(functions: Functions) -> tuple[str, ...]:
    points = tuple(x.float() for x in functions.points)
    with functions.holds("single precision", {}):
        single = functions.call(copy.deepcopy(functions.module).float(), points)
        if single.dtype != torch.float32:
            raise AssertionError(f"a result of type {single.dtype} at points of type torch.float32")
        double = functions.call(functions.double(), tuple(x.double() for x in points))
        allowed = tolerance_of("single precision functions", torch.float32)
        assert_close(single.double(), double, allowed, "values in float32 and float64")
    return ("single precision",)


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
