"""Atomic reference energies and the energy scale, fitted to a training set."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from ase.data import chemical_symbols
from pydantic import Field, model_validator
from torch import Tensor

from gemnet_blocks.data.labelled import LabelledStructures
from gemnet_blocks.errors import SpecError
from gemnet_blocks.options import Options
from gemnet_blocks.potential.references import Normalization, References, by_number
from gemnet_blocks.structures import AtomChoice, EnergyMeaning, PropertyKind
from gemnet_blocks.util.elements import Element, element_number

PerElement = Literal["least_squares", "none"] | dict[Element, float]
"""How atomic reference energies are found, or their values in eV."""


Scale = Literal["force_rms"] | Annotated[float, Field(gt=0)]
"""How the energy scale is found, or its value in eV."""


class ReferencesOptions(Options):
    """Atomic reference energies and the energy scale of the model's outputs, from the training set."""

    per_element: PerElement = "least_squares"
    """Atomic reference energies: `least_squares` fits them to the energies of the training set minus `mean`, `none`
    sets them to zero, and a mapping such as `{Cu: -3.7, O: -4.9}` gives them in eV."""
    mean: float = 0.0
    """An energy in eV per structure, independent of its number of atoms: the mean of energies, which published
    trainings subtract (OC20: `{per_element: none, mean: -0.755, scale: 2.887}`). It suits adsorption energies; total
    energies grow with the number of atoms, which `per_element` describes."""
    scale: Scale = "force_rms"
    """The energy that an output of 1 represents: `force_rms` takes the root mean square of the force components of the
    training set (in eV/Å), a number gives it in eV, such as the standard deviation of energies by which published
    trainings divide. The same number in eV/Å is the scale of forces, including direct ones."""
    atoms: AtomChoice = "all"
    """The atoms whose forces count for `scale`: `all`, or `free` to omit fixed atoms."""
    unseen: float | None = None
    """The energy, in eV, of elements that the training set lacks; null: structures that contain them are refused.
    Models are not trained on such elements: use it only to measure their errors."""
    keep: bool = False
    """Whether reference energies, mean and scale of the model in `training.start_from` are kept, so that its
    predictions are unchanged at first. Elements that it lacks get the energies that `per_element` says, fitted with the
    others fixed."""

    @model_validator(mode="after")
    def _kept_or_given(self) -> ReferencesOptions:
        if self.keep and (self.mean != 0.0 or self.scale != "force_rms"):
            raise ValueError("keep: mean and scale are those of training.start_from: remove mean and scale")
        return self

    @model_validator(mode="before")
    @classmethod
    def _elements_are_inside(cls, data: Any) -> Any:
        for key in data if isinstance(data, dict) else ():
            if key not in cls.model_fields and len(str(key)) <= 2:
                element_number(key)
                raise ValueError(f"energies of elements belong under per_element: write per_element: {{{key}: ...}}")
        return data


class LabelledSource(Protocol):
    """A sequence of labelled structures: a `LabelledDataset`, or a list."""

    def __len__(self) -> int:
        """The number of items."""

    def __getitem__(self, index: int, /) -> LabelledStructures:
        """Item number `index`."""


def fit_references(
    dataset: LabelledSource,
    meaning: EnergyMeaning,
    per_element: PerElement | Mapping[int, float] = "least_squares",
    scale: Scale = "force_rms",
    atoms: AtomChoice = "all",
    unseen: float | None = None,
    mean: float = 0.0,
    properties: Mapping[str, PropertyKind] | None = None,
    kept: References | None = None,
) -> References:
    """Fit atomic reference energies and energy scale in one pass over a training set.

    Least squares minimize Σ_structures (E − mean − Σ_Z count_Z · reference_Z)². If the compositions do not determine
    the references (all frames of one molecule have the same), the solution of least norm is taken: all solutions
    predict the same energies for these compositions, and the smallest is the best conditioned.

    Args:
        dataset: the training set, energies in eV and forces in eV/Å.
        meaning: the reference of its energies.
        per_element: `least_squares`, `none` (zero for each element of the dataset), or energies in eV by symbol or
            number.
        scale: `force_rms`, or a number in eV. Without nonzero forces, `force_rms` falls back on the root mean square,
            per atom, of the energies minus the references.
        atoms: the atoms whose forces count for `force_rms`.
        unseen: the energy of all other elements in eV; None: they are unknown.
        mean: an energy in eV per structure, independent of its number of atoms.
        properties: the kinds of further properties, whose mean and standard deviation are computed: of extensive ones
            the mean per atom, and of vectors and tensors only the root mean square of the components.
        kept: references whose energies of elements, mean, scale and normalizations are kept; only those of further
            elements and properties are found. None: all are found.

    Raises:
        SpecError: an element of the dataset is not in the mapping, a key is not an element, the dataset is empty or has
            no labels to fit to, or its energies have another meaning than those of `kept`.
        ValueError: the scale is not positive, or the mean is not finite.
    """
    if kept is not None and kept.meaning not in (meaning, "unknown"):
        raise SpecError(
            f"references.keep: the trained model has {kept.meaning} energies, and the data have {meaning} energies: "
            "remove keep"
        )
    mean = mean if kept is None else kept.offset
    seen = _Totals(mean, properties={name: _Values(kind) for name, kind in (properties or {}).items()})
    for index in range(len(dataset)):
        seen.add(dataset[index], atoms)
    if not seen.elements:
        raise SpecError("references: the training set is empty")
    energies = _choose(per_element, seen, {} if kept is None else kept.per_element)
    if unseen is not None:
        energies = {number: energies.get(number, unseen) for number in range(1, len(chemical_symbols))}
    found = {name: values.normalization() for name, values in seen.properties.items() if values.count}
    if kept is not None:
        return References(energies, kept.scale, meaning, mean, {**found, **kept.properties})
    return References(energies, seen.force_rms(energies) if scale == "force_rms" else scale, meaning, mean, found)


@dataclass(slots=True)
class _Values:
    """Sums over the labels of a property; n is the number of atoms of a structure if the property is extensive, else 1.

    The labels are normalized by their mean m = Σ p n/Σ n² (least squares) and the root mean square of p - m n.
    """

    kind: PropertyKind
    count: int = 0
    sum: float = 0.0
    square: float = 0.0
    units: float = 0.0

    def add(self, item: LabelledStructures, values: Tensor) -> None:
        values = values.double().reshape(len(values), -1)
        n = item.structures.atom_counts.double() if self.kind.extensive else values.new_ones(len(values))
        self.count += values.numel()
        self.sum += float((values.sum(dim=1) * n).sum())
        self.square += float(values.square().sum())
        self.units += float(n.square().sum())

    def normalization(self) -> Normalization:
        mean = self.sum / self.units if self.kind.shape == "scalar" and self.units else 0.0
        variance = (self.square - mean * self.sum) / self.count
        # equal labels have only rounding errors, which are not a scale
        varies = variance > 1e-18 * max(self.square / self.count, 1e-300)
        return Normalization(math.sqrt(variance) if varies else 1.0, mean)


@dataclass(slots=True)
class _Energies:
    """Count, mean and sum of squared deviations of the energies of one composition (Welford's update)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, energy: float) -> None:
        self.count += 1
        step = energy - self.mean
        self.mean += step / self.count
        self.squares += step * (energy - self.mean)


@dataclass(slots=True)
class _Totals:
    """Sums over a dataset; energies minus the mean by composition, since datasets have few compositions."""

    mean: float
    elements: set[int] = field(default_factory=set)
    compositions: dict[tuple[tuple[int, int], ...], _Energies] = field(default_factory=dict)
    force_squares: float = 0.0
    force_components: int = 0
    fixed_components: int = 0
    properties: dict[str, _Values] = field(default_factory=dict)

    def add(self, item: LabelledStructures, atoms: AtomChoice) -> None:
        structures = item.structures
        self.elements.update(structures.numbers.unique().tolist())
        if item.forces is not None:
            forces = item.forces if atoms == "all" else item.forces[~structures.fixed]
            self.force_squares += float(forces.double().square().sum())
            self.force_components += forces.numel()
            self.fixed_components += item.forces.numel() - forces.numel()
        for name, values in self.properties.items():
            if name in item.properties:
                values.add(item, item.properties[name])
        if item.energy is not None:
            for index, energy in enumerate(item.energy.tolist()):
                composition = _composition(structures.numbers[structures.structure == index])
                self.compositions.setdefault(composition, _Energies()).add(energy - self.mean)

    def least_squares(self, fixed: Mapping[int, float]) -> dict[int, float]:
        """Fit references to the mean of each composition, weighted by its frames, which has the same minimum.

        Args:
            fixed: references of elements that are not fitted.
        """
        elements = sorted(self.elements - fixed.keys())
        if not elements:
            return {}
        if not self.compositions:
            raise SpecError(
                "references.per_element: least_squares needs energies, and the training set has none: "
                "set it to none, or give energies by element"
            )
        weights = np.sqrt([energies.count for energies in self.compositions.values()])
        counts = np.array([[dict(key).get(number, 0) for number in elements] for key in self.compositions], float)
        known = [sum(fixed.get(number, 0.0) * count for number, count in key) for key in self.compositions]
        means = np.array([energies.mean for energies in self.compositions.values()]) - known
        solution = np.linalg.lstsq(counts * weights[:, None], means * weights, rcond=None)[0]
        return dict(zip(elements, solution.tolist(), strict=True))

    def force_rms(self, references: Mapping[int, float]) -> float:
        """The scale in eV of force components, or of energies per atom without nonzero forces."""
        if self.force_squares > 0:
            return math.sqrt(self.force_squares / self.force_components)
        if self.fixed_components and not self.force_components:
            raise SpecError(
                "references.atoms: no atom of the training set is free: set it to all, or give references.scale in eV"
            )
        squares, count = 0.0, 0
        for composition, energies in self.compositions.items():
            atoms = sum(number for _, number in composition)
            residual = energies.mean - sum(references[element] * number for element, number in composition)
            squares += (energies.squares + energies.count * residual**2) / max(atoms, 1) ** 2
            count += energies.count
        # the energies of equal frames are fitted to rounding errors, which are no scale
        if count and math.sqrt(squares / count) > 1e-9:
            return math.sqrt(squares / count)
        raise SpecError(
            "references.scale: the training set has no nonzero forces, and its energies equal their references: give a "
            "number in eV"
        )


def _choose(
    per_element: PerElement | Mapping[int, float], seen: _Totals, fixed: Mapping[int, float]
) -> dict[int, float]:
    if per_element == "least_squares":
        return {**fixed, **seen.least_squares(fixed)}
    if per_element == "none":
        return {**dict.fromkeys(sorted(seen.elements), 0.0), **fixed}
    given = {**by_number(per_element), **fixed}
    missing = [chemical_symbols[number] for number in sorted(seen.elements - given.keys())]
    if missing:
        raise SpecError(
            f"references.per_element: expected energies of all elements of the training set, found no energy of "
            f"{', '.join(missing)}: add it"
        )
    return given


def _composition(numbers: Tensor) -> tuple[tuple[int, int], ...]:
    return tuple(sorted(Counter(numbers.tolist()).items()))
