"""What must not change an energy: transformations of structures, and what they do to a prediction.

A `Symmetry` g acts on structures X and on predictions. A model is symmetric under it if, for all X,

    model(g X) = g model(X).

All are frozen dataclasses of plain numbers: their repr is code that makes them again, and `str` shows the equation.
Arithmetic is done in float64; positions, cells and forces keep their floating-point type and carry gradients.
"""

from gemnet_blocks.testing.symmetries.base import Symmetry
from gemnet_blocks.testing.symmetries.batch import Alone, Permutation
from gemnet_blocks.testing.symmetries.lattice import CellChange, Reordering, Supercell
from gemnet_blocks.testing.symmetries.space import Rotation, Translation

__all__ = [
    "Alone",
    "CellChange",
    "Permutation",
    "Reordering",
    "Rotation",
    "Supercell",
    "Symmetry",
    "Translation",
]
