"""Reference definitions of edges, their opposites, triplets and quadruplets by exhaustive search."""

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
    """An edge from the image of atom `source` at `shift` lattice vectors to atom `target`."""

    source: int
    target: int
    shift: tuple[int, int, int]

    @property
    def opposite(self) -> Edge:
        """The edge from target to source; relative to the source, the target is displaced by -shift."""
        x, y, z = self.shift
        return Edge(self.target, self.source, (-x, -y, -z))


class Neighbor(NamedTuple):
    """An edge and its length in Å."""

    edge: Edge
    distance: float


class Triplet(NamedTuple):
    """Indices of the receiving edge c→a (outer) and the sending edge b→a (inner)."""

    outer: int
    inner: int


class Quadruplet(NamedTuple):
    """Indices of the receiving edge c→a (outer), the edge b→a (middle) and the sending edge d→b (inner)."""

    outer: int
    middle: int
    inner: int


def edges_of(edges: EdgeSet | Pairs) -> list[Edge]:
    """Convert the edges of a set or of a search to `Edge` objects in their order."""
    shifts = [(x, y, z) for x, y, z in edges.shift.tolist()]
    return [Edge(*ends) for ends in zip(edges.source.tolist(), edges.target.tolist(), shifts, strict=True)]


def neighbors(structures: Structures, cutoff: float) -> list[Neighbor]:
    """Find all edges within a cutoff by computing the distance to every image of every atom that may be in reach.

    d = |r_t - r_s - n·A| ≤ cutoff for the image n of the source s. With the reciprocal vectors b_k (b_k · a_l = δ_kl)
    of the periodic a_k, only n_k with |b_k · (r_t - r_s) - n_k| ≤ |b_k|·cutoff are possible, since 1/|b_k| is the
    height of the cell. An atom is a neighbor of its own images and of other atoms at the same place, but not of itself.

    Args:
        structures: the structures; atoms may lie outside their cells.
        cutoff: cutoff in Å, inclusive.

    Returns:
        The edges, sorted by target, distance, source and shift.
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
    """Return the edges that a rule keeps and their opposites.

    `union` keeps all edges; `lower_index` keeps edges with source < target, and edges between an atom and its own
    image with a lexicographically positive shift.
    """
    kept = set(edges)
    if rule == "lower_index":
        kept = {edge for edge in kept if is_towards_higher(edge)}
    return kept | {edge.opposite for edge in kept}


def is_towards_higher(edge: Edge) -> bool:
    """Return True if the rule `lower_index` keeps the edge itself, not only as the opposite of another edge."""
    return edge.source < edge.target or (edge.source == edge.target and edge.shift > (0, 0, 0))


def reverse(edges: Sequence[Edge]) -> list[int]:
    """Return the index of the opposite of each edge."""
    return [edges.index(edge.opposite) for edge in edges]


def triplets(outer: Sequence[Edge], inner: Sequence[Edge]) -> set[Triplet]:
    """Find the triplets c→a, b→a with b ≠ c, where b and c are images; the edge sets may differ."""
    return {
        Triplet(i, j)
        for i, ca in enumerate(outer)
        for j, ba in enumerate(inner)
        if ba.target == ca.target and (ba.source, ba.shift) != (ca.source, ca.shift)
    }


def quadruplets(edges: Sequence[Edge], middle: Sequence[Edge]) -> set[Quadruplet]:
    """Find c→a and d→b of `edges` around b→a of `middle` with b ≠ c, d ≠ a and d ≠ c, comparing atom and image."""
    found = set()
    for outer, inner in triplets(edges, middle):
        ca, ba = edges[outer], middle[inner]
        for k, db in enumerate(edges):
            if db.target != ba.source:
                continue
            # the shift of d→b is relative to b, which itself is displaced relative to a
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
    """Return the shifts n for which |offset - n·A| may be within the cutoff, and one more per side for rounding."""
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
    squared = 0.0
    for axis in range(3):
        translation = sum(n * vector[axis] for n, vector in zip(shift, cell, strict=True))
        squared += (target[axis] - source[axis] - translation) ** 2
    return math.sqrt(squared)


def within_cap(
    pairs: Pairs | Sequence[Neighbor], max_neighbors: int, ties: Ties, tolerance: float = 0.01, squared: bool = False
) -> list[bool]:
    """Return for each pair if its source is among the nearest k neighbors of its target.

    `strict` keeps the first k in the order of distance, source and shift; `inclusive` those with d ≤ d_k + tolerance,
    where d_k is the distance of the k-th nearest; `inclusive_next` those with d ≤ d_{k+1} + tolerance. Targets with
    fewer neighbors keep all of them.

    Args:
        pairs: the pairs in any order.
        max_neighbors: maximum number of neighbors k.
        ties: treatment of neighbors at the same distance.
        tolerance: tolerance of ties in Å, or in Å² if `squared`.
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
    """Compute the weights of the neighbors of one atom under a smooth maximum number of neighbors.

    M = Σ_j p_j u_j counts the neighbors, with u_j = s((R - d_j)/δ). If M ≤ k, w_j = p_j. Otherwise w_j = p_j s((r -
    d_j)/δ), where r is the largest number ≤ R + δ with Σ_j p_j u_j s((r - d_j)/δ) ≤ M - e(M - k). s is `smooth_step`
    and e `smooth_step_integral`.

    r is found by bisection and differentiated as an implicit function: dr = -dF/(∂F/∂r) with the difference F of both
    sides.

    Args:
        distances: distances d ≤ R in Å.
        weights_of_parent: weights p in the edge set that contains this one, else 1.
        cap: maximum number of neighbors k.
        cutoff: cutoff R in Å.
        width: width δ of the fading in Å.
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
    """Evaluate t³(10 - 15t + 6t²) for 0 < t < 1, 0 below and 1 above."""
    inside = t**3 * (10 - 15 * t + 6 * t**2)
    return torch.where(t <= 0, torch.zeros_like(t), torch.where(t >= 1, torch.ones_like(t), inside))


def smooth_step_integral(t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Integrate `smooth_step` from 0 to t: 0 for t ≤ 0, t⁶ - 3t⁵ + 5t⁴/2 up to 1, t - 1/2 above."""
    inside = t**6 - 3 * t**5 + 5 / 2 * t**4
    return torch.where(t <= 0, torch.zeros_like(t), torch.where(t >= 1, t - 1 / 2, inside))


def _largest_radius(
    distances: Sequence[float], counted: Sequence[float], goal: float, cutoff: float, width: float
) -> float:
    """Find the largest r ≤ R + δ with Σ_j counted_j s((r - d_j)/δ) ≤ goal by bisection; the sum increases with r."""

    def total(r: float) -> float:
        steps = (min(max((r - d) / width, 0.0), 1.0) for d in distances)
        return math.fsum(c * t**3 * (10 - 15 * t + 6 * t**2) for c, t in zip(counted, steps, strict=True))

    low, high = 0.0, cutoff + width
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if total(middle) <= goal else (low, middle)
    return low
