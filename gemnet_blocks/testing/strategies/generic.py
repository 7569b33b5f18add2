"""Structures without any special case: no ties, no lines, no atoms upon one another, nothing that is its own neighbor.

On these, everything that a model computes is differentiable but for its own cutoffs and caps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import reject
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


Array = np.ndarray[Any, np.dtype[np.float64]]

LEAST_DISTANCE = 0.7
"""Atoms of generic structures are at least so far apart, in Å: less than any bond."""
LEAST_DIFFERENCE = 1e-6
"""Distances from the same atom differ by more, in Å: rounding must not decide which neighbor is nearer."""
LEAST_SINE = 1e-3
"""The sine of any angle between two neighbors is greater: derivatives of angles grow with its inverse."""


@dataclass(frozen=True, slots=True)
class Margins:
    """The distance to the nearest special case among the neighbors of all atoms; infinite where there is none.

    Attributes:
        distance: the shortest distance of two atoms in Å.
        difference: the smallest difference of two distances from the same atom in Å.
        sine: the smallest sine of the angle between two neighbors of the same atom.
        own_image: the shortest distance of an atom from an image of itself in Å.
    """

    distance: float
    difference: float
    sine: float
    own_image: float


def margins(structures: Structures, cutoff: float) -> Margins:
    """Measure all structures together, with neighbors within a cutoff in Å."""
    found = [_of_atom(vectors, own) for vectors, own in _neighbors(structures, cutoff)]
    columns = zip(*found, strict=True) if found else [(math.inf,)] * 4
    return Margins(*(min(column) for column in columns))


def is_generic(structures: Structures, cutoff: float) -> bool:
    """Whether no atom has neighbors at the same distance, in line with it, upon it or that are its own images.

    Args:
        structures: one or many.
        cutoff: of neighbors, in Å.
    """
    found = margins(structures, cutoff)
    return (
        found.distance >= LEAST_DISTANCE
        and found.difference > LEAST_DIFFERENCE
        and found.sine > LEAST_SINE
        and found.own_image == math.inf
    )


def _neighbors(structures: Structures, cutoff: float) -> Iterator[tuple[Array, Array]]:
    """For each atom, the vectors to its neighbors, and whether each is its own image."""
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
    """All lattice translations that may bring an image of an atom within the cutoff of another atom."""
    cell: Array = one.cells[0][one.periodic[0]].detach().double().numpy()
    if not len(cell) or not len(positions):
        return np.zeros((1, 3))
    reciprocal = np.linalg.pinv(cell)  # columns b_k with a_k · b_l = δ_kl, in the span of the lattice
    reach = cutoff * np.linalg.norm(reciprocal, axis=0) + np.ptp(positions @ reciprocal, axis=0)
    counts = [np.arange(-math.ceil(most), math.ceil(most) + 1) for most in reach]
    return np.array(list(itertools.product(*counts))) @ cell


def _of_atom(vectors: Array, own: Array) -> tuple[float, float, float, float]:
    """The four margins of one atom."""
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
"""How many tables of jitters are tried before an example is given up."""
LARGEST_JITTER = 0.4
"""In Å, along each axis."""
SEEDS = st.integers(0, 2**16)
OFFSETS = st.sampled_from((0.0, -3.7, 25.0))
"""Where structures are, in Å: not always inside their cells."""


@st.composite
def molecules(
    draw: st.DrawFn,
    max_atoms: int = 60,
    cutoff: float = 4.0,
    elements: Sequence[int] = ELEMENTS,
    tags: bool = True,
    min_atoms: int = 0,
) -> Structures:
    """One molecule, or several side by side; nothing is periodic, whatever the cell says.

    Args:
        max_atoms: the largest number of atoms.
        cutoff: of neighbors, in Å, among which nothing is special.
        elements: atomic numbers, the simplest first.
        tags: whether all atoms have tags; otherwise some structures have none.
        min_atoms: the smallest number of atoms.
    """
    side, spacing = grid_side(max_atoms), draw(st.sampled_from((1.5, 1.1, 2.0, 3.0)))
    atoms = draw(atoms_on_sites(side**3, elements, max_atoms, min_atoms))
    return draw(
        _isolated(
            atoms, np.array([grid(site, (side,) * 3) for site in range(side**3)]) * spacing, spacing, cutoff, tags
        )
    )


@st.composite
def clusters(
    draw: st.DrawFn,
    max_atoms: int = 60,
    cutoff: float = 4.0,
    elements: Sequence[int] = ELEMENTS,
    tags: bool = True,
    min_atoms: int = 0,
) -> Structures:
    """One compact particle of one or two elements around the origin.

    Args:
        max_atoms: the largest number of atoms.
        cutoff: of neighbors, in Å, among which nothing is special.
        elements: atomic numbers, the simplest first.
        tags: whether all atoms have tags; otherwise some structures have none.
        min_atoms: the smallest number of atoms.
    """
    some = draw(st.lists(st.sampled_from(tuple(elements)), min_size=1, max_size=2))
    spacing = draw(st.sampled_from((2.5, 2.2, 2.8)))
    side = grid_side(max_atoms) + 2
    # alternate layers are displaced by half a spacing; the sites nearest to the origin come first
    sites = np.array([grid(site, (side,) * 3) for site in range(side**3)], dtype=float) - side // 2
    sites[:, :2] += 0.5 * (sites[:, 2:] % 2)
    order = np.lexsort((*sites.T, np.linalg.norm(sites, axis=1)))[: 2 * max(1, max_atoms)]
    atoms = draw(atoms_on_sites(len(order), some, max_atoms, min_atoms))
    return draw(_isolated(atoms, sites[order] * spacing, spacing, cutoff, tags))


@st.composite
def crystals(
    draw: st.DrawFn,
    max_atoms: int = 60,
    cutoff: float = 4.0,
    elements: Sequence[int] = ELEMENTS,
    tags: bool = True,
    min_atoms: int = 0,
) -> Structures:
    """A disordered crystal, layer or wire, periodic along one to three lattice vectors of any lengths and angles.

    All lattice translations are longer than the cutoff, so that no atom neighbors its own images.

    Args:
        max_atoms: the largest number of atoms.
        cutoff: of neighbors, in Å, among which nothing is special.
        elements: atomic numbers, the simplest first.
        tags: whether all atoms have tags; otherwise some structures have none.
        min_atoms: the smallest number of atoms.
    """
    periodic = draw(st.sampled_from(PERIODIC_AXES))
    edges = np.array([cutoff + draw(st.sampled_from((0.5, 1.25, 3.0, 20.0))) for _ in range(3)])
    while (capacity := int((sides := _sides(edges, max_atoms)).prod()) * 2 // 3) < min_atoms:
        edges += 1
    # as rows of a triangular matrix, they make no translation shorter than the shortest edge
    cell = np.diag(edges)
    for row, column in ((1, 0), (2, 0), (2, 1)):
        cell[row, column] = draw(st.sampled_from((0.0, 0.8, -1.7, 3.1)))
    spacings = edges / sides
    atoms = draw(atoms_on_sites(int(sides.prod()), elements, min(max_atoms, capacity), min_atoms))
    cell[0] *= draw(st.sampled_from((1, -1)))  # right- and left-handed
    elsewhere = draw(st.sampled_from((1.0, 0.0, 100.0)))  # what the cell says of axes without periodicity
    cell[~np.array(periodic)] *= elsewhere
    turned = list(draw(st.sampled_from(((0, 1, 2), (1, 2, 0), (2, 1, 0)))))
    offset, held, unknown = draw(OFFSETS), draw(st.booleans()), draw(untagged(tags))
    table = np.array([grid(site, sides) for site in range(int(sides.prod()))]) * spacings

    def place(random: np.random.Generator) -> Structures:
        positions = _jittered(table, atoms, float(spacings.min()), random) + offset
        return one_structure(positions[:, turned], atoms, cell[:, turned], periodic, not unknown, held)

    return _first_generic(place, draw(SEEDS), cutoff)


@st.composite
def slabs(
    draw: st.DrawFn,
    max_atoms: int = 60,
    cutoff: float = 4.0,
    elements: Sequence[int] = ELEMENTS,
    tags: bool = True,
    min_atoms: int = 0,
) -> Structures:
    """A disordered surface with adsorbates: tag 0 below the surface, 1 surface, 2 adsorbate.

    It is periodic along two lattice vectors, or along the third too, with some vacuum or very much of it between the
    images. The atoms below the surface are fixed or not.

    Args:
        max_atoms: the largest number of atoms.
        cutoff: of neighbors, in Å, among which nothing is special.
        elements: atomic numbers, the simplest first; one of them makes the whole surface.
        tags: whether all atoms have tags; otherwise some structures have none.
        min_atoms: the smallest number of atoms.
    """
    spacing, vacuum, level_tags = 2.0, 10.0 + cutoff, (0, 0, 1, 2, 2)
    width = max(3, int(np.ceil((cutoff + 0.5) / spacing)))
    while width**2 * len(level_tags) < 1.5 * max_atoms:
        width += 1
    sides = (width, width, len(level_tags))
    metal = draw(st.sampled_from(tuple(elements)))
    drawn = draw(atoms_on_sites(int(np.prod(sides)), elements, max_atoms, min_atoms))
    levels = [grid(atom.site, sides)[2] for atom in drawn]
    atoms = [
        Atom(atom.site, atom.number if level_tags[level] == 2 else metal, level_tags[level])
        for atom, level in zip(drawn, levels, strict=True)
    ]
    height = draw(st.sampled_from((0.0, vacuum, 1000.0)))
    periodic = (True, True, height > 0 and draw(st.booleans()))
    cell = np.array(
        [
            [width * spacing, 0, 0],
            [draw(st.sampled_from((0.0, 1.0, -2.3))), width * spacing, 0],
            [0, 0, height + (len(level_tags) * spacing if height else 0)],
        ]
    )
    axes = list(draw(st.sampled_from(((0, 1, 2), (1, 2, 0), (2, 0, 1)))))  # where the vacuum is
    held, unknown = draw(st.booleans()), draw(untagged(tags))
    table = np.array([grid(site, sides) for site in range(int(np.prod(sides)))]) * spacing

    def place(random: np.random.Generator) -> Structures:
        positions = _jittered(table, atoms, spacing, random)[:, axes]
        turned = [periodic[axis] for axis in axes]
        return one_structure(positions, atoms, cell[axes][:, axes], turned, not unknown, held)

    return _first_generic(place, draw(SEEDS), cutoff)


def generic_structures(
    max_atoms: int = 60, cutoff: float = 4.0, elements: Sequence[int] = ELEMENTS, tags: bool = True, min_atoms: int = 0
) -> st.SearchStrategy[Structures]:
    """One structure of any generic kind: a molecule, cluster, crystal or slab.

    Args:
        max_atoms: the largest number of atoms.
        cutoff: of neighbors, in Å, among which nothing is special.
        elements: atomic numbers, the simplest first.
        tags: whether all atoms have tags; otherwise some structures have none.
        min_atoms: the smallest number of atoms.
    """
    kinds = (molecules, clusters, crystals, slabs)
    return st.one_of(*(kind(max_atoms, cutoff, elements, tags, min_atoms) for kind in kinds))


@st.composite
def _isolated(
    draw: st.DrawFn, atoms: Sequence[Atom], table: Array, spacing: float, cutoff: float, tags: bool
) -> Structures:
    """Atoms on a table of sites, without periodicity."""
    cell, offset = draw(st.sampled_from(NO_CELLS)), draw(OFFSETS)
    held, unknown = draw(st.booleans()), draw(untagged(tags))

    def place(random: np.random.Generator) -> Structures:
        positions = _jittered(table, atoms, spacing, random) + offset
        return one_structure(positions, atoms, cell, tagged=not unknown, held=held)

    return _first_generic(place, draw(SEEDS), cutoff)


def _sides(edges: Array, max_atoms: int) -> Any:
    """Sites along each edge of a cell, 1 Å apart or more, and no more of them than are of use."""
    return np.clip(edges, 1, grid_side(max_atoms)).astype(np.int64)


def _jittered(table: Array, atoms: Sequence[Atom], spacing: float, random: np.random.Generator) -> Array:
    """Positions of the atoms: their sites' places, each moved by a vector of its own, whatever other sites are taken.

    Jitters are so small that neighboring sites stay apart, and leave few digits.
    """
    largest = min(LARGEST_JITTER, (spacing - LEAST_DISTANCE) / 2 - 1e-3)
    moved: Array = np.round(table + random.uniform(-largest, largest, table.shape), 3)
    return moved[[atom.site for atom in atoms]]


def _first_generic(place: Callable[[np.random.Generator], Structures], seed: int, cutoff: float) -> Structures:
    """The first generic one of a sequence of structures that a seed determines."""
    for attempt in range(ATTEMPTS):
        structures = place(np.random.default_rng((seed, attempt)))
        if is_generic(structures, cutoff):
            return structures
    reject()
