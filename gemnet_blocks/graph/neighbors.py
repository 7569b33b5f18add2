"""The search for neighbors, with periodicity per structure and lattice vector, behind one small interface."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gemnet_blocks.graph.torch_cells import cell_list_candidates, nearby_images
from gemnet_blocks.graph.wrapping import Candidates, WrappedAtoms, wrap
from gemnet_blocks.structures import Structures


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
        shift: n, in lattice vectors; 0 along those that are not periodic.
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
            which = which.nonzero()[:, 0]
        # index_select is several times as fast as indexing
        fields = (self.source, self.target, self.shift, self.distance)
        return Pairs(*(field.index_select(0, which) for field in fields))

    def canonical_order(self) -> Int[Tensor, " pairs"]:
        """The indices that sort by target, then distance, then source, then shift (first component first)."""
        order = torch.arange(len(self), device=self.source.device)
        # The bits of floating-point numbers ≥ 0, read as integers, sort like the numbers; integers sort faster. From
        # the least significant key to the most, each sort keeps the order of the one before among equals.
        for key in (*_packed([self.source, *self.shift.unbind(-1)]), self.distance.view(torch.int64), self.target):
            order = order.index_select(0, key.index_select(0, order).sort(stable=True).indices)
        return order


class NeighborSearch(ABC):
    """A way to find all pairs of atoms within a cutoff.

    Subclasses propose candidates; which of them are neighbors, and in what order, is decided here, so that all of them
    give identical results.
    """

    @final
    @torch.no_grad()
    def __call__(self, structures: Structures, cutoff: float) -> Pairs:
        """Find all pairs within a cutoff.

        Args:
            structures: S structures; atoms may lie outside their cells.
            cutoff: the largest distance in Å, itself included.

        Returns:
            The pairs of all structures, on the device of the positions.

        Raises:
            ValueError: the cutoff is negative or not finite.
            StructureError: positions or cells that are not finite, or lattice vectors that do not span the directions
                marked periodic.
        """
        if not (math.isfinite(cutoff) and cutoff >= 0):
            raise ValueError(f"the cutoff is {cutoff} Å: give a finite length that is not negative")
        atoms = wrap(structures)
        # wide enough that rounding in the backends loses no pair
        size = max((float(t.detach().abs().max()) for t in (structures.positions, atoms.cells) if t.numel()), default=0)
        candidates = self._candidates(atoms, cutoff * (1 + 1e-6) + 1e-6 + 1e-12 * size)
        return _select(structures, atoms.whole, candidates, cutoff)

    @abstractmethod
    def _candidates(self, atoms: WrappedAtoms, cutoff: float) -> Candidates:
        """At least all pairs of wrapped atoms within the cutoff (> 0, in Å), each once, in any order."""


BOXES_AT_MOST = 50_000
"""Boxes of the size of the cutoff in a structure that vesin is given: with 100,000, flat ones crash vesin 0.6."""


@final
class VesinSearch(NeighborSearch):
    """The neighbor search of the vesin library: a cell list on the CPU, one call per structure.

    Batches with a structure that is very large for the cutoff, which are mostly empty space, are left to torch's.
    """

    def _candidates(self, atoms: WrappedAtoms, cutoff: float) -> Candidates:
        from vesin import NeighborList

        extent = torch.where(atoms.periodic, atoms.heights, atoms.highest - atoms.lowest)
        if bool(((extent / cutoff).clamp(min=1).prod(dim=-1) > BOXES_AT_MOST).any()):
            return cell_list_candidates(atoms, cutoff)
        device, count = atoms.positions.device, len(atoms.cells)
        positions, cells, periodic = (t.cpu().numpy() for t in (atoms.positions, atoms.cells, atoms.periodic))
        starts = torch.searchsorted(atoms.structure, torch.arange(count + 1, device=device)).tolist()
        search = NeighborList(cutoff=cutoff, full_list=True)
        pairs = [torch.zeros((0, 2), dtype=torch.long)]
        shifts = [torch.zeros((0, 3), dtype=torch.long)]
        for index, (start, end) in enumerate(pairwise(starts)):
            if start == end:
                continue
            # vesin's pairs run from i to the image of j, ours from that image to i
            found, shift = search.compute(positions[start:end], cells[index], periodic[index], quantities="PS")
            pairs.append(torch.from_numpy(found.astype("int64")) + start)
            shifts.append(torch.from_numpy(shift.astype("int64")))
        target, source = torch.cat(pairs).to(device).unbind(-1)
        return Candidates(source, target, torch.cat(shifts).to(device))


@final
class TorchSearch(NeighborSearch):
    """A cell list in torch, for any device: all structures at once, memory linear in the numbers of atoms and pairs."""

    def _candidates(self, atoms: WrappedAtoms, cutoff: float) -> Candidates:
        return cell_list_candidates(atoms, cutoff)


@final
class TorchClusterSearch(NeighborSearch):
    """The radius search of the torch-cluster library among explicit images of the atoms.

    Raises:
        ImportError: torch-cluster is not installed.
    """

    def __init__(self) -> None:
        _torch_cluster_radius()

    def _candidates(self, atoms: WrappedAtoms, cutoff: float) -> Candidates:
        radius = _torch_cluster_radius()
        images = nearby_images(atoms, cutoff)
        home, count, limit = atoms.structure[images.atom], len(images.atom), 1024
        while True:
            # torch-cluster drops neighbors beyond the limit, and may reserve memory for as many, so start low
            target, image = radius(images.positions, atoms.positions, cutoff, home, atoms.structure, limit)
            if limit >= count or not bool((torch.bincount(target, minlength=1) >= limit).any()):
                return Candidates(images.atom[image], target, images.shift[image])
            limit *= 4


@final
class AutomaticSearch(NeighborSearch):
    """`VesinSearch` for atoms on the CPU, `TorchSearch` for atoms on any other device."""

    def __init__(self) -> None:
        self.on_cpu = VesinSearch()
        self.elsewhere = TorchSearch()

    def _candidates(self, atoms: WrappedAtoms, cutoff: float) -> Candidates:
        search = self.on_cpu if atoms.positions.device.type == "cpu" else self.elsewhere
        return search._candidates(atoms, cutoff)


def neighbor_search(name: Literal["auto", "vesin", "torch", "torch_cluster"] = "auto") -> NeighborSearch:
    """The neighbor search of that name; all give identical results.

    Args:
        name: `vesin` (CPU), `torch` (any device), `torch_cluster` (needs the extra `pyg`), or `auto`: vesin for atoms
            on the CPU, torch for others.

    Raises:
        ValueError: there is none of that name.
        ImportError: `torch_cluster` is not installed.
    """
    searches: dict[str, Callable[[], NeighborSearch]] = {
        "auto": AutomaticSearch,
        "vesin": VesinSearch,
        "torch": TorchSearch,
        "torch_cluster": TorchClusterSearch,
    }
    if name not in searches:
        raise ValueError(f"there is no neighbor search {name!r}: choose one of {', '.join(searches)}")
    return searches[name]()


def _torch_cluster_radius() -> Callable[..., Any]:
    try:
        from torch_cluster import radius
    except ImportError as error:
        raise ImportError(
            "the neighbor search torch_cluster needs the package torch-cluster: install it with "
            "`pip install gemnet_blocks[pyg]`, or choose the search torch or vesin, which need nothing"
        ) from error
    return radius


def _select(structures: Structures, whole: Tensor, candidates: Candidates, cutoff: float) -> Pairs:
    """The neighbors among the candidates, in canonical order."""
    source, target = candidates.source, candidates.target
    shift = candidates.shift + whole.index_select(0, target) - whole.index_select(0, source)
    distance = _distance(structures, source, target, shift)
    itself = (source == target) & (shift == 0).all(-1)
    found = Pairs(source, target, shift, distance).select((distance <= cutoff) & ~itself)
    return found.select(found.canonical_order())


def _distance(structures: Structures, source: Tensor, target: Tensor, shift: Tensor) -> Tensor:
    """|r_t - r_s - n·A| in float64.

    Term by term, and in this order: the same pair has the same distance to the last bit whatever the backend, which
    a matrix product does not promise; and its reverse too, as every term only changes its sign.
    """
    positions, cells = structures.positions.double(), structures.cells.double()
    home = structures.structure.index_select(0, target)
    steps = shift.double().unbind(-1)
    squared = torch.zeros(len(source), dtype=torch.float64, device=positions.device)
    for axis in range(3):
        translation = torch.zeros_like(squared)
        for vector in range(3):
            translation += steps[vector] * cells[:, vector, axis].index_select(0, home)
        along = positions[:, axis]
        difference = along.index_select(0, target).sub_(along.index_select(0, source)).sub_(translation)
        squared += difference * difference
    return squared.sqrt()


def _packed(keys: list[Tensor]) -> list[Tensor]:
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
