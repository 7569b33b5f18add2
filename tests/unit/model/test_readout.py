from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import KINDS, assert_close, assert_same_function, graphs_of, random_embeddings, set_random_scales
from torch import Tensor

from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.interactions.interaction import Sizes
from gemnet_blocks.layers.residual import residuals
from gemnet_blocks.model.block import AtomUpdate
from gemnet_blocks.model.geometry_encoder import Geometry
from gemnet_blocks.model.readout import (
    ConcatenatedOptions,
    ConcatenatedOutputBlock,
    ConcatenatedReadout,
    LastLinear,
    Output,
    OutputNetwork,
    ReadoutContext,
)
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def geometry_of(graphs: Graphs, radial: Tensor) -> Geometry:
    """Where only the radial functions of output blocks are known; others are NaN, as nothing may read them."""
    unread = torch.full_like(radial, torch.nan)
    return Geometry(graphs.main, radial=unread, update_radial=unread, output_radial=radial, interactions={})


def output_block(after_atom: int = 1, edges: bool = True, edge_size: int = 6) -> ConcatenatedOutputBlock:
    module = ConcatenatedOutputBlock(
        AtomUpdate(edge_size, 5, radial_size=2, residual_count=1, sums=Sums()),
        residuals(after_atom, 5) if after_atom else None,
        residuals(1, edge_size) if edges else None,
        edge_size=edge_size,
        radial_size=2,
    ).double()
    set_random_scales(module)
    return module


@pytest.mark.parametrize("edges", [True, False])
@pytest.mark.parametrize("after_atom", [0, 2])
def test_output_blocks_equal_the_oracle(any_structures: Structures, after_atom: int, edges: bool) -> None:
    module, graphs = output_block(after_atom, edges), graphs_of(any_structures)
    embeddings, radial = random_embeddings(graphs, 5, 6), random(graphs.main.edges.count, 2)
    fast = module(embeddings, geometry_of(graphs, radial))
    slow = oracles.output_block(module, embeddings, radial, graphs.main.edges)
    inputs = [embeddings.atoms, embeddings.edges, radial, *module.parameters()]
    assert_same_function(fast.atoms, slow.atoms, inputs)
    assert (fast.edges is not None) == edges
    if fast.edges is not None and slow.edges is not None:
        assert_same_function(fast.edges, slow.edges, inputs)


def test_derivatives_of_an_output_block() -> None:
    module, graphs = output_block(edge_size=5), graphs_of(KINDS["small cell"]())
    start = random_embeddings(graphs, 5, 5)

    def function(atoms: Tensor, edges: Tensor, radial: Tensor) -> tuple[Tensor, Tensor]:
        found = module(type(start)(atoms, edges), geometry_of(graphs, radial))
        assert found.edges is not None
        return found.atoms, found.edges

    inputs = (start.atoms, start.edges, random(graphs.main.edges.count, 2))
    assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


def test_the_scale_of_edges_is_fitted_to_the_edges_in_front_of_the_radial_functions() -> None:
    module, graphs = output_block(), graphs_of(KINDS["slab"]())
    seen: list[tuple[Tensor, ...]] = []
    module.edge_scale.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    embeddings = random_embeddings(graphs, 5, 6)
    module(embeddings, geometry_of(graphs, random(graphs.main.edges.count, 2)))
    assert module.edge_layers is not None
    assert torch.equal(seen[0][1], module.edge_layers(embeddings.edges))


def test_last_layers_end_in_one_number_in_the_type_of_their_input() -> None:
    layer = LastLinear(3).double()
    x = random(4, 3)
    assert_same_function(layer(x), torch.stack([layer.linear.weight[0] @ row for row in x]), [x, layer.linear.weight])
    assert layer(x[:0]).shape == (0,)
    assert LastLinear(3, "grid").linear.weight.tolist() == [[-1, 0, 1]]
    assert LastLinear(3, "zeros").linear.weight.tolist() == [[0, 0, 0]]


def test_last_layers_stay_wide_under_autocast() -> None:
    network = OutputNetwork(in_size=8, size=8, residual_count=1)
    x = torch.randn(5, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = network([x])
        assert network.layers(x).dtype == torch.bfloat16
    assert result.dtype == torch.float32
    # more than the 8 bits of bfloat16 survive the last product
    assert not torch.equal(result, result.bfloat16().float())
    assert_close(result, network.last(network.layers(x)), 0.05)


def test_last_layers_of_half_precision_compute_in_float32() -> None:
    layer = LastLinear(3).to(torch.bfloat16)
    assert layer(torch.randn(4, 3, dtype=torch.bfloat16)).dtype == torch.float32


def test_networks_read_all_features_side_by_side() -> None:
    network = OutputNetwork(in_size=5, size=4, residual_count=2).double()
    features = [random(3, 2), random(3, 3)]
    hidden = oracles.through(network.layers, torch.cat(features, dim=1))
    slow = (hidden @ network.last.linear.weight.T)[:, 0]
    assert_same_function(network(features), slow, [*features, *network.parameters()])


def test_reading_out_makes_a_number_per_atom_and_per_edge() -> None:
    readout = ConcatenatedReadout(OutputNetwork(4, 3, 1), OutputNetwork(6, 3, 1))
    outputs = [Output(torch.randn(5, 2), torch.randn(7, 3)) for _ in range(2)]
    found = readout(outputs)
    assert torch.equal(found.atoms, readout.atoms([output.atoms for output in outputs]))
    assert found.edges is not None
    assert found.edges.shape == (7,)
    without = ConcatenatedReadout(OutputNetwork(4, 3, 1))
    assert without([Output(output.atoms, None) for output in outputs]).edges is None


@pytest.mark.parametrize("edges", [True, False])
@pytest.mark.parametrize("after_atom", [0, 2])
def test_options_set_the_numbers_of_layers(after_atom: int, edges: bool) -> None:
    options = ConcatenatedOptions(layers=3, after_atom=after_atom, network=1, initialization="zeros")
    sizes: dict[str, Any] = {"atom": 5, "edge": 6, "radial": 2, "circular": 1, "spherical": 1}
    context = ReadoutContext(Sizes(**sizes), "silu", output_count=4, edges=edges, sums=Sums())
    block = ConcatenatedReadout.output_block(options, context)
    assert len(block.update.layers) == 1 + 3  # a dense layer between the different widths
    assert (len(block.after_atom) if block.after_atom is not None else 0) == after_atom
    assert (len(block.edge_layers) if block.edge_layers is not None else 0) == (3 if edges else 0)
    readout = ConcatenatedReadout.from_options(options, context)
    assert readout.atoms.layers[0].linear.weight.shape == (5, 4 * 5)
    assert len(readout.atoms.layers) == 1 + 1
    assert (readout.atoms.last.linear.weight == 0).all()
    assert (readout.edges is not None) == edges
    if readout.edges is not None:
        assert readout.edges.layers[0].linear.weight.shape == (6, 4 * 6)
