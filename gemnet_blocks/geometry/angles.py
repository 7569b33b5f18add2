"""Angles between edges, from their directions, and what becomes of dihedral angles that do not exist."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from gemnet_blocks.graph.triplets import Quadruplets, Triplets
from gemnet_blocks.options import Options

COLLINEAR = 1e-9
"""The least |n_c × n_d| of a dihedral angle in published models: at or below it, θ is π/2."""

COLLINEAR_ALONE = 1e-9
"""The least |n| for which this can be said of one triplet alone, of which the other's |n| is not known."""

NOISE = 8
"""Normals of so many units of rounding are but noise."""

COLLINEAR_WIDTH = 0.01
"""The sine of the angle between two edges below which dihedral angles around them fade out, by default."""


@dataclass(frozen=True, slots=True, eq=False)
class Azimuth:
    """A dihedral angle as the vector w = ρ e^{iθ}, which can be shorter than 1 where θ is not well defined.

    Attributes:
        cosine: Re w = ρ cos θ.
        sine: |Im w| = ρ sin θ with θ from 0 to π; made smooth at zero where the rule says so.
        square: ρ²; None where ρ = 1 everywhere.
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
    """The angles of the quadruplets c→a←b←d.

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
    """Where atoms are in the plane perpendicular to an edge, as z = real + i imaginary, of at most unit length.

    Attributes:
        real: of length 1 but for collinear atoms.
        imaginary: likewise.
        gate: 0 for collinear atoms and 1 for others, where collinear atoms have a dihedral angle of π/2; else None.
    """

    real: Float[Tensor, "*shape"]
    imaginary: Float[Tensor, "*shape"]
    gate: Float[Tensor, "*shape"] | None = None


class CollinearRule(ABC):
    """What the dihedral angle is, everywhere: atoms on a line have none."""

    gated: ClassVar[bool]
    """Whether `in_plane` gives a gate."""

    @abstractmethod
    def __call__(
        self,
        n_c: Float[Tensor, "target_triplets 3"],
        n_d: Float[Tensor, "source_triplets 3"],
        quadruplets: Quadruplets,
    ) -> Azimuth:
        """The dihedral angles, from the normals n_c = u_ca × u_ba and n_d = u_db × u_ba of both kinds of triplets.

        Values and first and second derivatives are finite everywhere.
        """

    @abstractmethod
    def in_plane(self, x: Float[Tensor, "*shape"], y: Float[Tensor, "*shape"]) -> InPlane:
        """The same rule for one atom alone: z from its coordinates (x, y) perpendicular to u_ba, √(x² + y²) = |n|.

        e^{iθ_cabd} is then z_c times the conjugate of z_d, or its inverse.
        """


class SmoothCollinearOptions(Options):
    """Dihedral angles fade out as atoms come to lie on a line: energies stay smooth and keep their symmetries."""

    type: Literal["smooth"] = "smooth"
    """The kind of rule."""
    width: Annotated[float, Field(gt=0, le=1)] = COLLINEAR_WIDTH
    """The sine of the angle of a triplet at which its dihedral angles have lost most of their weight."""


class RightAngleOptions(Options):
    """Collinear atoms have a dihedral angle of π/2, as in published models; single precision decides which are."""

    type: Literal["right_angle"] = "right_angle"
    """The kind of rule."""


@final
class SmoothCollinear(CollinearRule):
    r"""Shorten dihedral angles where a triplet is nearly straight.

    $$w = \frac{(n_c\cdot n_d + i\,|n_c\times n_d|)\; g(|n_c|)\, g(|n_d|)}{|n_c|\,|n_d|}, \qquad
    g(s) = \Big(\frac{s^2}{s^2+\varepsilon^2}\Big)^{3/2}.$$

    |n| = sin φ is the sine of the triplet's angle. On a line g = 0, so that of functions cos jθ → Re w^j only j = 0 is
    left, the average over all azimuths. g vanishes as s³: rounding errors of the directions, of which s is made there,
    do not show, nor does the slope of g make forces of them.

    The imaginary part is y²/√(y²+ε²) instead of y = |Im w|, whose derivative jumps where four atoms are in one plane.

    Args:
        width: ε.
    """

    gated = False

    def __init__(self, width: float = COLLINEAR_WIDTH) -> None:
        self.width = width

    def __call__(
        self,
        n_c: Float[Tensor, "target_triplets 3"],
        n_d: Float[Tensor, "source_triplets 3"],
        quadruplets: Quadruplets,
    ) -> Azimuth:
        """The dihedral angles, from the normals of both kinds of triplets."""
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

    def in_plane(self, x: Float[Tensor, "*shape"], y: Float[Tensor, "*shape"]) -> InPlane:
        """z = (x + iy)·s²/(s²+ε²)^{3/2}, of length g(s)."""
        factor = self._factor(x * x + y * y)
        return InPlane(x * factor, y * factor)

    def _faded(self, normal: Float[Tensor, "triplets 3"]) -> Float[Tensor, "triplets 3"]:
        """n·|n|²/(|n|²+ε²)^{3/2}, of length g."""
        return normal * self._factor(dot(normal, normal))[:, None]

    def _factor(self, square: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """g(s)/s from s²."""
        sum_of_squares = square + self.width**2
        return square / (sum_of_squares * sum_of_squares.sqrt())


@final
class RightAngle(CollinearRule):
    """θ = atan2(max(|n_c × n_d|, 10⁻⁹), n_c · n_d) as in published models: π/2 for collinear atoms.

    In single precision normals that are but rounding noise count as zero, so that the value is the same there.
    """

    gated = True

    def __call__(
        self,
        n_c: Float[Tensor, "target_triplets 3"],
        n_d: Float[Tensor, "source_triplets 3"],
        quadruplets: Quadruplets,
    ) -> Azimuth:
        """The dihedral angles, from the normals of both kinds of triplets."""
        n_c = _without_noise(n_c).index_select(0, quadruplets.target_triplet)
        n_d = _without_noise(n_d).index_select(0, quadruplets.source_triplet)
        x = dot(n_c, n_d)
        product = torch.linalg.cross(n_c, n_d)
        # the clamp acts on the square, whose root then has finite derivatives
        y = dot(product, product).clamp(min=COLLINEAR**2).sqrt()
        radius = (x * x + y * y).sqrt()
        return Azimuth(x / radius, y / radius)

    def in_plane(self, x: Float[Tensor, "*shape"], y: Float[Tensor, "*shape"]) -> InPlane:
        """z = (x + iy)/s, and 0 where s ≤ 10⁻⁹ or rounding noise."""
        square = x * x + y * y
        apart = square > max(COLLINEAR_ALONE, NOISE * torch.finfo(x.dtype).eps) ** 2
        scale = torch.where(apart, square, torch.ones_like(square)).rsqrt() * apart
        return InPlane(x * scale, y * scale, apart.to(x.dtype))


def collinear_rule(options: SmoothCollinearOptions | RightAngleOptions) -> CollinearRule:
    """The rule that options describe."""
    return SmoothCollinear(options.width) if isinstance(options, SmoothCollinearOptions) else RightAngle()


def triplet_cosines(
    outer: Float[Tensor, "outer_edges 3"], inner: Float[Tensor, "inner_edges 3"], triplets: Triplets
) -> Float[Tensor, " triplets"]:
    """cos φ_cab = u_ca · u_ba of the triplets c→a←b, from the directions of both edge sets."""
    return dot(outer.index_select(0, triplets.outer), inner.index_select(0, triplets.inner))


def quadruplet_angles(
    edges: Float[Tensor, "edges 3"],
    middle: Float[Tensor, "middle_edges 3"],
    quadruplets: Quadruplets,
    collinear: CollinearRule,
) -> QuadrupletAngles:
    """Both polar angles and the dihedral angle of every quadruplet, from the directions of both edge sets.

    cos φ_abd = u_db · u_ba, cos φ_cab = u_ca · u_ba, θ_cabd = atan2(|n_c × n_d|, n_c · n_d) with n_c = u_ca × u_ba and
    n_d = u_db × u_ba, where the rule for collinear atoms does not say otherwise.
    """
    source, target = quadruplets.around_source, quadruplets.around_target
    u_db, u_ba_source = edges.index_select(0, source.inner), middle.index_select(0, source.outer)
    u_ca, u_ba_target = edges.index_select(0, target.outer), middle.index_select(0, target.inner)
    n_c, n_d = torch.linalg.cross(u_ca, u_ba_target), torch.linalg.cross(u_db, u_ba_source)
    return QuadrupletAngles(dot(u_db, u_ba_source), dot(u_ca, u_ba_target), collinear(n_c, n_d, quadruplets))


def _without_noise(normal: Float[Tensor, "triplets 3"]) -> Float[Tensor, "triplets 3"]:
    """The normals; zero where they are but rounding noise and the clamp of θ would not hide that."""
    noise = NOISE * torch.finfo(normal.dtype).eps
    if noise < COLLINEAR:
        return normal
    return torch.where((dot(normal, normal) > noise**2)[:, None], normal, torch.zeros_like(normal))


def dot(a: Float[Tensor, "*batch 3"], b: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """a · b along the last axis."""
    return (a * b).sum(dim=-1)
