"""Structures of one part of a dataset that are in another part too."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from gemnet_blocks.data.dataset import LabelledDataset
from gemnet_blocks.data.leakage import Survey
from gemnet_blocks.graph.neighbor_list import neighbor_search

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
