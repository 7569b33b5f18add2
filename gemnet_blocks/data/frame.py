"""Structures and labels in the units of their file, and their checks and conversion to eV and Å."""

from __future__ import annotations

import math
import reprlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from ase.data import chemical_symbols

from gemnet_blocks.data.labelled import LabelledStructures
from gemnet_blocks.data.units import StressOptions, Units
from gemnet_blocks.errors import StructureError
from gemnet_blocks.structures import UNKNOWN_TAG, PropertyKind, Structures
from gemnet_blocks.util.charges import Quantity, Unread, described, refused, states_of, unread

Charged = Literal["refuse", "warn"]
"""Handling of structures with a total charge or spin: training refuses them, evaluation warns."""

LABELS = ("energy", "forces", "stress")
"""The names of the labels that are converted to eV and Å; all others are properties in the unit of their file."""

Array = npt.NDArray[Any]

_LARGEST = 1e15
"""Upper bound of labels in eV and Å, whose squares float32 can still sum."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One structure in the units of its file, unchecked.

    Attributes:
        positions: a row per atom.
        numbers: atomic numbers.
        cell: lattice vectors as rows; zero without a cell.
        periodic: whether the structure is periodic along each lattice vector, or one truth value for all of them.
        tags: a tag per atom; None without tags.
        fixed: whether each atom is fixed; None if no atom is.
        labels: energy, forces, stress and other requested properties, as far as the file has them.
        text: other values, one per structure, by name: as text, since structures are grouped by them.
        initial_charges: ASE's initial charge of each atom; None without charges.
        available: the names that could be labels, for messages.
    """

    positions: Any
    numbers: Any
    cell: Any
    periodic: Any
    tags: Any = None
    fixed: Any = None
    labels: Mapping[str, Any] = field(default_factory=dict)
    text: Mapping[str, str] = field(default_factory=dict)
    initial_charges: Any = None
    available: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class LabelRules:
    """The labels that every frame must have, and the meaning of their numbers.

    Attributes:
        units: the units of the file.
        required: labels that each frame must have; others are not read.
        stress: conventions of stress labels.
        keys: the names of the labels in the file, for messages.
        element_count: the greatest allowed atomic number; None for any.
        needs_tags: whether every atom must have a tag.
        ignore: whichever of charge and spin are ignored.
        charged: whether other structures with a charge or spin, which models do not read, are refused.
        properties: the kinds of the required labels besides energy, forces and stress.
        reads: whichever of charge and spin the model reads, which are not refused.
    """

    units: Units
    required: frozenset[str]
    stress: StressOptions = field(default_factory=StressOptions)
    keys: Mapping[str, str] = field(default_factory=dict)
    element_count: int | None = None
    needs_tags: bool = False
    ignore: frozenset[Quantity] = frozenset()
    charged: Charged = "refuse"
    properties: Mapping[str, PropertyKind] = field(default_factory=dict)
    reads: frozenset[Quantity] = frozenset()

    def unread(self, frame: Frame) -> list[Unread]:
        """Find the charge and spin of a frame that are neither read nor ignored."""
        return unread(frame.text, self.ignore | self.reads, frame.initial_charges)

    def refuses(self, found: Sequence[Unread]) -> bool:
        """Whether a structure with such a charge or spin is refused instead of causing a warning."""
        return self.charged == "refuse" and any(one.certain for one in found)

    def report(self, found: Mapping[str, Sequence[Unread]], count: int) -> None:
        """Refuse structures with a charge or spin, or warn of them.

        Args:
            found: charges and spins, by file and frame of the structure.
            count: the number of structures that were searched.

        Raises:
            UnreadError: structures are refused, and at least one charge or spin is certain.
        """
        if any(map(self.refuses, found.values())):
            raise refused(found, count)
        if found:
            warnings.warn(described(found, count), stacklevel=2)

    def named(self, label: str) -> str:
        """A label and its key in the file, for messages."""
        key = self.keys.get(label, label)
        return label if key == label else f"{label} (key {key})"


def checked(frame: Frame, rules: LabelRules, place: str) -> Frame:
    """Convert a frame to eV and Å, and check the shapes of its arrays and its required labels.

    Args:
        frame: the frame in the units of its file.
        rules: the required labels and their meaning.
        place: file and frame number, for messages.

    Raises:
        StructureError: a required label is missing, or something has the wrong shape or is not finite.
    """
    numbers = _whole(_array(frame.numbers, (None,), "atomic numbers", place), "atomic numbers", place)
    count, units = len(numbers), rules.units
    if count and numbers.max() >= len(chemical_symbols):
        raise StructureError(f"{place}: atomic numbers: {numbers.max()} is not an element")
    positions = _array(frame.positions, (count, 3), "positions", place) * units.length
    cell = _array(frame.cell, (3, 3), "the cell", place) * units.length
    tags, fixed = frame.tags, frame.fixed
    shape = (count,)
    tags = np.full(shape, UNKNOWN_TAG) if tags is None else _whole(_array(tags, shape, "tags", place), "tags", place)
    fixed = np.zeros(shape, bool) if fixed is None else _array(fixed, shape, "fixed atoms", place).astype(bool)
    labels: dict[str, Array] = {}
    for name in sorted(rules.required):
        if frame.labels.get(name) is None:
            raise StructureError(f"{place}: {_missing(name, frame, rules)}")
    if "energy" in rules.required:
        name = f"the {rules.named('energy')}"
        energy = array_of(frame.labels["energy"], name, place)
        energy = energy.reshape(()) if energy.size == 1 else energy
        labels["energy"] = _array(energy, (), name, place) * units.energy
    if "forces" in rules.required:
        labels["forces"] = _array(frame.labels["forces"], (count, 3), rules.named("forces"), place) * units.force
    if "stress" in rules.required:
        volume = abs(float(np.linalg.det(cell)))
        value = array_of(frame.labels["stress"], f"the {rules.named('stress')}", place)
        labels["stress"] = rules.stress.matrix(value, units, volume, place, rules.named("stress"))
    for name, kind in rules.properties.items():
        labels[name] = _property(frame.labels[name], kind, count, rules.named(name), place)
    for name, value in labels.items():
        per_atom = name == "forces" or (name in rules.properties and rules.properties[name].per == "atom")
        _finite(value, name, per_atom, place)
    return replace(
        frame,
        positions=positions,
        numbers=numbers,
        cell=cell,
        periodic=periodic_directions(frame.periodic, place),
        tags=tags,
        fixed=fixed,
        labels=labels,
        available=(),
    )


def _property(value: Any, kind: PropertyKind, count: int, name: str, place: str) -> Array:
    """A label of a structure of `count` atoms; the components of a value may be written in one row."""
    array = array_of(value, name, place)
    shape = kind.size if kind.per == "structure" else (count, *kind.size)
    rows = array.shape[:1] == (count,) if kind.per == "atom" else True
    fits = rows and array.size == math.prod(shape)
    return _array(array.reshape(shape) if fits else array, shape, name, place).astype(np.float64)


def periodic_directions(value: Any, place: str) -> npt.NDArray[np.bool_]:
    """Check periodicity: text and other numbers would all count as true.

    Args:
        value: one truth value, or one for each lattice vector; 0 and 1 are truth values.
        place: file and frame number, for messages.

    Raises:
        StructureError: the value is not one or three truth values.
    """
    array = array_of(value, "periodicity", place)
    fits = array.shape in ((), (1,), (3,)) and array.dtype.kind in "biuf"
    if not fits or not ((array == 0) | (array == 1)).all():
        raise StructureError(
            f"{place}: periodicity (pbc): expected one truth value or three, such as T T F, true or 1 1 0, "
            f"found {reprlib.repr(array.tolist())}: correct the frame"
        )
    return np.broadcast_to(array.astype(bool), (3,))


def as_text(values: Mapping[str, Any]) -> dict[str, str]:
    """Convert single texts, numbers and truth values to text; other values are left out."""
    single = {
        key: value.reshape(-1)[0] if isinstance(value, np.ndarray) and value.size == 1 else value
        for key, value in values.items()
    }
    return {
        key: value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        for key, value in single.items()
        if isinstance(value, (str, bytes, int, float, np.generic))
    }


def packed(
    frames: Sequence[Frame], indices: Sequence[int], places: Sequence[str], rules: LabelRules
) -> LabelledStructures:
    """Join checked frames to a batch.

    Args:
        frames: results of `checked`.
        indices: their numbers in the source.
        places: file and frame number of each, for messages.
        rules: the allowed elements and tags.

    Raises:
        StructureError: positions or a cell are not finite, a cell does not span its periodic directions, or the rules
            exclude elements or tags.
    """
    counts = [len(frame.numbers) for frame in frames]

    def joined(name: str, empty: tuple[int, ...]) -> Any:
        arrays = [getattr(frame, name) for frame in frames]
        return torch.from_numpy(np.concatenate(arrays) if arrays else np.zeros(empty))

    def stacked(arrays: list[Any], empty: tuple[int, ...]) -> Any:
        return torch.from_numpy(np.stack(arrays) if arrays else np.zeros(empty))

    structures = Structures(
        positions=joined("positions", (0, 3)).double(),
        numbers=joined("numbers", (0,)).long(),
        structure=torch.from_numpy(np.repeat(np.arange(len(frames)), counts)).long(),
        cells=stacked([frame.cell for frame in frames], (0, 3, 3)).double(),
        periodic=stacked([frame.periodic for frame in frames], (0, 3)).bool(),
        tags=joined("tags", (0,)).long(),
        fixed=joined("fixed", (0,)).bool(),
        **{
            name: None if values is None or name not in rules.reads else torch.tensor(values, dtype=torch.long)
            for name, values in states_of([frame.text for frame in frames]).items()
        },
    )
    try:
        structures.validate(rules.element_count, rules.needs_tags, rules.reads)
    except StructureError as error:
        raise (error if error.structure is None else error.at(places[error.structure])) from None
    known = frozenset.intersection(*(frozenset(frame.labels) for frame in frames)) if frames else frozenset()

    def label(name: str) -> list[Any]:
        return [frame.labels[name] for frame in frames]

    return LabelledStructures(
        structures=structures,
        energy=stacked(label("energy"), (0,)).double() if "energy" in known else None,
        forces=torch.from_numpy(np.concatenate(label("forces"))).double() if "forces" in known else None,
        stress=stacked(label("stress"), (0, 3, 3)).double() if "stress" in known else None,
        frame=torch.from_numpy(np.asarray(indices, dtype=np.int64)),
        properties={
            name: torch.from_numpy((np.stack if kind.per == "structure" else np.concatenate)(label(name)))
            for name, kind in rules.properties.items()
            if name in known
        },
    )


def array_of(value: Any, what: str, place: str) -> Array:
    """Convert numbers or nested lists of a file to an array.

    Raises:
        StructureError: rows of nested lists differ in length; names `what` and `place`.
    """
    try:
        return np.asarray(value)
    except ValueError:  # nested lists
        raise StructureError(f"{place}: {what}: rows of different lengths: correct or remove the frame") from None


def _array(value: Any, shape: tuple[int | None, ...], what: str, place: str) -> Array:
    """A numeric array of a shape, in which None stands for any length."""
    array = array_of(value, what, place)
    if array.dtype.kind not in "biuf":
        found = reprlib.repr(array.tolist())
        raise StructureError(f"{place}: {what}: expected numbers, found {found}: correct or remove the frame")
    fits = array.ndim == len(shape) and all(
        wanted in (None, found) for wanted, found in zip(shape, array.shape, strict=True)
    )
    if not fits:
        needed = " × ".join("any" if wanted is None else str(wanted) for wanted in shape) or "a single number"
        found = " × ".join(map(str, array.shape)) or "a single number"
        raise StructureError(
            f"{place}: {what}: expected the shape {needed}, found {found}: correct or remove the frame"
        )
    return array if array.dtype.kind != "f" else array.astype(np.float64)


def _whole(values: Array, what: str, place: str) -> Array:
    """Integers, which some files store as floating-point numbers."""
    if values.dtype.kind == "f" and not ((np.abs(values) < 2**53).all() and (values == np.rint(values)).all()):
        raise StructureError(f"{place}: {what}: expected integers, found {reprlib.repr(values.tolist())}")
    return values.astype(np.int64)


def _finite(value: Array, name: str, per_atom: bool, place: str) -> None:
    bad = ~(np.abs(value) < _LARGEST)
    if not bad.any():
        return
    first = np.argwhere(bad)[0]
    where = f" of atom {int(first[0])}" if per_atom else ""
    number = value[tuple(first)]
    what = f"{number:.3g}, which no atoms have" if np.isfinite(number) else "NaN or infinite"
    raise StructureError(f"{place}: {name}{where} is {what}: correct or remove the frame")


def _missing(name: str, frame: Frame, rules: LabelRules) -> str:
    key = rules.keys.get(name, name)
    found = f"found {', '.join(frame.available)}" if frame.available else "found no other values"
    return (
        f"has no {name} (key {key!r}; {found}): name another key with `keys: {{{name}: ...}}`, remove {name} from "
        "`labels`, or remove the frame"
    )


class FrameSource(ABC):
    """The frames of a file or folder, in its units and unchecked.

    Attributes:
        name: the path, for messages.
        streamed: whether frames are read one at a time at each access; otherwise all are kept in memory.
        known_counts: the number of atoms of every frame; None if only reading all frames would tell.
    """

    streamed: ClassVar[bool] = False
    name: str
    known_counts: npt.NDArray[np.int64] | None = None

    @abstractmethod
    def __len__(self) -> int:
        """The number of frames."""

    @abstractmethod
    def frame(self, index: int) -> Frame:
        """Frame number `index`, from 0.

        Raises:
            StructureError: it cannot be read; names the file and the frame.
        """

    def atoms(self, index: int) -> Any:
        """Frame number `index` as ASE atoms, without labels; positions are assumed to be in Å.

        Raises:
            StructureError: it cannot be read; names the file and the frame.
        """
        from ase import Atoms
        from ase.constraints import FixAtoms

        frame = self.frame(index)
        valid = checked(frame, LabelRules(Units(), frozenset()), self.place(index))
        return Atoms(
            numbers=valid.numbers,
            positions=valid.positions,
            cell=valid.cell,
            pbc=valid.periodic,
            tags=None if frame.tags is None else valid.tags,
            constraint=FixAtoms(mask=valid.fixed) if valid.fixed.any() else None,
            info=dict(frame.text),
        )

    def frames(self) -> Iterator[Frame]:
        """All frames in order."""
        return (self.frame(index) for index in range(len(self)))

    def place(self, index: int) -> str:
        """File and frame number, for messages."""
        return f"{self.name}, frame {index}"
