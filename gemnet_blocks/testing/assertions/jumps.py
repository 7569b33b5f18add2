"""Finding the jumps of functions of one variable that may be steep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Function = Callable[[Tensor], Tensor]
"""From points t (points,) to values (points, columns)."""

CANDIDATES = 3
"""Places looked at closely: the roughest, and as many that are rougher than their surroundings."""
SURROUNDINGS = 8
"""Intervals to each side that a place is compared with."""
NOISE = 0.1
"""Roughness that is no reason to look closely, where a jump of 1 has 10."""
FINER = 8
"""By how much the spacing of points shrinks in each step."""
STENCIL = (-1.0, 5.0, -10.0, 10.0, -5.0, 1.0)
"""Fifth differences: of smooth functions they vanish as the fifth power of the spacing, of a jump they do not."""
MARGIN = 2
"""Points that the stencil needs to each side of an interval."""


@dataclass(frozen=True, slots=True)
class Jump:
    """Where a function jumps.

    Attributes:
        at: left end of the interval in which it does.
        width: of the interval.
        column: of the values that jumps most.
        size: by how much: the change of that column, beyond the mean change over the two neighboring intervals.
    """

    at: float
    width: float
    column: int
    size: float


def largest_jump(function: Function, samples: int, resolution: float) -> Jump:
    """The largest jump of a function on [0, 1], or what rounding and bends leave in its place where there is none.

    Sample the function evenly, take the intervals whose fifth differences are largest or stand out of their
    surroundings, and sample these and their neighbors eight times as finely, again and again. What is steep and smooth
    becomes flat and straight; what remains is a jump. Two jumps that cancel between two samples are not found.

    Args:
        function: at points t a little outside of [0, 1] too; its columns so scaled that jumps of 1 are of interest.
        samples: intervals to begin with.
        resolution: the width of intervals to end with.
    """
    left = torch.zeros(1, dtype=torch.float64)
    width, count = 1 / samples, samples
    while True:
        steps = torch.arange(-MARGIN, count + MARGIN + 1, dtype=torch.float64)
        points = left[:, None] + steps * width
        values = function(points.reshape(-1)).double().reshape(*points.shape, -1)
        if width <= resolution:
            return _largest(values, points, width)
        places = _candidates(_roughness(values)) if len(left) == 1 else _roughest(_roughness(values), 1)
        left = points[:, MARGIN:][places[:, 0], places[:, 1]] - width
        width, count = width / FINER, 3 * FINER


def _roughness(values: Float[Tensor, "rows points columns"]) -> Float[Tensor, "rows intervals"]:
    """The largest |fifth difference| of any column, by the interval in its middle."""
    count = values.shape[1] - len(STENCIL) + 1
    total = sum(factor * values[:, k : k + count] for k, factor in enumerate(STENCIL))
    assert isinstance(total, Tensor)
    return total.abs().amax(dim=2) if values.shape[2] else values.new_zeros(values.shape[0], count)


def _candidates(roughness: Float[Tensor, "1 intervals"]) -> Tensor:
    """The places to look at closely, at least two."""
    around = torch.nn.functional.pad(roughness[None], (SURROUNDINGS, SURROUNDINGS), mode="replicate")[0]
    usual = around.unfold(1, 2 * SURROUNDINGS + 1, 1).median(dim=2).values
    return torch.cat([_roughest(roughness, CANDIDATES), _roughest(roughness / (usual + NOISE), CANDIDATES)])


def _roughest(roughness: Float[Tensor, "rows intervals"], keep: int) -> Tensor:
    """Row and interval of the `keep` roughest places of each row, no two of them close to each other."""
    roughness = roughness.clone()
    found = []
    for _ in range(min(keep, roughness.shape[1])):
        interval = roughness.argmax(dim=1)
        found.append(torch.stack([torch.arange(len(interval)), interval], dim=1))
        near = (torch.arange(roughness.shape[1]) - interval[:, None]).abs() <= MARGIN
        roughness = roughness.masked_fill(near, -1.0)
    return torch.cat(found)


def _largest(values: Float[Tensor, "rows points columns"], points: Tensor, width: float) -> Jump:
    change = values.diff(dim=1)
    beyond = (change[:, 1:-1] - (change[:, :-2] + change[:, 2:]) / 2).abs()
    # within [0, 1] only: the margin is there for the stencil
    start = points[:, 1:-2]
    beyond = torch.where(((start > -width) & (start < 1))[:, :, None], beyond, torch.zeros_like(beyond))
    if not beyond.numel():
        return Jump(0.0, width, 0, 0.0)
    row, interval, column = (int(i) for i in torch.unravel_index(beyond.argmax(), beyond.shape))
    return Jump(float(start[row, interval]), width, column, float(beyond[row, interval, column]))
