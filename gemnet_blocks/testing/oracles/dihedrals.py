"""The angles of one quadruplet."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from gemnet_blocks.geometry.angles import Azimuth, CollinearRule, RightAngle, SmoothCollinear

Vector = Float[Tensor, "3"]
Scalar = Float[Tensor, ""]


class Angles(NamedTuple):
    """cos φ_abd, cos φ_cab and θ_cabd of one quadruplet, the last as a vector that may be shorter than 1."""

    cos_at_source: Scalar
    cos_at_target: Scalar
    azimuth: Azimuth

    @property
    def dihedral(self) -> Scalar:
        """θ_cabd, from 0 to π."""
        return torch.atan2(self.azimuth.sine, self.azimuth.cosine)


def angles(u_ca: Vector, u_ba: Vector, u_db: Vector, collinear: CollinearRule | None = None) -> Angles:
    """The angles of one quadruplet c→a←b←d from the directions of its edges.

    cos φ_abd = u_db · u_ba, cos φ_cab = u_ca · u_ba, and θ_cabd between n_c = u_ca × u_ba and n_d = u_db × u_ba, where
    there is one. Rules where there is none:

    `RightAngle`: θ = atan2(max(|n_c × n_d|, 10⁻⁹), n_c · n_d). `SmoothCollinear` of width ε: v = n |n|²/(|n|²+ε²)^{3/2}
    of both, ρ cos θ = v_c · v_d, ρ² = |v_c|²|v_d|², ρ sin θ = y²/√(y²+ε²) with y = |v_c × v_d|.

    Args:
        u_ca: unit vector from c to a.
        u_ba: unit vector from b to a.
        u_db: unit vector from d to b.
        collinear: the rule and its parameters; None: `RightAngle`.

    Raises:
        TypeError: the rule is another one.
    """
    n_c, n_d = torch.linalg.cross(u_ca, u_ba), torch.linalg.cross(u_db, u_ba)
    if collinear is None or isinstance(collinear, RightAngle):
        sine = torch.linalg.vector_norm(torch.linalg.cross(n_c, n_d)).clamp(min=1e-9)
        theta = torch.atan2(sine, n_c @ n_d)
        azimuth = Azimuth(theta.cos(), theta.sin())
    elif isinstance(collinear, SmoothCollinear):
        azimuth = _faded(n_c, n_d, collinear.width)
    else:
        raise TypeError(f"no oracle knows the rule {type(collinear).__name__} for collinear atoms: write one")
    return Angles(u_db @ u_ba, u_ca @ u_ba, azimuth)


def _faded(n_c: Vector, n_d: Vector, width: float) -> Azimuth:
    """The rule `SmoothCollinear`, from both normals."""
    v_c, v_d = (n * (n @ n) / (n @ n + width**2) ** 1.5 for n in (n_c, n_d))
    product = torch.linalg.cross(v_c, v_d)
    y_squared = product @ product
    return Azimuth(
        cosine=v_c @ v_d,
        sine=y_squared / torch.sqrt(y_squared + width**2),
        square=(v_c @ v_c) * (v_d @ v_d),
    )
