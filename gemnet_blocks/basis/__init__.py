"""Basis functions of distances and angles as independent layers on plain tensors.

    >>> import torch
    >>> from gemnet_blocks.basis import FourierBessel, Gaussian, Legendre, RealHarmonics
    >>> distance, phi, theta = torch.rand(3, 10)
    >>> Gaussian(cutoff=6, count=32)(distance).shape
    torch.Size([10, 32])
    >>> Legendre(count=7)(phi.cos()).shape
    torch.Size([10, 7])
    >>> RealHarmonics(count=3)(phi.cos(), theta).shape
    torch.Size([10, 9])
    >>> FourierBessel(cutoff=5, count=6, degree_count=3)(distance).shape
    torch.Size([10, 3, 6])

- Radial bases, of distances in Å: `Gaussian` (also called `radial.Gaussian`), `SphericalBessel`, `Bernstein`.
- Radial bases for each degree l of the angular function beside them: `FourierBessel`.
- Circular bases, of the cosine of an angle: `Legendre`, `CircularGaussian` (also called `circular.Gaussian`).
- Spherical bases, of the cosine of an angle and a dihedral angle: `LegendreOuter`, `GaussianOuter`, `RealHarmonics`.
- Envelopes, of distance/cutoff: `Polynomial`, `Exponential`.

Custom ones are subclasses of `RadialBasis`, `DegreeRadialBasis`, `CircularBasis`, `SphericalBasis` and `Envelope`.

The module `symbolic` defines the same functions as sympy expressions. It must be imported explicitly, because importing
sympy takes time.
"""

from gemnet_blocks.basis import circular, envelopes, fourier_bessel, radial, spherical
from gemnet_blocks.basis.circular import CircularBasis, Legendre
from gemnet_blocks.basis.circular import Gaussian as CircularGaussian
from gemnet_blocks.basis.envelopes import Envelope, Exponential, Polynomial
from gemnet_blocks.basis.fourier_bessel import DegreeRadialBasis, FourierBessel
from gemnet_blocks.basis.radial import Bernstein, Gaussian, RadialBasis, SphericalBessel
from gemnet_blocks.basis.spherical import GaussianOuter, LegendreOuter, RealHarmonics, SphericalBasis

__all__ = [
    "Bernstein",
    "CircularBasis",
    "CircularGaussian",
    "DegreeRadialBasis",
    "Envelope",
    "Exponential",
    "FourierBessel",
    "Gaussian",
    "GaussianOuter",
    "Legendre",
    "LegendreOuter",
    "Polynomial",
    "RadialBasis",
    "RealHarmonics",
    "SphericalBasis",
    "SphericalBessel",
    "circular",
    "envelopes",
    "fourier_bessel",
    "radial",
    "spherical",
]
