from __future__ import annotations

import pytest
import torch
from helpers import KINDS, assert_same_function, graphs_of, set_random_scales
from torch import Tensor

from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.layers.dense import Dense
from gemnet_blocks.layers.residual import Residual
from gemnet_blocks.model.block import AtomUpdate, stack
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def atom_update(edge_size: int = 4, atom_size: int = 5) -> AtomUpdate:
    module = AtomUpdate(edge_size, atom_size, radial_size=2, residual_count=2, sums=Sums()).double()
    set_random_scales(module)
    return module


@pytest.mark.parametrize(("edge_size", "atom_size"), [(4, 5), (4, 4)])
def test_equals_the_oracle(any_structures: Structures, edge_size: int, atom_size: int) -> None:
    module, edges = atom_update(edge_size, atom_size), graphs_of(any_structures).main.edges
    m, radial = random(edges.count, edge_size), random(edges.count, 2)
    fast = module(m, radial, edges.target, edges.atom_count)
    slow = oracles.atom_update(module, m, radial, edges)
    assert_same_function(fast, slow, [m, radial, *module.parameters()])


def test_the_scale_is_fitted_to_the_edges() -> None:
    module, edges = atom_update(), graphs_of(KINDS["slab"]()).main.edges
    seen: list[tuple[Tensor, ...]] = []
    module.scale.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    m = random(edges.count, 4)
    module(m, random(edges.count, 2), edges.target, edges.atom_count)
    assert seen[0][0].shape == (edges.atom_count, 4)
    assert seen[0][1] is m


@pytest.mark.parametrize(
    ("in_size", "projection", "kinds"),
    [
        (3, "if_needed", [Residual, Residual]),
        (2, "if_needed", [Dense, Residual, Residual]),
        (3, "always", [Dense, Residual, Residual]),
    ],
)
def test_a_stack_starts_with_a_dense_layer_where_needed(in_size: int, projection: str, kinds: list[type]) -> None:
    layers = stack(in_size, 3, 2, "silu", projection)
    assert [type(layer) for layer in layers] == kinds
    assert layers(torch.randn(5, in_size)).shape == (5, 3)


def test_derivatives() -> None:
    module, edges = atom_update(2, 3), graphs_of(KINDS["small cell"]()).main.edges

    def function(m: Tensor, radial: Tensor) -> Tensor:
        return module(m, radial, edges.target, edges.atom_count)

    inputs = (random(edges.count, 2), random(edges.count, 2))
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)
