"""Edges, their opposites, triplets and quadruplets, found by trying everything."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from gemnet_blocks.geometry.edges import EdgeSet
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
