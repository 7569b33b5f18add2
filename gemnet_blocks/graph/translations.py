"""How far images of atoms are from the atoms themselves."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

_PAIRS_PER_ENTRY = 32  # of a table of translations that is worth to be made


def translations(
    shift: Int[Tensor, "pairs 3"], home: Int[Tensor, " pairs"], cells: Float[Tensor, "structures 3 3"]
) -> Float[Tensor, "3 pairs"]:
    """The components of n·A in Å, as differentiable functions of the cells A.

    Term by term, and in a fixed order, which a matrix product does not promise: equal shifts have equal translations to
    the last bit, and opposite shifts opposite ones. Where pairs are many and their shifts few, each translation is
    computed once and then looked up.

    Args:
        shift: n in lattice vectors.
        home: the structure of each pair.
        cells: A, a lattice vector in Å per row.
    """
    components = shift.t()
    largest = max(abs(int(limit)) for limit in components.aminmax()) if len(shift) else 0
    width = 2 * largest + 1
    if _PAIRS_PER_ENTRY * len(cells) * width**3 > len(shift):
        return _products(components, home, cells)
    x, y, z = components
    place = torch.add(z, y, alpha=width).add_(x, alpha=width**2).add_(home, alpha=width**3)
    steps = torch.arange(-largest, largest + 1, device=shift.device)
    all_shifts = torch.cartesian_prod(steps, steps, steps).repeat(len(cells), 1).t()
    all_homes = torch.arange(len(cells), device=shift.device).repeat_interleave(width**3)
    return _products(all_shifts, all_homes, cells).index_select(1, place.add_(largest * (1 + width + width**2)))


def _products(shift: Int[Tensor, "3 pairs"], home: Tensor, cells: Tensor) -> Float[Tensor, "3 pairs"]:
    steps = shift.to(cells.dtype)
    first, second, third = (
        steps[vector] * cells[:, vector].t().contiguous().index_select(1, home) for vector in range(3)
    )
    return first + second + third
