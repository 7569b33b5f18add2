"""Example structures: metal slabs with adsorbates, labeled by ASE's EMT potential and tagged as in Open Catalyst."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

METALS = ("Cu", "Ag", "Pt")
ADSORBATES = ("CO", "O", "H", "N")
HEIGHTS = {"ontop": 1.8, "bridge": 1.5, "fcc": 1.3, "hcp": 1.3}
"""Height of the lowest adsorbate atom above the surface in Å, by site, before random scaling."""


def emt_slabs(count: int, seed: int = 0, rattle: float = 0.08) -> list[Any]:
    """Build rattled (111) slabs with an adsorbate and label them with EMT energies and forces.

    Metal, adsorbate, site and height are random. Tags are 0 below the surface, 1 on the surface and 2 for adsorbates.
    The lowest of the three layers is fixed; its forces are labeled too. EMT describes these elements only roughly: the
    data are for quick trials, not for physics.

    Args:
        count: the number of structures.
        seed: the random seed.
        rattle: the standard deviation of the displacements in Å.

    Returns:
        ASE atoms with a calculator that holds total energies in eV and forces in eV/Å.
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
    """Write `emt_slabs` to an extended XYZ file and return its path."""
    from ase.io import write

    write(path, emt_slabs(count, seed), format="extxyz")
    return Path(path)


def _slab(metal: str, adsorbate: str, site: str, height: float) -> Any:
    from ase.build import add_adsorbate, fcc111, molecule
    from ase.constraints import FixAtoms

    atoms = fcc111(metal, (2, 2, 3), vacuum=6.0, periodic=True)
    lowest = 1 if adsorbate == "CO" else 0  # carbon points to the surface
    add_adsorbate(atoms, molecule(adsorbate) if lowest else adsorbate, height, site, mol_index=lowest)
    del atoms.info["adsorbate_info"]  # only ASE's builder uses it, and files cannot store it
    layer = atoms.get_tags()
    _set_tags(atoms)
    atoms.set_constraint(FixAtoms(mask=layer == 3))
    return atoms


def platinum_slab(size: int = 3, layers: int = 4) -> Any:
    """Build a rattled Pt(111) slab with methanol on top, tagged as in Open Catalyst.

    Args:
        size: the number of atoms along each side of a layer.
        layers: the number of atomic layers.
    """
    from ase.build import add_adsorbate, fcc111, molecule

    atoms = fcc111("Pt", (size, size, layers), vacuum=10.0, periodic=True)
    add_adsorbate(atoms, molecule("CH3OH"), 2.0, "ontop")
    _set_tags(atoms)
    atoms.rattle(0.1, seed=1)
    return atoms


def _set_tags(atoms: Any) -> None:
    """Replace ASE's layer numbers, 1 at the top and 0 for adsorbates, by Open Catalyst's tags."""
    layer = atoms.get_tags()
    atoms.set_tags(np.where(layer == 0, 2, np.where(layer == 1, 1, 0)))
