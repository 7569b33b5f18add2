"""One look at every structure of a dataset: labels, periodicity, and what tells copies from one another."""

from __future__ import annotations

import hashlib
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import final

import numpy as np
import numpy.typing as npt
from ase.data import chemical_symbols

from gemnet_blocks.data.cache_files import structure_hash
from gemnet_blocks.data.dataset import LabelledDataset
from gemnet_blocks.data.fingerprints import ATOMS_AT_ONCE, Hashes, fingerprints
from gemnet_blocks.data.labelled import LabelledStructures, collate
from gemnet_blocks.errors import StructureError
from gemnet_blocks.graph.coinciding import coinciding_atoms, coinciding_message
from gemnet_blocks.graph.neighbor_list import neighbor_search
from gemnet_blocks.structures import Structures
from gemnet_blocks.util.charges import Unread, UnreadError, refused

_ROUNDING = 1e-3
"""Positions that differ by less, in Å, are the same."""

_OFFSET = 0.137
"""Added before rounding, so that coordinates with few digits, as those of perfect crystals, are not halfway."""

_NOISE = 1e-7
"""The relative error of coordinates in float32; added to it is that of 0.1 Å."""

_DOUBTFUL_AT_MOST = 8
"""Coordinates of a structure that are rounded both ways, of those near the boundary of two rounded values."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What was seen of some structures of a dataset.

    Attributes:
        dataset: what was looked at.
        indices: which of its structures.
        keys: equal for structures with equal atoms at equal places, in any order.
        fingerprints: equal for structures with the same distances between atoms.
        formulas: equal for structures with as many atoms of each element.
        energies: in eV; empty without energies.
        periodic: along each lattice vector.
        atoms: how many, in all.
        elements: atomic numbers.
        force_rms: of all components, in eV/Å; NaN without forces.
        free: how many atoms are not fixed.
        content: differs where anything of the structures or their labels does, to the last bit.
    """

    dataset: LabelledDataset
    indices: npt.NDArray[np.int64]
    keys: list[bytes]
    fingerprints: Hashes
    formulas: list[bytes]
    energies: npt.NDArray[np.float64]
    periodic: npt.NDArray[np.bool_]
    atoms: int
    elements: frozenset[int]
    force_rms: float
    free: int
    content: bytes

    @property
    def complete(self) -> bool:
        """Whether all structures were looked at."""
        return len(self.indices) == len(self.dataset)

    @property
    def digest(self) -> str:
        """Differs where structures or labels do, on any machine."""
        return hashlib.sha256(repr((len(self.dataset), self.content)).encode()).hexdigest()

    def open_place(self) -> str | None:
        """File and frame of the first structure that is not periodic in all directions; None where all are."""
        open_ones = np.flatnonzero(~self.periodic.all(axis=1))
        return self.dataset.place(int(self.indices[open_ones[0]])) if len(open_ones) else None

    def line(self) -> str:
        """What it says, for reports."""
        symbols = " ".join(chemical_symbols[number] for number in sorted(self.elements))
        looked = "" if self.complete else f", {len(self.indices)} of them checked"
        parts = [f"{len(self.dataset)} structures{looked}", f"{self.atoms} atoms of {symbols}", self._periodicity()]
        if len(self.energies):
            parts.append(f"energies {self.energies.min():.3f} to {self.energies.max():.3f} eV")
        if not np.isnan(self.force_rms):
            parts.append(f"force components {self.force_rms:.3f} eV/Å (root mean square)")
        if repeated := len(self.keys) - len(set(self.keys)):
            parts.append(f"{repeated} structures repeat others of it")
        return "; ".join(part for part in parts if part)

    def _periodicity(self) -> str:
        """How many structures are periodic in which directions."""
        kinds, counts = np.unique(self.periodic, axis=0, return_counts=True)
        if len(kinds) == 1:
            return _directions(kinds[0])
        found = [f"{count} {_directions(kind)}" for kind, count in zip(kinds, counts.tolist(), strict=True)]
        return f"mixed periodicity: {', '.join(found)}" if found else ""


def survey(dataset: LabelledDataset, indices: Iterable[int]) -> Survey:
    """Read structures, which checks their labels, and remember what tells them apart.

    Raises:
        StructureError: a frame is wrong; names file and frame.
    """
    chosen = np.fromiter(indices, dtype=np.int64)
    keys, formulas, energies, periodic = [], [], [], []
    elements, atoms, free, squares = set[int](), 0, 0, 0.0
    content = hashlib.sha256()
    unread: dict[str, Sequence[Unread]] = {}
    pairs = _PairSearch(dataset)
    for index in chosen.tolist():
        try:
            item = dataset[index]
        except UnreadError as error:
            unread |= error.found  # they are counted before they are refused
            continue
        pairs.add(index, item)
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
        for value in (item.structures.tags, item.structures.fixed, item.energy, item.forces, item.stress):
            content.update(b"none" if value is None else value.contiguous().numpy().tobytes())
        squares += float("nan") if item.forces is None else float(item.forces.square().sum())
    if unread:
        raise refused(unread, len(chosen))
    pairs.finish(len(chosen))
    return Survey(
        dataset=dataset,
        indices=chosen,
        keys=keys,
        fingerprints=np.concatenate([np.zeros(0, np.uint64), *pairs.fingerprints]),
        formulas=formulas,
        energies=np.array(energies if len(energies) == len(chosen) else []),
        periodic=np.array(periodic, dtype=bool).reshape(-1, 3),
        atoms=atoms,
        elements=frozenset(elements),
        force_rms=(squares / (3 * atoms)) ** 0.5 if atoms else float("nan"),
        free=free,
        content=content.digest(),
    )


@final
class _PairSearch:
    """Search many structures at once, which is much faster, for what pairs of atoms tell.

    These are fingerprints, and coinciding atoms of datasets on disk; those kept in memory were searched before.

    Args:
        dataset: where the structures are from.
    """

    def __init__(self, dataset: LabelledDataset) -> None:
        self.fingerprints: list[Hashes] = []
        self._dataset = dataset
        self._waiting: list[tuple[int, LabelledStructures]] = []
        self._atoms = 0
        self._coinciding: dict[str, str] = {}

    def add(self, index: int, item: LabelledStructures) -> None:
        """Take in one structure."""
        self._waiting.append((index, item))
        self._atoms += item.structures.atom_count
        if self._atoms >= ATOMS_AT_ONCE:
            self._search()

    def finish(self, count: int) -> None:
        """Search the last structures, and warn of coinciding atoms among so many structures."""
        self._search()
        if self._coinciding:
            warnings.warn(coinciding_message(self._coinciding, count), stacklevel=3)

    def _search(self) -> None:
        if not self._waiting:
            return
        indices, items = zip(*self._waiting, strict=True)
        self._waiting, self._atoms = [], 0
        structures = collate(items).structures
        self.fingerprints.append(fingerprints(structures))
        if self._dataset.streamed:
            self._coinciding |= coinciding_atoms(structures).by_structure(
                structures, lambda which: self._dataset.place(indices[which])
            )


def check_periodicity(surveys: Iterable[Survey]) -> None:
    """Check that all structures are periodic in the same directions.

    Raises:
        StructureError: names the first two frames that differ.
    """
    first: tuple[npt.NDArray[np.bool_], str] | None = None
    for seen in surveys:
        for index, periodic in zip(seen.indices.tolist(), seen.periodic, strict=True):
            if first is None:
                first = periodic, seen.dataset.place(index)
            elif (periodic != first[0]).any():
                raise StructureError(
                    f"{seen.dataset.place(index)}: is {_directions(periodic)}, but {first[1]} is "
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
    """Hash one structure: the same for equal elements, positions, cell and periodicity in any order of the atoms.

    The first key is the one to remember. More keys follow where coordinates lie so near the boundary between two
    rounded values that noise of float32 could move them across: one of them fits a file of other precision.

    Args:
        structures: a single structure on the CPU.
    """
    numbers, periodic = structures.numbers.numpy(), structures.periodic[0].numpy()
    # the cell of what is not periodic means nothing
    cell = structures.cells[0].numpy() * periodic[:, None]
    values = np.concatenate([structures.positions.numpy(), cell]) / _ROUNDING + _OFFSET
    nearest = np.rint(values)
    other = nearest + np.sign(values - nearest)
    doubtful = np.argwhere(0.5 - np.abs(values - nearest) < _NOISE * (np.abs(values) + 100))[:_DOUBTFUL_AT_MOST]
    for choice in product((False, True), repeat=len(doubtful)):
        rounded = nearest.copy()
        places = tuple(doubtful[np.array(choice, dtype=bool)].T)
        rounded[places] = other[places]
        table = np.column_stack([numbers, rounded[:-3]]).astype(np.int64)
        table = table[np.lexsort(table.T[::-1])]
        content = table.tobytes() + rounded[-3:].astype(np.int64).tobytes() + periodic.tobytes()
        yield hashlib.sha256(content).digest()


_ENERGY = 5e-5
"""Copies have energies that differ by less, in eV."""

_DISTANCE = 1e-3
"""Copies have distances between atoms that differ by less, in Å."""

_REACH = 5.0
"""Distances up to this are compared, in Å."""


@dataclass(frozen=True, slots=True)
class Copies:
    """Structures of one part that another part has too.

    Attributes:
        held: indices in the part that was held out.
        seen: for each, the index of the first equal structure of the other part.
        same: for each, whether atoms are at the same places; otherwise the structure was rotated, mirrored, shifted or
            renumbered.
    """

    held: list[int]
    seen: list[int]
    same: list[bool]

    def __len__(self) -> int:
        return len(self.held)


def find_copies(held: Survey, seen: Survey) -> Copies:
    """Find the structures of one survey that are in another too.

    Equal are structures with the same elements at the same places, and those of one formula with the same energy and
    the same distances between atoms: data sets repeat frames in other orientations.

    Args:
        held: structures that were held out.
        seen: structures that they should not be among.
    """
    by_key = {key: index for key, index in zip(reversed(seen.keys), reversed(seen.indices.tolist()), strict=True)}
    by_formula = _by_formula(seen) if len(held.energies) else {}
    distances_held, distances_seen = _Distances(held.dataset), _Distances(seen.dataset)
    found = Copies([], [], [])
    for place, index in enumerate(held.indices.tolist()):
        match = by_key.get(held.keys[place])
        same = match is not None
        if match is None and held.formulas[place] in by_formula:
            energies, indices = by_formula[held.formulas[place]]
            low, high = np.searchsorted(energies, held.energies[place] + np.array([-_ENERGY, _ENERGY]))
            candidates = sorted(indices[low:high].tolist())
            match = next((i for i in candidates if _equal(distances_held(index), distances_seen(i))), None)
        if match is not None:
            found.held.append(index)
            found.seen.append(match)
            found.same.append(same)
    return found


def _by_formula(seen: Survey) -> dict[bytes, tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]]:
    """Energies, ascending, and whose they are, for each formula."""
    if not len(seen.energies):
        return {}
    places = defaultdict(list)
    for place, formula in enumerate(seen.formulas):
        places[formula].append(place)
    tables = {}
    for formula, members in places.items():
        energies = seen.energies[members]
        order = np.argsort(energies, kind="stable")
        tables[formula] = energies[order], seen.indices[members][order]
    return tables


class _Distances:
    """Ascending distances between atoms of structures, of which the last ones are remembered."""

    def __init__(self, dataset: LabelledDataset) -> None:
        self._dataset = dataset
        self._search = neighbor_search("vesin")
        self._of = lru_cache(maxsize=256)(self._compute)

    def __call__(self, index: int) -> npt.NDArray[np.float64]:
        return self._of(index)

    def _compute(self, index: int) -> npt.NDArray[np.float64]:
        # a little more than is compared, so that none is lost to rounding
        found = self._search(self._dataset[index].structures, _REACH + 2 * _DISTANCE)
        return np.sort(found.distance.numpy())


def _equal(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> bool:
    count = max(int(np.searchsorted(first, _REACH)), int(np.searchsorted(second, _REACH)))
    if count > min(len(first), len(second)):
        return False
    return bool((np.abs(first[:count] - second[:count]) <= _DISTANCE).all())
