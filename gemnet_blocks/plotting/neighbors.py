"""How many neighbors atoms have in each edge set, against the caps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gemnet_blocks.errors import StructureError
from gemnet_blocks.plotting.neighborhood import edge_sets_of
from gemnet_blocks.plotting.picture import FigurePicture, new_figure
from gemnet_blocks.plotting.views import Array, as_structures
from gemnet_blocks.spec.schema import Spec
from gemnet_blocks.structures import Structures

if TYPE_CHECKING:
    from ase import Atoms

WIDTH, PANEL = 5.4, 1.9
BINS = 40
"""Bars of a histogram at most."""

FREE = 3
"""Numbers shown on both sides of those that occur."""


@dataclass(frozen=True, slots=True, eq=False)
class NeighborCounts:
    """Numbers of neighbors in one edge set.

    Attributes:
        edge_set: its name.
        cutoff: in Å.
        cap: the greatest number of neighbors; None for no limit.
        counts: neighbors of each atom, after symmetrization.
        within_cutoff: of each atom, those that the cap chooses from.
    """

    edge_set: str
    cutoff: float
    cap: int | None
    counts: Array
    within_cutoff: Array

    @property
    def capped(self) -> float:
        """The share of atoms with more neighbors within the cutoff than the cap admits."""
        return 0.0 if self.cap is None or not len(self.counts) else float((self.within_cutoff > self.cap).mean())

    def row(self) -> tuple[str, ...]:
        """A row of a table: the set, cutoff, cap, mean, range, mean within the cutoff, share of capped atoms."""
        cap = "none" if self.cap is None else str(self.cap)
        low, high = int(self.counts.min()), int(self.counts.max())
        return (
            self.edge_set,
            f"{self.cutoff:g} Å",
            cap,
            f"{self.counts.mean():.1f}",
            f"{low} to {high}",
            f"{self.within_cutoff.mean():.1f}",
            f"{100 * self.capped:.0f} %",
        )


COLUMNS = ("edge set", "cutoff", "cap", "mean", "range", "within cutoff", "capped")
"""Of the table of neighbors."""


def neighbor_counts(spec: Spec, structures: Structures | Atoms | Sequence[Atoms]) -> list[NeighborCounts]:
    """Count the neighbors of every atom in each edge set in use.

    Raises:
        StructureError: a structure cannot be computed, or there are no atoms.
    """
    batch = as_structures(structures)
    if batch.atom_count == 0:
        raise StructureError("the structures have no atoms: there are no neighbors to count")
    found = edge_sets_of(spec, batch)
    return [
        NeighborCounts(
            name,
            rule.cutoff,
            rule.max_neighbors,
            found.graphs.edge_sets[name].degree.numpy(),
            np.bincount(found.candidates[name].target.numpy(), minlength=batch.atom_count),
        )
        for name, rule in found.rules.items()
    ]


def draw_neighbors(spec: Spec, structures: Structures | Atoms | Sequence[Atoms]) -> FigurePicture:
    """Draw how many atoms have how many neighbors, for each edge set in use, with its cap.

    Raises:
        StructureError: a structure cannot be computed, or there are no atoms.
        ImportError: matplotlib is not installed.
    """
    counted = neighbor_counts(spec, structures)
    figure = new_figure(WIDTH, PANEL * len(counted) + 0.6)
    line = None
    for axes, counts in zip(figure.subplots(len(counted), 1, squeeze=False)[:, 0], counted, strict=True):
        low, high = int(counts.counts.min()), int(counts.counts.max())
        if counts.cap is not None and counts.cap <= 2 * high:  # a cap far beyond is named in the title only
            low, high = min(low, counts.cap), max(high, counts.cap)
            line = axes.axvline(counts.cap, color="tab:red", linestyle="--", linewidth=1.5)
        axes.set_xlim(max(low - FREE, -1), high + FREE)
        step = max(1, -(-(high - low + 1) // BINS))
        edges = np.arange(low - 0.5, high + step + 0.5, step)
        axes.hist(counts.counts, bins=edges, color="tab:blue", edgecolor="white", linewidth=0.4)
        _, cutoff, cap, mean, span, _, capped = counts.row()
        name = counts.edge_set.replace("$", r"\$")
        axes.set_title(f"{name} ({cutoff}, cap {cap}): mean {mean}, {span}; capped atoms: {capped}", fontsize=9.5)
        axes.set_ylabel("atoms", fontsize=9)
        axes.tick_params(labelsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.locator_params(axis="both", integer=True, nbins=7)
    axes.set_xlabel("neighbors of an atom", fontsize=9)
    if line is not None:
        figure.legend([line], ["cap"], loc="outside lower right", frameon=False, fontsize=9)
    return FigurePicture(figure)
