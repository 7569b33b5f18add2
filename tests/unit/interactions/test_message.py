from __future__ import annotations

import pytest
import torch
from helpers import KINDS, GivenSums, assert_same_function, graphs_of, set_random_scales
from torch import Tensor

from gemnet_blocks.interactions.message import Contraction, Message, SymmetricUp
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("edges", [0, 6])
def test_messages_equal_the_oracle(edges: int) -> None:
    module = Message(in_size=4, radial_size=2, down_size=3).double()
    set_random_scales(module)
    x, radial = random(edges, 4), random(edges, 2)
    slow = oracles.message(module, oracles.dense(module.dense, x), radial)
    assert_same_function(module(x, radial), slow, [x, radial, *module.parameters()])


def test_messages_of_atoms_are_taken_where_edges_start() -> None:
    module = Message(in_size=4, radial_size=2, down_size=3).double()
    set_random_scales(module)
    atoms, radial, source = random(3, 4), random(6, 2), torch.tensor([2, 0, 0, 1, 2, 2])
    slow = oracles.message(module, oracles.dense(module.dense, atoms)[source], radial)
    assert_same_function(module(atoms, radial, source), slow, [atoms, radial, *module.parameters()])


def test_the_scale_of_a_message_is_fitted_to_the_message_in_front_of_the_radial_functions() -> None:
    module = Message(in_size=4, radial_size=2, down_size=3).double()
    seen: list[tuple[Tensor, ...]] = []
    module.scale.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    x, radial = random(6, 4), random(6, 2)
    module(x, radial)
    assert torch.equal(seen[0][1], module.dense(x))
    assert torch.equal(seen[0][0], module.dense(x) * module.radial(radial))


@pytest.mark.parametrize("rows", [0, 5])
def test_contractions_flatten_with_basis_embeddings_outside(rows: int) -> None:
    module = Contraction(basis_size=2, down_size=3, up_size=4).double()
    set_random_scales(module)
    sums = random(rows, 2, 3)
    slow = oracles.linear_of_flattened(module, sums)
    assert_same_function(module(GivenSums(sums), random(7, 3)), slow, [sums, *module.parameters()])


def test_the_scale_of_a_contraction_is_fitted_to_the_summed_values() -> None:
    module = Contraction(basis_size=2, down_size=3, up_size=4).double()
    seen: list[tuple[Tensor, ...]] = []
    module.scale.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    reference = random(7, 3)
    module(GivenSums(random(5, 2, 3)), reference)
    assert seen[0][1] is reference


def test_messages_up_go_to_an_edge_and_to_its_opposite(any_structures: Structures) -> None:
    main = graphs_of(any_structures).main
    module, x = SymmetricUp(in_size=3, edge_size=4).double(), random(main.edges.count, 3)
    slow = oracles.to_both_directions(module, x, oracles.edges_of(main.edges))
    assert_same_function(module(x, main.reverse), slow, [x, *module.parameters()])


def test_messages_up_of_the_same_weights_are_symmetric() -> None:
    main = graphs_of(KINDS["slab"]()).main
    module, x = SymmetricUp(in_size=3, edge_size=4).double(), random(main.edges.count, 3)
    assert not torch.equal(module(x, main.reverse)[main.reverse], module(x, main.reverse))
    module.opposite.load_state_dict(module.same.state_dict())
    torch.testing.assert_close(module(x, main.reverse)[main.reverse], module(x, main.reverse), rtol=0, atol=1e-14)


def test_derivatives() -> None:
    message = Message(in_size=2, radial_size=2, down_size=2).double()
    contraction = Contraction(basis_size=2, down_size=2, up_size=2).double()
    reverse = torch.tensor([1, 0])
    up = SymmetricUp(in_size=2, edge_size=2).double()

    def function(x: Tensor, radial: Tensor) -> Tensor:
        down = message(x, radial)
        return up(contraction(GivenSums(down[:, None] * down[:, :, None]), down), reverse)

    inputs = (random(2, 2), random(2, 2))
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)
