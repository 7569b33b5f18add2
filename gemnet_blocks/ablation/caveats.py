"""How the numbers of a report are to be read, and what they do not say."""

from __future__ import annotations

from collections.abc import Sequence

from gemnet_blocks.ablation.comparison import Comparison
from gemnet_blocks.ablation.report.formatting import clean, number, probability, quantity
from gemnet_blocks.ablation.report.page import Bullets
from gemnet_blocks.ablation.report.statistics import LEVEL, MINIMUM_PAIRS, pairs_needed, smallest_p_value
from gemnet_blocks.ablation.report.tables import planned_seeds
from gemnet_blocks.ablation.results import StudyResults


def caveats(results: StudyResults, compared: Sequence[Comparison]) -> Bullets:
    """What a reader must know, with the numbers of this study."""
    seeds, count = len(planned_seeds(results)), len(compared)
    shown = quantity(results.primary_metric)
    items = [
        f"“Worse” and “better” are about {shown.label} alone: the difference was tested by flipping the signs of the "
        f"paired differences (two-sided), and corrected for {_variants(count)} after Holm. If no variant differed from "
        f"the base, the chance of calling any of them different would be at most {100 * LEVEL:.0f} %.",
        "“No difference shown” is not “no difference”: the interval says which differences remain possible.",
        _attainable(seeds, count),
        "The intervals (bootstrap, BCa) are too narrow when seeds are few: 95 % intervals hold the truth in about "
        "87 % of cases with 6 pairs and 91 % with 10. An interval without zero is no verdict.",
        "Seeds vary initial weights and the order of the data, the same for base and variants. They do not vary "
        "training and test sets: nothing here says how much the result depends on those.",
        "All variants had the same training budget and options. A variant that needs other options, or longer "
        "training, may do better than it does here.",
    ]
    missing = [one for one in compared if one.missing]
    if missing:
        told = ", ".join(f"{clean(one.variant)}: {one.missing} of {one.planned}" for one in missing)
        items.append(
            f"Pairs are missing ({told}) because runs are not done or their errors are not finite. Only complete pairs "
            "are compared. If a variant fails where it would do badly, the pairs that are left flatter it."
        )
    items.append(
        "Times were measured on the machine named below, together with whatever else ran there: compare them with "
        "their spread in mind. Peak memory is estimated, from the shapes of all tensors of one training step. FLOPs, "
        "counts and memory do not depend on the machine."
    )
    return Bullets(tuple(items))


def _attainable(seeds: int, count: int) -> str:
    needed = pairs_needed(count)
    least = min(1.0, max(count, 1) * smallest_p_value(seeds))
    if seeds < MINIMUM_PAIRS:
        return (
            f"With {seeds} seeds nothing can be shown, and no p-values are given: even if a variant is worse with all "
            f"of 5 seeds, p = 2/2⁵ = 0.0625 > {LEVEL}. {_variants(count).capitalize()} would need {needed} seeds."
        )
    text = (
        f"With {seeds} seeds, the least p-value that can come out is {number(smallest_p_value(seeds), 2)}, after "
        f"correction for {_variants(count)} {probability(least)}"
    )
    if least > LEVEL:
        return f"{text}: no difference can be shown, however large. {needed} seeds are needed."
    return (
        f"{text}. With few seeds the test errs less often than its level says, and misses differences that some seeds "
        "do not share."
    )


def _variants(count: int) -> str:
    return "1 variant" if count == 1 else f"{count} variants"
