"""What all strategies of structures share: drawing atoms on sites, and putting one structure together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from gemnet_blocks.structures import UNKNOWN_TAG, Structures

ELEMENTS = (1, 6, 7, 8, 13, 29, 78)
"""H, C, N, O, Al, Cu and Pt."""

PERIODIC_AXES = (
    (True, True, True),
    (True, True, False),
    (True, False, True),
    (False, True, True),
    (True, False, False),
    (False, True, False),
    (False, False, True),
)
"""Every combination of periodic axes but none."""

NO_CELLS = (
    np.zeros((3, 3)),
    np.diag([8.0, 9.0, 10.0]),
    np.array([[500.0, 0, 0], [20.0, 600.0, 0], [0, -30.0, 700.0]]),
    np.array([[5.0, 0, 0], [5.0, 0, 0], [0, 0, 0]]),
)
"""What cells say where nothing is periodic: nothing, a box, a huge one, something that spans no volume."""


@dataclass(frozen=True, slots=True)
class Atom:
    """An atom on a site.

    Attributes:
        site: the number of its site; what the sites are is up to the structure.
        number: atomic number.
        tag: 0 below the surface, 1 surface, 2 adsorbate.
    """

    site: int
    number: int
    tag: int


@st.composite
def atoms_on_sites(
    draw: st.DrawFn,
    site_count: int,
    elements: Sequence[int],
    max_atoms: int,
    min_atoms: int = 0,
    unique: bool = True,
) -> list[Atom]:
    """Atoms on some of `site_count` sites, mostly few; every atom can be left out by itself when examples shrink."""
    most = min(max_atoms, site_count) if unique else max_atoms
    # lists alone would hardly ever be long; when examples shrink, this becomes 0 and frees the list
    least = draw(st.sampled_from((0, 1, 2, 3, 5, 8, most // 4, most // 2)))
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, site_count - 1), st.sampled_from(tuple(elements)), st.sampled_from((0, 1, 2))),
            min_size=min(max(min_atoms, least), most),
            max_size=most,
            unique_by=(lambda row: row[0]) if unique else None,
        )
    )
    return [Atom(*row) for row in rows]


def one_structure(
    positions: Any,
    atoms: Sequence[Atom],
    cell: Any = None,
    periodic: Sequence[bool] = (False, False, False),
    tagged: bool = True,
    held: bool = False,
) -> Structures:
    """One structure in float64.

    Args:
        positions: in Å, a row per atom.
        atoms: their elements and tags.
        cell: lattice vectors in Å, a row each; None for none.
        periodic: whether it repeats along each.
        tagged: whether tags are known.
        held: whether atoms below the surface are fixed.
    """
    tags = [atom.tag for atom in atoms]
    return Structures(
        positions=torch.tensor(np.asarray(positions, dtype=np.float64).reshape(len(atoms), 3)),
        numbers=torch.tensor([atom.number for atom in atoms], dtype=torch.long),
        structure=torch.zeros(len(atoms), dtype=torch.long),
        cells=torch.tensor(np.zeros((1, 3, 3)) if cell is None else np.asarray(cell, dtype=np.float64)[None]),
        periodic=torch.tensor([list(periodic)], dtype=torch.bool),
        tags=torch.tensor(tags if tagged else [UNKNOWN_TAG] * len(tags), dtype=torch.long),
        fixed=torch.tensor([held and tag == 0 for tag in tags], dtype=torch.bool),
    )


def grid(site: int, sides: Sequence[int]) -> tuple[int, ...]:
    """The whole coordinates of a site on a grid, the first one running fastest."""
    coordinates = []
    for side in sides:
        site, coordinate = divmod(site, side)
        coordinates.append(coordinate)
    return tuple(coordinates)


def grid_side(max_atoms: int) -> int:
    """Sites along each side of a cubic grid with twice as many sites as atoms, so that sites are found quickly."""
    return max(2, int(np.ceil((2 * max_atoms) ** (1 / 3))))


@st.composite
def untagged(draw: st.DrawFn, tags: bool) -> bool:
    """Whether a structure has no tags; never if all must have some."""
    return not tags and draw(st.booleans())
