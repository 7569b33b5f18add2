from __future__ import annotations

import torch
from helpers import KINDS, assert_same_function, graphs_of

from gemnet_blocks.layers.embeddings import EdgeEmbedding
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles


def test_an_edge_is_embedded_by_source_then_target_then_its_own_features(any_structures: Structures) -> None:
    graphs = graphs_of(any_structures)
    module = EdgeEmbedding(atom_size=3, edge_in_size=4, edge_size=5).double()
    atoms = torch.randn(any_structures.atom_count, 3, dtype=torch.float64, requires_grad=True)
    x = torch.randn(graphs.main.edges.count, 4, dtype=torch.float64, requires_grad=True)
    rows = [
        torch.cat([atoms[edge.source], atoms[edge.target], x[e]])
        for e, edge in enumerate(oracles.edges_of(graphs.main.edges))
    ]
    slow = oracles.dense(module.dense, torch.stack(rows) if rows else x.new_zeros(0, 10))
    assert_same_function(module(atoms, x, graphs.main.edges), slow, [atoms, x, *module.parameters()])


def test_an_edge_embedding_is_narrow_under_autocast() -> None:
    graphs = graphs_of(KINDS["slab"]())
    module = EdgeEmbedding(atom_size=8, edge_in_size=8, edge_size=8)
    atoms, x = torch.randn(5, 8), torch.randn(graphs.main.edges.count, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = module(atoms, x, graphs.main.edges)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), module(atoms, x, graphs.main.edges), rtol=0, atol=0.1)


def test_derivatives() -> None:
    graphs = graphs_of(KINDS["small cell"]())
    module = EdgeEmbedding(atom_size=2, edge_in_size=2, edge_size=3).double()
    atoms = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    x = torch.randn(graphs.main.edges.count, 2, dtype=torch.float64, requires_grad=True)

    def function(atoms: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return module(atoms, x, graphs.main.edges)

    assert torch.autograd.gradcheck(function, (atoms, x))
    assert torch.autograd.gradgradcheck(function, (atoms, x), fast_mode=True)
