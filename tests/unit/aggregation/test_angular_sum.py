from __future__ import annotations

import torch
from helpers import assert_same_function
from torch import Tensor

from gemnet_blocks.aggregation.angular_sum import ExplicitSum, ExplicitSumAtAtoms
from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.graph.ragged import segments


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_explicit_angular_sums_project_weighted_sums() -> None:
    segment, index = torch.tensor([0, 0, 2, 2, 2]), torch.tensor([3, 1, 0, 1, 2])
    weights, projection, values, linear = random(5, 2), random(4, 3, 2), random(4, 6), random(2, 18)
    inner = Sums().weighted(weights, index, segments(segment, 4))
    projected = ExplicitSum(inner, projection, Sums())(values, lambda rows: rows @ linear.T)
    rows = []
    for s in range(4):
        total = torch.zeros(3, 6, dtype=torch.float64)
        for i in range(5):
            if segment[i] == s:
                total = total + torch.outer(projection[s] @ weights[i], values[index[i]])
        rows.append(total)
    expected = torch.stack(rows).flatten(1) @ linear.T
    assert_same_function(projected, expected, [weights, projection, values, linear])


def test_sums_over_edges_end_at_atoms() -> None:
    segment, index = torch.tensor([0, 0, 2, 2, 2]), torch.tensor([3, 1, 0, 1, 2])
    weights, projection, values, linear = random(5, 2), random(4, 3, 2), random(4, 6), random(2, 18)
    inner = Sums().weighted(weights, index, segments(segment, 4))
    target = torch.tensor([0, 0, 2, 2])
    at_edges = projection @ inner(values)
    at_atoms = torch.stack([at_edges[0] + at_edges[1], torch.zeros(3, 6), at_edges[2] + at_edges[3]])
    fast = ExplicitSumAtAtoms(ExplicitSum(inner, projection, Sums()), target, 3, Sums())(
        values, lambda rows: rows @ linear.T
    )
    assert_same_function(fast, at_atoms.flatten(1) @ linear.T, [weights, projection, values, linear])


def test_radial_sums_need_no_projection() -> None:
    weights, values, linear = random(3, 2), random(4, 6), random(2, 12)
    inner = Sums().weighted(weights, torch.tensor([3, 1, 0]), segments(torch.tensor([0, 0, 1]), 2))
    rows = torch.stack(
        [torch.outer(weights[0], values[3]) + torch.outer(weights[1], values[1]), torch.outer(weights[2], values[0])]
    )
    fast = ExplicitSum(inner, None, Sums())(values, lambda rows: rows @ linear.T)
    assert_same_function(fast, rows.flatten(1) @ linear.T, [weights, values, linear])
