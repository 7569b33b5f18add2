"""Batches hold any structures one after another, none at all included."""

from __future__ import annotations

from functools import partial

import torch
from ase import Atoms
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from gemnet_blocks.structures import Structures
from gemnet_blocks.testing.strategies import (
    batches,
    concatenate,
    empty,
    generic_structures,
    is_generic,
    structures,
    tiny_cells,
)

quick = partial(settings, derandomize=True, deadline=None, database=None, phases=(Phase.generate, Phase.shrink))
FIELDS = ("positions", "numbers", "structure", "cells", "periodic", "tags", "fixed")


@quick(max_examples=50)
@given(st.lists(structures(max_atoms=6, tags=False), max_size=4))
def test_concatenation_keeps_every_structure(many: list[Structures]) -> None:
    batch = concatenate(many)
    batch.validate()
    assert len(batch) == len(many)
    for index, one in enumerate(many):
        for name in FIELDS:
            assert torch.equal(getattr(batch[index], name), getattr(one, name)), name


def test_batches_of_batches() -> None:
    pair = Structures.from_ase([Atoms("CO", [[0, 0, 0], [0, 0, 1]]), Atoms()])
    batch = concatenate([pair, Structures.from_ase([]), pair])
    assert batch.structure.tolist() == [0, 0, 2, 2]
    assert len(batch) == 4


def test_sizes_of_batches() -> None:
    lengths: list[int] = []

    @quick(max_examples=100)
    @given(batches(empty() | tiny_cells(), max_structures=3))
    def collect(batch: Structures) -> None:
        lengths.append(len(batch))
        assert batch.atom_count <= 9

    collect()
    assert set(lengths) == {0, 1, 2, 3}


def test_batches_are_mixed_by_default() -> None:
    @quick(max_examples=150)
    @given(batches())
    def collect(batch: Structures) -> None:
        batch.validate(element_count=83, needs_tags=True)
        both = batch.periodic.any(dim=1)
        seen.add((bool(both.any()), bool((~both).any()), bool((batch.atom_counts == 0).any())))

    seen: set[tuple[bool, bool, bool]] = set()
    collect()
    assert {(True, True, True), (True, True, False), (False, False, False)} <= seen


def test_batches_shrink() -> None:
    smallest = find(
        batches(generic_structures(max_atoms=5)), lambda batch: batch.atom_count >= 3, settings=quick(max_examples=500)
    )
    assert smallest.atom_count == 3
    assert len(smallest) <= 2


def test_structures_are_generic_and_degenerate() -> None:
    seen: set[bool] = set()

    @quick(max_examples=60)
    @given(structures(max_atoms=10))
    def collect(one: Structures) -> None:
        seen.add(is_generic(one, 4.0))

    collect()
    assert seen == {True, False}
