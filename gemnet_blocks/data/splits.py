"""Which structures train, validate and test: drawn by seed, or whole groups held out."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from gemnet_blocks.data.dataset import LabelledDataset
from gemnet_blocks.errors import SpecError
from gemnet_blocks.options import Options
from gemnet_blocks.spec.document import shown

Indices = npt.NDArray[np.int64]


def _amount(given: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """One error, where pydantic has one for each alternative."""
    try:
        return validate(given)
    except ValidationError:
        raise ValueError(
            f"must be a number of structures, or a fraction of all between 0 and 1, got {shown(given)}"
        ) from None


def _held_out(given: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """One error, where pydantic has one for each alternative."""
    try:
        return validate(given)
    except ValidationError:
        advice = (
            "names are text: write them in quotes, as the files have them"
            if isinstance(given, (list, tuple))
            else "write names in brackets, such as ['007', A]"
        )
        raise ValueError(
            "must be a list of names of groups, a number of groups, or a fraction of all structures between 0 and 1, "
            f"got {shown(given)}; {advice}"
        ) from None


_Amount = Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)]

Amount = Annotated[_Amount, WrapValidator(_amount)]
"""A number of structures, or a fraction of all, which is at least one structure."""

HeldOut = Annotated[Annotated[tuple[str, ...], Field(strict=False)] | _Amount, WrapValidator(_held_out)]
"""Names of groups, a number of groups, or a fraction of all structures."""


@dataclass(frozen=True, slots=True)
class SplitIndices:
    """The structures of each part, by index; a part may be empty.

    Attributes:
        train: to fit weights to.
        validation: to choose among weights.
        test: to look at once.
    """

    train: Indices
    validation: Indices
    test: Indices


class RandomSplitOptions(Options):
    """Structures are drawn at random."""

    type: Literal["random"] = "random"
    """Drawn at random."""
    train: Amount | None = None
    """A number of structures, or a fraction of all; null: all that the other parts leave."""
    validation: Amount = 0
    """A number of structures, or a fraction of all."""
    test: Amount = 0
    """A number of structures, or a fraction of all."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the draw. Parts are taken from one permutation: first train, then validation, then test."""

    def split(self, dataset: LabelledDataset) -> SplitIndices:
        """Draw the parts.

        Raises:
            SpecError: more is asked for than there is.
        """
        count = len(dataset)
        validation, test = _number(self.validation, count), _number(self.test, count)
        if self.train is None:
            train = count - validation - test
        elif isinstance(self.train, int):
            train = self.train
        else:  # rounded together with the other fractions, so that those that make a whole leave nothing out
            others = [part for part in (self.validation, self.test) if isinstance(part, float)]
            rounded = sum(_number(part, count) for part in others)
            train = max(1, _number(self.train + sum(others), count) - rounded)
        if train < 0 or train + validation + test > count:
            raise SpecError(
                f"data.split: {max(train, 0)} + {validation} + {test} structures are asked for and there are {count}: "
                "lower train, validation or test"
            )
        order = np.random.default_rng(self.seed).permutation(count)
        ends = np.cumsum([train, validation, test])
        return SplitIndices(order[: ends[0]], order[ends[0] : ends[1]], order[ends[1] : ends[2]])


class GroupSplitOptions(Options):
    """Whole groups are held out, so that what is tested was never seen in another frame."""

    type: Literal["group"]
    """Whole groups are held out."""
    key: str
    """What the files call the group of a frame, such as `name`; or `file` or `formula`. Groups are compared as text, so
    that 007 and 7 are two groups."""
    pattern: str | None = None
    """A regular expression; the group is what its first parenthesis, or all of it, matches at the start of the value:
    `([^_]+)_` makes Cu3Ag1 of Cu3Ag1_111_CHO_12."""
    validation: HeldOut = 0
    """Names of groups (in quotes where they look like numbers), a number of groups, or the fraction of structures that
    randomly drawn groups should reach."""
    test: HeldOut = 0
    """Names of groups (in quotes where they look like numbers), a number of groups, or the fraction of structures that
    randomly drawn groups should reach."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the draw of groups that are not named."""
    keep_elements: bool = False
    """Draw no group that alone has an element: models are tested on elements that they were trained on."""

    def split(self, dataset: LabelledDataset) -> SplitIndices:
        """Hold groups out.

        Raises:
            SpecError: a group does not exist or is named twice, nothing is left to train on, or fewer groups than asked
                for can be held out so that each of their elements is left.
        """
        try:
            groups = dataset.groups(self.key, self.pattern)
        except SpecError as error:
            raise SpecError(f"data.split.{error}") from None
        names = sorted(set(groups))
        for part in (self.validation, self.test):
            _check_names(part, names)
        validation, test = _named(self.validation), _named(self.test)
        if twice := validation & test:
            raise SpecError(f"data.split: the group {min(twice)!r} is in validation and in test: remove it from one")
        free = [name for name in names if name not in validation | test]
        order = [free[i] for i in np.random.default_rng(self.seed).permutation(len(free))]
        sizes = Counter(groups)
        elements = _elements(dataset, groups) if self.keep_elements else {}
        # test first, so that it does not depend on how much is taken for validation
        test |= _drawn(self.test, order, sizes, elements)
        validation |= _drawn(self.validation, [name for name in order if name not in test], sizes, elements)
        parts = [2 if group in test else 1 if group in validation else 0 for group in groups]
        if 0 not in parts:
            raise SpecError(f"data.split: no group of {len(names)} is left to train on: hold fewer out")
        train, held, last = (np.flatnonzero(np.array(parts) == part) for part in range(3))
        return SplitIndices(train, held, last)


SplitOptions = Annotated[RandomSplitOptions | GroupSplitOptions, Field(discriminator="type")]
"""How files are split into parts."""


def _number(amount: int | float, count: int) -> int:
    return amount if isinstance(amount, int) else max(1, round(amount * count))


def _check_names(part: tuple[str, ...] | int | float, names: Sequence[str]) -> None:
    for name in part if isinstance(part, tuple) else ():
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names[:20])}"
            raise SpecError(f"data.split: there is no group {name!r}; {hint}")


def _named(part: tuple[str, ...] | int | float) -> set[str]:
    return set(part) if isinstance(part, tuple) else set()


def _elements(dataset: LabelledDataset, groups: Sequence[str]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {group: set() for group in groups}
    for index, group in enumerate(groups):
        found[group].update(dataset[index].structures.numbers.tolist())
    return found


def _drawn(
    part: tuple[str, ...] | int | float,
    order: Sequence[str],
    sizes: Mapping[str, int],
    elements: Mapping[str, set[int]],
) -> set[str]:
    """The first groups in order: as many as asked for, or until they have that fraction of all structures.

    A group is passed over if one of its elements, where they are given, is in none of those that are left.
    """
    if isinstance(part, tuple):
        return set()
    wanted, worth = (part, dict.fromkeys(order, 1)) if isinstance(part, int) else (part * sum(sizes.values()), sizes)
    holders = Counter(element for name in order for element in elements.get(name, ()))
    drawn: set[str] = set()
    reached = 0
    for name in order:
        if reached >= wanted:
            break
        own = elements.get(name, ())
        if all(holders[element] > 1 for element in own):
            holders.subtract(own)
            drawn.add(name)
            reached += worth[name]
    if elements and reached < wanted:
        what = "groups" if isinstance(part, int) else "structures"
        raise SpecError(
            f"data.split: {wanted:g} {what} are to be held out, but only {reached} can be so that each of their "
            "elements is left to train on: lower validation or test, or remove keep_elements"
        )
    return drawn
