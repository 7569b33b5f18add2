"""Triplets whose sending edges b→a are those of another edge set than main."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ase import Atoms
from helpers import KINDS, assert_close, gradients, molecule, set_random_scales, small_spec

from gemnet_blocks.interactions import EdgeAtomInteraction, TripletInteraction
from gemnet_blocks.interactions.senders import EmbeddedSenders, MainSenders
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.spec import Execution, build
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles
from gemnet_blocks.testing.assertions import assert_second_derivatives, assert_smooth

OPTIONS: dict[str, Any] = {"down": 4, "up": 3}
EDGE_SETS: dict[str, dict[str, Any]] = {
    "within main": {"near": {"cutoff": 3.0, "within": "main"}},
    "partly in main": {"near": {"cutoff": 3.5, "max_neighbors": 8}, "main": {"symmetrize": "lower_index"}},
    "beyond main": {"near": {"cutoff": 4.5, "max_neighbors": 9}},
    "more than an empty main": {"near": {"cutoff": 3.0}, "main": {"max_neighbors": 0}},
}
INTERACTIONS = {
    "triplet": {"near": {"type": "triplet", "graph": "near", **OPTIONS}},
    "edge_atom": {"near": {"type": "edge_atom", "senders": "near", **OPTIONS}},
}


def model_of(graphs: dict[str, Any], interactions: dict[str, Any], angular: Any = "auto", **changes: Any) -> GemNet:
    spec = small_spec(**changes, blocks__count=1)
    others = {name: interactions.get(name) for name in spec.interactions}
    spec = spec.patch({"graphs": graphs, "interactions": {**others, **interactions}})
    model = build(spec, seed=0, execution=Execution(angular=angular)).double()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        set_random_scales(model)
    return model


@pytest.mark.parametrize("interactions", INTERACTIONS.values(), ids=INTERACTIONS)
@pytest.mark.parametrize("graphs", EDGE_SETS.values(), ids=EDGE_SETS)
def test_predictions_equal_the_definition(graphs: dict[str, Any], interactions: dict[str, Any]) -> None:
    structures = KINDS["slab"]()
    for angular, ties in (("explicit", "smooth"), ("factorized", "strict")):
        model = model_of(graphs, interactions, angular, neighbors__ties=ties)
        expected = oracles.model(model, structures)
        assert_close(model(structures).energy, expected.energy, 1e-11)
        assert_close(model(structures, memory_budget=0).energy, expected.energy, 1e-11)


@pytest.mark.parametrize(("graphs", "interaction"), [("partly in main", "edge_atom"), ("beyond main", "triplet")])
def test_derivatives(graphs: str, interaction: str) -> None:
    structures, found = Structures.from_ase(molecule(3)), []
    for angular in ("explicit", "factorized"):
        changes = {"neighbors__ties": "smooth", "heads__forces": {"type": "gradient"}}
        model = model_of(EDGE_SETS[graphs], INTERACTIONS[interaction], angular, **changes)
        forces = model(structures).forces
        found.append([forces, *gradients(forces, list(model.parameters()), torch.ones_like(forces))])
    assert_second_derivatives(model, structures)
    for one, other in zip(*found, strict=True):
        assert_close(one, other, 1e-10)


@pytest.mark.parametrize(
    ("graphs", "interaction", "symmetrize"),
    [("binding", "triplet", "lower_index"), ("binding", "edge_atom", "union"), ("beyond main", "triplet", "union")],
)
def test_energies_do_not_jump_where_either_edge_set_drops_an_edge(
    graphs: str, interaction: str, symmetrize: str
) -> None:
    rules = {"binding": {"near": {"cutoff": 3.4, "max_neighbors": 3}}, **EDGE_SETS}[graphs]
    rules = {**rules, "main": {"max_neighbors": 2, "symmetrize": symmetrize}}
    model = model_of(rules, INTERACTIONS[interaction], neighbors__ties="smooth", heads__forces=None)
    positions = [[0, 0, 0], [1.4, 0, 0], [0, 1.7, 0.3], [-1.6, -0.8, 0.5], [0.4, -1.2, -1.3]]
    move = torch.zeros(5, 3, dtype=torch.float64)
    move[1, 0] = 2.4  # past all others, and out of reach of both edge sets
    assert_smooth(model, Structures.from_ase(Atoms("CO2H2", positions=positions)), move, samples=16)


def test_the_spec_decides_which_embeddings_are_sent() -> None:
    for graphs, kind in ((EDGE_SETS["partly in main"], MainSenders), (EDGE_SETS["beyond main"], EmbeddedSenders)):
        (block,) = model_of(graphs, INTERACTIONS["triplet"]).backbone.blocks
        assert isinstance(block.interactions["near"].senders, kind)
    within = {"near": {"cutoff": 9.0, "within": "main"}}  # reaches no farther than main
    (block,) = model_of(within, INTERACTIONS["triplet"]).backbone.blocks
    assert isinstance(block.interactions["near"].senders, MainSenders)


def test_all_of_main_by_another_name_sends_the_same() -> None:
    structures = KINDS["slab"]()
    same = {"near": {"cutoff": 3.5, "within": "main"}}
    rules = {"main": {"cutoff": 3.5, "max_neighbors": None}}
    for name, options in (("triplet", {"graph": "near"}), ("edge_atom", {"senders": "near"})):
        energies = [
            model_of({**same, **rules}, {name: {"type": name, **OPTIONS, **chosen}, "again": {"type": name, **OPTIONS}})
            for chosen in ({}, options)
        ]
        one, other = (model(structures).energy for model in energies)
        assert_close(one, other)


def test_edges_of_a_set_that_are_not_main_edges_send_nothing() -> None:
    chain = Atoms("C3", positions=[[0.0, 0, 0], [1.2, 0, 0], [1.8, 1.1, 0]])
    graphs = {"main": {"cutoff": 3.5, "max_neighbors": 1}, "near": {"cutoff": 3.0}}
    cases = ((TripletInteraction, {"graph": "near"}, 2), (EdgeAtomInteraction, {"senders": "near"}, 4))
    for interaction, options, expected in cases:
        alone = interaction.alone(chain, options, graphs=graphs)
        embeddings, main = alone.embeddings.edges, alone.topology.edges["main"]
        (gradient,) = torch.autograd.grad(alone().square().sum(), embeddings)
        assert main.count == 4 < alone.topology.edges["near"].count
        assert int((gradient.abs().amax(dim=1) > 0).sum()) == expected
