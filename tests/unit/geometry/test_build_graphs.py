"""Graphs with distances and directions in one call."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ase.build import bulk, fcc111
from helpers import KINDS, differentiable, molecule, small_cell

from gemnet_blocks import Structures
from gemnet_blocks.errors import SpecError
from gemnet_blocks.graph import EdgeSetOptions, build_graphs, neighbor_search
from gemnet_blocks.graph.index_sets import TripletRequest
from gemnet_blocks.plotting.edge_sets import edge_sets_of
from gemnet_blocks.spec import load_spec
from gemnet_blocks.testing import oracles

NEAR = {"main": {"cutoff": 3.0, "max_neighbors": 4}}


@pytest.mark.parametrize("kind", KINDS)
def test_edge_sets_of_any_name_are_those_of_the_definition(kind: str) -> None:
    structures = KINDS[kind]()
    graphs = build_graphs(structures, {"far": {"cutoff": 4.0}, "near": {"cutoff": 2.5, "within": "far"}})
    for name, cutoff in (("far", 4.0), ("near", 2.5)):
        expected = {(one.source, one.target, one.shift) for one, _ in oracles.neighbors(structures, cutoff)}
        assert {(one.source, one.target, one.shift) for one in oracles.edges_of(graphs[name])} == expected
        assert graphs[name].degree.sum() == len(expected)
        assert bool((graphs[name].distance <= cutoff).all())


def test_main_is_symmetrized_and_others_are_one_way() -> None:
    rule = {"cutoff": 5.0, "max_neighbors": 3}
    graphs = build_graphs(molecule(9), {"main": rule, "other": rule}, ties="strict")
    assert graphs["other"].degree.tolist() == [3] * 9
    edges = graphs.main.edges
    assert edges is graphs["main"] is graphs.edge_sets["main"]
    assert edges.count > 27
    assert torch.equal(edges.source[graphs.main.reverse], edges.target)
    torch.testing.assert_close(edges.direction[graphs.main.reverse], -edges.direction)


def test_graphs_are_those_of_a_model() -> None:
    spec = load_spec("gemnet-oc").patch(
        {"graphs": {"atom": {"cutoff": 5.0}, "main": {"cutoff": 4.0}, "quad": {"tags": None}}}
    )
    structures = Structures.from_ase([fcc111("Cu", (2, 2, 3), vacuum=5), bulk("NaCl", "rocksalt", 5.6)])
    reordered = dict(sorted(spec.graphs.items(), reverse=True))  # `within` may refer to a later edge set
    graphs = build_graphs(structures, reordered, ties="strict")
    expected = edge_sets_of(spec, structures).graphs
    for name, edges in expected.edge_sets.items():
        assert torch.equal(graphs[name].source, edges.source)
        assert torch.equal(graphs[name].distance, edges.distance)


@pytest.mark.parametrize("ties", ["inclusive", "smooth"])
def test_gradients_flow_to_positions_and_cells(ties: Any) -> None:
    structures = differentiable(KINDS["small cell"]())
    graphs = build_graphs(structures, {"main": NEAR["main"], "other": {"cutoff": 3.5, "max_neighbors": 3}}, ties=ties)
    for edges in graphs.edge_sets.values():
        total = edges.distance.square().sum() + edges.direction[:, 0].sum()
        if edges.weight is not None:
            total = total + edges.weight.square().sum()
        for gradient in torch.autograd.grad(total, (structures.positions, structures.cells)):
            assert gradient.isfinite().all()
            assert gradient.any()
    assert (graphs["main"].weight is not None) == (ties == "smooth")


@pytest.mark.parametrize(
    "search", ["auto", "vesin", "torch", neighbor_search("torch")], ids=["auto", "vesin", "torch", "object"]
)
def test_every_search_finds_the_same(search: Any) -> None:
    found = build_graphs([small_cell(), molecule(6)], NEAR, search=search)["main"]
    assert torch.equal(found.distance, build_graphs([small_cell(), molecule(6)], NEAR)["main"].distance)


def test_options_of_a_call() -> None:
    request = TripletRequest("main", "main")
    graphs = build_graphs(
        small_cell(), {"main": EdgeSetOptions(cutoff=3.0)}, dtype=torch.float32, periodic=False, requests=[request]
    )
    assert graphs["main"].distance.dtype == torch.float32
    assert not graphs["main"].shift.any()
    assert graphs.indices[request].count == 0


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        ({}, ["at least one edge set"]),
        ({"near": {"cutof": 3}}, ["'near'", "cutof", "max_neighbors"]),
        ({"near": {"cutoff": -1}}, ["'near'", "cutoff", "-1"]),
        ({"near": 3.0}, ["'near'", "3.0"]),
        ({"near": {"cutoff": 3, "within": "far"}}, ["'near' is within 'far'"]),
        ({"a": {"cutoff": 3, "within": "b"}, "b": {"cutoff": 3, "within": "a"}}, ["'a' is within 'b'"]),
        ({"near": {"cutoff": 3, "symmetrize": "union"}}, ["'near'", "symmetrize"]),
    ],
)
def test_wrong_rules_are_named(rules: Any, named: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        build_graphs(molecule(), rules)
    assert all(part in str(caught.value) for part in named), caught.value


def test_other_wrong_arguments_are_named() -> None:
    with pytest.raises(TypeError, match=r"expected Structures, ASE atoms.*'slab\.xyz'"):
        build_graphs("slab.xyz", NEAR)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ties is 'loose': choose one of strict"):
        build_graphs(molecule(), NEAR, ties="loose")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"expected a floating-point type .*, got torch\.int64"):
        build_graphs(molecule(), NEAR, dtype=torch.int64)
    graphs = build_graphs(molecule(), {"near": NEAR["main"]})
    with pytest.raises(ValueError, match=r"expected an edge set 'main'.* found near"):
        _ = graphs.main
    with pytest.raises(KeyError, match="unknown edge set 'far'; known: near"):
        graphs["far"]
