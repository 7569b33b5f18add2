"""The assumptions and limits of the conclusions of a report."""

from __future__ import annotations

from collections.abc import Sequence

from gemnet_blocks.ablation.options import LEVEL, MINIMUM_PAIRS, pairs_needed
from gemnet_blocks.ablation.report.formatting import clean, number, probability, quantity
from gemnet_blocks.ablation.report.page import Bullets
from gemnet_blocks.ablation.report.sequential.study_looks import monitored
from gemnet_blocks.ablation.report.statistics import Comparison, smallest_p_value
from gemnet_blocks.ablation.report.tables import planned_seeds
from gemnet_blocks.ablation.results import StudyResults


def caveats(results: StudyResults, compared: Sequence[Comparison]) -> Bullets:
    """List the assumptions and limits of the conclusions, with the numbers of this study."""
    seeds, count = len(planned_seeds(results)), len(compared)
    found = monitored(results)
    level, each = (LEVEL, "") if found is None else (found.options.alpha, " at every look")
    shown = quantity(results.primary_metric)
    items = [
        f"“Worse” and “better” refer to {shown.label} alone: the difference was tested{each} with the two-sided "
        f"sign-flip test on the paired differences and corrected for {_variants(count)} with Holm's method. If no "
        f"variant differed from the base, the chance of calling any of them different would be at most "
        f"{100 * level:.3g} %.",
        "“No difference shown” does not mean “no difference”: the interval shows which differences remain possible.",
        *([_attainable(seeds, count)] if found is None else _OF_LOOKS),
        "The intervals (BCa bootstrap) are too narrow for few seeds: 95 % intervals cover the true mean in about 87 % "
        "of cases with 6 pairs and 91 % with 10. An interval that excludes zero is not a verdict.",
        "Seeds vary the initial weights and the order of the data, equally for base and variants. They do not vary the "
        "training and test sets: the report does not show how much the result depends on those.",
        "All variants had the same training budget and options. A variant may do better with other options or with "
        "longer training.",
    ]
    missing = [one for one in compared if one.missing]
    if missing:
        told = ", ".join(f"{clean(one.variant)}: {one.missing} of {one.planned}" for one in missing)
        items.append(
            f"Pairs are missing ({told}) because runs are unfinished or their errors are not finite. Only complete "
            "pairs are compared. If a variant fails for the seeds with which it would do badly, the remaining pairs "
            "flatter it."
        )
    items.append(
        "Times were measured on the machine named below and include the load of other processes: compare them with "
        "their spread in mind. Peak memory is estimated from the shapes of all tensors of one training step. FLOPs, "
        "counts and memory do not depend on the machine."
    )
    return Bullets(tuple(items))


_OF_LOOKS = (
    "A variant that is decided early because its difference is large tends to have a smaller one: differences and "
    "intervals are not corrected for the looks.",
    "Variants have different numbers of seeds, and their mean errors belong to different seeds. Compare the "
    "differences, which are paired.",
    "The error rate holds for looks that were planned before the first run. It does not hold if at_most, effect or the "
    "looks were changed after results were seen.",
)


def _attainable(seeds: int, count: int) -> str:
    needed = pairs_needed(count)
    least = min(1.0, max(count, 1) * smallest_p_value(seeds))
    if seeds < MINIMUM_PAIRS:
        return (
            f"{seeds} seeds cannot show any difference, and no p-values are given: even if a variant is worse with all "
            f"of 5 seeds, p = 2/2⁵ = 0.0625 > {LEVEL}. {_variants(count).capitalize()} would need {needed} seeds."
        )
    text = (
        f"With {seeds} seeds, the smallest possible p-value is {number(smallest_p_value(seeds), 2)}, and after "
        f"correction for {_variants(count)} {probability(least)}"
    )
    if least > LEVEL:
        return f"{text}: no difference can be shown, however large. {needed} seeds are needed."
    return (
        f"{text}. For few seeds the test is conservative: it misses differences that do not appear with almost every "
        "seed."
    )


def _variants(count: int) -> str:
    return "1 variant" if count == 1 else f"{count} variants"
