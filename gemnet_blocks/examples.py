"""Labelled slabs to try things on: ASE's EMT potential on metal slabs with adsorbates, with Open Catalyst's tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

METALS = ("Cu", "Ag", "Pt")
ADSORBATES = ("CO", "O", "H", "N")
HEIGHTS = {"ontop": 1.8, "bridge": 1.5, "fcc": 1.3, "hcp": 1.3}
"""Å between the surface and the lowest atom of an adsorbate, by site; times a random number."""


def emt_slabs(count: int, seed: int = 0, rattle: float = 0.08) -> list[Any]:
    """(111) slabs of three layers with an adsorbate, atoms displaced at random; energies and forces by EMT.

    Metals, adsorbates, sites and heights are drawn at random. Tags are 0 below the surface, 1 surface, 2 adsorbate; the
    lowest layer is fixed, and its forces are labels all the same. Total energies in eV, forces in eV/Å. EMT knows these
    elements roughly: the data is made to be learned quickly, not to be right.

    Args:
        count: how many structures.
        seed: of everything that is drawn.
        rattle: standard deviation of displacements in Å.

    Returns:
        ASE atoms with a calculator that holds the labels.
    """
    from ase.calculators.emt import EMT
    from ase.calculators.singlepoint import SinglePointCalculator

    generator = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        metal, adsorbate, site = (str(generator.choice(names)) for names in (METALS, ADSORBATES, list(HEIGHTS)))
        atoms = _slab(metal, adsorbate, site, HEIGHTS[site] * generator.uniform(0.9, 1.4))
        atoms.positions += generator.normal(scale=rattle, size=atoms.positions.shape)
        atoms.info["name"] = f"{metal}_{adsorbate}_{site}"
        atoms.calc = EMT()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces(apply_constraint=False)
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        frames.append(atoms)
    return frames


def write_emt_slabs(path: Path | str, count: int, seed: int = 0) -> Path:
    """Write `emt_slabs` as extended XYZ and return the path."""
    from ase.io import write

    write(path, emt_slabs(count, seed), format="extxyz")
    return Path(path)


def _slab(metal: str, adsorbate: str, site: str, height: float) -> Any:
    from ase.build import add_adsorbate, fcc111, molecule
    from ase.constraints import FixAtoms

    atoms = fcc111(metal, (2, 2, 3), vacuum=6.0, periodic=True)
    lowest = 1 if adsorbate == "CO" else 0  # carbon points to the surface
    add_adsorbate(atoms, molecule(adsorbate) if lowest else adsorbate, height, site, mol_index=lowest)
    del atoms.info["adsorbate_info"]  # of use to ASE's builder only, and files cannot hold it
    layer = atoms.get_tags()  # ASE counts layers from 1 at the top; 0 is the adsorbate
    atoms.set_tags(np.where(layer == 0, 2, np.where(layer == 1, 1, 0)))
    atoms.set_constraint(FixAtoms(mask=layer == 3))
    return atoms


def platinum_slab(size: int = 3, layers: int = 4) -> Any:
    """A rattled Pt(111) slab with methanol on top; tags 0 below the surface, 1 surface, 2 adsorbate.

    Args:
        size: atoms along each side of a layer.
        layers: atomic layers.
    """
    from ase.build import add_adsorbate, fcc111, molecule

    atoms = fcc111("Pt", (size, size, layers), vacuum=10.0, periodic=True)
    add_adsorbate(atoms, molecule("CH3OH"), 2.0, "ontop")
    layer = atoms.get_tags()  # ASE counts layers from 1 at the top; 0 is the adsorbate
    atoms.set_tags(np.where(layer == 0, 2, np.where(layer == 1, 1, 0)))
    atoms.rattle(0.1, seed=1)
    return atoms
