from __future__ import annotations

import torch
from helpers import KINDS, graphs_of

from gemnet_blocks.graph.index_sets import QuadrupletRequest, TripletRequest
from gemnet_blocks.graph.quadruplets import Quadruplets, quadruplets
from gemnet_blocks.graph.triplets import Triplets, triplets


def test_equal_requests_are_one_key() -> None:
    assert len({TripletRequest("main", "main"), TripletRequest("main", "main"), TripletRequest("main", "atom")}) == 2
    assert len({TripletRequest("main", "quad"), QuadrupletRequest("main", "quad")}) == 2


def test_triplet_requests_list_triplets_of_the_named_edge_sets() -> None:
    edge_sets = graphs_of(KINDS["slab"]()).edge_sets
    found = TripletRequest(outer="atom_edge", inner="main").build(edge_sets)
    expected = triplets(edge_sets["atom_edge"], edge_sets["main"])
    assert isinstance(found, Triplets)
    assert torch.equal(found.outer, expected.outer)
    assert torch.equal(found.inner, expected.inner)


def test_quadruplet_requests_list_quadruplets_of_the_named_edge_sets() -> None:
    edge_sets = graphs_of(KINDS["slab"]()).edge_sets
    found = QuadrupletRequest(outer="main", middle="quad").build(edge_sets)
    expected = quadruplets(edge_sets["main"], edge_sets["quad"])
    assert isinstance(found, Quadruplets)
    assert torch.equal(found.outer, expected.outer)
    assert torch.equal(found.source_triplet, expected.source_triplet)


def test_names_tell_requests_apart() -> None:
    requests = [
        TripletRequest("main", "main"),
        TripletRequest("main", "near"),
        TripletRequest("near", "main"),
        QuadrupletRequest("main", "near"),
        QuadrupletRequest("main", "far"),
    ]
    assert len({request.name for request in requests}) == len(requests)
