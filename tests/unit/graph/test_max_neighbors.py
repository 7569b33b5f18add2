from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch
from helpers import KINDS

from gemnet_blocks.graph.max_neighbors import Ties, within_cap
from gemnet_blocks.graph.neighbor_list import Pairs, VesinSearch
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles

TIES = get_args(Ties)


def grid() -> Structures:
    """Atoms on a jittered grid: many distances are equal, and many differ by little."""
    generator = torch.Generator().manual_seed(3)
    positions = torch.cartesian_prod(*[torch.arange(3.0, dtype=torch.float64)] * 2, torch.arange(2.0).double())
    jitter = torch.randint(0, 2, positions.shape, generator=generator) * 0.004
    count = len(positions)
    empty = torch.zeros(count, dtype=torch.long)
    return Structures(
        positions + jitter,
        torch.ones_like(empty),
        empty,
        torch.zeros(1, 3, 3, dtype=torch.float64),
        torch.zeros(1, 3, dtype=torch.bool),
        empty,
        empty.bool(),
    )


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("tolerance", [0.0, 0.01, 0.5])
@pytest.mark.parametrize("ties", TIES)
def test_equals_the_oracle_among_ties(ties: Ties, tolerance: float, squared: bool) -> None:
    structures = grid()
    pairs = VesinSearch()(structures, 2.2)
    for cap in (0, 1, 2, 3, 5, 8, 100):
        fast = within_cap(pairs, structures.atom_count, cap, ties, tolerance, squared)
        assert fast.tolist() == oracles.within_cap(pairs, cap, ties, tolerance, squared)


@pytest.mark.parametrize("ties", TIES)
def test_equals_the_oracle_for_every_kind_of_structure(any_structures: Structures, ties: Ties) -> None:
    pairs = VesinSearch()(any_structures, 4.0)
    for cap in (0, 2, 6):
        fast = within_cap(pairs, any_structures.atom_count, cap, ties)
        assert fast.tolist() == oracles.within_cap(pairs, cap, ties)


def kept_degrees(pairs: Pairs, kept: torch.Tensor, count: int) -> torch.Tensor:
    return torch.bincount(pairs.target[kept], minlength=count)


def test_strict_caps_keep_exactly_as_many_as_they_say() -> None:
    structures = grid()
    pairs = VesinSearch()(structures, 2.2)
    degrees = torch.bincount(pairs.target, minlength=structures.atom_count)
    assert len(degrees.unique()) > 1
    kept = within_cap(pairs, structures.atom_count, 6, "strict")
    assert torch.equal(kept_degrees(pairs, kept, structures.atom_count), degrees.clamp(max=6))


def test_inclusive_caps_of_distinct_distances_are_strict_and_the_next_rule_admits_one_more() -> None:
    structures = KINDS["molecules"]()
    pairs = VesinSearch()(structures, 4.0)
    count = structures.atom_count
    strict = within_cap(pairs, count, 3, "strict")
    assert torch.equal(within_cap(pairs, count, 3, "inclusive", tolerance=0), strict)
    following = within_cap(pairs, count, 3, "inclusive_next", tolerance=0)
    assert torch.equal(following, within_cap(pairs, count, 4, "strict"))
    assert int(following.sum()) > int(strict.sum())


@pytest.mark.parametrize(("ties", "depends"), [("strict", True), ("inclusive", False), ("inclusive_next", False)])
def test_only_strict_caps_depend_on_the_order_of_the_atoms(ties: Ties, depends: bool) -> None:
    structures = grid()
    order = torch.randperm(structures.atom_count, generator=torch.Generator().manual_seed(0))
    permuted = replace(structures, positions=structures.positions[order])
    chosen = []
    for one, names in ((structures, torch.arange(len(order))), (permuted, order)):
        pairs = VesinSearch()(one, 2.2)
        kept = pairs.select(within_cap(pairs, one.atom_count, 4, ties))
        chosen.append(set(zip(names[kept.source].tolist(), names[kept.target].tolist(), strict=True)))
    assert (chosen[0] != chosen[1]) == depends
