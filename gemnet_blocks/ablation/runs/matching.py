"""Controls: variants of which one width is changed so that they have the size or the cost of the base."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, final

from gemnet_blocks.ablation.learner import Learner, Task
from gemnet_blocks.ablation.options import BASE, Matched, MatchOptions
from gemnet_blocks.ablation.results import Difference
from gemnet_blocks.ablation.runs.configs import config_of, with_seed
from gemnet_blocks.ablation.study_file import StudyDocument
from gemnet_blocks.ablation.variants import Candidate
from gemnet_blocks.data.opening import DataSplits
from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec.difference import value_at
from gemnet_blocks.util.files import read_json, write_json

LARGEST_WIDTH = 16_384
"""The largest width that is tried."""

INSTEAD = "sizes.atom"
"""The width that is matched if a variant changes the chosen width itself."""

MATCHED = "matched.json"
"""The file in the folder of a study that stores measured costs: measured again, they would give other widths."""

_SHOWN: Mapping[Matched, str] = {
    "parameters": "{:,.0f} parameters",
    "flops": "{:.4g} matmul FLOPs per training step",
    "seconds": "{:.3g} s per training step",
    "memory": "{:.4g} bytes of peak memory in a training step",
}


@final
class Sizes:
    """Sizes and costs of candidates, which are stored in the folder of the study once they are known.

    Args:
        study: the study.
        learner: estimates and measures costs.
        data: the data; None if they were not opened: then only stored costs are known.
        files: sizes and hashes of all data files.
        folder: the folder of the study.
    """

    def __init__(
        self, study: StudyDocument, learner: Learner, data: DataSplits | None, files: Mapping[str, Any], folder: Path
    ) -> None:
        self._study, self._learner, self._data, self._files = study, learner, data, files
        self._path = folder / MATCHED
        known = read_json(self._path)
        self._known: dict[str, Any] = known if isinstance(known, dict) else {}

    def of(self, one: Candidate, quantity: Matched) -> float:
        """Return the size or cost of a candidate.

        Raises:
            SpecError: the learner cannot tell it.
        """
        if quantity == "parameters":
            return one.parameters
        key = self._key(one, quantity)
        if not isinstance(self._known.get(key), float):
            self._known[key] = self._measured(one, quantity)
        return float(self._known[key])

    def save(self) -> None:
        """Store the costs, if there are new ones."""
        if self._known and self._known != read_json(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path, self._known)

    def _measured(self, one: Candidate, quantity: Matched) -> float:
        study = self._study
        config = study.config
        seed = study.options.all_seeds[0]
        own = None if config is None else with_seed(config_of(one, config, study.options.budget, 1), seed)
        task = Task(one.variant.name, seed, "", one.spec, own)
        costs = {
            "flops": self._learner.training_flops,
            "seconds": self._learner.training_seconds,
            "memory": self._learner.training_memory,
        }
        try:
            return float(costs[quantity](task, self._data))
        except Exception as error:  # a custom component may raise anything
            reason = f"{type(error).__name__}: {error}"
            raise SpecError(f"has no control: the {quantity} of a training step are unknown ({reason})") from error

    def _key(self, one: Candidate, quantity: Matched) -> str:
        content = [quantity, *one.identity, dict(self._files), self._learner.settings()]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def with_controls(study: StudyDocument, found: Sequence[Candidate], sizes: Sizes) -> tuple[list[Candidate], list[str]]:
    """Return the candidates with their controls, each control after its variant, and problems with the controls."""
    options = study.options.match
    if options is None or not found or found[0].variant.name != BASE:
        return list(found), []
    try:
        width_at(found[0].spec.to_dict(), options.width, options.quantity)
    except SpecError:
        return list(found), [
            f"match.{options.quantity}: must be a width of the base, such as sizes.edge, got {options.width}"
        ]
    extended, problems = [found[0]], []
    for one in found[1:]:
        extended.append(one)
        try:
            matched = control(found[0], one, options, sizes)
        except SpecError as error:
            problems.append(f"variants.{one.variant.name}: {error}")
            continue
        if matched is not None:
            extended.append(matched)
    names = [one.variant.name for one in extended]
    problems += [
        f"variants.{name}: is also the name of a control: choose another name"
        for name in {*names}
        if names.count(name) > 1
    ]
    return extended, problems


def control(base: Candidate, one: Candidate, options: MatchOptions, sizes: Sizes) -> Candidate | None:
    """Build the control of a variant: one width is changed to match the size or the cost of the base.

    Both increase with every width, so the width is found by bisection.

    Args:
        base: the base.
        one: the variant.
        options: what is matched, the width to change, and the tolerance.
        sizes: sizes and costs of candidates.

    Returns:
        The control; None if the variant already matches the base within the tolerance.

    Raises:
        SpecError: no width matches the base within the tolerance.
    """
    quantity, tolerance = options.quantity, options.largest_deviation
    wanted, own = sizes.of(base, quantity), sizes.of(one, quantity)
    if abs(own - wanted) <= tolerance * wanted:
        return None
    changed = {difference.path for difference in one.variant.differences}
    path = INSTEAD if options.width in changed else options.width
    if path in changed:
        raise SpecError(f"has no control: the variant changes both {options.width} and {INSTEAD}")
    before = width_at(one.spec.to_dict(), path, quantity)

    def with_width(width: int) -> Candidate:
        return Candidate.checked(one.variant, one.spec.patch({path: width}), one.execution, one.start_from)

    width = nearest_width(lambda tried: sizes.of(with_width(tried), quantity), wanted)
    found = sizes.of(with_width(width), quantity)
    shown = _SHOWN[quantity]
    if abs(found - wanted) > tolerance * wanted:
        raise SpecError(
            f"has no control: the best match, {path} = {width}, has {shown.format(found)} and the base "
            f"{shown.format(wanted)}: raise match.tolerance above {tolerance:g}, or match another width"
        )
    variant = replace(
        one.variant,
        name=f"{one.variant.name} (matched)",
        patch={**one.variant.patch, path: width},
        differences=(*one.variant.differences, Difference(path, before, width)),
        control_of=one.variant.name,
        note=f"{path} is {width} instead of {before}: {shown.format(found)} ({(found - wanted) / wanted:+.1%}); the "
        f"base has {shown.format(wanted)}, {one.variant.name!r} {shown.format(own)}.",
        levels={},
    )
    return Candidate.checked(variant, one.spec.patch({path: width}), one.execution, one.start_from)


def nearest_width(amount: Callable[[int], float], wanted: float) -> int:
    """Find the width whose size or cost is nearest to the wanted one."""
    low, high = 1, 2
    while high < LARGEST_WIDTH and amount(high) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if amount(middle) < wanted else (low, middle)
    return min((low, high), key=lambda width: abs(amount(width) - wanted))


def width_at(spec: Mapping[str, Any], path: str, quantity: Matched) -> int:
    """Return the width at a dotted path of a spec.

    Raises:
        SpecError: the path does not lead to a width.
    """
    value = value_at(spec, path)
    if not isinstance(value, int) or isinstance(value, bool):
        raise SpecError(f"has no control: match.{quantity} is {path}, which is not a width of the variant")
    return value
