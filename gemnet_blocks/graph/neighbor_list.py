"""The search for neighbors, with periodicity per structure and lattice vector, behind one small interface."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal, final

import torch
from torch import Tensor

from gemnet_blocks.graph.cell_list import cell_list_candidates, first_direction, nearby_images
from gemnet_blocks.graph.pairs import Pairs as Pairs
from gemnet_blocks.graph.pairs import translations
from gemnet_blocks.graph.wrapping import Candidates, WrappedAtoms, wrap
from gemnet_blocks.structures import Structures
from gemnet_blocks.util.derivatives import check_graphs_can_be_built
from gemnet_blocks.util.weights import ordinary_tensors


class NeighborSearch(ABC):
    """A way to find all pairs of atoms within a cutoff.

    Subclasses propose candidates; which of them are neighbors, and in what order, is decided here, so that all of them
    give identical results.
    """

    @final
    @ordinary_tensors()  # what is found may be kept, and read in training later
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
            NotImplementedError: torch.func transforms the positions or cells.
            StructureError: positions or cells that are not finite, or lattice vectors that do not span the directions
                marked periodic.
        """
        if not (math.isfinite(cutoff) and cutoff >= 0):
            raise ValueError(f"the cutoff is {cutoff} Å: give a finite length that is not negative")
        check_graphs_can_be_built(structures.positions, structures.cells)
        # forward mode goes on under no_grad, so that tangents have to be left behind too
        structures = replace(structures, positions=structures.positions.detach(), cells=structures.cells.detach())
        atoms = wrap(structures)
        # wide enough that rounding in the backends loses no pair
        size = max((float(t.abs().max()) for t in (structures.positions, atoms.cells) if t.numel()), default=0)
        candidates = self._candidates(atoms, cutoff * (1 + 1e-6) + 1e-6 + 1e-12 * size)
        return _select(structures, atoms.whole, candidates, cutoff)

    @abstractmethod
    def _candidates(self, atoms: WrappedAtoms, cutoff: float) -> Candidates:
        """At least all pairs of wrapped atoms within the cutoff (> 0, in Å), in any order.

        Each pair once and in one direction only; an atom with itself not at all.
        """


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
        search = NeighborList(cutoff=cutoff, full_list=False)
        sources = [torch.zeros(0, dtype=torch.long, device="cpu")]
        targets, shifts = [sources[0]], [torch.zeros((3, 0), dtype=torch.long, device="cpu")]
        for index, (start, end) in enumerate(pairwise(starts)):
            if start == end:
                continue
            # vesin's pairs run from i to the image of j, ours from that image to i
            found, shift = search.compute(positions[start:end], cells[index], periodic[index], "PS", copy=False)
            if len(found):
                target, source = torch.from_numpy(found.view("int64")).unbind(-1)
                sources.append(source + start)
                targets.append(target + start)
                shifts.append(
                    torch.empty(shift.shape[::-1], dtype=torch.long, device="cpu").copy_(torch.from_numpy(shift).t())
                )
        source, target, shift = torch.cat(sources), torch.cat(targets), torch.cat(shifts, dim=1)
        return Candidates(source.to(device), target.to(device), shift.to(device).t())


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
        images = images.select(first_direction(images.shift) >= 0)
        home, count, limit = atoms.structure[images.atom], len(images.atom), 1024
        while True:
            # torch-cluster drops neighbors beyond the limit, and may reserve memory for as many, so start low
            target, image = radius(images.positions, atoms.positions, cutoff, home, atoms.structure, limit)
            if limit >= count or not bool((torch.bincount(target, minlength=1) >= limit).any()):
                source, shift = images.atom[image], images.shift[image]
                one_way = (first_direction(shift) > 0) | (source < target)
                return Candidates(source[one_way], target[one_way], shift[one_way])
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


SearchName = Literal["auto", "vesin", "torch", "torch_cluster"]
"""The name of a neighbor search."""


def neighbor_search(name: SearchName = "auto") -> NeighborSearch:
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
            "`pip install --no-build-isolation 'gemnet_blocks[pyg]'`, or choose the search torch or vesin"
        ) from error
    return radius


def _select(structures: Structures, whole: Tensor, candidates: Candidates, cutoff: float) -> Pairs:
    """The neighbors among the candidates, in canonical order."""
    source, target = candidates.source, candidates.target
    taken_off = whole.t().contiguous()
    shift = taken_off.index_select(1, target).sub_(taken_off.index_select(1, source)).add_(candidates.shift.t()).t()
    distance = _distance(structures, source, target, shift)
    found = Pairs(source, target, shift, distance).select(distance <= cutoff).with_opposites()
    return found.select(found.canonical_order())


def _distance(structures: Structures, source: Tensor, target: Tensor, shift: Tensor) -> Tensor:
    """|r_t - r_s - n·A| in float64.

    Term by term, and in this order: the same pair has the same distance to the last bit whatever the backend; and its
    reverse too, as every term only changes its sign.
    """
    home = structures.structure.index_select(0, target)
    offset = translations(shift, home, structures.cells.double())
    components = structures.positions.double().t().contiguous()
    difference = components.index_select(1, target).sub_(components.index_select(1, source)).sub_(offset)
    x, y, z = difference.square_()
    return (x + y).add_(z).sqrt_()
