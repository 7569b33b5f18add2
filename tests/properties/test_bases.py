"""Basis functions against their definitions, and against what every basis must be."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from properties.harness import holds_for

from gemnet_blocks.basis import circular, radial, spherical
from gemnet_blocks.basis.envelopes import Exponential, Polynomial
from gemnet_blocks.geometry.angles import Azimuth
from gemnet_blocks.testing import oracles
from gemnet_blocks.testing.assertions import (
    assert_circular_basis,
    assert_radial_basis,
    assert_same_function,
    assert_spherical_basis,
)

ENVELOPES = st.builds(Polynomial, exponent=st.integers(1, 8)) | st.builds(Exponential)
RADIAL = st.builds(
    lambda kind, cutoff, count, envelope: kind(cutoff, count, envelope),
    st.sampled_from((radial.Gaussian, radial.SphericalBessel, radial.Bernstein)),
    st.sampled_from((4.0, 1.0, 6.5)),
    st.integers(2, 9),
    ENVELOPES,
)
CIRCULAR = st.builds(
    lambda kind, count: kind(count), st.sampled_from((circular.Legendre, circular.Gaussian)), st.integers(2, 7)
)
SPHERICAL = st.builds(
    lambda kind, count: kind(count),
    st.sampled_from((spherical.LegendreOuter, spherical.GaussianOuter, spherical.RealHarmonics)),
    st.integers(2, 5),
)
POINTS = st.lists(st.floats(0, 1), min_size=1, max_size=4)


def column(values: list[float], low: float, high: float) -> torch.Tensor:
    """Numbers from 0 to 1, spread over an interval."""
    return (low + (high - low) * torch.tensor(values, dtype=torch.float64)).requires_grad_()


@holds_for(RADIAL, quick=40)
def test_radial_functions(basis: radial.RadialBasis, data: Any) -> None:
    basis = basis.double()
    d = column(data.draw(POINTS), 0.01, 1.1 * basis.cutoff)
    slow = torch.stack([oracles.radial_functions(basis, one) for one in d])
    assert_same_function(basis(d), slow, [d, *basis.parameters()], 1e-10)


@holds_for(CIRCULAR, quick=30)
def test_circular_functions(basis: circular.CircularBasis, data: Any) -> None:
    z = column(data.draw(POINTS), -1, 1)
    assert_same_function(basis(z), torch.stack([oracles.circular_functions(basis, one) for one in z]), [z], 1e-11)


@holds_for(SPHERICAL, quick=40)
def test_spherical_functions(basis: spherical.SphericalBasis, data: Any) -> None:
    """Also of azimuths that are shorter than 1, those of nearly collinear atoms."""
    points = data.draw(POINTS)
    z = column(points, -0.99, 0.99)
    length, angle = data.draw(st.sampled_from((1.0, 0.0, 0.3))), column(points[::-1], 0.05, 3.1)
    square = torch.full_like(angle, length**2) if length < 1 or data.draw(st.booleans()) else None
    azimuth = Azimuth(length * angle.cos(), length * angle.sin(), square)
    slow = [
        oracles.spherical_functions(
            basis, z[i], Azimuth(azimuth.cosine[i], azimuth.sine[i], None if square is None else square[i])
        )
        for i in range(len(z))
    ]
    assert_same_function(basis(z, azimuth), torch.stack(slow), [z, angle], 1e-10)


@holds_for(RADIAL, quick=6, most=300)
def test_every_radial_basis_is_one(basis: radial.RadialBasis, data: Any) -> None:
    assert_radial_basis(basis)


@holds_for(CIRCULAR, quick=6, most=300)
def test_every_circular_basis_is_one(basis: circular.CircularBasis, data: Any) -> None:
    assert_circular_basis(basis)


@holds_for(SPHERICAL, quick=6, most=300)
def test_every_spherical_basis_is_one(basis: spherical.SphericalBasis, data: Any) -> None:
    assert_spherical_basis(basis)
