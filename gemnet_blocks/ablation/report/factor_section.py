"""The section of a report about the factors of a factorial study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from gemnet_blocks.ablation.report.costs import Cost, cost
from gemnet_blocks.ablation.report.factorial import Effect, Factorial, factorial
from gemnet_blocks.ablation.report.figure_data import heat_map_data
from gemnet_blocks.ablation.report.figures import draw_heat_map
from gemnet_blocks.ablation.report.formatting import NONE, Quantity, clean, number, percent, quantity
from gemnet_blocks.ablation.report.page import Block, Bullets, Folded, Paragraph, Picture, Table
from gemnet_blocks.ablation.report.statistics import bootstrap_interval
from gemnet_blocks.ablation.results import StudyResults

QUESTION = "What is each factor worth, alone and together with the others?"

FEWEST, FEW = 3, 6
"""Fewer seeds have no intervals; fewer seeds have intervals that are far too narrow."""

SHARED_COSTS = ("inference_seconds", "training_seconds", "matmul_flops_training", "parameters")
"""The costs that are distributed over the factors."""


def factor_blocks(results: StudyResults) -> tuple[Block, ...]:
    """Compose the section about the factors; empty for studies without factors."""
    if not any(one.levels for one in results.variants):
        return ()
    shown = quantity(results.primary_metric)
    found = factorial(results, results.primary_metric)
    if found is None:
        return (Paragraph("No seed has finished runs of all combinations, which the effects of factors need."),)
    synergies = found.synergies()
    data = heat_map_data(*_effects(found, synergies, shown))
    picture = Picture("factors", _CAPTION.format(shown.heading), _heat_map(found, synergies, shown), data)
    blocks: list[Block] = [picture, _worth(results, found, shown), *_synergies(synergies, shown)]
    if aliases := found.aliases():
        told = (" = ".join(clean(one.name, 80) for one in group) for group in aliases)
        blocks.append(Paragraph("The fractional design cannot tell these effects apart: it shows their sums."))
        blocks.append(Bullets(tuple(told)))
    return tuple(blocks)


def factor_findings(results: StudyResults) -> tuple[str, ...]:
    """Return sentences with the main effects and the largest synergy; none without factors or complete seeds."""
    found = factorial(results, results.primary_metric)
    if found is None:
        return ()
    shown = quantity(results.primary_metric)
    unit = f" {shown.unit}" if shown.unit else ""
    told = [
        f"{clean(one.name, 60)}: {shown.label} {_with_interval(one, shown)}{unit} on average over the other factors; "
        f"higher with {sum(value > 0 for value in one.by_seed.values())} of {len(one.by_seed)} seeds."
        for one in sorted(found.main_effects(), key=lambda one: -abs(one.mean))
    ]
    if synergies := found.synergies():
        largest = max(synergies, key=lambda one: abs(one.mean))
        told.append(
            f"Largest synergy: {clean(largest.name, 80)}, {_with_interval(largest, shown)}{unit} in addition to the "
            "sum of both effects."
        )
    return tuple(told)


_CAPTION = (
    "Effects of the factors on the {}. On the diagonal: effect of the level instead of the first one, averaged over "
    "the other factors; positive is higher. Off the diagonal: synergy of two levels, by how much their joint effect "
    "exceeds the sum of their single effects. The more intense the color, the larger the effect."
)


def _heat_map(found: Factorial, synergies: Sequence[Effect], shown: Quantity) -> str:
    return draw_heat_map(*_effects(found, synergies, shown))


def _effects(
    found: Factorial, synergies: Sequence[Effect], shown: Quantity
) -> tuple[Sequence[str], Sequence[str], Sequence[Sequence[float]], str]:
    """Return the names of rows and columns, the values and the unit of the heat map."""
    main = found.main_effects()
    names = [clean(one.name, 40) for one in main]
    places = {(one.factors[0], one.levels[0]): place for place, one in enumerate(main)}
    values = [[math.nan] * len(main) for _ in main]
    for place, one in enumerate(main):
        values[place][place] = one.mean * shown.factor
    for one in synergies:
        row, column = (places[pair] for pair in zip(one.factors, one.levels, strict=True))
        values[row][column] = values[column][row] = one.mean * shown.factor
    return names, names, values, f"effects on {shown.heading}"


def _worth(results: StudyResults, found: Factorial, shown: Quantity) -> Table:
    """Tabulate the main effects, and the Shapley shares of the error and of the costs."""
    shares = {one.factors[0]: one for one in found.shapley()}
    costs = {
        kind: {share.factors[0]: share for share in own.shapley()}
        for kind in map(cost, SHARED_COSTS)
        if (own := factorial(results, kind.name)) is not None
    }
    costs = {kind: own for kind, own in costs.items() if own}
    rows = []
    for one in found.main_effects():
        factor = one.factors[0]
        first = found.levels[factor].index(one.levels[0]) == 1  # shares belong to the factor and not to the level
        share = shares.get(factor) if first else None
        cells = (
            _with_interval(one, shown),
            NONE if share is None else f"{_with_interval(share, shown)}{_part(share, list(shares.values()))}",
            *(_cost_share(kind, own, factor) if first else NONE for kind, own in costs.items()),
        )
        rows.append((clean(one.name, 60), *cells))
    seeds = len(found.seeds)
    note = f"Means over {seeds} seed{'s' if seeds != 1 else ''} with all {len(found.values)} combinations"
    if seeds >= FEWEST:
        note += ", and 95 % BCa intervals, which are not corrected for the number of effects. "
    else:
        note += f". Intervals need at least {FEWEST} seeds. "
    if FEWEST <= seeds < FEW:
        note += f"With fewer than {FEW} seeds, the intervals are far too narrow. "
    note += (
        "Shares (Shapley values) distribute the difference between the combination in which all factors are changed "
        "and the base; in parentheses: as a part of it, if its interval excludes zero. Shares of several levels are "
        "means over the levels."
        if shares
        else "Shares need all combinations of the levels: remove `resolution`."
    )
    headings = (
        "factor",
        f"main effect on {shown.heading}",
        f"share of {shown.heading}",
        *(f"share of {kind.label}" for kind in costs),
    )
    return Table("Worth of the factors", headings, tuple(rows), note=note)


def _with_interval(effect: Effect, shown: Quantity) -> str:
    interval = effect.interval
    ends = (interval.low, interval.high) if interval else (math.nan, math.nan)
    middle, low, high = shown.show_differences([effect.mean, *ends])
    return f"{middle} [{low} to {high}]" if interval else middle


def _part(share: Effect, shares: Sequence[Effect]) -> str:
    """Return a share as a part of the whole difference; nothing if the interval of the whole contains zero."""
    whole = [math.fsum(one.by_seed[seed] for one in shares) for seed in share.by_seed]
    ends = bootstrap_interval(whole)
    certain = ends is not None and (ends.low > 0 or ends.high < 0)
    return f" ({percent(share.mean / fmean(whole))})" if certain else ""


def _cost_share(kind: Cost, shares: dict[str, Effect], factor: str) -> str:
    size, unit = kind.scale([one.mean for one in shares.values()])
    share = shares[factor]
    ends = share.interval
    unit = unit.removeprefix(kind.label).strip(" ()")
    text = number(share.mean / size, 3, signed=True)
    if ends is not None and ends.low != ends.high:
        text += f" [{number(ends.low / size, 3, signed=True)} to {number(ends.high / size, 3, signed=True)}]"
    return f"{text} {unit}".strip() + _part(share, list(shares.values()))


def _synergies(synergies: Sequence[Effect], shown: Quantity) -> tuple[Block, ...]:
    if not synergies:
        return ()
    ranked = sorted(synergies, key=lambda one: -abs(one.mean))
    rows = tuple((clean(one.name, 80), _with_interval(one, shown)) for one in ranked)
    table = Table("Synergies of pairs, the largest first", ("pair", f"synergy in {shown.heading}"), rows)
    return (Folded("Synergies of all pairs with their intervals", (table,)),)
