from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers import KINDS, assert_close, assert_same_function, graphs_of, random_embeddings, set_random_scales
from torch import Tensor, nn

from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.interactions.interaction import Embeddings, Interaction, Sizes
from gemnet_blocks.model.block import Block, BlockOptions
from gemnet_blocks.model.geometry_encoder import Geometry
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles

SIZES = Sizes(atom=5, edge=6, radial=2, circular=1, spherical=1)
LAYERS = {"before_skip": 1, "after_skip": 2, "concatenation": 1, "update": 1, "atom": 2}


class FromEdges(Interaction[Tensor]):
    """A message to each edge: what its geometry says times a linear map."""

    writes = "edges"

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(6, 6)

    @classmethod
    def shared_geometry(cls, options: Any, context: Any) -> Any:
        raise NotImplementedError

    @classmethod
    def from_options(cls, options: Any, context: Any) -> Any:
        raise NotImplementedError

    def forward(self, embeddings: Embeddings, geometry: Tensor) -> Tensor:
        return geometry * self.map(embeddings.edges)


class FromAtoms(FromEdges):
    """The same to each atom."""

    writes = "atoms"

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(5, 5)

    def forward(self, embeddings: Embeddings, geometry: Tensor) -> Tensor:
        return geometry * self.map(embeddings.atoms)


def block_of(interactions: dict[str, Interaction[Any]], **layers: Any) -> Block:
    module = Block(SIZES, BlockOptions(count=1, **(LAYERS | layers)), interactions, Sums()).double()
    set_random_scales(module)
    return module


def geometry_of(graphs: Graphs, **interactions: float) -> Geometry:
    """Where only the radial functions of atom updates are known; others are NaN, as nothing may read them."""
    radial = torch.randn(graphs.main.edges.count, 2, dtype=torch.float64, requires_grad=True)
    unread = torch.full_like(radial, torch.nan)
    values = {name: torch.tensor(value, dtype=torch.float64) for name, value in interactions.items()}
    return Geometry(graphs.main, unread, radial, unread, values)


def expected(
    block: Block, embeddings: Embeddings, geometry: Geometry, to_edges: list[Tensor], to_atoms: list[Tensor]
) -> Embeddings:
    """Section 6 of GemNet-OC, step by step."""
    h, m, edges = embeddings.atoms, embeddings.edges, geometry.main.edges
    x = (oracles.dense(block.dense, m) + sum(to_edges)) / math.sqrt(1 + len(to_edges))
    h = (h + sum(to_atoms)) / math.sqrt(1 + len(to_atoms))
    m = (m + oracles.through(block.before_skip, x)) / math.sqrt(2)
    m = oracles.through(block.after_skip, m)
    h = oracles.through(block.atom_layers, h)
    h = (h + oracles.atom_update(block.update, m, geometry.update_radial, edges)) / math.sqrt(2)
    both = torch.cat([h[edges.source], h[edges.target], m], dim=1)
    new = oracles.through(block.concatenation_layers, oracles.dense(block.concatenation.dense, both))
    return Embeddings(h, (m + new) / math.sqrt(2))


CASES: dict[str, dict[str, type[FromEdges]]] = {
    "none": {},
    "one to edges": {"a": FromEdges},
    "one to atoms": {"a": FromAtoms},
    "several, mixed": {"a": FromEdges, "b": FromAtoms, "c": FromEdges, "d": FromEdges, "e": FromAtoms},
}


@pytest.mark.parametrize("case", list(CASES))
def test_normalisers_follow_from_the_interactions_that_are_there(any_structures: Structures, case: str) -> None:
    graphs = graphs_of(any_structures)
    interactions = {name: make() for name, make in CASES[case].items()}
    block = block_of(interactions)
    embeddings = random_embeddings(graphs, 5, 6)
    geometry = geometry_of(graphs, **{name: index + 2.0 for index, name in enumerate(interactions)})
    messages = {
        kind: [one(embeddings, geometry.interactions[name]) for name, one in interactions.items() if one.writes == kind]
        for kind in ("edges", "atoms")
    }
    fast = block(embeddings, geometry)
    slow = expected(block, embeddings, geometry, messages["edges"], messages["atoms"])
    inputs = [embeddings.atoms, embeddings.edges, geometry.update_radial, *block.parameters()]
    assert_same_function(fast.atoms, slow.atoms, inputs)
    assert_same_function(fast.edges, slow.edges, inputs)


@pytest.mark.parametrize("layer", list(LAYERS))
def test_every_stack_may_be_empty(layer: str) -> None:
    graphs = graphs_of(KINDS["slab"]())
    block = block_of({}, **{layer: 0})
    embeddings, geometry = random_embeddings(graphs, 5, 6), geometry_of(graphs)
    slow = expected(block, embeddings, geometry, [], [])
    fast = block(embeddings, geometry)
    assert_close(fast.atoms, slow.atoms)
    assert_close(fast.edges, slow.edges)


def test_the_input_is_left_as_it_was() -> None:
    graphs = graphs_of(KINDS["slab"]())
    embeddings, geometry = random_embeddings(graphs, 5, 6), geometry_of(graphs, a=1.0)
    atoms, edges = embeddings.atoms.clone(), embeddings.edges.clone()
    block_of({"a": FromEdges()})(embeddings, geometry)
    assert torch.equal(embeddings.atoms, atoms)
    assert torch.equal(embeddings.edges, edges)


def test_derivatives() -> None:
    graphs = graphs_of(KINDS["small cell"]())
    block, geometry = block_of({"a": FromEdges(), "b": FromAtoms()}), geometry_of(graphs, a=1.0, b=2.0)
    start = random_embeddings(graphs, 5, 6)

    def function(atoms: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        result = block(Embeddings(atoms, edges), geometry)
        return result.atoms, result.edges

    assert torch.autograd.gradcheck(function, (start.atoms, start.edges), fast_mode=True)
    assert torch.autograd.gradgradcheck(function, (start.atoms, start.edges), fast_mode=True)


def test_divisors_replace_those_of_the_numbers_of_terms(any_structures: Structures) -> None:
    graphs = graphs_of(any_structures)
    divisors = {"edges": 3.0, "skip": 0.5, "atoms": 1.5, "update": 1.0, "concatenation": 2.0}
    block, usual = block_of({}, divisors=divisors), block_of({})
    assert block.all_divisors().model_dump(exclude={"streams"}) == divisors
    assert usual.all_divisors().edges == 1.0
    embeddings, geometry = random_embeddings(graphs, 5, 6), geometry_of(graphs)
    fast = block(embeddings, geometry)
    h, m, edges = embeddings.atoms / 1.5, embeddings.edges, geometry.main.edges
    m = (m + oracles.through(block.before_skip, oracles.dense(block.dense, m) / 3)) / 0.5
    m = oracles.through(block.after_skip, m)
    h = oracles.through(block.atom_layers, h)
    h = h + oracles.atom_update(block.update, m, geometry.update_radial, edges)
    both = torch.cat([h[edges.source], h[edges.target], m], dim=1)
    new = oracles.through(block.concatenation_layers, oracles.dense(block.concatenation.dense, both))
    assert_close(fast.atoms, h)
    assert_close(fast.edges, (m + new) / 2)
