"""A few structures of high symmetry, in which what is undefined at special points shows at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ase import Atoms

from gemnet_blocks.structures import Structures

SURFACE = 1
"""The tag of all atoms, so that none is different."""


def special_structures(cutoff: float, elements: Sequence[int]) -> tuple[Structures, ...]:
    """A dimer, three atoms in a line, a square, a centred tetrahedron, a centred hexagon, and a rock salt crystal.

    The forces on some atoms are sums of opposite or equally distributed terms, angles are 0, 90 and 180 degrees,
    distances are equal. No atom has more than six neighbors, so that caps on neighbors seldom matter.

    Args:
        cutoff: of neighbors, in Å; those meant to be neighbors are closer.
        elements: atomic numbers; of the first the surrounding atoms are, of the last the centres.
    """
    d = round(min(1.3, 0.45 * cutoff), 3)
    outer, centre = elements[0], elements[-1]
    h = round(d / math.sqrt(3), 3)
    corners = [[h, h, h], [h, -h, -h], [-h, h, -h], [-h, -h, h]]
    ring = [[d * math.cos(i * math.pi / 3), d * math.sin(i * math.pi / 3), 0.0] for i in range(6)]
    molecules = [
        Atoms([outer] * 2, positions=[[0, 0, 0], [d, 0, 0]]),
        Atoms([outer] * 3, positions=[[-d, 0, 0], [0, 0, 0], [d, 0, 0]]),
        Atoms([outer] * 4, positions=[[0, 0, 0], [d, 0, 0], [d, d, 0], [0, d, 0]]),
        Atoms([centre] + [outer] * 4, positions=[[0, 0, 0], *corners]),
        Atoms([centre] + [outer] * 6, positions=[[0, 0, 0], *ring]),
    ]
    s = round(0.8 * cutoff, 3)  # the next neighbors, at √2 of it, are beyond the cutoff
    salt = Atoms([outer, centre], positions=[[0, 0, 0], [s, 0, 0]], cell=[[0, s, s], [s, 0, s], [s, s, 0]], pbc=True)
    for atoms in (*molecules, salt):
        atoms.set_tags([SURFACE] * len(atoms))
    return tuple(Structures.from_ase(atoms) for atoms in (*molecules, salt))
