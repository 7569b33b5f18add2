"""Generic structures: without ties, collinear or coinciding atoms, and without neighbors that are own images.

For these structures, models are differentiable except at their cutoffs and limits on the number of neighbors.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import reject
from hypothesis import strategies as st

from gemnet_blocks.structures import UNKNOWN_TAG, Structures

Array = np.ndarray[Any, np.dtype[np.float64]]

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
"""All combinations with at least one periodic axis."""

NO_CELLS = (
    np.zeros((3, 3)),
    np.diag([8.0, 9.0, 10.0]),
    np.array([[500.0, 0, 0], [20.0, 600.0, 0], [0, -30.0, 700.0]]),
    np.array([[5.0, 0, 0], [5.0, 0, 0], [0, 0, 0]]),
)
"""Cells of structures that are not periodic: zero, a box, a huge box, and one without volume."""


@dataclass(frozen=True, slots=True)
class Atom:
    """An atom on a site of a table of positions; tags are 0 below the surface, 1 surface, 2 adsorbate."""

    site: int
    number: int
    tag: int


@st.composite
def atoms_on_sites(
    draw: st.DrawFn, site_count: int, elements: Sequence[int], max_atoms: int, min_atoms: int = 0, unique: bool = True
) -> list[Atom]:
    """Draw atoms on some of `site_count` sites, mostly few; shrinking can remove every atom separately."""
    most = min(max_atoms, site_count) if unique else max_atoms
    # without this minimum, lists would rarely be long; it shrinks to 0
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
    """Build a structure in float64 from positions and lattice vectors in Å.

    `tagged` keeps the tags of the atoms, and `held` fixes the atoms below the surface.
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


def grid(sides: Sequence[int]) -> Array:
    """Return the integer coordinates of all sites of a grid, of which the first runs fastest."""
    return np.stack(np.unravel_index(np.arange(np.prod(sides)), sides, order="F"), axis=1).astype(float)


def grid_side(max_atoms: int) -> int:
    """Return the side of a cubic grid with twice as many sites as atoms, so that free sites are found quickly."""
    return max(2, int(np.ceil((2 * max_atoms) ** (1 / 3))))


@st.composite
def untagged(draw: st.DrawFn, tags: bool) -> bool:
    """Draw True for a structure without tags, unless all structures need tags."""
    return not tags and draw(st.booleans())


LEAST_DISTANCE = 0.7
"""Minimum distance of atoms in Å, which is shorter than any bond."""
LEAST_DIFFERENCE = 1e-6
"""Minimum difference of distances from the same atom in Å, so that rounding does not change their order."""
LEAST_SINE = 1e-3
"""Minimum sine of angles between neighbors, with whose inverse derivatives of angles grow."""


@dataclass(frozen=True, slots=True)
class Margins:
    """Margins from degenerate cases over all neighborhoods; infinite if a case cannot occur.

    Attributes:
        distance: shortest distance of two atoms in Å.
        difference: smallest difference of two distances from the same atom in Å.
        sine: smallest sine of the angle between two neighbors of the same atom.
        own_image: shortest distance of an atom from its own image in Å.
    """

    distance: float
    difference: float
    sine: float
    own_image: float


def margins(structures: Structures, cutoff: float) -> Margins:
    """Measure the margins of structures for neighbors within a cutoff in Å."""
    found = [_of_atom(vectors, own) for vectors, own in _neighbors(structures, cutoff)]
    columns = zip(*found, strict=True) if found else [(math.inf,)] * 4
    return Margins(*(min(column) for column in columns))


def is_generic(structures: Structures, cutoff: float) -> bool:
    """Return True if no atom has neighbors at equal distances, collinear or coinciding neighbors, or own images.

    Args:
        structures: one or several structures.
        cutoff: cutoff of neighbors in Å.
    """
    found = margins(structures, cutoff)
    return (
        found.distance >= LEAST_DISTANCE
        and found.difference > LEAST_DIFFERENCE
        and found.sine > LEAST_SINE
        and found.own_image == math.inf
    )


def _neighbors(structures: Structures, cutoff: float) -> Iterator[tuple[Array, Array]]:
    """Yield for each atom the vectors to its neighbors, and a mask of those that are its own images."""
    for index in range(len(structures)):
        one = structures[index]
        positions = one.positions.detach().double().numpy()
        translations = _translations(one, positions, cutoff)
        atoms = np.arange(len(positions))
        for atom in atoms:
            vectors = positions[None] - positions[atom] + translations[:, None]
            own = np.broadcast_to(atoms == atom, vectors.shape[:2])
            itself = own & (translations == 0).all(axis=1, keepdims=True)
            near = (np.einsum("tnc,tnc->tn", vectors, vectors) <= cutoff**2) & ~itself
            yield vectors[near], own[near]


def _translations(one: Structures, positions: Array, cutoff: float) -> Array:
    """Return all lattice translations that may move an image of an atom into the cutoff of another atom."""
    cell: Array = one.cells[0][one.periodic[0]].detach().double().numpy()
    if not len(cell) or not len(positions):
        return np.zeros((1, 3))
    reciprocal = np.linalg.pinv(cell)  # columns b_k with a_k · b_l = δ_kl, in the span of the lattice
    reach = cutoff * np.linalg.norm(reciprocal, axis=0) + np.ptp(positions @ reciprocal, axis=0)
    counts = [np.arange(-math.ceil(most), math.ceil(most) + 1) for most in reach]
    return np.array(list(itertools.product(*counts))) @ cell


def _of_atom(vectors: Array, own: Array) -> tuple[float, float, float, float]:
    distances = np.linalg.norm(vectors, axis=1)
    away = distances > 1e-9
    units = vectors[away] / distances[away, None]
    cosines = (units @ units.T)[np.triu_indices(len(units), k=1)]
    return (
        float(distances.min(initial=math.inf)),
        float(np.diff(np.sort(distances)).min(initial=math.inf)),
        float(np.sqrt(np.clip(1 - cosines**2, 0, None)).min(initial=math.inf)),
        float(distances[own].min(initial=math.inf)),
    )


ATTEMPTS = 100
"""Maximum number of random displacements per example."""
LARGEST_JITTER = 0.4
"""Maximum random displacement along each axis in Å."""
SEEDS = st.integers(0, 2**16)
OFFSETS = st.sampled_from((0.0, -3.7, 25.0))
"""Offsets of positions in Å, which move atoms outside of their cells."""


@st.composite
def molecules(
    draw: st.DrawFn,
    max_atoms: int = 60,
    cutoff: float = 4.0,
    elements: Sequence[int] = ELEMENTS,
    tags: bool = True,
    min_atoms: int = 0,
) -> Structures:
    """Draw one or several molecules without periodicity, with or without a cell.

    The arguments are those of `generic_structures`.
    """
    side, spacing = grid_side(max_atoms), draw(st.sampled_from((1.5, 1.1, 2.0, 3.0)))
    atoms = draw(atoms_on_sites(side**3, elements, max_atoms, min_atoms))
    cell = draw(st.sampled_from(NO_CELLS))
    return draw(_disordered(atoms, grid([side] * 3) * spacing, spacing, cutoff, tags, cell))


@st.composite
def clusters(
    draw: st.DrawFn,
    max_atoms: int = 60,
    cutoff: float = 4.0,
    elements: Sequence[int] = ELEMENTS,
    tags: bool = True,
    min_atoms: int = 0,
) -> Structures:
    """Draw a compact cluster of one or two elements around the origin.

    The arguments are those of `generic_structures`.
    """
    some = draw(st.lists(st.sampled_from(tuple(elements)), min_size=1, max_size=2))
    spacing = draw(st.sampled_from((2.5, 2.2, 2.8)))
    side = grid_side(max_atoms) + 2
    # alternate layers are displaced by half a spacing; sites are sorted by their distance from the origin
    sites = grid([side] * 3) - side // 2
    sites[:, :2] += 0.5 * (sites[:, 2:] % 2)
    order = np.lexsort((*sites.T, np.linalg.norm(sites, axis=1)))[: 2 * max(1, max_atoms)]
    atoms = draw(atoms_on_sites(len(order), some, max_atoms, min_atoms))
    cell = draw(st.sampled_from(NO_CELLS))
    return draw(_disordered(atoms, sites[order] * spacing, spacing, cutoff, tags, cell))


@st.composite
def crystals(
    draw: st.DrawFn,
    max_atoms: int = 60,
    cutoff: float = 4.0,
    elements: Sequence[int] = ELEMENTS,
    tags: bool = True,
    min_atoms: int = 0,
) -> Structures:
    """Draw a disordered crystal, layer or wire that is periodic along one to three lattice vectors.

    Lattice translations are longer than the cutoff, so that atoms are not neighbors of their own images.

    The arguments are those of `generic_structures`.
    """
    periodic = draw(st.sampled_from(PERIODIC_AXES))
    edges = np.array([cutoff + draw(st.sampled_from((0.5, 1.25, 3.0, 20.0))) for _ in range(3)])
    while (capacity := int((sides := _sides(edges, max_atoms)).prod()) * 2 // 3) < min_atoms:
        edges += 1
    # no translation of a triangular cell is shorter than its shortest edge
    cell = np.diag(edges)
    for row, column in ((1, 0), (2, 0), (2, 1)):
        cell[row, column] = draw(st.sampled_from((0.0, 0.8, -1.7, 3.1)))
    spacings = edges / sides
    atoms = draw(atoms_on_sites(int(sides.prod()), elements, min(max_atoms, capacity), min_atoms))
    cell[0] *= draw(st.sampled_from((1, -1)))  # right- and left-handed
    elsewhere = draw(st.sampled_from((1.0, 0.0, 100.0)))  # length of lattice vectors that are not periodic
    cell[~np.array(periodic)] *= elsewhere
    axes = list(draw(st.sampled_from(((0, 1, 2), (1, 2, 0), (2, 1, 0)))))
    table, spacing = grid(sides) * spacings, float(spacings.min())
    return draw(_disordered(atoms, table, spacing, cutoff, tags, cell[:, axes], periodic, axes))


@st.composite
def slabs(
    draw: st.DrawFn,
    max_atoms: int = 60,
    cutoff: float = 4.0,
    elements: Sequence[int] = ELEMENTS,
    tags: bool = True,
    min_atoms: int = 0,
) -> Structures:
    """Draw a disordered surface of one element with adsorbates, periodic along two or three lattice vectors.

    Tags are 0 below the surface, 1 at the surface and 2 for adsorbates; atoms below the surface may be fixed. Images
    along the third lattice vector are separated by vacuum.

    The arguments are those of `generic_structures`.
    """
    spacing, vacuum, level_tags = 2.0, 10.0 + cutoff, (0, 0, 1, 2, 2)
    width = max(3, int(np.ceil((cutoff + 0.5) / spacing)))
    while width**2 * len(level_tags) < 1.5 * max_atoms:
        width += 1
    sides = (width, width, len(level_tags))
    metal = draw(st.sampled_from(tuple(elements)))
    drawn = draw(atoms_on_sites(int(np.prod(sides)), elements, max_atoms, min_atoms))
    sites = grid(sides)
    tagged = [(atom, level_tags[int(sites[atom.site, 2])]) for atom in drawn]
    atoms = [Atom(atom.site, atom.number if tag == 2 else metal, tag) for atom, tag in tagged]
    height = draw(st.sampled_from((0.0, vacuum, 1000.0)))
    periodic = (True, True, height > 0 and draw(st.booleans()))
    cell = np.array(
        [
            [width * spacing, 0, 0],
            [draw(st.sampled_from((0.0, 1.0, -2.3))), width * spacing, 0],
            [0, 0, height + (len(level_tags) * spacing if height else 0)],
        ]
    )
    axes = list(draw(st.sampled_from(((0, 1, 2), (1, 2, 0), (2, 0, 1)))))  # direction of the vacuum
    turned = [periodic[axis] for axis in axes]
    return draw(_disordered(atoms, sites * spacing, spacing, cutoff, tags, cell[axes][:, axes], turned, axes))


def generic_structures(
    max_atoms: int = 60, cutoff: float = 4.0, elements: Sequence[int] = ELEMENTS, tags: bool = True, min_atoms: int = 0
) -> st.SearchStrategy[Structures]:
    """Draw a generic structure of any kind: a molecule, cluster, crystal or slab.

    Args:
        max_atoms: maximum number of atoms.
        cutoff: cutoff in Å within which neighborhoods are generic.
        elements: atomic numbers, of which the first is the simplest.
        tags: give all atoms tags; otherwise some structures do not have tags.
        min_atoms: minimum number of atoms.
    """
    kinds = (molecules, clusters, crystals, slabs)
    return st.one_of(*(kind(max_atoms, cutoff, elements, tags, min_atoms) for kind in kinds))


@st.composite
def _disordered(
    draw: st.DrawFn,
    atoms: Sequence[Atom],
    table: Array,
    spacing: float,
    cutoff: float,
    tags: bool,
    cell: Array,
    periodic: Sequence[bool] = (False, False, False),
    axes: Sequence[int] = (0, 1, 2),
) -> Structures:
    """Draw a generic structure of atoms on a table of sites with random displacements.

    Displacements do not depend on the other atoms, are so small that neighboring sites stay apart, and have few digits.
    `axes` permutes the coordinates of positions, but not those of the cell.
    """
    offset, held, unknown, seed = draw(OFFSETS), draw(st.booleans()), draw(untagged(tags)), draw(SEEDS)
    largest = min(LARGEST_JITTER, (spacing - LEAST_DISTANCE) / 2 - 1e-3)
    for attempt in range(ATTEMPTS):
        random = np.random.default_rng((seed, attempt))
        moved = np.round(table + random.uniform(-largest, largest, table.shape), 3)
        positions = moved[[atom.site for atom in atoms]][:, list(axes)] + offset
        structures = one_structure(positions, atoms, cell, periodic, not unknown, held)
        if is_generic(structures, cutoff):
            return structures
    reject()


def _sides(edges: Array, max_atoms: int) -> Any:
    """Return the number of sites along each edge of a cell, at least 1 Å apart and not more than needed."""
    return np.clip(edges, 1, grid_side(max_atoms)).astype(np.int64)
