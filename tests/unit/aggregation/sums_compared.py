"""Angular sums of the same edges, weights and values under several plans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from helpers import differentiable, graphs_of, radial_values
from torch import Tensor, nn
from torch.func import functional_call

from gemnet_blocks.aggregation.angular_sum import AngularSum
from gemnet_blocks.structures import Structures

FEATURES, OUT = 3, 4

Part = nn.Module
"""Makes an angular sum, or something with one, of graphs and radial functions."""


@dataclass(frozen=True)
class Case:
    """Structures and random numbers, of which any plan makes a sum.

    Attributes:
        structures: in float64, with gradients.
        weights: of the linear map behind the sum.
        seed: makes the values.
    """

    structures: Structures
    linear: Tensor
    seed: int = 0

    def sum(
        self, part: Part, positions: Tensor | None = None, values: Tensor | None = None, **weights: Tensor
    ) -> Tensor:
        """The projected sums, from positions, values and weights other than the case's own where they are given."""
        return self.values_and_sum(part, positions, values, **weights)[1]

    def values_and_sum(
        self, part: Part, positions: Tensor | None = None, values: Tensor | None = None, **weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What is summed, a row for each inner edge or triplet d→b→a, and the projected sums."""
        structures = self.structures if positions is None else replace(self.structures, positions=positions)
        graphs = graphs_of(structures, part.requests)  # type: ignore[arg-type]
        made = functional_call(part, weights, (graphs, radial_values(graphs)))
        angular: AngularSum = made if isinstance(made, AngularSum) else made.angular_sum
        if values is None:
            rows = len(made.inner_edge) if hasattr(made, "inner_edge") else graphs.edge_sets[part.request.inner].count  # type: ignore[union-attr]
            generator = torch.Generator().manual_seed(self.seed)
            values = torch.randn(rows, FEATURES, generator=generator, dtype=torch.float64, requires_grad=True)
        return values, angular(values, lambda rows: rows @ self.linear.T)


def case(structures: Structures, embeddings: int) -> Case:
    """A case for sums with so many embeddings."""
    linear = torch.randn(OUT, embeddings * FEATURES, dtype=torch.float64, requires_grad=True)
    return Case(differentiable(structures), linear)


def sharing_weights(make: Callable[[Any], Part], plans: Sequence[Any]) -> list[Part]:
    """A part for each plan, all with the same weights."""
    parts = [make(plan).double() for plan in plans]
    for part in parts[1:]:
        part.load_state_dict(parts[0].state_dict())
    return parts


def assert_same_sums(fast: Part, slow: Part, on: Case, tolerance: float = 1e-10) -> None:
    """Equal values and gradients to positions, cells, values, projection and linear map, relative to the largest."""
    results, slopes = [], []
    for part in (fast, slow):
        values, result = on.values_and_sum(part)
        inputs = [on.structures.positions, on.structures.cells, values, on.linear, *part.parameters()]
        generator = torch.Generator().manual_seed(1)
        weights = torch.randn(result.shape, generator=generator, dtype=torch.float64)
        slopes.append(torch.autograd.grad((result * weights).sum(), inputs, materialize_grads=True, allow_unused=True))
        results.append(result.detach())
    assert float(results[1].abs().max()) > 1e-3
    for one, other in zip([results[0], *slopes[0]], [results[1], *slopes[1]], strict=True):
        assert one.shape == other.shape
        assert float((one - other).abs().max()) <= tolerance * float(other.abs().max())


def derivatives(part: Part, on: Case) -> list[Tensor]:
    """The sums, and first and second derivatives to positions, values and weights."""
    values, result = on.values_and_sum(part)
    inputs = [on.structures.positions, values, on.linear, *part.parameters()]
    first = torch.autograd.grad(
        result.square().sum(), inputs, create_graph=True, materialize_grads=True, allow_unused=True
    )
    size = sum((gradient.square().sum() for gradient in first), torch.zeros((), dtype=torch.float64))
    second: Sequence[Tensor] = [torch.zeros_like(x) for x in inputs]
    if size.requires_grad:
        second = torch.autograd.grad(size, inputs, materialize_grads=True, allow_unused=True)
    return [result, *first, *second]
