"""The section of a report about where a variant differs from the base: by environment, and on structures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gemnet_blocks.ablation.report.atoms_figure import DrawnStructure, draw_atoms, most_different
from gemnet_blocks.ablation.report.csv_files import safe, to_csv
from gemnet_blocks.ablation.report.environments import ENVIRONMENTS, by_composition
from gemnet_blocks.ablation.report.formatting import NONE, Quantity, clean, quantity
from gemnet_blocks.ablation.report.page import Block, Bullets, Cell, FigureData, Folded, Paragraph, Picture, Table
from gemnet_blocks.ablation.report.paired_errors import GroupDifference, PairedErrors, kept_of_study, paired_errors
from gemnet_blocks.ablation.report.tables import ordered
from gemnet_blocks.ablation.results import StudyResults
from gemnet_blocks.evaluation.kept import ENERGY, FORCES

QUESTION = "Which atoms and structures gain or lose?"

MOST_GROUPS = 12
"""The number of groups that a table shows, those with most atoms."""

MOST_DRAWN, STRUCTURES = 4, 3
"""The number of variants whose structures are drawn, and the number of structures of each."""


@dataclass(frozen=True)
class StudyDifferences:
    """The paired errors of all variants of a study.

    Attributes:
        found: by quantity and name of the variant; only variants whose runs kept predictions.
        names: all variants without the base, in order.
    """

    found: Mapping[str, Mapping[str, PairedErrors]]
    names: tuple[str, ...]

    @classmethod
    def of(cls, results: StudyResults, variants: Sequence[str] | None = None) -> StudyDifferences:
        """Read the predictions that the runs of a study kept.

        Args:
            results: results of the study.
            variants: names of the variants; None: all.

        Raises:
            StateError: a file of predictions is damaged.
        """
        found: dict[str, dict[str, PairedErrors]] = {}
        base = kept_of_study(results, results.base_name)
        names = tuple(name for name in variants or ordered(results) if name != results.base_name)
        for name in names if base else ():
            kept = kept_of_study(results, name)
            if not base.keys() & kept.keys():
                continue
            first, second = next(iter(base.values())), next(iter(kept.values()))
            for one in first.quantities:
                if second.owner(one) is not None:
                    found.setdefault(one, {})[name] = paired_errors(base, kept, one)
        return cls(found, names)

    @cached_property
    def groups(self) -> Mapping[tuple[str, str, str], tuple[GroupDifference, ...]]:
        """The differences of all groups by quantity, grouping and variant; without groupings that do not apply."""
        first = next(iter(next(iter(self.found.values())).values()))
        # all variants have predictions of the same structures, which are divided into groups once
        divisions = [groups for divide in ENVIRONMENTS.values() if (groups := divide(first.kept)) is not None]
        found = {
            (kind, groups.by, name): one.groups(groups)
            for kind, variants in self.found.items()
            for groups in divisions
            for name, one in variants.items()
            if one.owner == "atom" or groups.owner == "structure"
        }
        return {key: own for key, own in found.items() if own}


def shown_as(kind: str) -> Quantity:
    """Return the display form of the errors of a quantity."""
    return quantity({FORCES: "forces_mae", ENERGY: "energy_mae_per_atom"}.get(kind, f"{kind}_mae"))


def where_blocks(differences: StudyDifferences) -> tuple[Block, ...]:
    """Compose the section; empty if the runs kept no predictions."""
    if not differences.found:
        return ()
    blocks: list[Block] = []
    if told := [text for name in differences.names if (text := _finding(differences, name))]:
        blocks.append(Bullets(tuple(told)))
    blocks += where_pictures(differences)
    for by in ENVIRONMENTS:
        if tables := where_tables(differences, by):
            blocks.append(Folded(f"By {by}", tables))
    return (Paragraph(_NOTE), *blocks)


_NOTE = (
    "Differences are variant − base of the mean absolute errors, paired by atom or structure and by seed; negative is "
    "better. The 95 % BCa intervals are over structures, because the atoms of a structure are correlated. They tell "
    "how much the numbers depend on the choice of the structures, not of the seeds, and are not corrected for the "
    "number of groups."
)


def _names(differences: StudyDifferences, kind: str, by: str) -> list[str]:
    return [name for name in differences.names if (kind, by, name) in differences.groups]


def _finding(differences: StudyDifferences, name: str) -> str:
    """Tell for which atoms the forces of a variant differ most, among groups whose interval excludes zero."""
    if name not in differences.found.get(FORCES, {}):
        return ""
    shown, paired = shown_as(FORCES), differences.found[FORCES][name]
    whole = paired.differences[np.isfinite(paired.differences)]
    groups = [
        (by, one)
        for by in ENVIRONMENTS
        if by != "composition"
        for one in differences.groups.get((FORCES, by, name), ())
        if one.atoms < len(whole) and one.interval is not None
        if one.interval.low > 0 or one.interval.high < 0
    ]
    if not groups:
        return ""
    by, most = max(groups, key=lambda pair: abs(pair[1].difference))
    difference, mean = shown.show_differences([most.difference, float(whole.mean())])
    return (
        f"{clean(name)}: the forces change most on the {most.atoms:,} atoms with {by} {clean(most.group)}, by "
        f"{difference} {shown.unit} ({most.agreeing} of {len(most.by_seed)} seeds agree on the sign); on all atoms by "
        f"{mean} {shown.unit}."
    )


def where_tables(differences: StudyDifferences, by: str) -> tuple[Table, ...]:
    """Tabulate the differences of all variants by one property, a table for each quantity to which it applies."""
    return tuple(_table(differences, kind, by) for kind in differences.found if _names(differences, kind, by))


def _table(differences: StudyDifferences, kind: str, by: str) -> Table:
    """Tabulate the differences of all variants, one row for each group."""
    shown, names = shown_as(kind), _names(differences, kind, by)
    per = differences.found[kind][names[0]].owner
    first = differences.groups[kind, by, names[0]]
    kept = {one.group for one in sorted(first, key=lambda one: -one.atoms)[:MOST_GROUPS]}
    columns = [{one.group: one for one in differences.groups[kind, by, name]} for name in names]
    rows = tuple(
        (
            clean(one.group, 60),
            *((f"{one.atoms:,}",) if per == "atom" else ()),
            f"{one.structures:,}",
            shown.show(one.base),
            *(NONE if one.group not in own else _with_interval(own[one.group], shown) for own in columns),
        )
        for one in first
        if one.group in kept
    )
    counts = ("atoms", "structures") if per == "atom" else ("structures",)
    rest = len(first) - len(rows)
    note = f"The {MOST_GROUPS} largest groups; {rest} others are in {WHERE}." if rest else ""
    headings = (by, *counts, "base", *(clean(name, 40) for name in names))
    return Table(f"Difference of the {shown.heading} by {by}", headings, rows, note=note)


def _with_interval(one: GroupDifference, shown: Quantity) -> str:
    ends = (one.interval.low, one.interval.high) if one.interval else (math.nan, math.nan)
    middle, low, high = shown.show_differences([one.difference, *ends])
    return f"{middle} [{low} to {high}]" if one.interval else middle


def where_pictures(differences: StudyDifferences) -> Iterator[Picture]:
    """Draw the structures whose atoms differ most, for the first variants."""
    variants = differences.found.get(FORCES, {})
    shown = shown_as(FORCES)
    for place, (name, found) in enumerate(variants.items(), 1):
        if place > MOST_DRAWN:
            return
        structures = most_different(found, STRUCTURES)
        if not structures:
            continue
        caption = (
            f"{clean(name)}: the structures with the largest mean difference of an atom's force error from the base. "
            "Orange atoms are worse, blue ones better; the more intense the color, the larger the difference."
        )
        unit = f"error of the force, variant − base ({shown.unit})"
        svg = draw_atoms(structures, shown.factor, unit)
        yield Picture(f"where_{place}", caption, svg, _atoms_data(structures, shown.factor, unit))


def _atoms_data(structures: Sequence[DrawnStructure], factor: float, unit: str) -> FigureData:
    rows: list[tuple[Cell, ...]] = []
    for one in structures:
        for atom, (place, value) in enumerate(zip(one.positions.tolist(), one.values.tolist(), strict=True)):
            known = value * factor if math.isfinite(value) else None
            rows.append((one.index, atom, one.symbols[atom], *place, known))
    return FigureData(("structure", "atom", "element", "x (Å)", "y (Å)", "z (Å)", unit), tuple(rows))


WHERE, WHERE_STRUCTURES = "where.csv", "where_structures.csv"
"""The files of the differences of groups and of structures."""


def where_files(differences: StudyDifferences) -> dict[str, str]:
    """Return the CSV files of all groups and of all structures by name; none if the runs kept no predictions."""
    if not differences.found:
        return {}
    return {WHERE: _groups_csv(differences), WHERE_STRUCTURES: _structures_csv(differences)}


def _groups_csv(differences: StudyDifferences) -> str:
    headings = ("quantity", "by", "group", "variant", "atoms", "structures", "base_mean", "variant_mean", "difference")
    rows = []
    for (kind, by, name), groups in differences.groups.items():
        atoms = differences.found[kind][name].owner == "atom"
        for one in groups:
            ends = (one.interval.low, one.interval.high) if one.interval else (None, None)
            numbers = (one.atoms if atoms else None, one.structures, one.base, one.other, one.difference, *ends)
            words = (safe(clean(kind)), by, safe(clean(one.group)), safe(clean(name)))
            rows.append((*words, *numbers, len(one.by_seed), one.agreeing))
    return to_csv((*headings, "low", "high", "seeds", "agreeing"), rows)


def _structures_csv(differences: StudyDifferences) -> str:
    """Return CSV with the mean difference of each structure, in eV and Å, one row for each variant and structure."""
    rows = []
    for name in differences.names:
        own = {kind: variants[name] for kind, variants in differences.found.items() if name in variants}
        if not own:
            continue
        kept = next(iter(own.values())).kept
        composition = by_composition(kept)
        for place in range(len(kept)):
            values = [own[kind].of_structures[place] if kind in own else math.nan for kind in differences.found]
            index, atoms = (int(kept.of_structures[one][place]) for one in ("index", "atoms"))
            label = composition.names[composition.members[place]]
            known = (float(value) if math.isfinite(value) else None for value in values)
            rows.append((safe(clean(name)), index, safe(label), atoms, *known))
    headings = ("variant", "structure", "composition", "atoms", *(f"{kind}_difference" for kind in differences.found))
    return to_csv([safe(clean(one)) for one in headings], rows)
