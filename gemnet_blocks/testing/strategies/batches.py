"""Batches of structures of all kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import torch
from hypothesis import strategies as st

from gemnet_blocks.structures import Structures
from gemnet_blocks.testing.strategies.arrangements import ELEMENTS
from gemnet_blocks.testing.strategies.degenerate import degenerate_structures
from gemnet_blocks.testing.strategies.generic import generic_structures


def concatenate(many: Sequence[Structures]) -> Structures:
    """Put structures, or batches of them, one after another into one batch; without any, an empty one in float64."""
    if not many:
        return Structures.from_ase([])
    columns = {
        field.name: torch.cat([getattr(one, field.name) for one in many])
        for field in fields(Structures)
        if field.name != "structure"
    }
    counts = torch.cat([one.atom_counts for one in many])
    index = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    return Structures(structure=index, **columns)


def structures(
    max_atoms: int = 60, cutoff: float = 4.0, elements: Sequence[int] = ELEMENTS, tags: bool = True
) -> st.SearchStrategy[Structures]:
    """One structure of any kind, generic or degenerate.

    Args:
        max_atoms: the largest number of atoms, at least 3.
        cutoff: of neighbors, in Å, among which nothing is special in generic structures.
        elements: atomic numbers, the simplest first.
        tags: whether all atoms have tags; otherwise some structures have none.
    """
    return generic_structures(max_atoms, cutoff, elements, tags) | degenerate_structures(max_atoms, elements, tags)


@st.composite
def batches(
    draw: st.DrawFn,
    structures: st.SearchStrategy[Structures] | None = None,
    max_structures: int = 4,
    min_structures: int = 0,
) -> Structures:
    """Several structures in one batch, or none at all.

    Args:
        structures: what each is drawn from; None for all kinds of up to 15 atoms.
        max_structures: the largest number of them.
        min_structures: the smallest.
    """
    one = _any_small() if structures is None else structures
    return concatenate(draw(st.lists(one, min_size=min_structures, max_size=max_structures)))


def _any_small() -> st.SearchStrategy[Structures]:
    return structures(max_atoms=15)
