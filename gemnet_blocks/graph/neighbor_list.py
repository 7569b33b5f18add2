"""Neighbor searches with one interface and identical results; each lattice vector may be periodic or not."""

from __future__ import annotations

import importlib.util
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal, final

import torch
from torch import Tensor
from typing_extensions import override

from gemnet_blocks.graph.cell_list import cell_list_candidates, first_direction, nearby_images
from gemnet_blocks.graph.pairs import Bounds, translations
from gemnet_blocks.graph.pairs import Pairs as Pairs
from gemnet_blocks.graph.wrapping import Candidates, WrappedAtoms, wrap_and_measure
from gemnet_blocks.structures import Structures
from gemnet_blocks.util.derivatives import check_graphs_can_be_built
from gemnet_blocks.util.weights import ordinary_tensors


class NeighborSearch(ABC):
    """Base class of searches for all pairs of atoms within a cutoff.

    Subclasses propose candidates. This class selects and sorts the neighbors among them, so that all searches give
    identical results.
    """

    @final
    @ordinary_tensors()  # pairs may be stored and used in training later
    @torch.no_grad()
    def __call__(self, structures: Structures, cutoff: float) -> Pairs:
        """Find all pairs within a cutoff.

        Args:
            structures: the structures; atoms may lie outside of their cells.
            cutoff: the largest distance in Å, inclusive.

        Returns:
            The pairs of all structures, on the device of the positions.

        Raises:
            ValueError: the cutoff is negative or not finite.
            NotImplementedError: a torch.func transform is applied to positions or cells.
            StructureError: positions or cells are not finite, or the lattice vectors of periodic directions are
                linearly dependent.
        """
        if not (math.isfinite(cutoff) and cutoff >= 0):
            raise ValueError(f"neighbor search: cutoff must be a finite, nonnegative number in Å, got {cutoff}")
        check_graphs_can_be_built(structures.positions, structures.cells)
        # no_grad does not stop forward-mode differentiation; detaching removes the tangents
        structures = replace(structures, positions=structures.positions.detach(), cells=structures.cells.detach())
        atoms, extent = wrap_and_measure(structures)
        # a margin, so that rounding errors of the backends lose no pair
        candidates = self._candidates(atoms, cutoff * (1 + 1e-6) + 1e-6 + 1e-12 * extent.size)
        return _select(structures, atoms.whole, extent.spread, candidates, cutoff)

    @abstractmethod
    def _candidates(self, atoms: WrappedAtoms, cutoff: float) -> Candidates:
        """Find at least all pairs of wrapped atoms within the cutoff in Å, in any order.

        Each pair is listed once and in one direction only. An atom is not paired with itself, only with its images.
        """


BOXES_AT_MOST = 50_000
"""The largest number of boxes of the size of the cutoff in a structure for vesin; flat structures with 100,000 boxes
crash vesin 0.6."""


@final
class VesinSearch(NeighborSearch):
    """Neighbor search of the vesin library, a cell list on the CPU, with one call per structure.

    Batches with a structure that is very large compared to the cutoff, and therefore mostly empty, are searched by the
    cell list in torch.
    """

    @override
    def _candidates(self, atoms: WrappedAtoms, cutoff: float) -> Candidates:
        from vesin import NeighborList

        device, count = atoms.positions.device, len(atoms.cells)
        extent = torch.where(atoms.periodic, atoms.heights, atoms.highest - atoms.lowest).numpy(force=True)
        if ((extent / cutoff).clip(min=1).prod(axis=-1) > BOXES_AT_MOST).any():
            return cell_list_candidates(atoms, cutoff)
        on_host = (t.numpy(force=True) for t in (atoms.positions, atoms.cells, atoms.periodic, atoms.structure))
        positions, cells, periodic, home = on_host
        starts = home.searchsorted(range(count + 1)).tolist()
        search = NeighborList(cutoff=cutoff, full_list=False)
        sources = [torch.zeros(0, dtype=torch.long, device="cpu")]
        targets, shifts = [sources[0]], [torch.zeros((3, 0), dtype=torch.long, device="cpu")]
        for index, (start, end) in enumerate(pairwise(starts)):
            if start == end:
                continue
            # vesin's pairs run from atom i to the image of j, our edges from that image to atom i
            found, shift = search.compute(positions[start:end], cells[index], periodic[index], "PS", copy=False)
            if len(found):
                target, source = torch.from_numpy(found.view("int64")).unbind(-1)
                sources.append(source + start)
                targets.append(target + start)
                shifts.append(
                    torch.empty(shift.shape[::-1], dtype=torch.long, device="cpu").copy_(torch.from_numpy(shift).t())
                )
        source, target, shift = torch.cat(sources), torch.cat(targets), torch.cat(shifts, dim=1)
        largest = int(abs(shift.numpy()).max(initial=0))
        return Candidates(source.to(device), target.to(device), shift.to(device).t(), largest)


@final
class TorchSearch(NeighborSearch):
    """Cell list in torch for any device, with memory linear in the number of atoms and pairs."""

    @override
    def _candidates(self, atoms: WrappedAtoms, cutoff: float) -> Candidates:
        return cell_list_candidates(atoms, cutoff)


@final
class TorchClusterSearch(NeighborSearch):
    """Radius search of the torch-cluster library among explicit periodic images.

    Raises:
        ImportError: torch-cluster is not installed.
    """

    def __init__(self) -> None:
        _torch_cluster_radius()

    @override
    def _candidates(self, atoms: WrappedAtoms, cutoff: float) -> Candidates:
        radius = _torch_cluster_radius()
        images = nearby_images(atoms, cutoff)
        images = images.select(first_direction(images.shift) >= 0)
        home, count, limit = atoms.structure[images.atom], len(images.atom), 1024
        while True:
            # torch-cluster drops neighbors beyond the limit, but may allocate memory for all of them: start low
            target, image = radius(images.positions, atoms.positions, cutoff, home, atoms.structure, limit)
            if limit >= count or not bool((torch.bincount(target, minlength=1) >= limit).any()):
                source, shift = images.atom[image], images.shift[image]
                one_way = (first_direction(shift) > 0) | (source < target)
                return Candidates(source[one_way], target[one_way], shift[one_way])
            limit *= 4


@final
class NvalchemiSearch(NeighborSearch):
    """Cell list of the nvalchemi-toolkit-ops library, in kernels for GPUs that also run on CPUs.

    All structures are searched in one call.

    Raises:
        ImportError: nvalchemi-toolkit-ops is not installed.
    """

    def __init__(self) -> None:
        _nvalchemi_cell_list()

    @override
    def _candidates(self, atoms: WrappedAtoms, cutoff: float) -> Candidates:
        cell_list = _nvalchemi_cell_list()
        positions, cells = _boxed(atoms, cutoff)
        limit, structure = 128, atoms.structure.int()
        while True:
            sources, counts, shifts = cell_list(positions, cutoff, cells, atoms.periodic, structure, limit)
            most = int(counts.max()) if len(counts) else 0
            if most <= limit:
                break
            limit = most  # neighbors beyond the limit are counted, but not listed
        listed = torch.arange(sources.shape[1], device=counts.device) < counts[:, None]
        target, place = listed.nonzero().unbind(1)
        source, shift = sources[target, place].long(), shifts[target, place].long()
        direction = first_direction(shift)
        one_way = (direction > 0) | ((direction == 0) & (source < target))
        return Candidates(source[one_way], target[one_way], shift[one_way])


def _boxed(atoms: WrappedAtoms, cutoff: float) -> tuple[Tensor, Tensor]:
    """Return positions and cells such that all atoms are inside of their cells, whether periodic or not."""
    lowest, extent = atoms.lowest, (atoms.highest - atoms.lowest).clamp(min=0) + cutoff
    lowest = torch.where(atoms.periodic | lowest.isinf(), 0.0, lowest)  # infinite: a structure without atoms
    cells = atoms.cells * torch.where(atoms.periodic, 1.0, extent)[..., None]
    offset = torch.einsum("sk,skc->sc", lowest, atoms.cells)
    return atoms.positions - offset.index_select(0, atoms.structure), cells


@final
class AutomaticSearch(NeighborSearch):
    """Neighbor search by `VesinSearch` on the CPU and by `TorchSearch` on other devices.

    On CUDA devices, `NvalchemiSearch` is used if its package is installed.
    """

    def __init__(self) -> None:
        self.on_cpu = VesinSearch()
        self.elsewhere = TorchSearch()

    @override
    def _candidates(self, atoms: WrappedAtoms, cutoff: float) -> Candidates:
        device = atoms.positions.device.type
        search: NeighborSearch = self.on_cpu if device == "cpu" else self.elsewhere
        if device == "cuda" and _is_installed("nvalchemiops"):
            search = NvalchemiSearch()  # made here, since importing its package takes time on CPUs too
        return search._candidates(atoms, cutoff)


SearchName = Literal["auto", "vesin", "torch", "torch_cluster", "nvalchemi"]
"""The name of a neighbor search."""


def neighbor_search(name: SearchName = "auto") -> NeighborSearch:
    """Construct a neighbor search. All searches give identical results.

    Args:
        name: `vesin` (CPU), `torch` (any device), `torch_cluster` (needs the extra `pyg`), `nvalchemi` (CUDA or CPU,
            needs the extra `gpu`), or `auto`, which uses vesin on the CPU, nvalchemi on CUDA devices if it is
            installed, and otherwise torch.

    Raises:
        ValueError: the name is unknown.
        ImportError: the package of the search is not installed.
    """
    searches: dict[str, Callable[[], NeighborSearch]] = {
        "auto": AutomaticSearch,
        "vesin": VesinSearch,
        "torch": TorchSearch,
        "torch_cluster": TorchClusterSearch,
        "nvalchemi": NvalchemiSearch,
    }
    if name not in searches:
        raise ValueError(f"unknown neighbor search {name!r}: choose one of {', '.join(searches)}")
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


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _nvalchemi_cell_list() -> Callable[..., Any]:
    try:
        import warp

        warp.config.quiet = True  # it otherwise prints its version and devices
        from nvalchemiops.torch.neighbors import batch_cell_list
    except ImportError as error:
        raise ImportError(
            "the neighbor search nvalchemi needs the package nvalchemi-toolkit-ops: install it with "
            "`pip install 'gemnet_blocks[gpu]'`, or choose the search torch or vesin"
        ) from error
    return batch_cell_list


def _select(structures: Structures, whole: Tensor, spread: int, candidates: Candidates, cutoff: float) -> Pairs:
    """Select the neighbors among the candidates and sort them in canonical order."""
    source, target = candidates.source, candidates.target
    taken_off = whole.t().contiguous()
    shift = taken_off.index_select(1, target).sub_(taken_off.index_select(1, source)).add_(candidates.shift.t()).t()
    largest = None if candidates.largest is None else candidates.largest + spread
    if largest is None:
        largest = int(shift.abs().max()) if len(shift) else 0
    distance = distances(structures, source, target, shift, largest)
    bounds = Bounds(max(structures.atom_count - 1, 0), cutoff, largest)
    found = Pairs(source, target, shift, distance, bounds).select(distance <= cutoff).with_opposites()
    return found.select(found.canonical_order())


def distances(
    structures: Structures, source: Tensor, target: Tensor, shift: Tensor, largest: int | None = None
) -> Tensor:
    """Compute |r_t - r_s - n·A| in float64.

    The fixed order of the terms gives the same pair the same distance to the last bit with every backend. The distance
    of its reverse is also identical, because every term only changes its sign.
    """
    home = structures.structure.index_select(0, target)
    offset = translations(shift, home, structures.cells.double(), largest)
    components = structures.positions.double().t().contiguous()
    difference = components.index_select(1, target).sub_(components.index_select(1, source)).sub_(offset)
    x, y, z = difference.square_()
    return (x + y).add_(z).sqrt_()
