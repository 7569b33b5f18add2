"""Pairs of atoms and neighboring periodic images, their canonical order and their lattice translations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gemnet_blocks.util.derivatives import is_traced


@dataclass(frozen=True, slots=True)
class Bounds:
    """Upper bounds of the values of pairs.

    Attributes:
        atom: the largest index of an atom.
        distance: the largest distance in Å.
        shift: the largest absolute component of a shift.
    """

    atom: int
    distance: float
    shift: int

    @property
    def of_atoms_and_shifts(self) -> list[tuple[int, int]]:
        """The smallest and largest value of the index of an atom and of each component of a shift."""
        return [(0, self.atom), *[(-self.shift, self.shift)] * 3]


_ANY = Bounds(2**61, math.inf, 2**61)
"""Bounds of pairs whose values are hidden, too large to combine sort keys."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of an atom and a neighboring periodic image, sorted by target, distance, source and shift.

    A pair runs from the image of the source atom s at r_s + n·A, with the shift n and the cell A, to the target atom t
    at r_t:

        d = |r_t - r_s - n·A| ≤ cutoff

    Every pair is listed in both directions, (s, t, n) and (t, s, -n), with identical distances. An atom is not a
    neighbor of itself, but it is a neighbor of its own images and of other atoms at the same position.

    Attributes:
        source: indices of the source atoms s.
        target: indices of the target atoms t.
        shift: n, in lattice vectors; 0 along vectors that are not periodic. In the results of a search, each component
            is contiguous in memory.
        distance: d in Å, in float64 and without gradient.
        bounds: upper bounds of these values, if they are known without reading them from the device.
    """

    source: Int[Tensor, " pairs"]
    target: Int[Tensor, " pairs"]
    shift: Int[Tensor, "pairs 3"]
    distance: Float[Tensor, " pairs"]
    bounds: Bounds | None = None

    def __len__(self) -> int:
        return self.source.shape[0]

    def bounded(self) -> Bounds:
        """Return upper bounds of all values, which are read from the device if they are unknown.

        While operations are traced, the bounds are those of any pairs.
        """
        if self.bounds is not None:
            return self.bounds
        if is_traced(self.source):
            return _ANY
        if not len(self):
            return Bounds(0, 0.0, 0)
        atoms = torch.maximum(self.source.max(), self.target.max())
        found = torch.stack([atoms.double(), self.distance.max().double(), self.shift.abs().max().double()])
        atom, distance, shift = found.tolist()
        return Bounds(int(atom), distance, int(shift))

    def select(self, which: Bool[Tensor, " pairs"] | Int[Tensor, " chosen"]) -> Pairs:
        """Select pairs by a mask or by indices, in the given order."""
        if which.dtype == torch.bool:
            which = which.nonzero()[:, 0]
            if not is_traced(which) and len(which) == len(self):
                return self
        # index_select is several times as fast as indexing, and even faster along contiguous dimensions
        by_component = self.shift.stride(0) == 1
        return replace(
            self,
            source=self.source.index_select(0, which),
            target=self.target.index_select(0, which),
            shift=self.shift.t().index_select(1, which).t() if by_component else self.shift.index_select(0, which),
            distance=self.distance.index_select(0, which),
        )

    def canonical_order(self) -> Int[Tensor, " pairs"]:
        """Return the indices that sort pairs by target, distance, source and the components of the shift."""
        if is_traced(self.source):
            return self._order_by_all_keys(self.bounded())
        count = len(self)
        if count == 0:
            return torch.zeros_like(self.source)
        bounds = self.bounded()
        # Sort one integer per pair, which consists of the target, the distance rounded down, and the index of the pair.
        index_bits, target_bits = (count - 1).bit_length(), bounds.atom.bit_length()
        distance_bits = min(62 - target_bits - index_bits, 50)
        if distance_bits < 8:
            return self._order_by_all_keys(bounds)
        steps = (2**distance_bits - 1) / max(bounds.distance, 1e-300)
        key = (self.distance * steps).long()
        key += self.target << distance_bits
        key <<= index_bits
        key += torch.arange(count, device=key.device)
        key = _sorted(key)
        order = key & ((1 << index_bits) - 1)
        # Pairs with equal keys are then sorted by the exact distance and by all other keys.
        key >>= index_bits
        equal = key[1:] == key[:-1]
        tied = torch.nn.functional.pad(equal, (0, 1)) | torch.nn.functional.pad(equal, (1, 0))
        place = tied.nonzero()[:, 0]
        if len(place):
            members = order.index_select(0, place)
            order[place] = members.index_select(0, self.select(members)._order_by_all_keys(bounds))
        return order

    def _order_by_all_keys(self, bounds: Bounds) -> Int[Tensor, " pairs"]:
        order = torch.arange(self.source.shape[0], device=self.source.device)
        # The bits of nonnegative floating-point numbers, read as integers, have the same order, and integers are sorted
        # faster. Stable sorts from the least to the most significant key give the lexicographic order.
        least = packed_keys([self.source, *self.shift.unbind(-1)], bounds.of_atoms_and_shifts)
        for key in (*least, self.distance.view(torch.int64), self.target):
            order = order.index_select(0, key.index_select(0, order).sort(stable=True).indices)
        return order

    def with_opposites(self) -> Pairs:
        """Append the reverse of each pair, in the same order."""
        return replace(
            self,
            source=torch.cat([self.source, self.target]),
            target=torch.cat([self.target, self.source]),
            shift=torch.cat([self.shift.t(), -self.shift.t()], dim=1).t(),
            distance=torch.cat([self.distance, self.distance]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Neighbors:
    """Neighbors from an earlier search, from which edge sets are selected without searching again.

    Attributes:
        pairs: all pairs within the largest cutoff of a model, or more, with distances for the current positions.
    """

    pairs: Pairs


def packed_keys(keys: Sequence[Tensor], limits: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Combine integer sort keys, most significant first, into as few keys as possible, least significant first.

    Args:
        keys: the keys.
        limits: for each key, an integer that no value is below, and one that no value is above.
    """
    packed: list[Tensor] = []
    capacity = 0
    for key, (lowest, highest) in zip(reversed(keys), reversed(limits), strict=True):
        span = highest - lowest + 1
        if packed and capacity * span < 2**62:
            packed[-1] = packed[-1] + (key - lowest) * capacity
            capacity *= span
        else:
            packed.append(key - lowest)
            capacity = span
    return packed


def _sorted(values: Int[Tensor, " values"]) -> Int[Tensor, " values"]:
    # numpy sorts with vector instructions, whereas torch always computes the permutation as well
    if values.device.type == "cpu":
        return torch.from_numpy(np.sort(values.numpy()))
    return values.sort().values


_PAIRS_PER_ENTRY = 32
"""The number of pairs per translation above which a table of translations is cheaper than one translation per pair."""


@dataclass(frozen=True, slots=True, eq=False)
class Translations:
    """Distinct lattice translations n·A of a list of pairs, each of which is computed once.

    Attributes:
        shift: n of each distinct translation, in lattice vectors; one row per component.
        structure: the structure of each translation, which has the cell A.
        of_pair: the translation of each pair; None if every pair has its own.
    """

    shift: Int[Tensor, "3 translations"]
    structure: Int[Tensor, " translations"]
    of_pair: Int[Tensor, " pairs"] | None

    def split(self, counts: list[int]) -> list[Translations]:
        """Divide the translations into those of consecutive pairs."""
        if self.of_pair is None:
            parts = zip(self.shift.split(counts, dim=1), self.structure.split(counts), strict=True)
            return [Translations(shift, structure, None) for shift, structure in parts]
        return [Translations(self.shift, self.structure, part) for part in self.of_pair.split(counts)]

    def in_cells(self, cells: Float[Tensor, "structures 3 3"]) -> Float[Tensor, "3 pairs"]:
        """Compute the components of n·A in Å of all pairs as differentiable functions of the cells A.

        The terms are added in a fixed order, which a matrix product does not guarantee. Equal shifts therefore have
        identical translations, and opposite shifts have opposite ones.

        Args:
            cells: lattice vectors as rows, in Å.
        """
        steps = self.shift.to(cells.dtype)
        first, second, third = (
            steps[vector] * cells[:, vector].t().contiguous().index_select(1, self.structure) for vector in range(3)
        )
        distinct = first + second + third
        return distinct if self.of_pair is None else distinct.index_select(1, self.of_pair)


def distinct_translations(
    shift: Int[Tensor, "pairs 3"], home: Int[Tensor, " pairs"], structure_count: int, largest: int | None = None
) -> Translations:
    """Find the distinct lattice translations of pairs.

    For many pairs with few different shifts, the result is a table of all shifts up to the largest one, which needs no
    sorting. Otherwise every pair has its own entry.

    Args:
        shift: n of each pair, in lattice vectors.
        home: the structure of each pair.
        structure_count: the number of structures.
        largest: an upper bound of the components of shifts; None to read it from the device.
    """
    components = shift.t()
    if is_traced(shift):
        return Translations(components, home, None)
    if largest is None:
        largest = int(components.abs().max()) if len(shift) else 0
    width = 2 * largest + 1
    if _PAIRS_PER_ENTRY * structure_count * width**3 > len(shift):
        return Translations(components, home, None)
    x, y, z = components
    place = torch.add(z, y, alpha=width).add_(x, alpha=width**2).add_(home, alpha=width**3)
    steps = torch.arange(-largest, largest + 1, device=shift.device)
    return Translations(
        shift=torch.cartesian_prod(steps, steps, steps).repeat(structure_count, 1).t(),
        structure=torch.arange(structure_count, device=shift.device).repeat_interleave(width**3),
        of_pair=place.add_(largest * (1 + width + width**2)),
    )


def translations(
    shift: Int[Tensor, "pairs 3"],
    home: Int[Tensor, " pairs"],
    cells: Float[Tensor, "structures 3 3"],
    largest: int | None = None,
) -> Float[Tensor, "3 pairs"]:
    """Compute the components of n·A in Å of each pair, see `distinct_translations` and `Translations.in_cells`."""
    return distinct_translations(shift, home, cells.shape[0], largest).in_cells(cells)


SHIFT_BITS = 21


def pack_shift(shift: Int[Tensor, "*batch 3"]) -> Int[Tensor, "*batch"]:
    """Pack image shifts into one integer each, such that pack(s) + pack(t) = pack(s + t) and pack(-s) = -pack(s).

    The integers of different shifts differ as long as no component exceeds 2²⁰ lattice vectors.
    """
    x, y, z = shift.unbind(-1)
    return torch.add(x, y, alpha=1 << SHIFT_BITS).add_(z, alpha=1 << 2 * SHIFT_BITS)
