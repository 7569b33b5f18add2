"""Hypothesis strategies: structures, batches, symmetries and specs.

Structures are drawn in float64 from two families that are kept apart. `generic_structures` have no special case, so
that a model is differentiable there; `degenerate_structures` are made of special cases: symmetry, ties, lines,
coincident and missing atoms, cells smaller than any cutoff. `structures` draws from both.

Importing this package makes hypothesis print structures and specs of falsifying examples as code.
"""

from gemnet_blocks.testing.reproduce import register_printers
from gemnet_blocks.testing.strategies.arrangements import ELEMENTS
from gemnet_blocks.testing.strategies.batches import batches, concatenate, structures
from gemnet_blocks.testing.strategies.broken_specs import BrokenSpec, broken_specs
from gemnet_blocks.testing.strategies.degenerate import (
    chains,
    coincident,
    degenerate_structures,
    empty,
    isolated,
    planar,
    shells,
    tiny_cells,
)
from gemnet_blocks.testing.strategies.generic import clusters, crystals, generic_structures, molecules, slabs
from gemnet_blocks.testing.strategies.genericity import Margins, is_generic, margins
from gemnet_blocks.testing.strategies.perfect import perfect_crystals, perfect_slabs
from gemnet_blocks.testing.strategies.specs import small_spec, spec_patches, specs
from gemnet_blocks.testing.strategies.symmetries import (
    cell_changes,
    permutations,
    reorderings,
    rotations,
    supercells,
    symmetries,
    translations,
)

__all__ = [
    "ELEMENTS",
    "BrokenSpec",
    "Margins",
    "batches",
    "broken_specs",
    "cell_changes",
    "chains",
    "clusters",
    "coincident",
    "concatenate",
    "crystals",
    "degenerate_structures",
    "empty",
    "generic_structures",
    "is_generic",
    "isolated",
    "margins",
    "molecules",
    "perfect_crystals",
    "perfect_slabs",
    "permutations",
    "planar",
    "reorderings",
    "rotations",
    "shells",
    "slabs",
    "small_spec",
    "spec_patches",
    "specs",
    "structures",
    "supercells",
    "symmetries",
    "tiny_cells",
    "translations",
]

register_printers()
