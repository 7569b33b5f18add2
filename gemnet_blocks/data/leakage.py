"""Dataset summaries, and the search for structures that two parts of a dataset share."""

from __future__ import annotations

import hashlib
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product

import numpy as np
import numpy.typing as npt
from ase.data import chemical_symbols

from gemnet_blocks.data.cache_files import structure_hash
from gemnet_blocks.data.dataset import Group, LabelledDataset, grouped
from gemnet_blocks.data.fingerprints import Hashes, fingerprints
from gemnet_blocks.data.labelled import LabelledStructures, collate
from gemnet_blocks.errors import StructureError
from gemnet_blocks.graph.coinciding import coinciding_atoms, coinciding_message
from gemnet_blocks.graph.neighbor_list import neighbor_search
from gemnet_blocks.structures import Structures
from gemnet_blocks.util.charges import Unread, UnreadError, refused

_ROUNDING = 1e-3
"""The rounding of positions in Å, below which structures are the same."""

_OFFSET = 0.137
"""Added before rounding, so that coordinates with few digits, as in perfect crystals, are not halfway."""

_NOISE = 1e-7
"""The relative error of coordinates in float32, to which the error of 0.1 Å is added."""

_MAX_DOUBTFUL = 8
"""Maximum number of coordinates, near the boundary of two rounded values, that are rounded both ways."""


@dataclass(frozen=True, eq=False)
class DatasetSummary:
    """Properties of some structures of a dataset.

    Attributes:
        dataset: the dataset.
        indices: the summarized structures.
        keys: hashes, equal for structures with equal atoms at equal positions, in any order.
        formulas: sorted atomic numbers of each structure, as bytes.
        energies: energies in eV; empty if the dataset has none.
        periodic: periodicity along each lattice vector.
        atoms: total number of atoms.
        elements: atomic numbers.
        force_rms: root mean square of all force components in eV/Å; NaN without forces.
        free: number of atoms that are not fixed.
        content: hash of all structures and labels, to the last bit.
    """

    dataset: LabelledDataset
    indices: npt.NDArray[np.int64]
    keys: list[bytes]
    formulas: list[bytes]
    energies: npt.NDArray[np.float64]
    periodic: npt.NDArray[np.bool_]
    atoms: int
    elements: frozenset[int]
    force_rms: float
    free: int
    content: bytes

    @cached_property
    def fingerprints(self) -> Hashes:
        """Hashes that are equal for structures with the same interatomic distances.

        They take milliseconds per structure, and are computed when they are first used, from the dataset.
        """
        items = ((index, self.dataset[index]) for index in self.indices.tolist())
        hashes = [fingerprints(collate([item for _, item in group]).structures) for group in grouped(items)]
        return np.concatenate([np.zeros(0, np.uint64), *hashes])

    @property
    def complete(self) -> bool:
        """Whether the summary covers all structures of the dataset."""
        return len(self.indices) == len(self.dataset)

    @property
    def digest(self) -> str:
        """Hash of all structures and labels, the same on any machine."""
        return hashlib.sha256(repr((len(self.dataset), self.content)).encode()).hexdigest()

    def open_place(self) -> str | None:
        """File and frame of the first structure that is not periodic in all directions, if there is one."""
        open_ones = np.flatnonzero(~self.periodic.all(axis=1))
        return self.dataset.place(int(self.indices[open_ones[0]])) if len(open_ones) else None

    def line(self) -> str:
        """The summary as a line of text, for reports."""
        symbols = " ".join(chemical_symbols[number] for number in sorted(self.elements))
        checked = "" if self.complete else f", {len(self.indices)} of them checked"
        parts = [f"{len(self.dataset)} structures{checked}", f"{self.atoms} atoms of {symbols}", self._periodicity()]
        if len(self.energies):
            parts.append(f"energies {self.energies.min():.3f} to {self.energies.max():.3f} eV")
        if not np.isnan(self.force_rms):
            parts.append(f"force components {self.force_rms:.3f} eV/Å (root mean square)")
        if repeated := len(self.keys) - len(set(self.keys)):
            parts.append(f"{repeated} structures repeat others of this part")
        return "; ".join(part for part in parts if part)

    def _periodicity(self) -> str:
        kinds, counts = np.unique(self.periodic, axis=0, return_counts=True)
        if len(kinds) == 1:
            return _directions(kinds[0])
        found = [f"{count} {_directions(kind)}" for kind, count in zip(kinds, counts.tolist(), strict=True)]
        return f"mixed periodicity: {', '.join(found)}" if found else ""


def summarize(
    dataset: LabelledDataset, indices: Iterable[int], watch: Callable[[Group], None] | None = None
) -> DatasetSummary:
    """Read structures, which checks their labels, and summarize them.

    Args:
        dataset: the dataset.
        indices: the structures to read.
        watch: called with groups of these structures, for whatever else needs them: reading them again is slow.

    Raises:
        StructureError: a frame is wrong; names file and frame.
    """
    chosen = np.fromiter(indices, dtype=np.int64)
    keys, formulas, energies, periodic = [], [], [], []
    elements, atoms, free, squares = set[int](), 0, 0, 0.0
    content = hashlib.sha256()
    unread: dict[str, Sequence[Unread]] = {}
    coinciding: dict[str, str] = {}
    for group in grouped(_readable(dataset, chosen.tolist(), unread)):
        for _, item in group:
            numbers = item.structures.numbers.numpy()
            keys.append(next(structure_keys(item.structures)))
            formulas.append(np.sort(numbers).astype(np.uint8).tobytes())
            periodic.append(item.structures.periodic[0].numpy())
            elements.update(np.unique(numbers).tolist())
            atoms += len(numbers)
            free += int((~item.structures.fixed).sum())
            if item.energy is not None:
                energies.append(float(item.energy))
            content.update(structure_hash(item.structures))
            properties = (item.properties[name] for name in sorted(item.properties))
            states = (one for one in (item.structures.charge, item.structures.spin) if one is not None)
            labels = (item.energy, item.forces, item.stress, *properties, *states)
            for value in (item.structures.tags, item.structures.fixed, *labels):
                content.update(b"none" if value is None else value.contiguous().numpy().tobytes())
            squares += float("nan") if item.forces is None else float(item.forces.square().sum())
        if dataset.streamed:  # datasets in memory were searched when they were opened
            coinciding |= _coinciding(dataset, group)
        if watch is not None:
            watch(group)
    if unread:
        raise refused(unread, len(chosen))
    if coinciding:
        warnings.warn(coinciding_message(coinciding, len(chosen)), stacklevel=2)
    return DatasetSummary(
        dataset=dataset,
        indices=chosen,
        keys=keys,
        formulas=formulas,
        energies=np.array(energies if len(energies) == len(chosen) else []),
        periodic=np.array(periodic, dtype=bool).reshape(-1, 3),
        atoms=atoms,
        elements=frozenset(elements),
        force_rms=(squares / (3 * atoms)) ** 0.5 if atoms else float("nan"),
        free=free,
        content=content.digest(),
    )


def _readable(
    dataset: LabelledDataset, indices: Iterable[int], unread: dict[str, Sequence[Unread]]
) -> Iterator[tuple[int, LabelledStructures]]:
    """Read structures, and collect the charges and spins for which some are refused: they are reported together."""
    for index in indices:
        try:
            yield index, dataset[index]
        except UnreadError as error:
            unread |= error.found


def _coinciding(dataset: LabelledDataset, group: Group) -> dict[str, str]:
    """Search several structures at once, which is much faster, for coinciding atoms."""
    structures = collate([item for _, item in group]).structures
    return coinciding_atoms(structures).by_structure(structures, lambda which: dataset.place(group[which][0]))


def check_periodicity(summaries: Iterable[DatasetSummary]) -> None:
    """Check that all structures are periodic in the same directions.

    Raises:
        StructureError: names the first two frames that differ.
    """
    first: tuple[npt.NDArray[np.bool_], str] | None = None
    for summary in summaries:
        for index, periodic in zip(summary.indices.tolist(), summary.periodic, strict=True):
            if first is None:
                first = periodic, summary.dataset.place(index)
            elif (periodic != first[0]).any():
                raise StructureError(
                    f"{summary.dataset.place(index)}: is {_directions(periodic)}, but {first[1]} is "
                    f"{_directions(first[0])}: correct pbc in one of the files, or write `periodicity: mixed` if both "
                    "are meant"
                )


def _directions(periodic: npt.NDArray[np.bool_]) -> str:
    names = [name for name, on in zip(("first", "second", "third"), periodic.tolist(), strict=True) if on]
    if not names:
        return "not periodic"
    if len(names) == 3:
        return "periodic in all directions"
    return f"periodic along its {' and '.join(names)} lattice vector only"


def structure_keys(structures: Structures) -> Iterator[bytes]:
    """Hash elements, positions, cell, periodicity, charge and spin of one structure, in any order of the atoms.

    The first key identifies the structure. Further keys follow if coordinates lie so near the boundary between two
    rounded values that float32 noise could move them across it: one of them matches a file of other precision.

    Args:
        structures: a single structure on the CPU.
    """
    numbers, periodic = structures.numbers.numpy(), structures.periodic[0].numpy()
    # lattice vectors of open directions have no meaning
    cell = structures.cells[0].numpy() * periodic[:, None]
    states = (structures.charge, structures.spin)
    state = b"" if states == (None, None) else str([None if one is None else one.tolist() for one in states]).encode()
    values = np.concatenate([structures.positions.numpy(), cell]) / _ROUNDING + _OFFSET
    nearest = np.rint(values)
    other = nearest + np.sign(values - nearest)
    doubtful = np.argwhere(0.5 - np.abs(values - nearest) < _NOISE * (np.abs(values) + 100))[:_MAX_DOUBTFUL]
    for choice in product((False, True), repeat=len(doubtful)):
        rounded = nearest.copy()
        places = tuple(doubtful[np.array(choice, dtype=bool)].T)
        rounded[places] = other[places]
        table = np.column_stack([numbers, rounded[:-3]]).astype(np.int64)
        table = table[np.lexsort(table.T[::-1])]
        content = table.tobytes() + rounded[-3:].astype(np.int64).tobytes() + periodic.tobytes() + state
        yield hashlib.sha256(content).digest()


_ENERGY = 5e-5
"""Maximum energy difference of duplicates in eV."""

_DISTANCE = 1e-3
"""Maximum difference of the interatomic distances of duplicates in Å."""

_REACH = 5.0
"""Cutoff of the compared distances in Å."""


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Structures of a held-out part that another part contains too.

    Attributes:
        held: their indices in the held-out part.
        seen: for each, the index of the first equal structure of the other part.
        same: for each, whether positions are equal; otherwise the structure was rotated, mirrored, shifted or
            renumbered.
    """

    held: list[int]
    seen: list[int]
    same: list[bool]

    def __len__(self) -> int:
        return len(self.held)


def find_duplicates(held: DatasetSummary, seen: DatasetSummary) -> Duplicates:
    """Find the structures of one part that another part contains too.

    Structures are equal if they have the same elements at the same positions, or the same formula, energy and
    interatomic distances: datasets repeat frames in other orientations.

    Args:
        held: the held-out part.
        seen: the part that should not contain its structures.
    """
    by_key = {key: index for key, index in zip(reversed(seen.keys), reversed(seen.indices.tolist()), strict=True)}
    by_formula = _by_formula(seen) if len(held.energies) else {}
    distances_held, distances_seen = _distances_of(held.dataset), _distances_of(seen.dataset)
    found = Duplicates([], [], [])
    for row, index in enumerate(held.indices.tolist()):
        match = by_key.get(held.keys[row])
        same = match is not None
        if match is None and held.formulas[row] in by_formula:
            energies, indices = by_formula[held.formulas[row]]
            low, high = np.searchsorted(energies, held.energies[row] + np.array([-_ENERGY, _ENERGY]))
            candidates = sorted(indices[low:high].tolist())
            match = next((i for i in candidates if _equal(distances_held(index), distances_seen(i))), None)
        if match is not None:
            found.held.append(index)
            found.seen.append(match)
            found.same.append(same)
    return found


def _by_formula(seen: DatasetSummary) -> dict[bytes, tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]]:
    """Ascending energies and the indices of their structures, for each formula."""
    if not len(seen.energies):
        return {}
    rows = defaultdict(list)
    for row, formula in enumerate(seen.formulas):
        rows[formula].append(row)
    tables = {}
    for formula, members in rows.items():
        energies = seen.energies[members]
        order = np.argsort(energies, kind="stable")
        tables[formula] = energies[order], seen.indices[members][order]
    return tables


def _distances_of(dataset: LabelledDataset) -> Callable[[int], npt.NDArray[np.float64]]:
    """A function of a structure's index that computes its ascending interatomic distances, and remembers the last."""
    search = neighbor_search("vesin")

    @lru_cache(maxsize=256)
    def distances(index: int) -> npt.NDArray[np.float64]:
        # a little beyond the cutoff, so that rounding does not remove any
        return np.sort(search(dataset[index].structures, _REACH + 2 * _DISTANCE).distance.numpy())

    return distances


def _equal(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> bool:
    count = max(int(np.searchsorted(first, _REACH)), int(np.searchsorted(second, _REACH)))
    if count > min(len(first), len(second)):
        return False
    return bool((np.abs(first[:count] - second[:count]) <= _DISTANCE).all())
