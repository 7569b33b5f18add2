from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from helpers import assert_close, assert_same_function, graphs_of, random_embeddings, set_random_scales
from torch import Tensor

from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.interactions.interaction import Sizes
from gemnet_blocks.model.geometry_encoder import Geometry
from gemnet_blocks.model.readout import (
    ConcatenatedOutputBlock,
    Output,
    ReadOutContext,
    SummedOptions,
    SummedOutputBlock,
    SummedReadOut,
)
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles


def context(edges: bool = True, edge_size: int = 6) -> ReadOutContext:
    sizes: dict[str, Any] = {"atom": 5, "edge": edge_size, "radial": 2, "circular": 1, "spherical": 1}
    return ReadOutContext(Sizes(**sizes), "silu", output_count=4, edges=edges, sums=Sums())


@pytest.mark.parametrize("edges", [True, False])
def test_output_blocks_equal_the_oracle(any_structures: Structures, edges: bool) -> None:
    module, graphs = SummedReadOut.output_block(SummedOptions(layers=1), context(edges)), graphs_of(any_structures)
    module.double()
    set_random_scales(module)
    embeddings = random_embeddings(graphs, 5, 6)
    radial = torch.randn(graphs.main.edges.count, 2, dtype=torch.float64, requires_grad=True)
    unread = torch.full_like(radial, torch.nan)
    fast = module(embeddings, Geometry(graphs.main, unread, unread, radial, {}))
    slow = oracles.output_block(module, embeddings, radial, graphs.main.edges)
    inputs = [embeddings.atoms, embeddings.edges, radial, *module.parameters()]
    assert_same_function(fast.atoms, slow.atoms, inputs)
    assert (fast.edges is not None) == edges
    if fast.edges is not None and slow.edges is not None:
        assert_same_function(fast.edges, slow.edges, inputs)
        assert fast.edges.shape == (graphs.main.edges.count, 1)


@pytest.mark.parametrize("edges", [True, False])
def test_numbers_are_added_up(edges: bool) -> None:
    def some(count: int) -> Tensor:
        return torch.randn(count, 1)

    outputs = [Output(some(5), some(7) if edges else None) for _ in range(3)]
    read_out = SummedReadOut()
    assert not list(read_out.parameters())
    found, slow = read_out(outputs), oracles.read_out(read_out, outputs)
    assert_close(found.atoms, sum(output.atoms[:, 0] for output in outputs), 1e-6)  # type: ignore[arg-type]
    assert_close(found.atoms, slow.atoms, 1e-6)
    assert (found.edges is not None) == edges
    if found.edges is not None and slow.edges is not None:
        assert found.edges.shape == (7,)
        assert_close(found.edges, slow.edges, 1e-6)


def test_readers_do_not_change_an_output_block() -> None:
    output = Output(torch.randn(5, 1), None)
    before = output.atoms.clone()
    SummedReadOut()([output, output])
    assert torch.equal(output.atoms, before)


@pytest.mark.parametrize(("projection", "dense"), [("always", 1), ("if_needed", 0)])
def test_stacks_start_with_a_dense_layer_by_default(projection: Literal["always", "if_needed"], dense: int) -> None:
    options = SummedOptions(layers=3, projection=projection, initialization="zeros")
    block = SummedReadOut.output_block(options, context(edge_size=5))
    assert isinstance(block, SummedOutputBlock)
    features = block.features
    assert isinstance(features, ConcatenatedOutputBlock)
    assert features.after_atom is None
    assert features.edge_layers is not None
    assert len(features.update.layers) == len(features.edge_layers) == dense + 3
    assert block.edges is not None
    assert (block.atoms.linear.weight == 0).all()
    assert (block.edges.linear.weight == 0).all()
    assert SummedOptions(layers=3).projection == "always"


def test_without_direct_forces_edges_are_not_read() -> None:
    block = SummedReadOut.output_block(SummedOptions(layers=1), context(edges=False))
    assert block.edges is None
    assert block.features.edge_layers is None


def test_last_layers_stay_wide_under_autocast() -> None:
    block, graphs = SummedReadOut.output_block(SummedOptions(layers=1), context()), graphs_of(Structures.from_ase([]))
    embeddings = random_embeddings(graphs, 5, 6)
    radial = torch.zeros(0, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = type(embeddings)(embeddings.atoms.float(), embeddings.edges.float())
        found = block(narrow, Geometry(graphs.main, radial, radial, radial, {}))
    assert found.edges is not None
    assert found.atoms.dtype == found.edges.dtype == torch.float32
