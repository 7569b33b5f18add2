"""Controls: variants that are as large as the base, so that size does not pass for structure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from gemnet_blocks.ablation.options import MatchOptions
from gemnet_blocks.ablation.results import Difference
from gemnet_blocks.ablation.variants import Candidate, count_parameters
from gemnet_blocks.errors import SpecError

LARGEST_WIDTH = 16_384
"""The greatest width that is tried."""

INSTEAD = "sizes.atom"
"""What is changed where a variant changes the chosen width itself."""


def control(base: Candidate, one: Candidate, options: MatchOptions) -> Candidate | None:
    """The variant with one width such that its number of parameters is nearest to the base's.

    The number of parameters grows with every width, so the width is found by bisection.

    Args:
        base: what to match.
        one: the variant.
        options: which width, and how near.

    Returns:
        The control; None where the variant is as near to the base already.

    Raises:
        SpecError: no width gives a number of parameters that is near enough.
    """
    if _near(one.parameters, base.parameters, options.tolerance):
        return None
    changed = {difference.path for difference in one.variant.differences}
    path = INSTEAD if options.parameters in changed else options.parameters
    if path in changed:
        raise SpecError(f"has no control: it changes both {options.parameters} and {INSTEAD}")
    before = width_at(one.spec.to_dict(), path)

    def parameters(width: int) -> int:
        return count_parameters(one.spec.patch({path: width}), one.execution)

    width = nearest_width(parameters, base.parameters)
    found = parameters(width)
    if not _near(found, base.parameters, options.tolerance):
        raise SpecError(
            f"has no control: with {path} = {width}, the nearest, it has {found:,} parameters and the base "
            f"{base.parameters:,}: raise match.tolerance above {options.tolerance:g}, or match another width"
        )
    variant = replace(
        one.variant,
        name=f"{one.variant.name} (matched)",
        patch={**one.variant.patch, path: width},
        differences=(*one.variant.differences, Difference(path, before, width)),
        control_of=one.variant.name,
        note=f"{path} is {width} instead of {before}, so that it has {found:,} parameters; the base has "
        f"{base.parameters:,}, {one.variant.name!r} {one.parameters:,}.",
    )
    return Candidate.checked(variant, one.spec.patch({path: width}), one.execution)


def nearest_width(parameters: Callable[[int], int], wanted: int) -> int:
    """The width whose number of parameters is nearest to a number."""
    low, high = 1, 2
    while high < LARGEST_WIDTH and parameters(high) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if parameters(middle) < wanted else (low, middle)
    return min((low, high), key=lambda width: abs(parameters(width) - wanted))


def width_at(spec: Mapping[str, Any], path: str) -> int:
    """The width at a dotted path of a spec.

    Raises:
        SpecError: there is none.
    """
    value: Any = spec
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(value, int) or isinstance(value, bool):
        raise SpecError(f"has no control: match.parameters is {path}, which is no width of it")
    return value


def _near(parameters: int, wanted: int, tolerance: float) -> bool:
    return abs(parameters - wanted) <= tolerance * wanted
