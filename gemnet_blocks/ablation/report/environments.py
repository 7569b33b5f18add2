"""Groups of atoms and structures by their environments: element, coordination, nearest neighbor, tag, composition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from ase.data import chemical_symbols, covalent_radii

from gemnet_blocks.data.dataset import formula
from gemnet_blocks.evaluation.kept import FORCES, KeptPredictions
from gemnet_blocks.graph.neighbor_list import neighbor_search
from gemnet_blocks.structures import UNKNOWN_TAG, PropertyOwner

Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]

BONDED = 1.2
"""Atoms are bonded up to this multiple of the sum of their covalent radii (ASE's), which includes the nearest neighbors
in metals and excludes the second ones."""

NEAR = 4.0
"""Radius in Å of the search for the nearest neighbor."""

BINS = 4
"""The number of groups of a continuous quantity, with equally many atoms each."""

TAGS: Mapping[int, str] = {0: "below the surface", 1: "surface", 2: "adsorbate"}
"""The meaning of tags by the convention of Open Catalyst."""


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """A division of atoms or structures into groups.

    Attributes:
        by: the property by which they are divided, such as `coordination`.
        owner: whether atoms or structures are divided.
        names: the names of the groups in the order in which they are shown.
        members: the group of each atom or structure; -1: none.
    """

    by: str
    owner: PropertyOwner
    names: tuple[str, ...]
    members: Integers

    @classmethod
    def of_labels(cls, by: str, owner: PropertyOwner, labels: Sequence[Any] | npt.NDArray[Any]) -> Groups:
        """Form a group of each label, in the order of the labels; None belongs to no group."""
        known = [label for label in labels if label is not None]
        try:
            order = sorted(set(known))
        except TypeError:  # labels of several kinds
            order = sorted(set(known), key=str)
        places = {label: place for place, label in enumerate(order)}
        members = [-1 if label is None else places[label] for label in labels]
        return cls(by, owner, tuple(map(str, order)), np.array(members, dtype=np.int64))

    def of_atoms(self, kept: KeptPredictions) -> Integers:
        """Return the group of each atom, which may be that of its structure."""
        return self.members if self.owner == "atom" else self.members[kept.structure]


def by_element(kept: KeptPredictions) -> Groups:
    """Group atoms by element, in the order of the atomic numbers."""
    numbers, members = np.unique(kept.of_atoms["numbers"], return_inverse=True)
    return Groups("element", "atom", tuple(chemical_symbols[number] for number in numbers), members)


def by_coordination(kept: KeptPredictions) -> Groups:
    """Group atoms by the number of atoms to which they are bonded; see `BONDED`."""
    return Groups.of_labels("coordination", "atom", _Neighbors.of(kept).coordination.tolist())


def by_distance(kept: KeptPredictions) -> Groups | None:
    """Group atoms by the distance of their nearest neighbor in Å."""
    return _binned("distance", "Å", _Neighbors.of(kept).nearest)


def by_force(kept: KeptPredictions) -> Groups | None:
    """Group atoms by the size of the labelled force in eV/Å."""
    if f"{FORCES}_label" not in kept.of_atoms:
        return None
    return _binned("force", "eV/Å", np.linalg.norm(kept.of_atoms[f"{FORCES}_label"].astype(np.float64), axis=1))


def by_tag(kept: KeptPredictions) -> Groups | None:
    """Group atoms by tag; None if no atom has one."""
    tags = kept.of_atoms["tags"]
    known = sorted(set(tags.tolist()) - {UNKNOWN_TAG})
    if not known:
        return None
    places = {tag: place for place, tag in enumerate(known)}
    members = np.array([places.get(tag, -1) for tag in tags.tolist()], dtype=np.int64)
    return Groups("tag", "atom", tuple(f"{tag}: {TAGS[tag]}" if tag in TAGS else str(tag) for tag in known), members)


def by_composition(kept: KeptPredictions) -> Groups:
    """Group structures by chemical formula."""
    ends = np.cumsum(kept.of_structures["atoms"])
    parts = np.split(kept.of_atoms["numbers"].astype(np.int64), ends[:-1])
    return Groups.of_labels("composition", "structure", [formula(part) for part in parts])


ENVIRONMENTS: Mapping[str, Callable[[KeptPredictions], Groups | None]] = {
    "element": by_element,
    "coordination": by_coordination,
    "distance": by_distance,
    "force": by_force,
    "tag": by_tag,
    "composition": by_composition,
}
"""The groupings by name; None if the structures do not have the property."""


@dataclass(frozen=True, slots=True, eq=False)
class _Neighbors:
    """Number of bonded atoms, and distance of the nearest neighbor in Å (NaN without one), of each atom."""

    coordination: Integers
    nearest: Numbers

    @classmethod
    def of(cls, kept: KeptPredictions) -> _Neighbors:
        radii = covalent_radii[kept.of_atoms["numbers"].astype(np.int64)]
        reach = max(NEAR, 2 * BONDED * float(radii.max(initial=0.0)))
        pairs = neighbor_search()(kept.structures, reach)
        source, target, distance = (one.numpy() for one in (pairs.source, pairs.target, pairs.distance))
        bonded = distance <= BONDED * (radii[source] + radii[target])
        nearest = np.full(len(radii), np.inf)
        np.minimum.at(nearest, target, distance)
        counts = np.bincount(target[bonded], minlength=len(radii))
        return cls(counts.astype(np.int64), np.where(nearest <= NEAR, nearest, np.nan))


def _binned(by: str, unit: str, values: Numbers) -> Groups | None:
    """Divide atoms into groups of equal size by a continuous quantity; None if it has no two values."""
    known = values[np.isfinite(values)]
    if not len(known) or np.ptp(known) == 0:
        return None
    # bins narrower than the three digits that are shown would have equal names
    edges = np.unique([float(f"{one:.3g}") for one in np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1])])
    names = [
        f"below {edges[0]:.3g} {unit}",
        *(f"{low:.3g} to {high:.3g} {unit}" for low, high in pairwise(edges)),
        f"from {edges[-1]:.3g} {unit}",
    ]
    members = np.where(np.isfinite(values), np.searchsorted(edges, values, side="right"), -1)
    return Groups(by, "atom", tuple(names), members.astype(np.int64))
