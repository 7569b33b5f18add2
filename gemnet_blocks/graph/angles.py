"""Angles between edges, from their directions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gemnet_blocks.graph.quadruplets import Quadruplets
from gemnet_blocks.graph.triplets import Triplets

COLLINEAR = 1e-9
"""The least |n_c × n_d| of a dihedral angle: at or below it, atoms are collinear and θ is π/2."""


@dataclass(frozen=True, slots=True, eq=False)
class QuadrupletAngles:
    """The angles of the quadruplets c→a←b←d.

    Attributes:
        cos_at_source: cos φ_abd of each triplet d→b→a.
        cos_at_target: cos φ_cab of each triplet c→a←b.
        cos_dihedral: cos θ_cabd of each quadruplet.
        sin_dihedral: sin θ_cabd, never negative.
    """

    cos_at_source: Float[Tensor, " source_triplets"]
    cos_at_target: Float[Tensor, " target_triplets"]
    cos_dihedral: Float[Tensor, " quadruplets"]
    sin_dihedral: Float[Tensor, " quadruplets"]


def triplet_cosines(
    outer: Float[Tensor, "outer_edges 3"], inner: Float[Tensor, "inner_edges 3"], triplets: Triplets
) -> Float[Tensor, " triplets"]:
    """cos φ_cab = u_ca · u_ba of the triplets c→a←b, from the directions of both edge sets."""
    return dot(outer.index_select(0, triplets.outer), inner.index_select(0, triplets.inner))


def quadruplet_angles(
    edges: Float[Tensor, "edges 3"], middle: Float[Tensor, "middle_edges 3"], quadruplets: Quadruplets
) -> QuadrupletAngles:
    """Both polar angles and the dihedral angle of every quadruplet, from the directions of both edge sets.

    cos φ_abd = u_db · u_ba, cos φ_cab = u_ca · u_ba, θ_cabd = atan2(max(|n_c × n_d|, 10⁻⁹), n_c · n_d) with
    n_c = u_ca × u_ba and n_d = u_db × u_ba. Values and first and second derivatives are finite everywhere; for
    collinear atoms, which have no θ, the value is π/2 up to rounding, in single precision too.
    """
    source, target = quadruplets.around_source, quadruplets.around_target
    u_db, u_ba_source = edges.index_select(0, source.inner), middle.index_select(0, source.outer)
    u_ca, u_ba_target = edges.index_select(0, target.outer), middle.index_select(0, target.inner)
    n_d = _normal(u_db, u_ba_source).index_select(0, quadruplets.source_triplet)
    n_c = _normal(u_ca, u_ba_target).index_select(0, quadruplets.target_triplet)
    x = dot(n_c, n_d)
    product = torch.linalg.cross(n_c, n_d)
    # the clamp acts on the square, whose root then has finite derivatives
    y = dot(product, product).clamp(min=COLLINEAR**2).sqrt()
    radius = (x * x + y * y).sqrt()
    return QuadrupletAngles(
        cos_at_source=dot(u_db, u_ba_source),
        cos_at_target=dot(u_ca, u_ba_target),
        cos_dihedral=x / radius,
        sin_dihedral=y / radius,
    )


def _normal(u: Float[Tensor, "triplets 3"], v: Float[Tensor, "triplets 3"]) -> Float[Tensor, "triplets 3"]:
    """u × v; zero where it is but rounding noise and the clamp of θ would not hide that."""
    normal = torch.linalg.cross(u, v)
    noise = 8 * torch.finfo(normal.dtype).eps
    if noise < COLLINEAR:
        return normal
    return torch.where((dot(normal, normal) > noise**2)[:, None], normal, torch.zeros_like(normal))


def dot(a: Float[Tensor, "*batch 3"], b: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """a · b along the last axis."""
    return (a * b).sum(dim=-1)
