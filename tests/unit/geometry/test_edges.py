from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import KINDS, assert_close, differentiable
from torch import Tensor

from gemnet_blocks.geometry.edges import EdgeSet, measure, safe_norm
from gemnet_blocks.graph.neighbor_list import Pairs, VesinSearch
from gemnet_blocks.graph.pairs import pack_shift
from gemnet_blocks.structures import Structures

CUTOFF = 4.0


def edges_of(structures: Structures, dtype: torch.dtype = torch.float64) -> EdgeSet:
    return measure(VesinSearch()(structures, CUTOFF), structures, dtype)


def test_distances_and_directions_follow_the_sign_conventions(any_structures: Structures) -> None:
    edges = edges_of(any_structures)
    positions, cells = any_structures.positions.numpy(), any_structures.cells.numpy()
    for e in range(edges.count):
        source, target = int(edges.source[e]), int(edges.target[e])
        image = positions[source] + edges.shift[e].numpy() @ cells[int(any_structures.structure[target])]
        vector = positions[target] - image
        distance = np.linalg.norm(vector)
        assert float(edges.distance[e]) == pytest.approx(distance, abs=1e-13)
        direction = vector / distance if distance else np.zeros(3)
        np.testing.assert_allclose(edges.direction[e].numpy(), direction, rtol=0, atol=1e-13)


def test_edges_into_an_atom_are_one_run_from_near_to_far(any_structures: Structures) -> None:
    edges = edges_of(any_structures)
    assert edges.atom_count == any_structures.atom_count
    assert int(edges.degree.sum()) == edges.count
    for atom in range(edges.atom_count):
        run = slice(int(edges.first[atom]), int(edges.first[atom + 1]))
        assert (edges.target[run] == atom).all()
        assert int(edges.degree[atom]) == int((edges.target == atom).sum())
        assert (edges.distance[run].diff() >= 0).all()


def measured(pairs: Pairs, structures: Structures) -> Tensor:
    edges = measure(pairs, structures, torch.float64)
    return torch.cat([edges.distance[:, None], edges.direction], dim=1)


def test_first_and_second_derivatives_to_positions_and_cells() -> None:
    structures = differentiable(KINDS["small cell"]())
    pairs = VesinSearch()(structures, 2.5)
    assert len(pairs) > 4

    def function(positions: Tensor, cells: Tensor) -> Tensor:
        return measured(pairs, replace(structures, positions=positions, cells=cells))

    inputs = (structures.positions, structures.cells)
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_coincident_atoms_have_no_direction_and_finite_derivatives() -> None:
    structures = differentiable(KINDS["coincident atoms"]())
    edges = edges_of(structures)
    coincide = edges.distance == 0
    assert int(coincide.sum()) == 2
    assert (edges.direction[coincide] == 0).all()
    (first,) = torch.autograd.grad(
        (edges.distance.sin() + edges.direction.sum(1)).sum(), structures.positions, create_graph=True
    )
    (second,) = torch.autograd.grad(first.square().sum(), structures.positions)
    assert first.isfinite().all()
    assert second.isfinite().all()


def test_float32_edges_are_those_of_float64_rounded_even_far_from_the_origin() -> None:
    near = KINDS["molecules"]()
    far = replace(near, positions=near.positions + 4096)  # float32 knows only multiples of 0.0005 Å there
    single, double = edges_of(far, torch.float32), edges_of(far)
    assert single.distance.dtype == single.direction.dtype == torch.float32
    assert torch.equal(single.distance, double.distance.float())
    assert torch.equal(single.direction, double.direction.float())


def test_safe_norm_is_the_norm_with_zero_derivatives_at_zero() -> None:
    vectors = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    norm = safe_norm(vectors)
    assert norm.tolist() == [5, 0]
    (first,) = torch.autograd.grad(norm.sum(), vectors, create_graph=True)
    assert_close(first, torch.tensor([[0.6, 0.8, 0], [0, 0, 0]], dtype=torch.float64))
    (second,) = torch.autograd.grad(first.square().sum() + first.sum(), vectors)
    assert second[1].tolist() == [0, 0, 0]
    assert second[0].isfinite().all()
    assert torch.autograd.gradgradcheck(safe_norm, torch.randn(4, 3, dtype=torch.float64, requires_grad=True))


def test_packed_shifts_are_additive_and_distinct() -> None:
    generator = torch.Generator().manual_seed(0)
    few = torch.cartesian_prod(*[torch.tensor([-(2**20) + 1, -3, -1, 0, 1, 2, 2**20 - 1])] * 3)
    assert len(pack_shift(few).unique()) == len(few)
    one, other = (few[torch.randint(len(few), (1000,), generator=generator)] // 2 for _ in range(2))
    assert torch.equal(pack_shift(one) + pack_shift(other), pack_shift(one + other))
    assert torch.equal(pack_shift(-one), -pack_shift(one))
