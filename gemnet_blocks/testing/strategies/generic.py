"""Structures without any special case: no ties, no lines, no atoms upon one another, nothing that is its own neighbor.

On these, everything that a model computes is differentiable but for its own cutoffs and caps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st

from gemnet_blocks.structures import Structures
from gemnet_blocks.testing.strategies.arrangements import (
    ELEMENTS,
    NO_CELLS,
    PERIODIC_AXES,
    Atom,
    atoms_on_sites,
    grid,
    grid_side,
    one_structure,
    untagged,
)
from gemnet_blocks.testing.strategies.genericity import LEAST_DISTANCE, Array, is_generic

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
