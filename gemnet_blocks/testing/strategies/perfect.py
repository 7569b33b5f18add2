"""Perfect crystals and surfaces: every atom has many neighbors at the same distance, in line and in plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st

from gemnet_blocks.structures import Structures
from gemnet_blocks.testing.strategies.arrangements import ELEMENTS, PERIODIC_AXES, untagged

if TYPE_CHECKING:
    from ase import Atoms

CRYSTALS = ("sc", "fcc", "bcc", "hcp", "diamond", "rocksalt")
"""Simple cubic, face-centred, body-centred and hexagonal close-packed, diamond, and NaCl."""
SURFACES = ("fcc111", "fcc100", "fcc110", "bcc100", "bcc110", "hcp0001")
ADSORBATES = ((), ((0, 0, 0),), ((0, 0, 0), (0, 0, 1.15)), ((0, 0, 0), (1.15, 0, 0)))
"""Positions of adsorbed atoms in Å: nothing, an atom, two of them upright, or flat."""
LATTICE_CONSTANTS = st.sampled_from((4.0, 3.6, 2.5, 5.43))


@st.composite
def perfect_crystals(
    draw: st.DrawFn, max_atoms: int = 60, elements: Sequence[int] = ELEMENTS, tags: bool = True
) -> Structures:
    """A perfect crystal in a primitive or conventional cell, or a small supercell, periodic along one axis or more.

    Args:
        max_atoms: the largest number of atoms, at least 2.
        elements: atomic numbers, the simplest first.
        tags: whether all atoms have tags; otherwise some structures have none.
    """
    from ase.build import bulk
    from ase.data import chemical_symbols

    kind, constant, conventional = draw(st.sampled_from(CRYSTALS)), draw(LATTICE_CONSTANTS), draw(st.booleans())
    symbols = [chemical_symbols[draw(st.sampled_from(tuple(elements)))] for _ in range(2 if kind == "rocksalt" else 1)]
    shape: dict[str, bool] = {}
    if conventional:
        shape = {"orthorhombic": True} if kind == "hcp" else {"cubic": True}
    if kind == "rocksalt" and symbols[0] == symbols[1]:
        kind, constant = "sc", constant / 2  # which rocksalt of one element is
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
    """A perfect surface with an adsorbate on a site of high symmetry, or without one.

    Tag 0 below the surface, 1 surface, 2 adsorbate. The atoms below the surface are fixed or not.

    Args:
        max_atoms: the largest number of atoms, at least 3.
        elements: atomic numbers, the simplest first.
        tags: whether all atoms have tags; otherwise some structures have none.
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
    """Counts whose product is no more than told: the last ones are reduced first."""
    limited: list[int] = []
    for count in counts:
        limited.append(max(1, min(count, most)))
        most //= limited[-1]
    return tuple(limited)
