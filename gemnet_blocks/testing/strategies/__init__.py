"""Hypothesis strategies: structures, batches, symmetries and specs.

Structures are drawn in float64 from two families. Models are differentiable at `generic_structures`;
`degenerate_structures` have high symmetry, ties, collinear, coinciding or missing atoms, or cells smaller than any
cutoff. `structures` draws from both.

Importing this package makes hypothesis print structures and specs of falsifying examples as code.

    >>> from hypothesis import given
    >>> from gemnet_blocks.testing.strategies import generic_structures, rotations
    >>> @given(generic_structures(max_atoms=8, cutoff=4.0), rotations())
    ... def test_my_model(structures, rotation):
    ...     assert_symmetry(my_model, structures, rotation)
"""

from gemnet_blocks.testing.reproduce import register_printers
from gemnet_blocks.testing.strategies.batches import (
    batches,
    cell_changes,
    concatenate,
    permutations,
    reorderings,
    rotations,
    structures,
    supercells,
    symmetries,
    translations,
)
from gemnet_blocks.testing.strategies.degenerate import (
    chains,
    coincident,
    degenerate_structures,
    empty,
    isolated,
    perfect_crystals,
    perfect_slabs,
    planar,
    shells,
    tiny_cells,
)
from gemnet_blocks.testing.strategies.further_specs import further_specs
from gemnet_blocks.testing.strategies.generic import (
    ELEMENTS,
    Margins,
    clusters,
    crystals,
    generic_structures,
    is_generic,
    margins,
    molecules,
    slabs,
)
from gemnet_blocks.testing.strategies.specs import BrokenSpec, broken_specs, small_spec, spec_patches, specs

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
    "further_specs",
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
