"""Pairs of atoms and neighboring images, and their order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """All pairs of an atom and a neighboring image, sorted by target, distance, source and shift.

    A pair runs from the image of the source atom s at r_s + n·A (n the shift, A the cell, both of the structure) to
    the target atom t at r_t:

        d = |r_t - r_s - n·A| ≤ cutoff

    Every ordered pair is listed once, so that its reverse (t, s, -n) is listed too, with exactly the same distance.
    An atom is no neighbor of itself; of its own images it is, and of other atoms at the same place.

    Attributes:
        source: index of the atom s.
        target: index of the atom t.
        shift: n, in lattice vectors; 0 along those that are not periodic. A component of all pairs lies together in
            memory where a search found them.
        distance: d in Å, in float64 and without gradient.
    """

    source: Int[Tensor, " pairs"]
    target: Int[Tensor, " pairs"]
    shift: Int[Tensor, "pairs 3"]
    distance: Float[Tensor, " pairs"]

    def __len__(self) -> int:
        return self.source.shape[0]

    def select(self, which: Bool[Tensor, " pairs"] | Int[Tensor, " chosen"]) -> Pairs:
        """The pairs that a mask or indices choose, in their order."""
        if which.dtype == torch.bool:
            if bool(which.all()):
                return self
            which = which.nonzero()[:, 0]
        # index_select is several times as fast as indexing, and faster still along what is contiguous
        one_by_one = self.shift.stride(0) == 1
        return Pairs(
            source=self.source.index_select(0, which),
            target=self.target.index_select(0, which),
            shift=self.shift.t().index_select(1, which).t() if one_by_one else self.shift.index_select(0, which),
            distance=self.distance.index_select(0, which),
        )

    def canonical_order(self) -> Int[Tensor, " pairs"]:
        """The indices that sort by target, then distance, then source, then shift (first component first)."""
        count = len(self)
        if count == 0:
            return torch.zeros_like(self.source)
        # One sort of one integer per pair, made of the target, the distance rounded down, and the pair's index.
        index_bits, target_bits = (count - 1).bit_length(), int(self.target.max()).bit_length()
        distance_bits = min(62 - target_bits - index_bits, 50)
        if distance_bits < 8:
            return self._order_by_all_keys()
        steps = (2**distance_bits - 1) / max(float(self.distance.max()), 1e-300)
        key = (self.distance * steps).long()
        key += self.target << distance_bits
        key <<= index_bits
        key += torch.arange(count, device=key.device)
        key = _sorted(key)
        order = key & ((1 << index_bits) - 1)
        # What is equal but for the index, if anything, is sorted by the keys themselves.
        key >>= index_bits
        equal = key[1:] == key[:-1]
        if bool(equal.any()):
            tied = torch.nn.functional.pad(equal, (0, 1)) | torch.nn.functional.pad(equal, (1, 0))
            place = tied.nonzero()[:, 0]
            members = order.index_select(0, place)
            order[place] = members.index_select(0, self.select(members)._order_by_all_keys())
        return order

    def _order_by_all_keys(self) -> Int[Tensor, " pairs"]:
        order = torch.arange(len(self), device=self.source.device)
        # The bits of floating-point numbers ≥ 0, read as integers, sort like the numbers; integers sort faster. From
        # the least significant key to the most, each sort keeps the order of the one before among equals.
        for key in (*packed_keys([self.source, *self.shift.unbind(-1)]), self.distance.view(torch.int64), self.target):
            order = order.index_select(0, key.index_select(0, order).sort(stable=True).indices)
        return order

    def with_opposites(self) -> Pairs:
        """The pairs, followed by the reverse of each, in the same order."""
        return Pairs(
            source=torch.cat([self.source, self.target]),
            target=torch.cat([self.target, self.source]),
            shift=torch.cat([self.shift.t(), -self.shift.t()], dim=1).t(),
            distance=torch.cat([self.distance, self.distance]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Neighbors:
    """What a neighbor search found before: edge sets are selected among them as if it had been now.

    Attributes:
        pairs: all pairs within the widest cutoff of a model, or more, with the distances of the present positions.
    """

    pairs: Pairs


def packed_keys(keys: list[Tensor]) -> list[Tensor]:
    """Keys to sort by, most significant first: as few as possible with the same order, least significant first."""
    packed: list[Tensor] = []
    capacity = 0
    for key in reversed(keys) if keys[0].numel() else ():
        lowest, highest = key.aminmax()
        span = int(highest - lowest) + 1
        if packed and capacity * span < 2**62:
            packed[-1] = packed[-1] + (key - lowest) * capacity
            capacity *= span
        else:
            packed.append(key - lowest)
            capacity = span
    return packed


def _sorted(values: Int[Tensor, " values"]) -> Int[Tensor, " values"]:
    # numpy sorts several values per instruction, and torch always computes an order besides
    if values.device.type == "cpu":
        return torch.from_numpy(np.sort(values.numpy()))
    return values.sort().values


_PAIRS_PER_ENTRY = 32
"""Pairs per translation from which a table of translations is cheaper than one translation for each pair."""


@dataclass(frozen=True, slots=True, eq=False)
class Translations:
    """The distinct translations n·A of a list of pairs, each computed once and looked up by every pair that has it.

    Attributes:
        shift: n of each distinct translation, in lattice vectors; one row per component.
        structure: the structure whose cell A it refers to.
        of_pair: the translation of each pair.
    """

    shift: Int[Tensor, "3 translations"]
    structure: Int[Tensor, " translations"]
    of_pair: Int[Tensor, " pairs"] | None

    def in_cells(self, cells: Float[Tensor, "structures 3 3"]) -> Float[Tensor, "3 pairs"]:
        """The components of n·A in Å, as differentiable functions of the cells A, a lattice vector per row.

        Term by term, and in a fixed order, which a matrix product does not promise: equal shifts have equal
        translations to the last bit, and opposite shifts opposite ones.
        """
        steps = self.shift.to(cells.dtype)
        first, second, third = (
            steps[vector] * cells[:, vector].t().contiguous().index_select(1, self.structure) for vector in range(3)
        )
        distinct = first + second + third
        return distinct if self.of_pair is None else distinct.index_select(1, self.of_pair)


def distinct_translations(
    shift: Int[Tensor, "pairs 3"], home: Int[Tensor, " pairs"], structure_count: int
) -> Translations:
    """Find the distinct translations of pairs.

    If pairs are many and their shifts few, all shifts up to the largest make a table, without a sort; otherwise every
    pair has an entry of its own.

    Args:
        shift: n of each pair, in lattice vectors.
        home: the structure of each pair.
        structure_count: the number of structures.
    """
    components = shift.t()
    largest = max(abs(int(limit)) for limit in components.aminmax()) if len(shift) else 0
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
    shift: Int[Tensor, "pairs 3"], home: Int[Tensor, " pairs"], cells: Float[Tensor, "structures 3 3"]
) -> Float[Tensor, "3 pairs"]:
    """The components of n·A in Å of each pair, see `Translations.in_cells`."""
    return distinct_translations(shift, home, len(cells)).in_cells(cells)


SHIFT_BITS = 21


def pack_shift(shift: Int[Tensor, "*batch 3"]) -> Int[Tensor, "*batch"]:
    """One integer per image shift, additive: pack(s) + pack(t) = pack(s + t), pack(-s) = -pack(s).

    Different shifts have different integers as long as no component exceeds 2²⁰ lattice vectors.
    """
    return shift[..., 0] + (shift[..., 1] << SHIFT_BITS) + (shift[..., 2] << 2 * SHIFT_BITS)
