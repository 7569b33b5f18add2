"""Reading of total charges and spins of structures, and errors and warnings for models that do not read them."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from gemnet_blocks.errors import StructureError, first_few

Quantity = Literal["charge", "spin"]
"""A quantity of structures that only some models read."""

QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)

_LABELS = "(?:ref|reference|dft|qm|label|target|tot|total|net|mol|molecule|molecular|sys|system|formal)*"
_ELECTRONS = "(?:n|num|number|numberof)?unpaired(?:electrons?)?"
_MEANINGS: tuple[tuple[re.Pattern[str], Quantity, frozenset[float]], ...] = (
    (re.compile(f"{_LABELS}(?:charge|chargestate){_LABELS}"), "charge", frozenset({0.0})),
    # a spin S of 0, or a multiplicity 2S + 1 of 1, which OMol25 stores under the name `spin`
    (re.compile(f"{_LABELS}spin{_LABELS}"), "spin", frozenset({0.0, 1.0})),
    (re.compile(f"{_LABELS}(?:spin)?mult(?:iplicity)?{_LABELS}"), "spin", frozenset({1.0})),
    (re.compile(f"{_LABELS}(?:n?uhf|{_ELECTRONS}){_LABELS}"), "spin", frozenset({0.0})),
)
"""Names in lower case without separators, the quantity that each stands for, and its values in neutral closed shells.

Magnetizations and dipoles are not included, since they are results of a calculation and do not define its state."""

_ROUNDING = 0.01
"""Maximum rounding error of total charges and spins."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A charge or spin that a model does not read; it is not certain if inferred from the initial charges of ASE."""

    quantity: Quantity
    name: str
    value: Any
    certain: bool = True

    def __str__(self) -> str:
        return f"{self.name}: {self.value}{'' if math.isfinite(_number(self.value)) else ', which is not a number'}"


class UnreadError(StructureError):
    """Error for structures with a charge or spin, which the model would treat as neutral."""

    def __init__(self, message: str, found: Mapping[str, Sequence[Unread]] | None = None) -> None:
        super().__init__(message)
        self.found = dict(found or {})


def is_charge_or_spin(name: str) -> bool:
    """Return True if a name stands for a total charge or spin, in any spelling such as `REF_totalCharge`."""
    return _meaning(name) is not None


def unread(info: Mapping[str, Any], ignore: Collection[str] = (), initial_charges: Any = None) -> list[Unread]:
    """Find the charge and spin of a structure, except those of neutral closed shells.

    Arrays with several entries are charges of atoms and are ignored. The sum of the initial charges of ASE counts as a
    total charge if the structure does not have a total charge.

    Args:
        info: values of the structure by name.
        ignore: quantities to ignore.
        initial_charges: charge of each atom in elementary charges, or None.
    """
    found: list[Unread] = []
    known = {key: meaning for key in info if isinstance(key, str) and (meaning := _meaning(key)) is not None}
    for key, (quantity, neutral) in known.items():
        value = _single(info[key])
        if value is None or quantity in ignore or any(abs(_number(value) - one) < _ROUNDING for one in neutral):
            continue
        found.append(Unread(quantity, key, value))
    has_charge = any(quantity == "charge" for quantity, _ in known.values())
    if initial_charges is not None and "charge" not in ignore and not has_charge:
        total = float(np.sum(initial_charges))
        # partial charges add up to zero up to rounding
        if abs(total) >= 0.5:
            found.append(Unread("charge", "sum of initial charges", round(total, 3), certain=False))
    return found


NOT_AN_INTEGER = -(2**31)
"""The value of a charge or spin that is not an integer, which models that read it refuse."""


def state_of(info: Mapping[str, Any]) -> dict[Quantity, int]:
    """Read the total charge and the spin multiplicity 2S + 1 of a structure, as far as they are given.

    A value named `spin` is a multiplicity, as in OMol25, and 0 stands for a singlet; numbers of unpaired electrons are
    converted. Names of one quantity must agree.

    Args:
        info: values of the structure by name, in any spelling such as `charge`, `total_charge` or `multiplicity`.

    Returns:
        Integers by quantity; `NOT_AN_INTEGER` for values that are not integers or contradict each other.
    """
    found: dict[Quantity, set[int]] = {}
    for key, value in info.items():
        meaning = _meaning(key) if isinstance(key, str) else None
        single = None if meaning is None else _single(value)
        if meaning is None or single is None:
            continue
        quantity, neutral = meaning
        number = _number(single)
        whole = round(number) if math.isfinite(number) and abs(number - round(number)) < _ROUNDING else NOT_AN_INTEGER
        if quantity == "spin" and whole != NOT_AN_INTEGER:
            whole = whole + 1 if neutral == {0.0} else max(whole, 1) if neutral == {0.0, 1.0} and whole >= 0 else whole
        found.setdefault(quantity, set()).add(whole)
    return {name: values.pop() if len(values) == 1 else NOT_AN_INTEGER for name, values in found.items()}


def states_of(many: Sequence[Mapping[str, Any]]) -> dict[Quantity, list[int] | None]:
    """Read the charges and multiplicities of several structures; None for a quantity that none of them has."""
    states = [state_of(info) for info in many]
    neutral: Mapping[Quantity, int] = {"charge": 0, "spin": 1}
    return {
        name: [state.get(name, neutral[name]) for state in states] if any(name in state for state in states) else None
        for name in QUANTITIES
    }


def unread_of_atoms(atoms: Any, ignore: Collection[str] = ()) -> list[Unread]:
    """Find the charge and spin of ASE atoms; see `unread`."""
    return unread(atoms.info, ignore, atoms.arrays.get("initial_charges"))


def unread_of_batch(batch: Any, count: int, kind: str, ignore: Collection[str] = ()) -> dict[str, list[Unread]]:
    """Find the charges and spins of the structures of a batch; see `unread`.

    Args:
        batch: a mapping, or an object with attributes such as a batch of PyTorch Geometric. Values with one entry per
            structure, or one entry for all, are total charges; other values are charges of atoms.
        count: number of structures.
        kind: word for a structure in messages.
        ignore: quantities to ignore.

    Returns:
        Charges and spins by the place of the structure, such as `structure 2`.
    """
    found = {}
    for index, info in enumerate(_states_in_batch(batch, count)):
        if several := unread(info, ignore):
            found[f"{kind} {index}"] = several
    return found


def states_of_batch(batch: Any, count: int) -> dict[Quantity, list[int] | None]:
    """Read the charges and multiplicities of the structures of a batch; see `states_of` and `unread_of_batch`."""
    return states_of(_states_in_batch(batch, count))


def _states_in_batch(batch: Any, count: int) -> list[dict[str, Any]]:
    """The values of each structure of a batch that stand for a total charge or spin."""
    keys = getattr(batch, "keys", ())  # `dir` does not list the values of PyTorch Geometric's batches
    names = {*(keys() if callable(keys) else keys), *([] if isinstance(batch, Mapping) else dir(batch))}
    values: dict[str, Sequence[Any]] = {}
    for name in sorted(name for name in names if isinstance(name, str) and is_charge_or_spin(name)):
        entries = _per_structure(batch[name] if isinstance(batch, Mapping) else getattr(batch, name), count)
        if entries is not None:
            values[name] = entries
    return [{name: entries[index] for name, entries in values.items()} for index in range(count)]


def refused(found: Mapping[str, Sequence[Unread]], count: int) -> UnreadError:
    """Return the error for training structures with a charge or spin; the arguments are those of `described`."""
    present = {one.quantity for several in found.values() for one in several}
    names = ", ".join(quantity for quantity in QUANTITIES if quantity in present)
    return UnreadError(
        f"{described(found, count)}. Remove these structures or correct the values, or write `ignore: [{names}]` in "
        "`data` to train on them as if they were neutral",
        found,
    )


def described(found: Mapping[str, Sequence[Unread]], count: int) -> str:
    """Describe the structures with a charge or spin among `count` structures, for a warning or error."""
    listed = [f"{place} ({', '.join(map(str, several))})" for place, several in found.items()]
    return (
        f"{len(found)} of {count} structures have a total charge or spin, which the model does not read and treats as "
        f"neutral: {first_few(listed, 3)}"
    )


def _meaning(name: str) -> tuple[Quantity, frozenset[float]] | None:
    """Return the quantity of a name without its unit in brackets, and its values in neutral closed shells."""
    plain = re.sub(r"[\W_]", "", re.sub(r"\(.*\)|\[.*\]", "", name.lower()))
    return next(((quantity, neutral) for names, quantity, neutral in _MEANINGS if names.fullmatch(plain)), None)


def _single(value: Any) -> Any:
    """Return a value as that of a whole structure; None if it has several entries."""
    if not isinstance(value, (list, tuple)) and not hasattr(value, "__array__"):
        return value
    array = np.asarray(value, dtype=object if isinstance(value, (list, tuple)) else None)
    return _single(array.item()) if array.size == 1 else None


def _per_structure(value: Any, count: int) -> Sequence[Any] | None:
    """Return an entry per structure of a batch; None for charges of atoms, which are not copied from their device."""
    if callable(value) or math.prod(getattr(value, "shape", ())) not in (1, count):
        return None
    entries = np.asarray(value.tolist() if hasattr(value, "tolist") else value, dtype=object).reshape(-1).tolist()
    return entries * count if len(entries) == 1 else entries if len(entries) == count else None


def _number(value: Any) -> float:
    """Convert a value to a number; NaN if it is not one."""
    if isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
