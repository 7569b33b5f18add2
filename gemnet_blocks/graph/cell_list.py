"""Candidates for neighbors in pure torch, by a vectorized cell list or by explicit periodic images.

Both process all structures of a batch at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gemnet_blocks.graph.ragged import Join, join
from gemnet_blocks.graph.wrapping import Candidates, WrappedAtoms

_CANDIDATES_AT_ONCE = 2**19  # limits the memory for candidates that are too far apart

# Bins per cutoff along each lattice vector. Smaller bins approximate the cutoff sphere more closely, but every column
# of bins along the third vector costs a lookup per atom. Along the third vector, neighboring bins are consecutive, so
# that more bins cost nothing.
_BINS_PER_CUTOFF = (2.0, 2.0, 8.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """Bins along the lattice vectors of each structure.

    Attributes:
        count: the number of bins along each vector.
        reach: the largest distance of neighbors in bins, which exceeds `count` if the cell is smaller than the cutoff.
        place: the bin of each atom along each vector.
        first: the number of the first bin of each structure; bins are numbered consecutively over all structures.
    """

    count: Int[Tensor, "structures 3"]
    reach: Int[Tensor, "structures 3"]
    place: Int[Tensor, "atoms 3"]
    first: Int[Tensor, " structures"]


@dataclass(frozen=True, slots=True, eq=False)
class _Ranges:
    """Ranges of consecutive atoms, sorted by bin, that are near a target atom under one lattice translation.

    Attributes:
        target: the target atom.
        shift: the translation of the source atoms.
        start: the index of the first source atom in the sorted order.
        length: the number of source atoms.
    """

    target: Int[Tensor, " ranges"]
    shift: Int[Tensor, "ranges 3"]
    start: Int[Tensor, " ranges"]
    length: Int[Tensor, " ranges"]


def cell_list_candidates(atoms: WrappedAtoms, cutoff: float) -> Candidates:
    """Find all pairs within the cutoff in Å by a cell list, each in one direction and up to rounding errors.

    Atoms are sorted by the number of their bin. Each target atom searches columns of bins along the third lattice
    vector. A column is a range of the sorted atoms, which is found by bisection, so that empty bins cost nothing.
    """
    grid = _grid(atoms, cutoff)
    of_atom = atoms.structure
    number = grid.first[of_atom] + _bin_number(grid.place, grid.count[of_atom])
    sorted_number, order = number.sort(stable=True)
    ranges = _one_way(_ranges(atoms, grid, sorted_number), order)
    # translate each target atom backwards instead of all of its source atoms forwards
    shift_in_space = torch.einsum("rk,rkc->rc", ranges.shift.double(), atoms.cells[of_atom[ranges.target]])
    seen_from = (atoms.positions[ranges.target] - shift_in_space).t().contiguous()
    sorted_positions = atoms.positions[order].t().contiguous()

    sources, range_indices = [], []
    ends = ranges.length.cumsum(0)
    total, largest = torch.stack([ends[-1], ranges.shift.abs().max()]).tolist() if len(ends) else (0, 0)
    divisions = [(0, 0), *_divisions(ends, total), (len(ends), total)]
    for (begin, before), (end, until) in pairwise(divisions):
        pairs = join(ranges.start[begin:end], ranges.length[begin:end], until - before)
        squared = torch.zeros(len(pairs.row), dtype=torch.float64, device=order.device)
        for axis in range(3):  # one by one: sums over dimensions of length 3 are slow
            there = sorted_positions[axis].index_select(0, pairs.item)
            squared += there.sub_(seen_from[axis, begin:end].index_select(0, pairs.row)).square_()
        near = (squared <= cutoff**2).nonzero()[:, 0]
        sources.append(order.index_select(0, pairs.item.index_select(0, near)))
        range_indices.append(pairs.row.index_select(0, near) + begin)
    chosen = torch.cat(range_indices)
    target, shift = ranges.target.index_select(0, chosen), ranges.shift.index_select(0, chosen)
    return Candidates(torch.cat(sources), target, shift, largest)


def _divisions(ends: Tensor, total: int) -> list[list[int]]:
    """Find ranges at which candidates are divided into parts of limited number, and the candidates before each one."""
    if total < _CANDIDATES_AT_ONCE:
        return []
    limits = torch.arange(_CANDIDATES_AT_ONCE, total + 1, _CANDIDATES_AT_ONCE, device=ends.device)
    inner = torch.searchsorted(ends, limits)
    before = torch.nn.functional.pad(ends, (1, 0)).index_select(0, inner)
    found: list[list[int]] = torch.stack([inner, before], dim=1).tolist()
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Periodic images of atoms.

    Attributes:
        atom: the atom of each image, ascending.
        shift: the lattice translation of each image.
        positions: the position of each image in Å.
    """

    atom: Int[Tensor, " images"]
    shift: Int[Tensor, "images 3"]
    positions: Float[Tensor, "images 3"]

    def select(self, which: Bool[Tensor, " images"]) -> Images:
        """Select images by a mask."""
        return Images(self.atom[which], self.shift[which], self.positions[which])


def nearby_images(atoms: WrappedAtoms, cutoff: float) -> Images:
    """List all images that can be within the cutoff in Å of a wrapped atom of the same structure."""
    lowest, highest = atoms.lowest, atoms.highest
    reach = ((highest - lowest + cutoff) / atoms.heights).floor().clamp(min=0) * atoms.periodic
    spans = (2 * reach + 1).long()
    entries = _counted(spans.prod(-1)[atoms.structure])
    home = atoms.structure[entries.row]
    across = spans[home]
    rest = entries.item // across[:, 2]
    digits = torch.stack([rest // across[:, 1], rest % across[:, 1], entries.item % across[:, 2]], dim=-1)
    shift = digits - reach.long()[home]
    depths = atoms.depths[entries.row] + shift * atoms.heights[home]
    near = ((depths >= lowest[home] - cutoff) & (depths <= highest[home] + cutoff)).all(-1)
    atom, shift, home = entries.row[near], shift[near], home[near]
    translation = torch.einsum("nk,nkc->nc", shift.double(), atoms.cells[home])
    return Images(atom, shift, atoms.positions[atom] + translation)


def _grid(atoms: WrappedAtoms, cutoff: float) -> _Grid:
    lowest, highest, periodic = atoms.lowest, atoms.highest, atoms.periodic
    aim = cutoff / torch.tensor(_BINS_PER_CUTOFF, dtype=torch.float64, device=periodic.device)
    # structures without atoms are infinitely narrow: one bin
    extent = torch.where(periodic, atoms.heights, (highest - lowest).clamp(min=0)).clamp(min=1e-12)
    # the number of all bins must fit into 63 bits; bins are larger if atoms are very far apart
    most = int((2.0**62 / max(len(periodic), 1)) ** (1 / 3))
    count = (extent / aim).ceil().clamp(1, most)
    width = torch.where(periodic, extent / count, torch.maximum(extent / count, aim))
    reach = (cutoff / width).ceil()
    reach = torch.where(periodic, reach, reach.minimum(count - 1)).long()
    count = count.long()
    of_atom = atoms.structure
    start = torch.where(periodic, torch.zeros_like(lowest), lowest)
    place = ((atoms.depths - start[of_atom]) / width[of_atom]).floor().long()
    volume = count.prod(-1)
    place = place.clamp(min=0).minimum(count[of_atom] - 1)  # rounding leaves some atoms just outside
    return _Grid(count, reach, place, volume.cumsum(0) - volume)


def first_direction(shift: Int[Tensor, "*batch 3"]) -> Int[Tensor, "*batch"]:
    """Return the sign of the first nonzero component, or 0 if all components are zero."""
    x, y, z = shift.sign().unbind(-1)
    return torch.where(x != 0, x, torch.where(y != 0, y, z))


def _one_way(ranges: _Ranges, order: Tensor) -> _Ranges:
    """Restrict ranges so that they contain each pair in one direction only.

    Of two opposite shifts, the one whose first nonzero component is positive is kept. Without a shift, the atom that is
    sorted first is the target.
    """
    direction = first_direction(ranges.shift)
    behind = torch.empty_like(order).scatter_(0, order, torch.arange(1, 1 + len(order), device=order.device))
    start = torch.where(direction == 0, torch.maximum(ranges.start, behind[ranges.target]), ranges.start)
    length = torch.where(direction < 0, 0, ranges.start + ranges.length - start)
    some = (length > 0).nonzero()[:, 0]
    return _Ranges(*(one.index_select(0, some) for one in (ranges.target, ranges.shift, start, length)))


def _counted(counts: Tensor) -> Join:
    """Combine each row with the items 0, …, counts[row] - 1."""
    return join(torch.zeros_like(counts), counts)


def _bin_number(place: Tensor, count: Tensor) -> Tensor:
    """Number the bins of a structure, consecutively along the third lattice vector."""
    return (place[:, 0] * count[:, 1] + place[:, 1]) * count[:, 2] + place[:, 2]


def _ranges(atoms: WrappedAtoms, grid: _Grid, sorted_number: Tensor) -> _Ranges:
    """Find the ranges of sorted atoms that contain the neighbors of each target atom."""
    of_atom, periodic = atoms.structure, atoms.periodic
    # columns of bins around the target along the first two vectors
    spans = 2 * grid.reach + 1
    columns = _counted((spans[:, 0] * spans[:, 1])[of_atom])
    target, home = columns.row, of_atom[columns.row]
    offset = torch.stack([columns.item // spans[home, 1], columns.item % spans[home, 1]], dim=-1)
    flat = grid.place[target, :2] + offset - grid.reach[home, :2]
    wraps = flat.div(grid.count[home, :2], rounding_mode="floor")
    inside = ((wraps == 0) | periodic[home, :2]).all(-1).nonzero()[:, 0]
    target, flat, wraps = (one.index_select(0, inside) for one in (target, flat, wraps))

    # a range of bins along the third vector, split where it passes from one image of the cell to the next
    count, reach = grid.count[of_atom, 2], grid.reach[of_atom, 2]
    low, high, endless = grid.place[:, 2] - reach, grid.place[:, 2] + reach, periodic[of_atom, 2]
    low = torch.where(endless, low, low.clamp(min=0))
    high = torch.where(endless, high, high.minimum(count - 1))
    first_wrap = low.div(count, rounding_mode="floor")
    pieces = _counted((high.div(count, rounding_mode="floor") - first_wrap + 1)[target])
    target, flat, wraps = target[pieces.row], flat[pieces.row], wraps[pieces.row]
    shift = torch.cat([wraps, (first_wrap[target] + pieces.item)[:, None]], dim=-1)

    home = of_atom[target]
    count = grid.count[home]
    moved = shift[:, 2] * count[:, 2]
    first = torch.maximum(low[target] - moved, torch.zeros_like(moved))
    last = torch.minimum(high[target] - moved, count[:, 2] - 1)
    column = torch.cat([flat - wraps * count[:, :2], torch.zeros_like(moved)[:, None]], dim=-1)
    number = grid.first[home] + _bin_number(column, count)
    start = torch.searchsorted(sorted_number, number + first)
    return _Ranges(target, shift, start, torch.searchsorted(sorted_number, number + last, right=True) - start)
