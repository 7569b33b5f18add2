"""Angles and dihedral angles between edges, and rules for the undefined dihedral angles of collinear atoms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from gemnet_blocks.graph.quadruplets import Quadruplets
from gemnet_blocks.graph.triplets import Triplets
from gemnet_blocks.options import Options

COLLINEAR = 1e-9
"""Lower bound of |n_c × n_d| in published models, which makes θ = π/2 for collinear atoms."""

COLLINEAR_ALONE = 1e-9
"""The largest |n| of a triplet that counts as collinear if the normal of the other triplet is not known."""

NOISE = 8
"""The largest norm of a normal that counts as rounding noise, in units of the machine epsilon."""

COLLINEAR_WIDTH = 0.01
"""The default sine of the angle between two edges below which their dihedral angles fade out."""


@dataclass(frozen=True, slots=True, eq=False)
class Azimuth:
    """Dihedral angles as complex numbers w = ρ e^{iθ}, with ρ < 1 if θ is not well defined.

    Attributes:
        cosine: Re w = ρ cos θ.
        sine: |Im w| = ρ sin θ with θ from 0 to π; `SmoothCollinear` smooths it at zero.
        square: ρ²; None if ρ = 1 for all angles.
    """

    cosine: Float[Tensor, "*shape"]
    sine: Float[Tensor, "*shape"]
    square: Float[Tensor, "*shape"] | None = None

    @classmethod
    def of(cls, angle: Azimuth | Float[Tensor, "*shape"]) -> Azimuth:
        """Convert angles θ in radians; an `Azimuth` is returned as it is."""
        return angle if isinstance(angle, Azimuth) else cls(angle.cos(), angle.sin())


@dataclass(frozen=True, slots=True, eq=False)
class QuadrupletAngles:
    """Angles of the quadruplets c→a←b←d.

    Attributes:
        cos_at_source: cos φ_abd of each triplet d→b→a.
        cos_at_target: cos φ_cab of each triplet c→a←b.
        dihedral: θ_cabd of each quadruplet.
    """

    cos_at_source: Float[Tensor, " source_triplets"]
    cos_at_target: Float[Tensor, " target_triplets"]
    dihedral: Azimuth


@dataclass(frozen=True, slots=True, eq=False)
class InPlane:
    """Directions of atoms in the plane perpendicular to an edge, as complex numbers z with |z| ≤ 1.

    Attributes:
        real: Re z; |z| = 1 unless the atoms are nearly collinear.
        imaginary: Im z.
        gate: 0 for collinear atoms and 1 for all others, for rules that give collinear atoms a dihedral angle of π/2;
            None for other rules.
    """

    real: Float[Tensor, "*shape"]
    imaginary: Float[Tensor, "*shape"]
    gate: Float[Tensor, "*shape"] | None = None


class CollinearRule(ABC):
    """Base class of rules that extend the dihedral angle to collinear atoms, for which it is not defined."""

    gated: ClassVar[bool]
    """True if `in_plane` returns a gate."""

    @abstractmethod
    def __call__(
        self,
        n_c: Float[Tensor, "target_triplets 3"],
        n_d: Float[Tensor, "source_triplets 3"],
        quadruplets: Quadruplets,
    ) -> Azimuth:
        """Compute dihedral angles from the normals n_c = u_ca × u_ba and n_d = u_db × u_ba of both kinds of triplets.

        Values and first and second derivatives are finite everywhere.
        """

    @abstractmethod
    def in_plane(self, x: Float[Tensor, "*shape"], y: Float[Tensor, "*shape"]) -> InPlane:
        """Compute the direction z of one atom from its coordinates (x, y) perpendicular to u_ba, √(x² + y²) = |n|.

        Then z_c times the conjugate of z_d is e^{iθ_cabd} or its conjugate, under the same rule as for pairs of atoms.
        """


class SmoothCollinearOptions(Options):
    """Dihedral angles that fade out smoothly as atoms become collinear, so that energies stay smooth and symmetric."""

    type: Literal["smooth"] = "smooth"
    """The kind of rule."""
    width: Annotated[float, Field(gt=0, le=1)] = COLLINEAR_WIDTH
    """ε: the sine of the angle of a triplet below which its dihedral angles have lost most of their weight. Smaller
    values change fewer structures but make forces vary faster near collinear atoms."""


class RightAngleOptions(Options):
    """Dihedral angles of π/2 for collinear atoms, as in published models.

    In single precision, atoms count as collinear within rounding errors.
    """

    type: Literal["right_angle"] = "right_angle"
    """The kind of rule."""


@final
class SmoothCollinear(CollinearRule):
    r"""Rule that shortens w smoothly to zero as a triplet becomes collinear.

    $$w = \frac{(n_c\cdot n_d + i\,|n_c\times n_d|)\; g(|n_c|)\, g(|n_d|)}{|n_c|\,|n_d|}, \qquad
    g(s) = \Big(\frac{s^2}{s^2+\varepsilon^2}\Big)^{3/2}.$$

    |n| = sin φ is the sine of the angle of the triplet. For collinear atoms g = 0, so that of the functions
    cos jθ = Re w^j only j = 0 remains, which is the average over all azimuths. g vanishes like s³. There, s consists of
    rounding errors of the directions; they affect neither the energy nor, through the slope of g, the forces.

    The imaginary part is y²/√(y²+ε²) instead of y = |Im w|, because the derivative of y jumps where four atoms lie in
    one plane.

    Args:
        width: ε, typically 0.01.
    """

    gated = False

    def __init__(self, width: float = COLLINEAR_WIDTH) -> None:
        self.width = width

    @override
    def __call__(
        self,
        n_c: Float[Tensor, "target_triplets 3"],
        n_d: Float[Tensor, "source_triplets 3"],
        quadruplets: Quadruplets,
    ) -> Azimuth:
        v_c, v_d = self._faded(n_c), self._faded(n_d)
        square_c, square_d = dot(v_c, v_c), dot(v_d, v_d)
        v_c = v_c.index_select(0, quadruplets.target_triplet)
        v_d = v_d.index_select(0, quadruplets.source_triplet)
        product = torch.linalg.cross(v_c, v_d)
        sine_square = dot(product, product)
        return Azimuth(
            cosine=dot(v_c, v_d),
            sine=sine_square / (sine_square + self.width**2).sqrt(),
            square=square_c.index_select(0, quadruplets.target_triplet)
            * square_d.index_select(0, quadruplets.source_triplet),
        )

    @override
    def in_plane(self, x: Float[Tensor, "*shape"], y: Float[Tensor, "*shape"]) -> InPlane:
        # z = (x + iy)·s²/(s²+ε²)^{3/2}, of length g(s)
        factor = self._factor(x * x + y * y)
        return InPlane(x * factor, y * factor)

    def _faded(self, normal: Float[Tensor, "triplets 3"]) -> Float[Tensor, "triplets 3"]:
        """Compute n·|n|²/(|n|²+ε²)^{3/2}, of length g(|n|)."""
        return normal * self._factor(dot(normal, normal))[:, None]

    def _factor(self, square: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Compute g(s)/s from s²."""
        sum_of_squares = square + self.width**2
        return square / (sum_of_squares * sum_of_squares.sqrt())


@final
class RightAngle(CollinearRule):
    """Rule of published models, which gives π/2 for collinear atoms: θ = atan2(max(|n_c × n_d|, 10⁻⁹), n_c · n_d).

    In single precision, normals that consist of rounding noise are set to zero, so that the result is π/2 there, too.
    """

    gated = True

    @override
    def __call__(
        self,
        n_c: Float[Tensor, "target_triplets 3"],
        n_d: Float[Tensor, "source_triplets 3"],
        quadruplets: Quadruplets,
    ) -> Azimuth:
        n_c = _without_noise(n_c).index_select(0, quadruplets.target_triplet)
        n_d = _without_noise(n_d).index_select(0, quadruplets.source_triplet)
        x = dot(n_c, n_d)
        product = torch.linalg.cross(n_c, n_d)
        # clamping the square keeps the derivatives of its root finite
        y = dot(product, product).clamp(min=COLLINEAR**2).sqrt()
        radius = (x * x + y * y).sqrt()
        return Azimuth(x / radius, y / radius)

    @override
    def in_plane(self, x: Float[Tensor, "*shape"], y: Float[Tensor, "*shape"]) -> InPlane:
        # z = (x + iy)/s, or 0 if s ≤ 10⁻⁹ or if s is rounding noise
        square = x * x + y * y
        apart = square > max(COLLINEAR_ALONE, NOISE * torch.finfo(x.dtype).eps) ** 2
        scale = torch.where(apart, square, torch.ones_like(square)).rsqrt() * apart
        return InPlane(x * scale, y * scale, apart.to(x.dtype))


def collinear_rule(options: SmoothCollinearOptions | RightAngleOptions) -> CollinearRule:
    """Construct a rule for collinear atoms from its options."""
    return SmoothCollinear(options.width) if isinstance(options, SmoothCollinearOptions) else RightAngle()


def triplet_cosines(
    outer: Float[Tensor, "outer_edges 3"], inner: Float[Tensor, "inner_edges 3"], triplets: Triplets
) -> Float[Tensor, " triplets"]:
    """Compute cos φ_cab = u_ca · u_ba of the triplets c→a←b from the directions of both edge sets."""
    return dot(outer.index_select(0, triplets.outer), inner.index_select(0, triplets.inner))


def quadruplet_angles(
    edges: Float[Tensor, "edges 3"],
    middle: Float[Tensor, "middle_edges 3"],
    quadruplets: Quadruplets,
    collinear: CollinearRule,
) -> QuadrupletAngles:
    """Compute both polar angles and the dihedral angle of every quadruplet c→a←b←d.

    cos φ_abd = u_db · u_ba, cos φ_cab = u_ca · u_ba and θ_cabd = atan2(|n_c × n_d|, n_c · n_d) with the normals
    n_c = u_ca × u_ba and n_d = u_db × u_ba.

    Args:
        edges: directions u_ca and u_db of the outer edges.
        middle: directions u_ba of the middle edges.
        quadruplets: indices of the quadruplets.
        collinear: the rule for dihedral angles of collinear atoms.
    """
    source, target = quadruplets.around_source, quadruplets.around_target
    u_db, u_ba_source = edges.index_select(0, source.inner), middle.index_select(0, source.outer)
    u_ca, u_ba_target = edges.index_select(0, target.outer), middle.index_select(0, target.inner)
    n_c, n_d = torch.linalg.cross(u_ca, u_ba_target), torch.linalg.cross(u_db, u_ba_source)
    return QuadrupletAngles(dot(u_db, u_ba_source), dot(u_ca, u_ba_target), collinear(n_c, n_d, quadruplets))


def _without_noise(normal: Float[Tensor, "triplets 3"]) -> Float[Tensor, "triplets 3"]:
    """Set normals to zero that consist of rounding noise, unless the lower bound in θ is larger than the noise."""
    noise = NOISE * torch.finfo(normal.dtype).eps
    if noise < COLLINEAR:
        return normal
    return torch.where((dot(normal, normal) > noise**2)[:, None], normal, torch.zeros_like(normal))


def dot(a: Float[Tensor, "*batch 3"], b: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """Compute a · b along the last axis."""
    return (a * b).sum(dim=-1)
