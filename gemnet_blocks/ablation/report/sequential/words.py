"""Sequential studies in words, for the console and the report."""

from __future__ import annotations

import math
from collections.abc import Iterator

from gemnet_blocks.ablation.options import SequentialSeeds
from gemnet_blocks.ablation.report.formatting import clean, number, probability
from gemnet_blocks.ablation.report.sequential.monitor import Decision, Look, Monitoring, SequentialComparison, design_of
from gemnet_blocks.util.console import plain_console

DECISIONS: dict[Decision, str] = {
    "different": "differs from the base",
    "futile": "stopped: a difference can hardly be shown any more",
    "not shown": "no difference shown with all seeds that it needs",
    "no pairs": "not continued: no pair is complete",
    "undecided": "undecided",
}

SPENDING = {"obrien_fleming": "of O'Brien-Fleming type", "pocock": "of Pocock type"}


def plan_in_words(options: SequentialSeeds, comparisons: int) -> str:
    """Describe the looks, the error rate and the power of a sequential study."""
    counts = [str(count) for count in options.looks]
    looks = f"after {', '.join(counts[:-1])} and {counts[-1]}" if counts[1:] else f"after {counts[0]}"
    divided = f", divided among {comparisons} variants by Holm's method" if comparisons > 1 else ""
    stops = (
        ""
        if options.futility is None
        else f"; a variant is stopped if its conditional power is below {options.futility:g}"
    )
    design = design_of(options, comparisons)
    return (
        f"Looks {looks} seeds, with an error rate of {options.alpha:g} for all of them together{divided}, spent by a "
        f"function {SPENDING[options.spending]}; power {options.power:g} for {_effect(options)}{stops}. On average, a "
        f"variant without an effect takes {_percent(design.expected(0.0))} of the seeds, and one with this "
        f"effect {_percent(design.expected(design.drift))}."
    )


def _effect(options: SequentialSeeds) -> str:
    if options.effect is not None:
        return f"a difference of {_percent(options.effect)}"
    return f"the difference that {options.at_most} seeds find"


def pilot_in_words(comparison: SequentialComparison, found: Monitoring) -> str:
    """Tell what the spread of the first look says about the number of seeds."""
    if not comparison.looks:
        return f"{clean(comparison.variant)}: no pair is complete"
    look, options = comparison.looks[0], found.options
    effect, chance = _percent(look.effect), f"with a probability of {_percent(options.power)}"
    if options.effect is None and look.effect == 0:
        text = "the differences of all pairs are the same, so that their spread says nothing about the number of seeds"
    elif options.effect is None:
        half = found.design.pairs_for(found.design.effect_of(options.at_most) / 2)
        text = (
            f"{options.at_most} seeds find a difference of {effect} {chance}; half of it needs {math.ceil(half)} seeds"
        )
    elif look.needed > options.at_most:
        text = (
            f"a difference of {effect} needs about {math.ceil(look.needed)} seeds to be found {chance}; with "
            f"{options.at_most} the probability is {_percent(found.power(look))}"
        )
    else:
        last = next(count for count in options.looks if count >= look.planned)
        text = (
            f"a difference of {effect} needs about {math.ceil(look.needed)} seeds to be found {chance}; the last look, "
            f"with a margin for the uncertain spread, is planned after {last}"
        )
    return f"{clean(comparison.variant)}: {text}"


def look_lines(found: Monitoring, place: int) -> Iterator[str]:
    """Describe the decisions of a look, and after the first one the number of seeds that are needed.

    Args:
        found: the state of the study.
        place: number of the look, from 0.
    """
    looks = found.options.looks
    yield f"look {place + 1} of {len(looks)}, {looks[place]} seeds"
    for comparison in found.comparisons:
        if len(comparison.looks) > place:
            decided = len(comparison.looks) == place + 1
            yield (
                f"{clean(comparison.variant)}: {DECISIONS[comparison.decision if decided else 'undecided']} "
                f"({p_value_in_words(comparison.looks[place])})"
            )
    if not place:
        yield "number of seeds, from the spread of the differences in this pilot"
        yield from (pilot_in_words(comparison, found) for comparison in found.comparisons)


def p_value_in_words(look: Look) -> str:
    """Compare the p-value of a look with its bound."""
    bound = f"the bound is {bound_in_words(look)}" if look.bound else "no bound can be reached yet"
    return f"p = {probability(look.p_value)}".replace("= <", "<") + f"; {bound}"


def bound_in_words(look: Look) -> str:
    """Format the bound of a look."""
    return number(look.bound, 2) if look.bound else "–"


def print_looks(found: Monitoring, first: int) -> None:
    """Print the looks from a number on."""
    console = plain_console()
    for place in range(first, found.looks):
        heading, *lines = look_lines(found, place)
        for line in (heading, *(f"  {line}" for line in lines)):
            console.print(line, soft_wrap=True, highlight=False)


def _percent(share: float) -> str:
    return f"{number(100 * share, 2)} %"
