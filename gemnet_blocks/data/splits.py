"""Splits of a dataset into training, validation and test set: at random, or by whole groups."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from gemnet_blocks.data.dataset import LabelledDataset
from gemnet_blocks.errors import SpecError, first_few
from gemnet_blocks.options import Options
from gemnet_blocks.spec.document import shown

Indices = npt.NDArray[np.int64]


def _one_error(expected: str, hint: Callable[[Any], str] = lambda given: "") -> WrapValidator:
    """One error for a value, where pydantic raises one for each alternative."""

    def checked(given: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validate(given)
        except ValidationError:
            raise ValueError(f"must be {expected}, got {shown(given)}{hint(given)}") from None

    return WrapValidator(checked)


def _about_names(given: Any) -> str:
    if isinstance(given, (list, tuple)):
        return "; names are text: write them in quotes, as the files have them"
    return "; write names in brackets, such as ['007', A]"


_Amount = Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)]

Amount = Annotated[_Amount, _one_error("a number of structures, or a fraction of all between 0 and 1")]
"""A number of structures, or a fraction of all structures, of at least one structure."""

HeldOut = Annotated[
    Annotated[tuple[str, ...], Field(strict=False)] | _Amount,
    _one_error(
        "a list of names of groups, a number of groups, or a fraction of all structures between 0 and 1", _about_names
    ),
]
"""Names of groups, a number of groups, or a fraction of all structures."""


@dataclass(frozen=True, slots=True)
class SplitIndices:
    """Indices of the structures of each part, which may be empty.

    Attributes:
        train: the training set.
        validation: the validation set.
        test: the test set.
    """

    train: Indices
    validation: Indices
    test: Indices


class RandomSplitOptions(Options):
    """A random split, for structures that are independent of each other."""

    type: Literal["random"] = "random"
    """The kind of split."""
    train: Amount | None = None
    """The training set: a number of structures, or a fraction of all; null: all that the other parts leave."""
    validation: Amount = 0
    """The validation set: a number of structures, or a fraction of all; typical is 0.1."""
    test: Amount = 0
    """The test set: a number of structures, or a fraction of all."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the permutation from which train, validation and test are taken in this order."""

    def split(self, dataset: LabelledDataset) -> SplitIndices:
        """Draw the parts.

        Raises:
            SpecError: the parts need more structures than the dataset has.
        """
        count = len(dataset)
        validation, test = _number(self.validation, count), _number(self.test, count)
        if self.train is None:
            train = count - validation - test
        elif isinstance(self.train, int):
            train = self.train
        else:  # rounded together with the other fractions, so that fractions of sum 1 omit no structure
            others = [part for part in (self.validation, self.test) if isinstance(part, float)]
            rounded = sum(_number(part, count) for part in others)
            train = max(1, _number(self.train + sum(others), count) - rounded)
        if train < 0 or train + validation + test > count:
            raise SpecError(
                f"data.split: {max(train, 0)} + {validation} + {test} structures are asked for, but the dataset has "
                f"{count}: lower train, validation or test"
            )
        order = np.random.default_rng(self.seed).permutation(count)
        ends = np.cumsum([train, validation, test])
        return SplitIndices(order[: ends[0]], order[ends[0] : ends[1]], order[ends[1] : ends[2]])


class GroupSplitOptions(Options):
    """A split that holds out whole groups, for frames that resemble each other, such as those of one trajectory."""

    type: Literal["group"]
    """The kind of split."""
    key: str
    """The key under which the files give the group of a frame, such as `name`; or `file` or `formula`. Groups are
    compared as text: 007 and 7 are two groups."""
    pattern: str | None = None
    """A regular expression that is matched from the start of the value; its first parenthesis is the group, or the
    whole match without parentheses: `([^_]+)_` extracts Cu3Ag1 from Cu3Ag1_111_CHO_12."""
    validation: HeldOut = 0
    """The validation set: names of groups (in quotes if they look like numbers), a number of groups, or the fraction of
    structures that randomly drawn groups should reach."""
    test: HeldOut = 0
    """The test set: names of groups (in quotes if they look like numbers), a number of groups, or the fraction of
    structures that randomly drawn groups should reach."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the draw of groups that are not named."""
    keep_elements: bool = False
    """Draw only groups whose elements other groups have too, so that models are tested on elements of the training
    set."""

    def split(self, dataset: LabelledDataset) -> SplitIndices:
        """Assign the groups to the parts.

        Raises:
            SpecError: a group is unknown or named twice, no group is left to train on, or too few groups can be held
                out without removing an element.
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
        # test first, so that it does not depend on the size of validation
        test |= _drawn(self.test, order, sizes, elements)
        validation |= _drawn(self.validation, [name for name in order if name not in test], sizes, elements)
        parts = [2 if group in test else 1 if group in validation else 0 for group in groups]
        if 0 not in parts:
            raise SpecError(f"data.split: no group of {len(names)} is left to train on: hold fewer out")
        train, held, last = (np.flatnonzero(np.array(parts) == part) for part in range(3))
        return SplitIndices(train, held, last)


SplitOptions = Annotated[RandomSplitOptions | GroupSplitOptions, Field(discriminator="type")]
"""The split of files into parts."""


def _number(amount: int | float, count: int) -> int:
    return amount if isinstance(amount, int) else max(1, round(amount * count))


def _check_names(part: tuple[str, ...] | int | float, names: Sequence[str]) -> None:
    for name in part if isinstance(part, tuple) else ():
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {first_few(names, 20, ', ')}"
            raise SpecError(f"data.split: the group {name!r} is unknown; {hint}")


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
    """The first groups in order, up to a number of groups or a fraction of all structures.

    A group is skipped if `elements` are given and no remaining group has one of its elements.
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
            f"data.split: {wanted:g} {what} are to be held out, but only {reached} leave all elements in the training "
            "set: lower validation or test, or remove keep_elements"
        )
    return drawn
