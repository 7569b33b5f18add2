from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch
from helpers import KINDS

from gemnet_blocks.graph.max_neighbors import within_cap
from gemnet_blocks.graph.neighbor_list import Pairs, VesinSearch
from gemnet_blocks.graph.symmetrize import Symmetrization, symmetrize
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles

RULES = get_args(Symmetrization)


def capped(structures: Structures, cap: int = 3) -> Pairs:
    """One-sided pairs: a cap of `cap` neighbors, the first among equals."""
    pairs = VesinSearch()(structures, 4.0)
    return pairs.select(within_cap(pairs, structures.atom_count, cap, "strict"))


@pytest.mark.parametrize("rule", RULES)
def test_equals_the_oracle(any_structures: Structures, rule: Symmetrization) -> None:
    pairs = capped(any_structures)
    result = symmetrize(pairs, rule)
    edges = oracles.edges_of(result.pairs)
    assert len(set(edges)) == len(edges)
    assert set(edges) == oracles.symmetrize(oracles.edges_of(pairs), rule)
    assert result.reverse.tolist() == oracles.reverse(edges)


def test_the_rules_differ_where_a_cap_binds() -> None:
    pairs = capped(KINDS["molecules"]())
    lower, union = (len(symmetrize(pairs, rule).pairs) for rule in ("lower_index", "union"))
    assert lower < union


@pytest.mark.parametrize("rule", RULES)
def test_pairs_are_in_canonical_order_with_equal_distances_both_ways(
    any_structures: Structures, rule: Symmetrization
) -> None:
    result = symmetrize(capped(any_structures), rule)
    assert torch.equal(result.pairs.canonical_order(), torch.arange(len(result.pairs)))
    assert torch.equal(result.pairs.distance[result.reverse], result.pairs.distance)


@pytest.mark.parametrize("rule", RULES)
def test_origin_says_where_every_pair_comes_from(any_structures: Structures, rule: Symmetrization) -> None:
    pairs = capped(any_structures)
    result = symmetrize(pairs, rule)
    given, made = oracles.edges_of(pairs), oracles.edges_of(result.pairs)
    for edge, origin, flipped in zip(made, result.origin.tolist(), result.flipped.tolist(), strict=True):
        assert edge == (given[origin].opposite if flipped else given[origin])


def test_edges_between_an_atom_and_its_images_come_in_opposite_pairs() -> None:
    pairs = capped(KINDS["small cell"](), cap=6)
    own = pairs.source == pairs.target
    assert own.any()
    for rule in RULES:
        result = symmetrize(pairs, rule)
        own = result.pairs.source == result.pairs.target
        assert own.any()
        assert torch.equal(result.pairs.shift[result.reverse], -result.pairs.shift)
        assert (result.reverse != torch.arange(len(own)))[own].all()


def test_of_an_atoms_own_images_lower_index_selects_by_the_positive_shift_alone() -> None:
    def pair(*shift: int) -> Pairs:
        zero = torch.zeros(1, dtype=torch.long)
        return Pairs(zero, zero, torch.tensor([shift]), torch.ones(1, dtype=torch.float64))

    for shift in ((1, -5, -5), (0, 1, -5), (0, 0, 1)):
        assert len(symmetrize(pair(*shift), "lower_index").pairs) == 2
        assert len(symmetrize(pair(*(-x for x in shift)), "lower_index").pairs) == 0
        assert len(symmetrize(pair(*(-x for x in shift)), "union").pairs) == 2


@pytest.mark.parametrize(("rule", "depends"), [("lower_index", True), ("union", False)])
def test_only_lower_index_depends_on_the_order_of_the_atoms(rule: Symmetrization, depends: bool) -> None:
    structures = KINDS["molecules"]()[0]
    order = torch.randperm(structures.atom_count, generator=torch.Generator().manual_seed(0))
    permuted = replace(structures, positions=structures.positions[order])
    chosen = []
    for one, names in ((structures, torch.arange(len(order))), (permuted, order)):
        kept = symmetrize(capped(one), rule).pairs
        chosen.append(set(zip(names[kept.source].tolist(), names[kept.target].tolist(), strict=True)))
    assert (chosen[0] != chosen[1]) == depends


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_the_input_does_not_matter(rule: Symmetrization) -> None:
    pairs = capped(KINDS["mixed batch"]())
    shuffled = pairs.select(torch.randperm(len(pairs)))
    one, other = symmetrize(pairs, rule), symmetrize(shuffled, rule)
    assert oracles.edges_of(one.pairs) == oracles.edges_of(other.pairs)
    assert torch.equal(one.reverse, other.reverse)
