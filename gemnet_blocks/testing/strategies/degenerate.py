"""Degenerate structures: perfect crystals, ties, lines, planes, coinciding atoms, cells smaller than any cutoff."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st

from gemnet_blocks.structures import Structures
from gemnet_blocks.testing.strategies.generic import (
    ELEMENTS,
    NO_CELLS,
    PERIODIC_AXES,
    Array,
    Atom,
    atoms_on_sites,
    grid,
    grid_side,
    one_structure,
    untagged,
)

if TYPE_CHECKING:
    from ase import Atoms


CRYSTALS = ("sc", "fcc", "bcc", "hcp", "diamond", "rocksalt")
"""Crystal structures by their names in ASE."""
SURFACES = ("fcc111", "fcc100", "fcc110", "bcc100", "bcc110", "hcp0001")
ADSORBATES = ((), ((0, 0, 0),), ((0, 0, 0), (0, 0, 1.15)), ((0, 0, 0), (1.15, 0, 0)))
"""Positions of adsorbed atoms in Å: none, one atom, two upright atoms, two flat atoms."""
LATTICE_CONSTANTS = st.sampled_from((4.0, 3.6, 2.5, 5.43))


@st.composite
def perfect_crystals(
    draw: st.DrawFn, max_atoms: int = 60, elements: Sequence[int] = ELEMENTS, tags: bool = True
) -> Structures:
    """Draw a perfect crystal in a primitive cell, conventional cell or supercell, periodic along at least one axis.

    The arguments are those of `degenerate_structures`; `max_atoms` is at least 2.
    """
    from ase.build import bulk
    from ase.data import chemical_symbols

    kind, constant, conventional = draw(st.sampled_from(CRYSTALS)), draw(LATTICE_CONSTANTS), draw(st.booleans())
    symbols = [chemical_symbols[draw(st.sampled_from(tuple(elements)))] for _ in range(2 if kind == "rocksalt" else 1)]
    shape: dict[str, bool] = {}
    if conventional:
        shape = {"orthorhombic": True} if kind == "hcp" else {"cubic": True}
    if kind == "rocksalt" and symbols[0] == symbols[1]:
        kind, constant = "sc", constant / 2  # rock salt of one element is simple cubic
        symbols, shape = symbols[:1], {}
    atoms = bulk("".join(symbols), kind, a=constant, **shape)
    if len(atoms) > max_atoms:
        atoms = bulk("".join(symbols), kind, a=constant)
    atoms = _repeated(atoms, [draw(st.integers(1, 3)) for _ in range(3)], max_atoms)
    atoms.pbc = draw(st.sampled_from(PERIODIC_AXES))
    if not draw(untagged(tags)):
        atoms.set_tags(draw(st.sampled_from((0, 1, 2))))
    return Structures.from_ase(atoms)


@st.composite
def perfect_slabs(
    draw: st.DrawFn, max_atoms: int = 60, elements: Sequence[int] = ELEMENTS, tags: bool = True
) -> Structures:
    """Draw a perfect surface, with or without an adsorbate on a site of high symmetry.

    Tags are 0 below the surface, 1 at the surface and 2 for the adsorbate; atoms below the surface may be fixed.

    The arguments are those of `degenerate_structures`.
    """
    from ase import Atoms, build
    from ase.constraints import FixAtoms
    from ase.data import chemical_symbols

    make, constant = getattr(build, draw(st.sampled_from(SURFACES))), draw(LATTICE_CONSTANTS)
    size = _limited(
        [draw(st.integers(1, 3)) for _ in range(2)] + [draw(st.integers(1, 4))], max_atoms - len(ADSORBATES[-1])
    )
    orthogonal = {"orthogonal": True} if make.__name__ in ("fcc100", "fcc110", "bcc100") else {}
    metal, other = (chemical_symbols[draw(st.sampled_from(tuple(elements)))] for _ in range(2))
    atoms = make(metal, size, a=constant, vacuum=draw(st.sampled_from((8.0, 2.0, 300.0))), **orthogonal)
    atoms.pbc = (True, True, draw(st.booleans()))
    layers = atoms.get_tags()  # counted from 1 at the top
    sites = sorted(atoms.info["adsorbate_info"]["sites"])
    places = draw(st.sampled_from(ADSORBATES))
    if places:
        molecule = Atoms([other] * len(places), positions=places)
        build.add_adsorbate(atoms, molecule, draw(st.sampled_from((1.5, 1.0))), draw(st.sampled_from(sites)))
    labels = np.concatenate([np.where(layers == 1, 1, 0), np.full(len(atoms) - len(layers), 2)])
    if (labels == 0).any() and draw(st.booleans()):
        atoms.set_constraint(FixAtoms(mask=labels == 0))
    atoms.set_array("tags", None)
    if not draw(untagged(tags)):
        atoms.set_tags(labels)
    return Structures.from_ase(atoms)


def _repeated(atoms: Atoms, repeats: Sequence[int], max_atoms: int) -> Atoms:
    return atoms.repeat(_limited(repeats, max_atoms // len(atoms)))


def _limited(counts: Sequence[int], most: int) -> tuple[Any, ...]:
    """Reduce counts, beginning with the last one, so that their product is at most `most`."""
    limited: list[int] = []
    for count in counts:
        limited.append(max(1, min(count, most)))
        most //= limited[-1]
    return tuple(limited)


SPACINGS = st.sampled_from((1.5, 1.0, 2.0, 3.0))
GOLDEN = (1 + math.sqrt(5)) / 2


def _polygon(corners: int) -> Array:
    angles = 2 * np.pi * np.arange(corners) / corners
    return np.stack([np.cos(angles), np.sin(angles), np.zeros(corners)], axis=1)


def _polyhedron(corner: Sequence[float]) -> Array:
    """Return all cyclic permutations and sign changes of one corner, on the unit sphere."""
    corners: set[tuple[float, ...]] = set()
    for signs in itertools.product((1, -1), repeat=3):
        x, y, z = (value * sign + 0.0 for value, sign in zip(corner, signs, strict=True))  # 0.0 for -0.0
        corners |= {(x, y, z), (y, z, x), (z, x, y)}
    return np.array(sorted(corners)) / np.linalg.norm(corner)


SHELLS = {
    "triangle": _polygon(3),
    "square": _polygon(4),
    "pentagon": _polygon(5),
    "hexagon": _polygon(6),
    "tetrahedron": np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / math.sqrt(3),
    "octahedron": _polyhedron((1, 0, 0)),
    "cube": _polyhedron((1, 1, 1)),
    "cuboctahedron": _polyhedron((1, 1, 0)),
    "icosahedron": _polyhedron((0, 1, GOLDEN)),
}
"""Corners of regular polygons and polyhedra on the unit sphere."""


@st.composite
def shells(draw: st.DrawFn, max_atoms: int = 60, elements: Sequence[int] = ELEMENTS, tags: bool = True) -> Structures:
    """Draw an atom whose neighbors are corners of a regular polygon or polyhedron, at equal distances up to rounding.

    The arguments are those of `degenerate_structures`.
    """
    corners, radius = SHELLS[draw(st.sampled_from(tuple(SHELLS)))], draw(SPACINGS)
    center = Atom(len(corners), draw(st.sampled_from(tuple(elements))), draw(st.sampled_from((0, 1, 2))))
    around = draw(atoms_on_sites(len(corners), elements, max_atoms - 1, min_atoms=min(2, max_atoms - 1)))
    table = np.concatenate([corners * radius, np.zeros((1, 3))])
    return draw(_placed(table, [center, *around], tags))


@st.composite
def chains(draw: st.DrawFn, max_atoms: int = 60, elements: Sequence[int] = ELEMENTS, tags: bool = True) -> Structures:
    """Draw atoms on a line with equal or different spacings, periodic or not.

    The arguments are those of `degenerate_structures`.
    """
    direction = np.array(draw(st.sampled_from(((1.0, 0.0, 0.0), (0.6, 0.8, 0.0), (1 / 3, 2 / 3, 2 / 3)))))
    spacing, sites = draw(SPACINGS), 2 * max_atoms
    places = np.arange(sites) * spacing
    if draw(st.booleans()):
        places = places + 0.3 * spacing * np.sin(np.arange(sites) ** 2)  # all distances differ
    atoms = draw(atoms_on_sites(sites, elements, max_atoms))
    periodic = (draw(st.booleans()), False, False)
    length = max((places[atom.site] for atom in atoms), default=0) + spacing
    cell = np.array([direction * length, [0] * 3, [0] * 3])
    return draw(_placed(places[:, None] * direction, atoms, tags, cell if periodic[0] else None, periodic))


@st.composite
def planar(draw: st.DrawFn, max_atoms: int = 60, elements: Sequence[int] = ELEMENTS, tags: bool = True) -> Structures:
    """Draw atoms in a plane on a square, hexagonal or irregular grid, periodic or not.

    The arguments are those of `degenerate_structures`.
    """
    side = max(2, math.ceil(math.sqrt(2 * max_atoms)))
    spacing, kind = draw(SPACINGS), draw(st.sampled_from(("square", "hexagonal", "irregular")))
    table = grid((side, side, 1))
    vectors = np.diag([spacing, spacing, 0.0])
    if kind == "hexagonal":
        vectors[1] = spacing / 2, spacing * math.sqrt(3) / 2, 0
    if kind == "irregular":
        table[:, :2] += np.round(np.random.default_rng(0).uniform(-0.15, 0.15, (len(table), 2)), 2)
    atoms = draw(atoms_on_sites(side**2, elements, max_atoms))
    periodic = draw(st.sampled_from(((False,) * 3, (True, True, False), (False, True, False))))
    cell = vectors * side if any(periodic) else None
    axes = list(draw(st.sampled_from(((0, 1, 2), (1, 2, 0)))))  # the plane z = 0 or another one
    return draw(_placed((table @ vectors)[:, axes], atoms, tags, None if cell is None else cell[:, axes], periodic))


@st.composite
def coincident(
    draw: st.DrawFn, max_atoms: int = 60, elements: Sequence[int] = ELEMENTS, tags: bool = True
) -> Structures:
    """Draw atoms at least two of which coincide, directly or as periodic images.

    The arguments are those of `degenerate_structures`; `max_atoms` is at least 2.
    """
    atoms = draw(atoms_on_sites(4, elements, max_atoms - 1, min_atoms=1, unique=False))
    twin = Atom(4, draw(st.sampled_from(tuple(elements))), draw(st.sampled_from((0, 1, 2))))
    table = np.array([[0, 0, 0], [1.2, 0.3, 0.1], [-0.4, 1.4, 0.3], [0.2, -0.3, 1.6], [0, 0, 0]])
    table[4] = table[atoms[0].site]
    periodic = draw(st.sampled_from(((False,) * 3, *PERIODIC_AXES)))
    cell = np.array([[5.0, 0, 0], [0.5, 6.0, 0], [0, -1.0, 7.0]])
    if any(periodic) and draw(st.booleans()):
        table[4] += cell[periodic.index(True)]
    return draw(_placed(table, [*atoms, twin], tags, cell if any(periodic) else None, periodic))


@st.composite
def isolated(draw: st.DrawFn, max_atoms: int = 60, elements: Sequence[int] = ELEMENTS, tags: bool = True) -> Structures:
    """Draw atoms that are 20 Å apart, in cells of the same width or without cells.

    The arguments are those of `degenerate_structures`.
    """
    side = grid_side(max_atoms)
    table = grid([side] * 3) * 20.0
    atoms = draw(atoms_on_sites(side**3, elements, max_atoms, min_atoms=min(1, max_atoms)))
    periodic = draw(st.sampled_from(((False,) * 3, *PERIODIC_AXES)))
    cell = np.diag([20.0 * side] * 3) if any(periodic) else draw(st.sampled_from(NO_CELLS))
    return draw(_placed(table, atoms, tags, cell, periodic))


@st.composite
def tiny_cells(
    draw: st.DrawFn, max_atoms: int = 3, elements: Sequence[int] = ELEMENTS, tags: bool = True
) -> Structures:
    """Draw one to three atoms in a cell smaller than any cutoff, with many of their own images as neighbors.

    The arguments are those of `degenerate_structures`; `max_atoms` above 3 has no effect.
    """
    edges = st.sampled_from((2.0, 1.6, 2.7, 3.4))
    cell = np.diag([draw(edges) for _ in range(3)])
    for row, column in ((1, 0), (2, 0), (2, 1)):
        cell[row, column] = draw(st.sampled_from((0.0, 0.3, -0.7)))
    table = np.array([[0, 0, 0], [0.5, 0.48, 0.53], [0.03, 0.5, 0.46]]) @ cell
    atoms = draw(atoms_on_sites(3, elements, min(3, max_atoms), min_atoms=1))
    return draw(_placed(np.round(table, 3), atoms, tags, cell, draw(st.sampled_from(PERIODIC_AXES))))


@st.composite
def empty(draw: st.DrawFn) -> Structures:
    """Draw a structure without atoms, with or without a cell."""
    periodic = draw(st.sampled_from(((False,) * 3, *PERIODIC_AXES)))
    return one_structure([], [], NO_CELLS[1] if any(periodic) else draw(st.sampled_from(NO_CELLS)), periodic)


def degenerate_structures(
    max_atoms: int = 60, elements: Sequence[int] = ELEMENTS, tags: bool = True
) -> st.SearchStrategy[Structures]:
    """Draw a degenerate structure of any kind.

    Args:
        max_atoms: maximum number of atoms, at least 3.
        elements: atomic numbers, of which the first is the simplest.
        tags: give all atoms tags; otherwise some structures do not have tags.
    """
    kinds = (isolated, chains, planar, shells, coincident, tiny_cells, perfect_crystals, perfect_slabs)
    return st.one_of(empty(), *(kind(max_atoms, elements, tags) for kind in kinds))


@st.composite
def _placed(
    draw: st.DrawFn,
    table: Array,
    atoms: Sequence[Atom],
    tags: bool,
    cell: Array | None = None,
    periodic: Sequence[bool] = (False, False, False),
) -> Structures:
    """Place atoms on their sites in a table of positions, with an offset."""
    offset = draw(st.sampled_from((0.0, -3.75, 25.5)))  # exact for coordinates that are sums of powers of two
    positions = table[[atom.site for atom in atoms]] + offset
    return one_structure(positions, atoms, cell, periodic, not draw(untagged(tags)), held=draw(st.booleans()))
