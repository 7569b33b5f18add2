from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from ase import Atoms
from helpers import CUTOFFS, KINDS, edge_set_rules, graphs_by, graphs_of
from pydantic import ValidationError

from gemnet_blocks.errors import StructureError
from gemnet_blocks.geometry.edges import EdgeSet
from gemnet_blocks.geometry.graphs import measured_graphs
from gemnet_blocks.graph.builder import EdgeSetOptions, GraphBuilder
from gemnet_blocks.graph.index_sets import IndexRequest, QuadrupletRequest, TripletRequest
from gemnet_blocks.graph.neighbor_list import NeighborSearch, Pairs, VesinSearch
from gemnet_blocks.graph.wrapping import Candidates, WrappedAtoms
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles


def builder(rules: dict[str, EdgeSetOptions], requests: tuple[IndexRequest, ...] = (), **options: Any) -> GraphBuilder:
    return GraphBuilder(rules, list(rules), requests, VesinSearch(), **options)


def options(cutoff: float = 3.0, **more: Any) -> EdgeSetOptions:
    return EdgeSetOptions(cutoff=cutoff, **more)


def as_set(edges: EdgeSet | Pairs) -> set[oracles.Edge]:
    found = oracles.edges_of(edges)
    assert len(found) == len(set(found))
    return set(found)


# -- what belongs to a set --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ties", ["strict", "inclusive", "inclusive_next"])
def test_a_set_is_cut_off_then_capped_and_main_is_symmetrized_last(any_structures: Structures, ties: Any) -> None:
    graphs = graphs_of(any_structures, ties=ties)
    found = VesinSearch()(any_structures, CUTOFFS["atom"])
    for name, rule in edge_set_rules().items():
        pairs = found.select(found.distance <= rule.cutoff)
        if rule.max_neighbors is not None:
            kept = oracles.within_cap(pairs, rule.max_neighbors, ties)
            pairs = pairs.select(torch.tensor(kept, dtype=torch.bool))
        expected = set(oracles.edges_of(pairs))
        if name == "main":
            expected = oracles.symmetrize(expected, "union")
        assert as_set(graphs.edge_sets[name]) == expected


def test_a_set_within_another_is_selected_from_it_before_symmetrization() -> None:
    structures = KINDS["molecules"]()
    rules = {"main": options(max_neighbors=2, symmetrize="union"), "quad": options(max_neighbors=5, within="main")}
    graphs = graphs_by(builder(rules), structures)
    independent = graphs_by(builder({"main": rules["main"], "quad": options(max_neighbors=5)}), structures)
    quad = as_set(graphs.edge_sets["quad"])
    # the cap of main limits quad, too; the opposites that symmetrization adds are not in it
    assert quad < as_set(graphs.edge_sets["main"])
    assert quad < as_set(independent.edge_sets["quad"])
    assert graphs.edge_sets["quad"].degree.max() == 2


def test_tags_select_edges_with_a_fitting_end_after_the_cap() -> None:
    structures = KINDS["slab"]()
    without = graphs_by(builder({"main": options(), "quad": options(max_neighbors=3)}), structures)
    tagged = graphs_by(builder({"main": options(), "quad": options(max_neighbors=3, tags=[2])}), structures)
    adsorbate = int((structures.tags == 2).nonzero())
    expected = {edge for edge in as_set(without.edge_sets["quad"]) if adsorbate in (edge.source, edge.target)}
    assert as_set(tagged.edge_sets["quad"]) == expected
    assert 0 < len(expected) < without.edge_sets["quad"].count


def test_tolerances_are_squared_only_where_published_models_square_them() -> None:
    # neighbors at 2, 2.004 and 2.2 Å: with a tolerance of 0.01, the second ties with the first in Å but not in Å²
    atoms = Atoms("H4", positions=[[0, 0, 0], [2, 0, 0], [0, 2.004, 0], [0, 0, 2.2]])
    structures = Structures.from_ase(atoms)

    def degree(ties: Any, within: str | None) -> int:
        rules = {
            "atom": options(2.5),
            "main": options(2.5),
            "capped": options(2.5, max_neighbors=1 if ties == "inclusive" else 0, within=within),
        }
        return int(graphs_by(builder(rules, ties=ties), structures).edge_sets["capped"].degree[0])

    assert degree("inclusive", None) == degree("inclusive", "atom") == degree("inclusive_next", "atom") == 2
    assert degree("inclusive_next", None) == 1


def test_without_periodicity_structures_do_not_repeat() -> None:
    structures = KINDS["small cell"]()
    rules = {"main": options()}
    isolated = graphs_by(builder(rules, periodic=False), structures)
    assert isolated.main.edges.count == 2
    assert (isolated.main.edges.shift == 0).all()
    assert structures.periodic.all()
    assert graphs_by(builder(rules), structures).main.edges.count > 2


def test_structures_of_a_batch_share_no_edges_and_do_not_influence_each_other() -> None:
    batch = KINDS["mixed batch"]()
    main = graphs_of(batch).main.edges
    assert torch.equal(batch.structure[main.source], batch.structure[main.target])
    first = 0
    for index in range(len(batch)):
        alone = graphs_of(batch[index]).main.edges
        own = {
            oracles.Edge(edge.source - first, edge.target - first, edge.shift)
            for edge in as_set(main)
            if batch.structure[edge.target] == index
        }
        assert own == as_set(alone)
        first += int(batch.atom_counts[index])


def test_main_is_symmetric_and_the_same_object_among_the_edge_sets(any_structures: Structures) -> None:
    graphs = graphs_of(any_structures)
    assert graphs.main.edges is graphs.edge_sets["main"]
    assert graphs.main.reverse.tolist() == oracles.reverse(oracles.edges_of(graphs.main.edges))


# -- what is built ----------------------------------------------------------------------------------------------------


def test_only_named_parts_are_built() -> None:
    request = TripletRequest("main", "atom_edge")
    some = GraphBuilder(edge_set_rules(), ["atom_edge"], [request, request], VesinSearch())
    graphs = graphs_by(some, KINDS["molecules"]())
    assert set(graphs.edge_sets) == {"main", "atom_edge"}
    assert set(some.rules) == {"main", "atom_edge", "atom"}  # both are within atom
    assert list(graphs.indices) == [request]


def test_one_search_with_the_widest_cutoff_in_use() -> None:
    cutoffs: list[float] = []

    class Recorded(NeighborSearch):
        def _candidates(self, atoms: WrappedAtoms, cutoff: float) -> Candidates:
            cutoffs.append(cutoff)
            return VesinSearch()._candidates(atoms, cutoff)

    rules = {"main": options(3.0), "near": options(2.0), "far": options(9.0), "inside": options(7.0, within="main")}
    GraphBuilder(rules, ["near", "inside"], [], Recorded())(KINDS["molecules"](), torch.float64)
    assert cutoffs == pytest.approx([3.0], rel=1e-4)


def test_given_pairs_stand_for_the_search() -> None:
    structures = KINDS["molecules"]()
    rules = {"main": options(max_neighbors=1), "near": options(1.5, within="main")}
    given = VesinSearch()(structures, 2.0)
    graphs = graphs_by(builder(rules), structures, given)
    assert as_set(graphs.main.edges) == as_set(given)  # caps and cutoffs of top-level sets were the giver's to apply
    assert as_set(graphs.edge_sets["near"]) == as_set(given.select(given.distance <= 1.5))


def test_counts_name_everything_that_was_built() -> None:
    requests = (TripletRequest("main", "main"), QuadrupletRequest("main", "quad"))
    topology = builder(edge_set_rules(), requests)(KINDS["molecules"](), torch.float64)
    counts = topology.counts()
    assert counts["edges of main"] == topology.edges["main"].count
    assert counts[requests[0].name] == topology.indices[requests[0]].count
    assert counts[requests[1].name] == topology.indices[requests[1]].count
    assert len(counts) == 6


def test_distances_carry_gradients_and_have_the_type_asked_for() -> None:
    structures = KINDS["slab"]()
    structures = replace(structures, positions=structures.positions.requires_grad_())
    topology = builder(edge_set_rules())(structures, torch.float32)
    graphs = measured_graphs(structures, topology, torch.float32)
    assert graphs.main.edges.distance.dtype == torch.float32
    assert graphs.main.edges.direction.requires_grad


def test_structures_are_validated() -> None:
    structures = KINDS["mixed batch"]()
    unknown = structures.structure == 2
    untagged = replace(structures, tags=torch.where(unknown, -1, structures.tags))
    builder({"main": options()})(untagged, torch.float64)
    with pytest.raises(StructureError, match="structure 2 has no tags"):
        builder({"main": options(), "quad": options(tags=[1])})(untagged, torch.float64)
    heavy = replace(structures, numbers=torch.where(unknown, 9, structures.numbers))
    with pytest.raises(StructureError, match="structure 2 has an atomic number above 8"):
        builder({"main": options()}, element_count=8)(heavy, torch.float64)
    builder({"main": options()}, element_count=9)(heavy, torch.float64)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cutoff": 0},
        {"cutoff": -1.0},
        {"cutoff": 3.0, "max_neighbors": -1},
        {"cutoff": 3.0, "tags": [-1]},
        {"cutoff": 3.0, "symmetrize": "sometimes"},
        {"cutoff": 3.0, "maximum_neighbors": 3},
        {},
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EdgeSetOptions(**wrong)
