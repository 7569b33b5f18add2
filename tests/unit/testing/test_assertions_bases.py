"""Right and wrong basis functions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from gemnet_blocks.basis import circular, envelopes, radial, spherical
from gemnet_blocks.testing.assertions import (
    CounterExample,
    assert_circular_basis,
    assert_radial_basis,
    assert_spherical_basis,
)


@pytest.mark.parametrize("basis", [partial(radial.Gaussian, trainable=True), radial.SphericalBessel, radial.Bernstein])
@pytest.mark.parametrize(
    ("envelope", "cutoff"),
    [(envelopes.Polynomial(5), 12.0), (envelopes.Polynomial(1), 3.5), (envelopes.Exponential(), 12.0)],
)
def test_radial_bases(envelope: envelopes.Envelope, cutoff: float, basis: Callable[..., radial.RadialBasis]) -> None:
    assert_radial_basis(basis(cutoff, 8, envelope))


def test_many_functions() -> None:
    assert_radial_basis(radial.Gaussian(12.0, 128))
    assert_radial_basis(radial.SphericalBessel(12.0, 32))


class Envelope(envelopes.Envelope):
    """An envelope that ends as (1 - x)^power."""

    def __init__(self, power: float) -> None:
        super().__init__()
        self.power = power

    @classmethod
    def from_options(cls, options):
        raise NotImplementedError

    def forward(self, scaled_distance):
        inside = (1 - scaled_distance).clamp(min=0)
        return torch.where(scaled_distance < 1, inside**self.power, 0)


@pytest.mark.parametrize(
    ("power", "message"),
    [
        (0, r"at 5 Å, function 3 is \d.*, not 0: energies jump|finite|must vanish"),
        (1, r"the first derivative of function \d must vanish at the cutoff"),
        (2, r"the second derivative of function \d must vanish at the cutoff"),
    ],
)
def test_envelopes_that_end_too_early(power: int, message: str) -> None:
    with pytest.raises(CounterExample, match=message) as caught:
        assert_radial_basis(radial.Gaussian(5.0, 4, Envelope(power)))
    assert caught.value.property == "zero from the cutoff on"
    assert caught.value.example == {"cutoff": 5.0}
    assert_radial_basis(radial.Gaussian(5.0, 4, Envelope(3)))


class Raw(radial.RadialBasis):
    """A basis of raw functions of one's own."""

    def __init__(self, raw, count: int = 2) -> None:
        super().__init__(5.0, count)
        self.function = raw
        self.factor = nn.Parameter(torch.tensor(1.3))

    @classmethod
    def from_options(cls, options, cutoff, envelope=None):
        raise NotImplementedError

    def raw(self, scaled_distance: Tensor) -> Tensor:
        return self.function(self, scaled_distance)


def good(self: Raw, x: Tensor) -> Tensor:
    return torch.stack([x, torch.cos(x * self.factor)], dim=-1)


def narrow(self: Raw, x: Tensor) -> Tensor:
    return good(self, x)[..., :1]


def singular(self: Raw, x: Tensor) -> Tensor:
    return torch.stack([self.factor * x, torch.sin(x) / x], dim=-1)


def rooted(self: Raw, x: Tensor) -> Tensor:
    return torch.stack([self.factor * x, x**1.5], dim=-1)


def kinked(self: Raw, x: Tensor) -> Tensor:
    return torch.stack([self.factor * x, x.sqrt()], dim=-1)


def normalised(self: Raw, x: Tensor) -> Tensor:
    return good(self, x) / (1 + x.square().sum())


def idle(self: Raw, x: Tensor) -> Tensor:
    return torch.stack([x, x + 0 * self.factor], dim=-1)


def detached(self: Raw, x: Tensor) -> Tensor:
    return torch.stack([x * self.factor, x.detach() ** 2], dim=-1)


def rounded(self: Raw, x: Tensor) -> Tensor:
    return torch.stack([self.factor * x, (x + 1e4) - 1e4], dim=-1)


def widened(self: Raw, x: Tensor) -> Tensor:
    return good(self, x).double()


def stepped(self: Raw, x: Tensor) -> Tensor:
    return torch.stack([self.factor * x, (x > 0.5).to(x.dtype)], dim=-1)


def binned(self: Raw, x: Tensor) -> Tensor:
    return self.factor * (torch.floor(2 * x[..., None]) == torch.arange(2)).to(x.dtype)


def bent(self: Raw, x: Tensor) -> Tensor:
    return torch.stack([self.factor * x, (x - 0.503).abs()], dim=-1)


def test_a_basis_of_ones_own() -> None:
    assert assert_radial_basis(Raw(good)) == (
        "copies",
        "shape",
        "finite values",
        "finite first derivatives",
        "finite second derivatives",
        "elementwise",
        "continuous values",
        "continuous derivatives",
        "derivatives",
        "second derivatives",
        "gradients to parameters",
        "single precision",
        "zero from the cutoff on",
    )


@pytest.mark.parametrize(
    ("raw", "name", "message"),
    [
        (narrow, "shape", "expected"),
        (singular, "finite values", "NaN or infinite"),
        (kinked, "finite first derivatives", "NaN or infinite"),
        (rooted, "finite second derivatives", "NaN or infinite"),
        (normalised, "elementwise", "values at a point among others and alone: differ"),
        (stepped, "continuous values", r"function 1 jumps by \d\.\d* .*, so energies jump there"),
        (binned, "continuous values", r"function [01] jumps by \d\.\d* .*, so energies jump there"),
        (bent, "continuous derivatives", r"the derivative of function 1 jumps by .*, so forces jump there"),
        (idle, "gradients to parameters", "the functions do not depend on it"),
        (detached, "derivatives", "Jacobian mismatch|not differentiable|numerical"),
        (rounded, "single precision", "values in float32 and float64: differ"),
        (widened, "single precision", r"expected a result of type torch.float32, found torch.float64"),
    ],
)
def test_wrong_raw_functions(raw, name: str, message: str) -> None:
    with pytest.raises(CounterExample, match=message) as caught:
        assert_radial_basis(Raw(raw))
    assert caught.value.property == name
    assert str(caught.value).startswith(f"{name}: violated\n")


def test_the_place_is_shown() -> None:
    with pytest.raises(CounterExample) as caught:
        assert_radial_basis(Raw(singular))
    assert caught.value.example == {"distance": 0.0}
    assert isinstance(caught.value.model, Raw)
    assert caught.value.code.endswith("distance = 0.0\nassert_radial_basis(model)")
    with pytest.raises(CounterExample, match="finite values"):
        exec(caught.value.code, {"model": caught.value.model})
    with pytest.raises(CounterExample) as caught:
        assert_circular_basis(OfCosine(of_angle, 2))
    assert abs(caught.value.example["cos_angle"]) >= 1


def test_bases_that_cannot_be_copied() -> None:
    with pytest.raises(CounterExample, match="cannot be pickled") as caught:
        assert_radial_basis(Raw(lambda self, x: good(self, x)))
    assert caught.value.property == "copies"


def test_circular_bases() -> None:
    for basis in (circular.Legendre(1), circular.Legendre(7), circular.Gaussian(2), circular.Gaussian(7)):
        assert "gradients to parameters" not in assert_circular_basis(basis)


class OfCosine(circular.CircularBasis):
    """A basis of functions of one's own."""

    def __init__(self, function, count: int) -> None:
        super().__init__(count)
        self.function = function

    @classmethod
    def from_options(cls, options):
        raise NotImplementedError

    def forward(self, cos_angle: Tensor) -> Tensor:
        return self.function(cos_angle)


def of_angle(cos_angle: Tensor) -> Tensor:
    """Functions of the angle, which has no derivative at 0 and π."""
    angle = torch.acos(cos_angle.clamp(-1, 1))
    return torch.stack([angle, angle.square()], dim=-1)


def bent_once(cos_angle: Tensor) -> Tensor:
    """Functions with a kink each."""
    return (cos_angle[..., None] - torch.tensor([-0.7, 0.1, 0.6], dtype=cos_angle.dtype)).abs()


def test_a_circular_basis_of_the_angle() -> None:
    with pytest.raises(CounterExample, match="finite first derivatives: violated") as caught:
        assert_circular_basis(OfCosine(of_angle, 2))
    assert caught.value.property == "finite first derivatives"


def test_a_kink_is_found() -> None:
    with pytest.raises(CounterExample, match=r"the derivative of function \d jumps") as caught:
        assert_circular_basis(OfCosine(bent_once, 3))
    assert caught.value.property == "continuous derivatives"
    assert min(abs(caught.value.example["cos_angle"] - at) for at in (-0.7, 0.1, 0.6)) < 1e-8


def test_spherical_bases() -> None:
    for basis in (
        spherical.LegendreOuter(4),
        spherical.GaussianOuter(4),
        spherical.RealHarmonics(4),
        spherical.RealHarmonics(1),
    ):
        assert assert_spherical_basis(basis)[-1] == "azimuth of length 1"


class OfDihedral(spherical.SphericalBasis):
    """Functions of the azimuth itself, or of its direction, or of a length that is not always given."""

    def __init__(self, how: str) -> None:
        super().__init__(1)
        self.how = how

    @classmethod
    def from_options(cls, options):
        raise NotImplementedError

    def forward(self, cos_polar, azimuth) -> Tensor:
        if self.how == "angle":
            result = torch.atan2(azimuth.sine, azimuth.cosine)
        elif self.how == "steps":
            result = azimuth.cosine * (azimuth.sine > 0.3)
        elif self.how == "direction":
            result = azimuth.cosine / (azimuth.cosine.square() + azimuth.sine.square()).sqrt()
        else:
            result = azimuth.cosine if azimuth.square is None else azimuth.cosine + azimuth.square
        return (cos_polar * result)[..., None]


@pytest.mark.parametrize(
    ("how", "name"),
    [
        ("angle", "finite second derivatives"),
        ("steps", "continuous values"),
        ("direction", "finite values"),
        ("length", "azimuth of length 1"),
    ],
)
def test_wrong_spherical_bases(how: str, name: str) -> None:
    with pytest.raises(CounterExample) as caught:
        assert_spherical_basis(OfDihedral(how))
    assert caught.value.property == name
