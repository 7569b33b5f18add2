"""The section of a report about the looks of a sequential study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gemnet_blocks.ablation.report.figures import panels_for, verdict_mark
from gemnet_blocks.ablation.report.formatting import ACCENT, FAINT, INK, NONE, UNSURE, drawn, number, probability
from gemnet_blocks.ablation.report.page import Block, Bullets, FigureData, Folded, Paragraph, Picture, Table
from gemnet_blocks.ablation.report.sequential.monitor import Look, Monitoring, SequentialComparison
from gemnet_blocks.ablation.report.sequential.study_looks import monitored
from gemnet_blocks.ablation.report.sequential.words import DECISIONS, bound_in_words, pilot_in_words, plan_in_words
from gemnet_blocks.ablation.report.statistics import Comparison
from gemnet_blocks.ablation.report.tables import numbered, ordered
from gemnet_blocks.ablation.results import StudyResults

QUESTION = "When was each variant decided, and how many seeds did that take?"


def looks_blocks(results: StudyResults, compared: Sequence[Comparison]) -> tuple[Block, ...]:
    """Compose the section about the looks; empty for studies with a fixed number of seeds."""
    found = monitored(results)
    if found is None:
        return ()
    blocks: list[Block] = [Paragraph(plan_in_words(found.options, len(found.comparisons)))]
    if not found.looks:
        return (*blocks, Paragraph("The first look is not complete yet."))
    pilot = Bullets(tuple(pilot_in_words(comparison, found) for comparison in found.comparisons))
    blocks += [
        Picture("looks", _CAPTION, draw_looks(found, compared), looks_data(results)),
        decisions_table(results, found),
        Paragraph(_seeds_in_words(results, found)),
        Paragraph(
            f"What the spread of the first look, with {found.options.looks[0]} seeds, said about the number of seeds:"
        ),
        pilot,
        Folded("All looks", (looks_table(results, found),)),
    ]
    return tuple(blocks)


_CAPTION = (
    "Test statistic (the p-value of the sign-flip test as a quantile of the normal distribution) against seeds, for "
    "each variant; above zero, the variant has the larger error. Solid: bounds at which a difference is shown; dashed: "
    "the same as planned, from the normal distribution; dotted: bounds between which a variant is stopped. Looks at "
    "which no p-value is small enough have no solid bound."
)


def draw_looks(found: Monitoring, compared: Sequence[Comparison]) -> str:
    """Draw the statistic of each variant against the number of seeds, with the bounds of all looks."""
    comparisons = found.comparisons
    names = [f"{index} {comparison.variant}" for index, comparison in enumerate(comparisons, 1)]
    sizes = [abs(look.statistic) for comparison in comparisons for look in comparison.looks]
    height = max(4.0, *(1.15 * size for size in sizes)) if sizes else 4.0

    def draw(figure: Any) -> None:
        for axes, comparison, one in zip(panels_for(figure, names), comparisons, compared, strict=False):
            axes.axhline(0, color=FAINT, linewidth=0.8)
            _draw_bounds(axes, found, comparison)
            places = [look.seeds for look in comparison.looks]
            axes.plot(
                places, [look.statistic for look in comparison.looks], "o-", color=ACCENT, markersize=3.5, linewidth=1.4
            )
            if places and comparison.decision != "undecided":
                marker, color, filling = verdict_mark(one.verdict)
                place = (places[-1:], [comparison.looks[-1].statistic])
                axes.plot(*place, marker, color=color, markerfacecolor=filling, markersize=8, zorder=4)
            axes.set(xlim=(0, 1.04 * found.options.at_most), ylim=(-height, height))
        figure.supxlabel("seeds", fontsize=9)
        figure.supylabel("statistic", fontsize=9)

    return drawn(draw, 2.0 * math.ceil(len(names) / 2) + 0.5)


def _draw_bounds(axes: Any, found: Monitoring, comparison: SequentialComparison) -> None:
    from scipy.special import ndtri

    reachable = [look for look in comparison.looks if look.bound]
    stopping = [look for look in comparison.looks if look.futile_below]
    planned, design = found.options.looks, found.design
    inner = [design.futile_below(fraction) or math.nan for fraction in design.fractions]
    for sign in (-1, 1):
        for values in (design.critical, inner):
            line = {"color": UNSURE, "linewidth": 0.9, "linestyle": (0, (3, 2)), "zorder": 1}
            axes.plot(planned, [sign * value for value in values], **line)
        bounds = [-sign * float(ndtri(look.bound / 2)) for look in reachable]
        axes.plot([look.seeds for look in reachable], bounds, "_-", color=INK, linewidth=1.1, markersize=7, zorder=2)
        futile = [sign * look.futile_below for look in stopping]
        axes.plot([look.seeds for look in stopping], futile, "_:", color=INK, linewidth=1.1, markersize=7, zorder=2)


def decisions_table(results: StudyResults, found: Monitoring) -> Table:
    """Tabulate when each variant was decided, and its seeds against those of a fixed design with the same power."""
    rows = []
    names = dict(zip(ordered(results), numbered(results), strict=True))
    for comparison in found.comparisons:
        last = comparison.looks[-1] if comparison.looks else None
        cells = (NONE,) * 6 if last is None else _cells(found, comparison, last)
        rows.append((*names[comparison.variant], DECISIONS[comparison.decision], *cells))
    return Table(
        "Decisions",
        ("#", "variant", "decision", "look", "seeds", "p", "bound", "needed", "fixed design"),
        tuple(rows),
        words=3,
        note="p and its bound at the last look. Needed: the largest number of seeds that the power takes, from the "
        "spread of all pairs. Fixed design: the number of seeds that finds the same difference with the same error "
        "rate and power without looks in between.",
    )


def _cells(found: Monitoring, comparison: SequentialComparison, last: Look) -> tuple[str, ...]:
    return (
        f"{len(comparison.looks)} of {len(found.options.looks)}",
        str(last.seeds),
        probability(last.p_value),
        bound_in_words(last),
        str(math.ceil(last.needed)),
        str(found.fixed_seeds(last)),
    )


def _seeds_in_words(results: StudyResults, found: Monitoring) -> str:
    """Compare the runs of the study with those of a fixed design with the same power."""
    fixed = max(
        (found.fixed_seeds(comparison.looks[-1]) for comparison in found.comparisons if comparison.looks), default=0
    )
    used = sum(run.status in ("done", "failed") for run in results.runs)
    return (
        f"The study took {used} runs. A fixed design with the same error rate and power takes "
        f"{fixed * (len(found.comparisons) + 1)}, with {fixed} seeds for the base and each variant; all seeds of this "
        f"study would have been {found.options.at_most * (len(found.comparisons) + 1)} runs."
    )


def looks_table(results: StudyResults, found: Monitoring) -> Table:
    """Tabulate all looks at all variants."""
    names = dict(zip(ordered(results), numbered(results), strict=True))
    rows = tuple(
        (
            *names[comparison.variant],
            str(place),
            str(look.seeds),
            str(look.pairs),
            f"{look.fraction:.2f}",
            probability(look.p_value),
            bound_in_words(look),
            number(look.statistic, 3, signed=True),
            number(look.futile_below, 3) if look.futile_below else NONE,
        )
        for comparison in found.comparisons
        for place, look in enumerate(comparison.looks, 1)
    )
    headings = ("#", "variant", "look", "seeds", "pairs", "information", "p", "bound", "statistic", "stopped below")
    return Table(
        "All looks",
        headings,
        rows,
        words=2,
        note="Information: complete pairs as a fraction of those that are planned. Bounds hold for the variants that "
        "Holm's method has left at the last look.",
    )


_COLUMNS = (
    *("variant", "look", "seeds", "pairs", "information", "p", "bound", "statistic", "stopped_below"),
    *("needed", "planned", "effect", "decision"),
)


def looks_data(results: StudyResults) -> FigureData:
    """Return the numbers of all looks, with a row for each variant and look."""
    found = monitored(results)
    rows = (
        (
            *(comparison.variant, place, look.seeds, look.pairs, look.fraction, look.p_value, look.bound),
            *(look.statistic, look.futile_below, look.needed, look.planned, look.effect, comparison.decision),
        )
        for comparison in (() if found is None else found.comparisons)
        for place, look in enumerate(comparison.looks, 1)
    )
    return FigureData(_COLUMNS, tuple(rows))
