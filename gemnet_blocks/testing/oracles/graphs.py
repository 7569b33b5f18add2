"""Edges, their opposites, triplets and quadruplets, found by trying everything."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gemnet_blocks.geometry.edges import EdgeSet
from gemnet_blocks.graph.max_neighbors import Ties
from gemnet_blocks.graph.neighbor_list import Pairs
from gemnet_blocks.graph.symmetrize import Symmetrization
from gemnet_blocks.structures import Structures


class Edge(NamedTuple):
    """An edge from an image of atom `source` to atom `target`; `shift` says which image, in lattice vectors."""

    source: int
    target: int
    shift: tuple[int, int, int]

    @property
    def opposite(self) -> Edge:
        """The edge from target to source: seen from the source, the target is displaced by -shift."""
        x, y, z = self.shift
        return Edge(self.target, self.source, (-x, -y, -z))


class Neighbor(NamedTuple):
    """An edge and its length in Å."""

    edge: Edge
    distance: float


class Triplet(NamedTuple):
    """Indices of the edges c→a (outer) and b→a (inner)."""

    outer: int
    inner: int


class Quadruplet(NamedTuple):
    """Indices of the edges c→a (outer), b→a (middle) and d→b (inner)."""

    outer: int
    middle: int
    inner: int


def edges_of(edges: EdgeSet | Pairs) -> list[Edge]:
    """The edges of a set or of the result of a search, one object each, in their order."""
    shifts = [(x, y, z) for x, y, z in edges.shift.tolist()]
    return [Edge(*ends) for ends in zip(edges.source.tolist(), edges.target.tolist(), shifts, strict=True)]


def neighbors(structures: Structures, cutoff: float) -> list[Neighbor]:
    """All edges no longer than a cutoff, by trying every image of every atom that could be so near.

    d = |r_t - r_s - n·A| ≤ cutoff for the image n of the source s. With b_k the reciprocal vectors (b_k · a_l = δ_kl)
    of the periodic a_k, only n_k with |b_k · (r_t - r_s) - n_k| ≤ |b_k|·cutoff are possible: 1/|b_k| is the height of
    the cell. An atom is no neighbor of itself, but of its own images and of other atoms at the same place.

    Args:
        structures: S structures; atoms may lie outside their cells.
        cutoff: the largest distance in Å, itself included.

    Returns:
        The edges, by target, then distance, source and shift.
    """
    positions: list[list[float]] = structures.positions.detach().double().tolist()
    home: list[int] = structures.structure.tolist()
    found = []
    for index in range(len(structures)):
        cell = structures.cells[index].detach().double().numpy(force=True)
        periodic = structures.periodic[index].numpy(force=True)
        atoms = [atom for atom, of_atom in enumerate(home) if of_atom == index]
        for target, source in itertools.product(atoms, atoms):
            for shift in _images(np.subtract(positions[target], positions[source]), cell, periodic, cutoff):
                if source == target and shift == (0, 0, 0):
                    continue
                distance = _distance(positions[source], positions[target], shift, cell.tolist())
                if distance <= cutoff:
                    found.append(Neighbor(Edge(source, target, shift), distance))
    return sorted(found, key=lambda one: (one.edge.target, one.distance, one.edge.source, one.edge.shift))


def symmetrize(edges: Iterable[Edge], rule: Symmetrization) -> set[Edge]:
    """The edges that a rule keeps, and the opposite of each.

    `union`: all of them. `lower_index`: those with source < target, and those between an atom and its own image with a
    lexicographically positive shift.
    """
    kept = set(edges)
    if rule == "lower_index":
        kept = {edge for edge in kept if is_towards_higher(edge)}
    return kept | {edge.opposite for edge in kept}


def is_towards_higher(edge: Edge) -> bool:
    """Whether the rule `lower_index` keeps an edge for itself, not as the opposite of another."""
    return edge.source < edge.target or (edge.source == edge.target and edge.shift > (0, 0, 0))


def reverse(edges: Sequence[Edge]) -> list[int]:
    """The index of the opposite of each edge."""
    return [edges.index(edge.opposite) for edge in edges]


def triplets(outer: Sequence[Edge], inner: Sequence[Edge]) -> set[Triplet]:
    """c→a and b→a with b ≠ c, comparing atom and image; with two edge sets, the mixed triplets."""
    return {
        Triplet(i, j)
        for i, ca in enumerate(outer)
        for j, ba in enumerate(inner)
        if ba.target == ca.target and (ba.source, ba.shift) != (ca.source, ca.shift)
    }


def quadruplets(edges: Sequence[Edge], middle: Sequence[Edge]) -> set[Quadruplet]:
    """c→a and d→b of `edges` around b→a of `middle`, with b ≠ c, d ≠ a and d ≠ c, comparing atom and image."""
    found = set()
    for outer, inner in triplets(edges, middle):
        ca, ba = edges[outer], middle[inner]
        for k, db in enumerate(edges):
            if db.target != ba.source:
                continue
            # d→b says where d is if b is at home; seen from a, b is displaced, and d with it
            x, y, z = (of_d + of_b for of_d, of_b in zip(db.shift, ba.shift, strict=True))
            d = (db.source, (x, y, z))
            if d not in ((ca.target, (0, 0, 0)), (ca.source, ca.shift)):
                found.add(Quadruplet(outer, inner, k))
    return found


def _images(
    offset: np.ndarray[tuple[int], np.dtype[np.float64]],
    cell: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    periodic: np.ndarray[tuple[int], np.dtype[np.bool_]],
    cutoff: float,
) -> list[tuple[int, int, int]]:
    """The shifts n for which |offset - n·A| may be within the cutoff, and one more on every side for rounding."""
    reciprocal = np.linalg.pinv(cell[periodic]).T  # a row per periodic vector
    ranges = [range(1)] * 3
    for axis, vector in zip(np.flatnonzero(periodic).tolist(), reciprocal, strict=True):
        middle, reach = float(vector @ offset), float(np.linalg.norm(vector)) * cutoff
        ranges[axis] = range(math.floor(middle - reach), math.ceil(middle + reach) + 1)
    x, y, z = ranges
    return list(itertools.product(x, y, z))


def _distance(
    source: Sequence[float], target: Sequence[float], shift: Sequence[int], cell: Sequence[Sequence[float]]
) -> float:
    """|r_t - r_s - n·A|."""
    squared = 0.0
    for axis in range(3):
        translation = sum(n * vector[axis] for n, vector in zip(shift, cell, strict=True))
        squared += (target[axis] - source[axis] - translation) ** 2
    return math.sqrt(squared)


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
