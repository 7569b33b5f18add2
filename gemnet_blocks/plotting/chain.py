"""A quadruplet of atoms that is easy to see."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch

from gemnet_blocks.geometry.angles import collinear_rule, quadruplet_angles
from gemnet_blocks.geometry.edges import EdgeSet
from gemnet_blocks.graph.quadruplets import Quadruplets
from gemnet_blocks.graph.triplets import Triplets
from gemnet_blocks.plotting.views import Array
from gemnet_blocks.spec.schema import Spec
from gemnet_blocks.structures import Structures

NEAREST = 6
"""How many of the nearest neighbors are considered for each edge of a quadruplet."""

CLEAR = 0.3
"""The least product of the sines of the three angles of a quadruplet that is easy to see."""


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """A quadruplet c→a←b←d.

    Attributes:
        places: positions of a, b, c and d in Å, as images.
        atoms: their indices.
        at_target: φ_cab in degrees, between the directions of c→a and b→a.
        at_source: φ_abd in degrees, between the directions of d→b and b→a.
        dihedral: θ_cabd in degrees.
    """

    places: Array
    atoms: tuple[int, int, int, int]
    at_target: float
    at_source: float
    dihedral: float

    @property
    def length(self) -> float:
        """Of its three edges together, in Å."""
        a, b, c, d = self.places
        return float(sum(np.linalg.norm(end - start) for start, end in ((c, a), (b, a), (d, b))))


def find_chain(spec: Spec, structure: Structures, outer: EdgeSet, middle: EdgeSet, target: int) -> Chain | None:
    """The shortest quadruplet around an atom whose angles can be told apart, or else the clearest one."""
    chains = [
        chain
        for b in _into(middle, target)
        for c, d in product(_into(outer, target), _into(outer, int(middle.source[b])))
        if (chain := _chain(spec, structure, outer, middle, (c, b, d))) is not None
    ]
    clear = [chain for chain in chains if _clarity(chain) > CLEAR]
    if clear:
        return min(clear, key=lambda chain: round(chain.length, 6))
    return max(chains, key=_clarity, default=None)


def _into(edges: EdgeSet, atom: int) -> list[int]:
    """The edges into an atom, the shortest first."""
    first, last = int(edges.first[atom]), int(edges.first[atom + 1])
    return list(range(first, min(last, first + NEAREST)))


def _clarity(chain: Chain) -> float:
    angles = np.radians([chain.at_target, chain.at_source, chain.dihedral])
    return float(np.round(np.sin(angles).prod(), 6))


def _chain(
    spec: Spec, structure: Structures, outer: EdgeSet, middle: EdgeSet, edges: tuple[int, int, int]
) -> Chain | None:
    """The quadruplet of the edges c→a, b→a and d→b; None where two of its atoms are one."""
    c, b, d = edges
    u_ca, u_ba, u_db = outer.direction[c], middle.direction[b], outer.direction[d]
    a_place = structure.positions[int(middle.target[b])].detach().double()
    b_place = a_place - middle.distance[b] * u_ba
    c_place, d_place = a_place - outer.distance[c] * u_ca, b_place - outer.distance[d] * u_db
    places = torch.stack((a_place, b_place, c_place, d_place))
    if float(torch.nn.functional.pdist(places).min()) < 1e-3:
        return None
    zero, one = torch.zeros(1, dtype=torch.long, device="cpu"), torch.ones(1, dtype=torch.long, device="cpu")
    chain = Quadruplets(Triplets(zero, one), Triplets(zero, zero), zero, zero)
    rule = collinear_rule(spec.bases.collinear)
    angles = quadruplet_angles(torch.stack((u_ca, u_db)), u_ba[None], chain, rule)
    dihedral = torch.atan2(angles.dihedral.sine, angles.dihedral.cosine)
    at_target, at_source = (value.clamp(-1, 1).acos() for value in (angles.cos_at_target, angles.cos_at_source))
    atoms = (int(middle.target[b]), int(middle.source[b]), int(outer.source[c]), int(outer.source[d]))
    return Chain(
        places.numpy(), atoms, *(float(np.degrees(float(value))) for value in (at_target, at_source, dihedral))
    )
