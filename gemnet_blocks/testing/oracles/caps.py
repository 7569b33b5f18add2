"""Caps: which of an atom's neighbors count among its nearest, or how much each of them counts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gemnet_blocks.graph.max_neighbors import Ties
from gemnet_blocks.graph.neighbor_list import Pairs
from gemnet_blocks.testing.oracles.graphs import Neighbor, edges_of


def within_cap(
    pairs: Pairs | Sequence[Neighbor], max_neighbors: int, ties: Ties, tolerance: float = 0.01, squared: bool = False
) -> list[bool]:
    """Whether each pair's source is among the nearest k of its target.

    `strict`: the first k in the order of distance, source and shift. `inclusive`: d ≤ d_k + tolerance, where d_k is the
    distance of the k-th nearest. `inclusive_next`: d ≤ d_{k+1} + tolerance. Everything where there are not that many.

    Args:
        pairs: in any order.
        max_neighbors: the cap k.
        ties: what becomes of neighbors at the same distance.
        tolerance: in Å, or in Å² if `squared`.
        squared: compare squared distances.
    """
    if isinstance(pairs, Pairs):
        edges, lengths = edges_of(pairs), pairs.distance.tolist()
    else:
        edges, lengths = [pair.edge for pair in pairs], [pair.distance for pair in pairs]
    distances = [d**2 if squared else d for d in lengths]
    kept = [False] * len(edges)
    for target in {edge.target for edge in edges}:
        into = [i for i, edge in enumerate(edges) if edge.target == target]
        into.sort(key=lambda i: (distances[i], edges[i].source, edges[i].shift))
        if ties == "strict":
            admitted = into[:max_neighbors]
        else:
            last = max_neighbors if ties == "inclusive" else max_neighbors + 1
            nearest = [distances[i] for i in into[:last]]
            limit = math.inf if len(nearest) < last else max(nearest, default=-math.inf) + tolerance
            admitted = [i for i in into if distances[i] <= limit]
        for i in admitted:
            kept[i] = True
    return kept


def smooth_weights(
    distances: Float[Tensor, " neighbors"],
    weights_of_parent: Float[Tensor, " neighbors"],
    cap: int,
    cutoff: float,
    width: float,
) -> Float[Tensor, " neighbors"]:
    """How much each neighbor of one atom counts under a cap that fades out instead of cutting.

    M = Σ_j p_j u_j counts the neighbors, with u_j = s((R - d_j)/δ). No more than k: w_j = p_j. More: w_j = p_j s((r -
    d_j)/δ), where r is the largest number ≤ R + δ with Σ_j p_j u_j s((r - d_j)/δ) ≤ M - e(M - k). s is `smooth_step`
    and e `smooth_step_integral`.

    r is found by bisection, then differentiated as the root that it is: with F the difference of both sides, r changes
    by -dF/(∂F/∂r).

    Args:
        distances: d ≤ R in Å.
        weights_of_parent: p, from the edge set that this one is within; 1 without.
        cap: k.
        cutoff: R in Å.
        width: δ in Å.
    """
    if cap == 0:
        return torch.zeros_like(distances)
    counted = weights_of_parent * smooth_step((cutoff - distances) / width)
    if counted.sum() <= cap:
        return weights_of_parent
    goal = counted.sum() - smooth_step_integral(counted.sum() - cap)
    found = _largest_radius(distances.tolist(), counted.tolist(), float(goal.detach()), cutoff, width)
    radius = distances.new_tensor(found).requires_grad_()
    with torch.enable_grad():
        excess = (counted * smooth_step((radius - distances) / width)).sum() - goal
        (slope,) = torch.autograd.grad(excess, radius, retain_graph=True)
    excess = (counted * smooth_step((radius.detach() - distances) / width)).sum() - goal
    root = radius.detach() - (excess - excess.detach()) / slope if slope > 0 else radius.detach()
    return weights_of_parent * smooth_step((root - distances) / width)


def smooth_step(t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """0 for t ≤ 0, 1 for t ≥ 1, t³(10 - 15t + 6t²) between."""
    inside = t**3 * (10 - 15 * t + 6 * t**2)
    return torch.where(t <= 0, torch.zeros_like(t), torch.where(t >= 1, torch.ones_like(t), inside))


def smooth_step_integral(t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """∫ of `smooth_step` from 0 to t: 0 for t ≤ 0, t⁶ - 3t⁵ + 5t⁴/2 up to 1, t - 1/2 beyond."""
    inside = t**6 - 3 * t**5 + 5 / 2 * t**4
    return torch.where(t <= 0, torch.zeros_like(t), torch.where(t >= 1, t - 1 / 2, inside))


def _largest_radius(
    distances: Sequence[float], counted: Sequence[float], goal: float, cutoff: float, width: float
) -> float:
    """The largest r ≤ R + δ with Σ_j counted_j s((r - d_j)/δ) ≤ goal, by bisection; the sum rises with r from 0."""

    def total(r: float) -> float:
        steps = (min(max((r - d) / width, 0.0), 1.0) for d in distances)
        return math.fsum(c * t**3 * (10 - 15 * t + 6 * t**2) for c, t in zip(counted, steps, strict=True))

    low, high = 0.0, cutoff + width
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if total(middle) <= goal else (low, middle)
    return low
