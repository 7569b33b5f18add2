"""Changes of variants in words: "without quadruplet interaction: 1.4 M fewer parameters"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gemnet_blocks.ablation.report.costs import median_cost
from gemnet_blocks.ablation.report.formatting import clean, number, percent, scaled
from gemnet_blocks.ablation.report.tables import done_runs
from gemnet_blocks.ablation.results import Difference, StudyResults

_KINDS: Mapping[str, str] = {
    "interactions": "{} interaction",
    "graphs": "edge set {}",
    "bases": "{} basis",
    "sizes": "{} size",
    "heads": "{} head",
    "streams": "stream {}",
    "execution": "computation of {}",
}
"""The words for an entry of a section of specs."""

_PARTS = ("interactions", "graphs", "bases", "heads", "streams")
"""The sections whose entries are parts with options of their own."""

_COUNTS: Mapping[str, str] = {"blocks.count": "number of blocks"}
_UNITS: Mapping[str, str] = {"cutoff": " Å"}
LIMIT = 60
"""The largest number of characters of a value."""


def change_in_words(results: StudyResults, name: str) -> str:
    """Describe what a variant changes, and what this does to the number of parameters.

    Args:
        results: results of the study.
        name: name of the variant.
    """
    variant = next((one for one in results.variants if one.name == name), None)
    told = in_words(variant.differences) if variant is not None else ""
    if variant is not None and variant.control_of is not None:
        told = f"control of {clean(variant.control_of, LIMIT)}" + (f": {told}" if told else "")
    parameters = parameters_in_words(results, name)
    return ": ".join(part for part in (told or "no change of the spec", parameters) if part)


def parameters_in_words(results: StudyResults, name: str) -> str:
    """Compare the numbers of parameters of a variant and the base, as in "1.4 M fewer parameters (−12 %)"."""
    own, base = (median_cost(done_runs(results, one), "parameters") for one in (name, results.base_name))
    if own is None or not base:
        return ""
    if own == base:
        return "as many parameters as the base"
    size, unit = scaled(abs(own - base), "")
    count = f"{abs(own - base) / size:,.0f}" if size == 1 else number(abs(own - base) / size, 2)
    amount = " ".join(part for part in (count, unit) if part)
    return f"{amount} {'more' if own > base else 'fewer'} parameters ({percent((own - base) / base)})"


def in_words(differences: Sequence[Difference]) -> str:
    """Describe the fields in which a variant differs from its base."""
    replaced = {one.path.removesuffix(".type") for one in differences if one.path.endswith(".type")}
    # the options of a component of another type are those of the new one
    shown = [one for one in differences if one.value is not None or one.path.rpartition(".")[0] not in replaced]
    return "; ".join(map(_in_words, shown))


def _in_words(one: Difference) -> str:
    if one.path == "start_from":
        return f"starts from {'random weights' if one.value is None else _value(one, one.value)}"
    section, _, name = one.path.partition(".")
    values = (one.base, one.value)
    if section in _PARTS and "." not in name and all(isinstance(value, int | float | str) for value in values):
        thing = f"{_plain(name)} of the {section}"  # an option of the section, and not one of its parts
    else:
        thing = _thing(one.path)
    if isinstance(one.value, bool) and not isinstance(one.base, Mapping):
        return f"{'with' if one.value else 'without'} {thing}"
    if one.value is None:
        known = one.base is not None and not isinstance(one.base, Mapping | bool)
        return f"without {thing}" + (f" ({_value(one, one.base)} in the base)" if known else "")
    if one.base is None:
        return f"with {thing}: {_value(one, one.value)}"
    return f"{thing} {_value(one, one.value)} instead of {_value(one, one.base)}"


def _thing(path: str) -> str:
    if path in _COUNTS:
        return _COUNTS[path]
    section, *names = path.split(".")
    if not names:
        return _plain(section)
    words = _KINDS.get(section, f"{{}} of {_plain(section)}").format(_plain(names[0]))
    if names[1:] in ([], ["type"]):
        return words
    inner = " of ".join(map(_plain, reversed(names[1:])))
    return f"{inner} of the {words}"


def _value(one: Difference, value: Any) -> str:
    if isinstance(value, Mapping):
        told = ", ".join(f"{_plain(name)} {_value(one, entry)}" for name, entry in value.items() if entry is not None)
        return clean(told, LIMIT)
    if isinstance(value, (list, tuple)):
        return clean(", ".join(_value(one, entry) for entry in value), LIMIT)
    if isinstance(value, bool) or value is None:
        return {True: "on", False: "off", None: "none"}[value]
    if isinstance(value, float):
        text = f"{value:g}"
    else:
        text = _plain(value) if isinstance(value, str) else clean(str(value), LIMIT)
    return text + (_UNITS.get(one.path.rpartition(".")[2], "") if isinstance(value, int | float) else "")


def _plain(name: str) -> str:
    return clean(name.replace("_", " "), LIMIT)
