"""Directed edges as integers, and the sign conventions of the library.

An edge runs from the *source* image, at `positions[source] + shift @ cell`, to the *target* atom, at
`positions[target]`. Edges are sorted by target atom, then by distance, so that the edges into an atom are
contiguous.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from gemnet_blocks.graph.pairs import Pairs, Translations, distinct_translations
from gemnet_blocks.graph.ragged import row_pointers
from gemnet_blocks.structures import Structures


@dataclass(frozen=True, slots=True, eq=False)
class EdgeIndex:
    """Directed edges of one edge set, without geometry.

    Attributes:
        source: indices of the source atoms s.
        target: indices of the target atoms t, ascending.
        shift: the periodic image of the source atom, in lattice vectors.
        first: the edges into atom a have the indices from `first[a]` to `first[a + 1] - 1`.
        translations: the distinct lattice translations of the source images.
        degree_on_host: the number of edges into each atom, if it was read from the device.
    """

    source: Int[Tensor, " edges"]
    target: Int[Tensor, " edges"]
    shift: Int[Tensor, "edges 3"]
    first: Int[Tensor, " atoms_plus_1"]
    translations: Translations
    degree_on_host: NDArray[np.int64] | None = None

    @property
    def count(self) -> int:
        """The number of edges."""
        return self.source.shape[0]

    @property
    def atom_count(self) -> int:
        """The number of atoms, including atoms without edges."""
        return self.first.shape[0] - 1

    @property
    def degree(self) -> Int[Tensor, " atoms"]:
        """The number of edges into each atom."""
        return self.first.diff()


@dataclass(frozen=True, slots=True, eq=False)
class JointEdges:
    """The edges of all edge sets one after another, whose geometry is computed in the same operations.

    Attributes:
        source: indices of the source atoms.
        target: indices of the target atoms.
        translations: the distinct lattice translations of the source images.
    """

    source: Int[Tensor, " edges"]
    target: Int[Tensor, " edges"]
    translations: Translations


def edge_index(pairs: Pairs, structures: Structures) -> EdgeIndex:
    """Construct the edges of `pairs` in the same order."""
    home = structures.structure.index_select(0, pairs.target)
    return EdgeIndex(
        source=pairs.source,
        target=pairs.target,
        shift=pairs.shift,
        first=row_pointers(pairs.target, structures.atom_count),
        translations=distinct_translations(pairs.shift, home, structures.count),
    )


def joint_edges(
    sets: Mapping[str, Pairs], structures: Structures, largest: int | None = None
) -> tuple[JointEdges, dict[str, EdgeIndex]]:
    """Construct the edges of all sets, and of each of them as views of these.

    Args:
        sets: the pairs of at least one edge set, by name.
        structures: the structures.
        largest: an upper bound of the components of image shifts; None to read it from the device.
    """
    pairs, counts = list(sets.values()), [one.source.shape[0] for one in sets.values()]
    source, target = torch.cat([one.source for one in pairs]), torch.cat([one.target for one in pairs])
    shift = torch.cat([one.shift.t() for one in pairs], dim=1).t()
    home = structures.structure.index_select(0, target)
    joint = JointEdges(source, target, distinct_translations(shift, home, structures.count, largest))
    targets = target.split(counts)
    first = [row_pointers(one, structures.atom_count) for one in targets]
    parts = zip(
        source.split(counts), targets, shift.split(counts), first, joint.translations.split(counts), strict=True
    )
    return joint, {name: EdgeIndex(*part) for name, part in zip(sets, parts, strict=True)}
