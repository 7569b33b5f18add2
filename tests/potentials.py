"""Small potentials with gradient forces whose energy is a smooth function of the positions, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from helpers import ROOT, set_random_scales, small_cell

from gemnet_blocks.potential import Potential
from gemnet_blocks.potential.references import References
from gemnet_blocks.spec import Execution, Spec, build, load_spec

REFERENCES = References({1: -13.6, 6: -1027.125, 7: -5.5, 8: -2041.75, 29: -3.7}, scale=2.5, meaning="total")


def smooth_spec(**changes: Any) -> Spec:
    """`symmetric.yaml` in small; `changes` as of `Spec.patch`, with __ for dots."""
    names = ("triplet", "quadruplet", "atom_edge", "edge_atom", "atom_atom")
    spec = load_spec(ROOT / "paper_configs/symmetric.yaml").patch(
        {
            "sizes": {"atom": 8, "edge": 8, "radial": 4, "circular": 4, "spherical": 4},
            "graphs": {
                "main": {"cutoff": 3.2},
                "atom": {"cutoff": 3.5},
                "atom_edge": {"cutoff": 3.2},
                "quad": {"cutoff": 2.8},
            },
            "bases": {"radial": {"count": 6}, "circular": {"count": 3}, "spherical": {"count": 2}},
            "interactions": {name: {"down": 4, "up": 4} for name in names},
        }
    )
    return spec.patch({name.replace("__", "."): value for name, value in changes.items()})


def smooth_potential(
    dtype: torch.dtype = torch.float64,
    references: References = REFERENCES,
    execution: Execution | None = None,
    **changes: Any,
) -> Potential:
    """A potential of `smooth_spec` with initial weights."""
    spec = smooth_spec(**changes)
    model = build(spec, seed=0, execution=execution)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        set_random_scales(model)
    return Potential(model, spec, references, {"seed": 0}).to(dtype).eval()


def crystal() -> Atoms:
    """A rattled cubic cell of copper, smaller than the cutoffs."""
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=0)
    return atoms


def crystals() -> list[Atoms]:
    """Periodic structures of several sizes: cubic, triclinic with edges to own images, and larger than the cutoffs."""
    large = bulk("Cu", cubic=True) * (2, 1, 1)
    large.rattle(0.15, seed=2)
    large.set_cell(np.add(large.cell, [[0.1, 0.2, 0], [0, 0.1, -0.3], [0.2, 0, 0]]), scale_atoms=True)
    return [crystal(), small_cell(), large]
