"""Where two models differ: their errors paired by atom and structure, with intervals over structures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from gemnet_blocks.ablation.report.environments import ENVIRONMENTS, Groups
from gemnet_blocks.ablation.report.statistics import Interval, bootstrap_interval
from gemnet_blocks.ablation.results import StudyResults
from gemnet_blocks.ablation.runs.run_folder import RunFolder
from gemnet_blocks.evaluation.kept import FORCES, KeptPredictions
from gemnet_blocks.spec.catalog import did_you_mean
from gemnet_blocks.structures import PropertyOwner

Numbers = npt.NDArray[np.float64]

Grouping: TypeAlias = "str | Groups | Sequence[Any] | Callable[[KeptPredictions], Sequence[Any] | Groups | None]"
"""The name of a grouping of `environments.ENVIRONMENTS`; a label of each atom or structure (None: in no group); or a
function that returns them."""

RESAMPLES = 1999
"""The number of bootstrap samples of an interval over structures."""


@dataclass(frozen=True, slots=True)
class GroupDifference:
    """The difference of the mean errors of two models for a group of atoms or structures.

    Attributes:
        group: name of the group.
        atoms: number of atoms, or of structures for errors of structures.
        structures: number of structures that contain them.
        base: mean error of the base over these atoms and all seeds.
        other: the same of the other model.
        by_seed: the difference, other − base, for each seed.
        interval: 95 % BCa bootstrap interval of the mean difference over structures, since the atoms of a structure are
            correlated; None for fewer than 3 structures. It does not include the variation between seeds.
    """

    group: str
    atoms: int
    structures: int
    base: float
    other: float
    by_seed: Mapping[int, float]
    interval: Interval | None

    @property
    def difference(self) -> float:
        """The mean difference, other − base: negative where the other model is better."""
        return self.other - self.base

    @property
    def agreeing(self) -> int:
        """The number of seeds whose difference has the sign of the mean difference."""
        return sum(value * self.difference > 0 for value in self.by_seed.values())


@dataclass(frozen=True, eq=False)
class PairedErrors:
    """The errors of two models for the same atoms or structures, paired by seed.

    Attributes:
        kept: the structures.
        quantity: the quantity that was predicted, such as `forces`.
        owner: whether each atom or each structure has an error.
        base: the errors of the base, one row for each seed; NaN for atoms that do not count.
        other: the errors of the other model.
        seeds: the seeds of the rows.
    """

    kept: KeptPredictions
    quantity: str
    owner: PropertyOwner
    base: Numbers
    other: Numbers
    seeds: tuple[int, ...]

    @cached_property
    def differences(self) -> Numbers:
        """The difference of the errors of each atom or structure, other − base, as a mean over the seeds."""
        return (self.other - self.base).mean(axis=0)

    @cached_property
    def of_structures(self) -> Numbers:
        """The mean difference of each structure; NaN for structures without atoms that count."""
        if self.owner == "structure":
            return self.differences
        known = np.isfinite(self.differences)
        owner, count = self.kept.structure, len(self.kept)
        sums = np.bincount(owner[known], self.differences[known], minlength=count)
        atoms = np.bincount(owner[known], minlength=count)
        return np.divide(sums, atoms, out=np.full(count, np.nan), where=atoms > 0)

    def groups(self, by: Grouping = "element") -> tuple[GroupDifference, ...]:
        """Compare the mean errors in groups of atoms or structures.

        Args:
            by: `element`, `coordination` (number of bonded atoms), `distance` (of the nearest neighbor), `force` (size
                of the labelled force), `tag` or `composition`; or labels of your own: one for each atom or structure,
                or a function of `KeptPredictions` that returns them.

        Returns:
            The groups, without empty ones; none if the structures do not have the property, such as tags.

        Raises:
            ValueError: the name is unknown, or the number of labels is neither that of atoms nor of structures.
        """
        groups = self._grouped(by)
        if groups is None:
            return ()
        if self.owner == "atom":
            members, structure = groups.of_atoms(self.kept), self.kept.structure
        elif groups.owner == "structure":
            members, structure = groups.members, np.arange(len(self.kept))
        else:
            raise ValueError(
                f"expected a grouping of structures, such as composition, for errors of the {self.quantity} of "
                f"structures, got one of atoms by {groups.by}"
            )
        known = np.isfinite(self.differences)
        chosen = [known & (members == place) for place in range(len(groups.names))]
        return tuple(
            self._group(name, one, structure) for name, one in zip(groups.names, chosen, strict=True) if one.any()
        )

    def _group(self, name: str, chosen: npt.NDArray[np.bool_], structure: npt.NDArray[np.int64]) -> GroupDifference:
        owners, places = np.unique(structure[chosen], return_inverse=True)
        weights = np.bincount(places)
        means = np.bincount(places, self.differences[chosen]) / weights
        base, other = (one[:, chosen].mean(axis=1) for one in (self.base, self.other))
        return GroupDifference(
            group=name,
            atoms=int(chosen.sum()),
            structures=len(owners),
            base=float(base.mean()),
            other=float(other.mean()),
            by_seed=dict(zip(self.seeds, (other - base).tolist(), strict=True)),
            interval=bootstrap_interval(means, resamples=RESAMPLES, weights=weights.astype(np.float64)),
        )

    def _grouped(self, by: Grouping) -> Groups | None:
        if isinstance(by, str):
            if by not in ENVIRONMENTS:
                hint = did_you_mean(by, tuple(ENVIRONMENTS))
                raise ValueError(f"expected a grouping, {', '.join(ENVIRONMENTS)}, or labels, got {by!r}{hint}")
            return ENVIRONMENTS[by](self.kept)
        found = by(self.kept) if callable(by) else by
        if found is None or isinstance(found, Groups):
            return found
        atoms, structures = len(self.kept.structure), len(self.kept)
        if len(found) not in (atoms, structures):
            raise ValueError(
                f"expected a label for each of {atoms} atoms or {structures} structures, got {len(found)} labels"
            )
        owner: PropertyOwner = self.owner if atoms == structures else "atom" if len(found) == atoms else "structure"
        return Groups.of_labels("labels", owner, found)


Seeded: TypeAlias = "KeptPredictions | Mapping[int, KeptPredictions]"
"""The predictions of one model, or of models with several seeds."""


def paired_errors(base: Seeded, other: Seeded, quantity: str = FORCES) -> PairedErrors:
    """Pair the errors of two models for the same structures, by atom or structure and by seed.

    Args:
        base: predictions of the first model, from `gemnet_blocks.evaluation.keep_predictions`, or by seed those of the
            models that were trained with it.
        other: predictions of the second model; seeds that the first one lacks are left out.
        quantity: `forces` (eV/Å, of each atom), `energy` (eV per atom, of each structure), or another labelled
            property.

    Raises:
        ValueError: the predictions have no seed in common, are of different structures, or lack the quantity.
    """
    first, second = (one if isinstance(one, Mapping) else {0: one} for one in (base, other))
    seeds = tuple(sorted(first.keys() & second.keys()))
    if not seeds:
        raise ValueError("expected predictions of both models with the same seed, found none")
    kept = first[seeds[0]]
    owner = kept.owner(quantity)
    for one in (*(first[seed] for seed in seeds), *(second[seed] for seed in seeds)):
        _check_equal(kept, one)
    own, others = (np.stack([models[seed].errors(quantity) for seed in seeds]) for models in (first, second))
    assert owner is not None  # otherwise `errors` has raised
    return PairedErrors(kept, quantity, owner, own, others, seeds)


def _check_equal(one: KeptPredictions, other: KeptPredictions) -> None:
    pairs = [
        (one.of_structures["atoms"], other.of_structures["atoms"]),
        (one.of_atoms["numbers"], other.of_atoms["numbers"]),
        (one.of_atoms["positions"], other.of_atoms["positions"]),
    ]
    if not all(first.shape == second.shape and np.allclose(first, second, atol=1e-4) for first, second in pairs):
        raise ValueError("expected predictions of the same structures in the same order, found different structures")


def kept_of_study(results: StudyResults, name: str) -> dict[int, KeptPredictions]:
    """Read the predictions that the finished runs of a variant kept, by seed; runs without any are left out.

    Raises:
        StateError: a file is damaged.
    """
    found = {}
    for run in results.runs_of(name):
        if results.folder is None or run.status != "done":
            continue
        kept = RunFolder.of(results.folder, name, run.seed, run.key).predictions()
        if kept is not None:
            found[run.seed] = kept
    return found


def where(results: StudyResults, variant: str, quantity: str = FORCES) -> PairedErrors:
    """Pair the errors of a variant and the base; see `StudyResults.where`."""
    results.variant(variant)
    kept = {name: kept_of_study(results, name) for name in (results.base_name, variant)}
    for name, found in kept.items():
        if not found:
            raise ValueError(
                f"expected predictions that the runs of {name!r} kept in the folder of the study, found none: runs of "
                "earlier versions and of custom learners may have kept none"
            )
    return paired_errors(kept[results.base_name], kept[variant], quantity)
