"""Reference definitions of edge sets: selection, weights, lengths and directions of edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from gemnet_blocks.geometry.edges import COINCIDENT, NEARLY_COINCIDENT, EdgeSet
from gemnet_blocks.graph.builder import MAIN, EdgeSetOptions
from gemnet_blocks.graph.max_neighbors import CapRule
from gemnet_blocks.graph.symmetrize import Symmetrization
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing.oracles.graphs import (
    Edge,
    Neighbor,
    is_towards_higher,
    neighbors,
    smooth_step,
    smooth_weights,
    symmetrize,
    within_cap,
)
from gemnet_blocks.testing.oracles.layers import stacked

Vector = Float[Tensor, "3"]
Scalar = Float[Tensor, ""]


class WeightedEdge(NamedTuple):
    """An edge, its length in Å, and the weight of its radial functions, which is 1 without smooth limits."""

    edge: Edge
    distance: float
    weight: Scalar


class Ruling(NamedTuple):
    """Rules that all edge sets share.

    Attributes:
        ties: treatment of neighbors that are as far as the last one within `max_neighbors`; `smooth`: neighbors fade
            out.
        tolerance: tolerance of ties in Å, or in Å² with `inclusive_next` for sets that are not within another set.
        width: distance δ in Å over which neighbors fade out if ties are `smooth`.
    """

    ties: CapRule
    tolerance: float = 0.01
    width: float = 0.5


def edge_sets(
    rules: Mapping[str, EdgeSetOptions], structures: Structures, ruling: Ruling, periodic: bool = True
) -> dict[str, list[WeightedEdge]]:
    """Select the edges of each set by cutoff, then `max_neighbors`, then tags; `main` is symmetrized at the end.

    A set within another set is selected from the edges of that set before symmetrization.

    Args:
        rules: options of each set; a set follows the set that contains it.
        structures: structures; weights are differentiable with respect to positions and cells.
        ruling: rules that all sets share.
        periodic: False treats all structures as isolated.

    Returns:
        The edges of each set by name, sorted by target, distance, source and shift.
    """
    if not periodic:
        structures = replace(structures, periodic=torch.zeros_like(structures.periodic))
    widest = max(rule.cutoff for rule in rules.values() if rule.within is None)
    one = structures.positions.new_ones(())
    found = [WeightedEdge(edge, distance, one) for edge, distance in neighbors(structures, widest)]
    selected: dict[str, list[WeightedEdge]] = {}
    for name, rule in rules.items():
        parent = found if rule.within is None else selected[rule.within]
        selected[name] = selection(rule, parent, structures, ruling, reach(name, rules))
    if MAIN in selected:
        selected[MAIN] = symmetrized(selected[MAIN], rules[MAIN].symmetrize or "union")
    return selected


def selection(
    rule: EdgeSetOptions,
    parent: Sequence[WeightedEdge],
    structures: Structures,
    ruling: Ruling,
    farthest: float | None = None,
) -> list[WeightedEdge]:
    """Select the edges of one set before symmetrization.

    Args:
        rule: options of the set.
        parent: edges of the set that contains this one, or all pairs.
        structures: structures; weights are differentiable with respect to positions and cells.
        ruling: rules that all sets share.
        farthest: `reach` of the set in Å; None: its cutoff.
    """
    kept = [one for one in parent if one.distance <= rule.cutoff]
    farthest = rule.cutoff if farthest is None else farthest
    if rule.max_neighbors is not None and ruling.ties == "smooth":
        kept = _faded(rule.max_neighbors, farthest, kept, structures, ruling.width)
    elif rule.max_neighbors is not None and ruling.ties != "smooth":
        squared = ruling.ties == "inclusive_next" and rule.within is None
        lengths = [Neighbor(one.edge, one.distance) for one in kept]
        admitted = within_cap(lengths, rule.max_neighbors, ruling.ties, ruling.tolerance, squared)
        kept = [one for one, is_admitted in zip(kept, admitted, strict=True) if is_admitted]
    if rule.tags is not None:
        tags = structures.tags.tolist()
        kept = [one for one in kept if tags[one.edge.source] in rule.tags or tags[one.edge.target] in rule.tags]
    return kept


def symmetrized(edges: Sequence[WeightedEdge], rule: Symmetrization) -> list[WeightedEdge]:
    """Return the edges that a rule keeps and their opposites with the weight w + w' - w w' (0 if missing)."""
    given = {one.edge: one for one in edges if rule == "union" or is_towards_higher(one.edge)}
    both = []
    for edge in symmetrize(given, rule):
        known = [given[same] for same in (edge, edge.opposite) if same in given]
        rest = torch.stack([1 - one.weight for one in known]).prod()
        both.append(WeightedEdge(edge, known[0].distance, 1 - rest))
    return sorted(both, key=lambda one: (one.edge.target, one.distance, one.edge.source, one.edge.shift))


def reach(name: str, rules: Mapping[str, EdgeSetOptions]) -> float:
    """Return the largest possible distance in a set in Å: the smallest cutoff of the set and those that contain it."""
    rule = rules[name]
    return rule.cutoff if rule.within is None else min(rule.cutoff, reach(rule.within, rules))


def displacement(edge: Edge, structures: Structures) -> Vector:
    """Compute the vector r_t - r_s - n·A from the image of the source to the target, with gradients."""
    cell = structures.cells[int(structures.structure[edge.target])]
    translation = sum((n * vector for n, vector in zip(edge.shift, cell, strict=True)), torch.zeros_like(cell[0]))
    return structures.positions[edge.target] - structures.positions[edge.source] - translation


def length(vector: Vector) -> Scalar:
    """Compute |v|; its derivative is zero up to 10⁻⁴ Å, where atoms coincide."""
    norm = torch.sqrt((vector @ vector).detach())
    return torch.sqrt(vector @ vector) if norm > COINCIDENT else norm


def direction(vector: Vector, distance: Scalar) -> Vector:
    """Compute v/d times `smooth_step` of d/(0.01 Å), which is 1 unless atoms nearly coincide."""
    return vector / distance * smooth_step(distance / NEARLY_COINCIDENT) if distance > 0 else torch.zeros_like(vector)


def measured(edges: Sequence[WeightedEdge], structures: Structures, dtype: torch.dtype) -> EdgeSet:
    """Compute lengths d = |r_t - r_s - n·A| and directions u = (r_t - r_s - n·A)/d of edges.

    Args:
        edges: weighted edges, sorted by target.
        structures: structures of the edges.
        dtype: floating-point type of the results.
    """
    vectors = [displacement(one.edge, structures) for one in edges]
    lengths = [length(vector) for vector in vectors]
    directions = [direction(v, d) for v, d in zip(vectors, lengths, strict=True)]
    zeros = structures.positions.new_zeros(0, 3)
    first = [sum(one.edge.target < atom for one in edges) for atom in range(structures.atom_count + 1)]
    return EdgeSet(
        source=torch.tensor([one.edge.source for one in edges], dtype=torch.long),
        target=torch.tensor([one.edge.target for one in edges], dtype=torch.long),
        shift=torch.tensor([one.edge.shift for one in edges], dtype=torch.long).reshape(-1, 3),
        distance=stacked(lengths, zeros[:, 0]).to(dtype),
        direction=stacked(directions, zeros).to(dtype),
        first=torch.tensor(first, dtype=torch.long),
        weight=stacked([one.weight for one in edges], zeros[:, 0]).to(dtype),
    )


def _faded(
    cap: int, cutoff: float, edges: Sequence[WeightedEdge], structures: Structures, width: float
) -> list[WeightedEdge]:
    """Return the edges with a positive weight under a smooth maximum number of neighbors."""
    kept = []
    for atom in range(structures.atom_count):
        into = [one for one in edges if one.edge.target == atom]
        if not into:
            continue
        distances = torch.stack([length(displacement(one.edge, structures)) for one in into])
        weights = smooth_weights(distances, torch.stack([one.weight for one in into]), cap, cutoff, width)
        kept += [one._replace(weight=w) for one, w in zip(into, weights, strict=True) if w > 0]
    return kept
