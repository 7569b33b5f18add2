"""Small models that together have every part of the catalog, and periodic structures in which max_neighbors binds."""

from __future__ import annotations

from typing import Any

from ase.build import bulk, fcc111
from helpers import ROOT

from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.spec import Execution, build, load_spec
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.structures import Structures

SMALL = {"sizes.edge": 12, "sizes.atom": 10, "blocks.count": 2, "graphs.main.max_neighbors": 6}
VARIANTS: dict[str, dict[str, Any]] = {
    "direct forces": {},
    "gradient forces": {"heads.forces.type": "gradient", "bases.collinear": {"type": "smooth"}},
    "no forces": {"heads.forces": None},
    "fading neighbors": {
        "heads.forces.type": "gradient",
        "heads.energy.short_range": "zbl",
        "neighbors.ties": "smooth",
    },
    "lower index": {"graphs.main.symmetrize": "lower_index", "bases.envelope": {"type": "exponential"}},
    "harmonics": {"bases.spherical.type": "real_harmonics", "bases.circular.type": "gaussian"},
    "outer product": {"bases.spherical.type": "gaussian_outer", "bases.radial.type": "spherical_bessel"},
    "bernstein": {
        "bases.radial": {"type": "bernstein", "count": 8},
        "atom_embedding": {"type": "periodic_table"},
    },
    "scaled bases": {"bases.scale": True},
    "functions of the degree": {
        "bases.angular_radial": {"type": "fourier_bessel", "count": 4},
        "readout": {"type": "summed_product", "layers": 1},
    },
    "summed readout": {"readout": {"type": "summed", "layers": 1}},
    "own bases": {
        "graphs.near": {"cutoff": 4.0, "within": "main"},
        "interactions.near": {"type": "triplet", "graph": "near", "down": 8, "up": 8, "scale_factor": False},
        "interactions.near.bases": {"radial": {"type": "spherical_bessel", "count": 4}},
        "interactions.quadruplet": {"symmetric": False, "bases": {"spherical": {"type": "legendre_outer", "count": 3}}},
    },
    "senders of other sets": {
        "neighbors.ties": "smooth",
        "graphs.main.cutoff": 5.0,
        "graphs.far": {"cutoff": 6.0, "max_neighbors": 8},
        "interactions.far": {"type": "triplet", "graph": "far", "down": 8, "up": 8},
        "interactions.edge_atom.senders": "quad",
    },
    "streams": {
        "interactions": {
            **dict.fromkeys(("triplet", "quadruplet", "edge_atom", "atom_edge")),
            "painn": {"type": "painn"},
            "tensor_product": {"type": "tensor_product", "degree": 1, "radial": 4},
        },
        "streams": {
            "vectors": {"irreps": "3x1o", "update": {"type": "gated"}},
            "tensors": {"irreps": "2x0e+2x1o+1x1e", "update": {"type": "none"}},
        },
    },
    "streams of scalars": {
        "edge_embedding": None,
        "blocks": {"before_skip": 0, "after_skip": 0, "concatenation": None, "update": None},
        "interactions": {
            **dict.fromkeys(("triplet", "quadruplet", "edge_atom", "atom_edge")),
            "tensor_product": {"type": "tensor_product", "degree": 1, "radial": 4},
        },
        "streams": {"tensors": {"irreps": "4x0e", "initial": "embedding", "update": {"type": "residual"}}},
        "readout": {"type": "atoms"},
        "heads.forces": None,
    },
    "divisors": {
        "blocks.divisors": {"edges": 1.5, "skip": 0.7, "atoms": 1.2, "update": 1.0, "concatenation": 1.3},
        "blocks.combine": "add",
    },
    "charge and spin": {"atom_embedding": {"type": "element", "charge": True, "spin": True}},
    "further heads": {
        "heads.forces.type": "gradient",
        "heads.charges": {"type": "property", "per": "atom"},
        "heads.polarizability": {"type": "property", "shape": "tensor", "reads": "edges"},
        "heads.dipole": {"type": "dipole"},
    },
}


def spec_of(variant: str) -> Spec:
    """A small GemNet-OC with all interactions, with the changes of a variant."""
    return load_spec(ROOT / "paper_configs/gemnet-oc.yaml").patch({**SMALL, **VARIANTS[variant]})


def model_of(variant: str, angular: Any = "auto", block_count: int = 2) -> GemNet:
    """The model of a variant."""
    spec = spec_of(variant).patch({"blocks.count": block_count})
    return build(spec, seed=0, execution=Execution(angular=angular))


def crystals() -> Structures:
    """Two periodic structures."""
    salt = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    slab = fcc111("Pt", (2, 2, 2), vacuum=6.0, periodic=True)
    for seed, atoms in enumerate((salt, slab)):
        atoms.rattle(0.1, seed=seed)
        atoms.set_tags(1)
    return Structures.from_ase([salt, slab])
