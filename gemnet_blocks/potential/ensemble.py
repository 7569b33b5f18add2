"""Ensembles: several potentials whose mean is the prediction and whose spread measures its uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, final

import torch
from torch import Tensor, nn

from gemnet_blocks.data.trained_frames import TrainedFrames
from gemnet_blocks.graph.pairs import Pairs
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.potential.calibration import Calibration
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.structures import Prediction, PropertyKind, StoredMeaning, Structures
from gemnet_blocks.util.weights import WeightedModule

ENERGY_STD, FORCES_STD = "energy_std", "forces_std"
"""The names of the standard deviations of energies and forces."""

ENERGY_INTERVAL, FORCES_INTERVAL = "energy_interval", "forces_interval"
"""The names of the half-widths of intervals of energies, and of the radii of intervals of forces."""

_PER_STRUCTURE, _PER_ATOM = PropertyKind("structure"), PropertyKind("atom")


@final
class Ensemble(WeightedModule):
    r"""Potentials of the same quantities, such as those of several seeds, that predict together.

    Energies, forces, stresses and further properties are means over the K members. The spread is predicted as further
    properties, with corrected standard deviations:

    $$σ_E^2 = \frac{1}{K - 1} \sum_k (E_k - \bar E)^2, \qquad
    σ_{F_a}^2 = \frac{1}{3 (K - 1)} \sum_k \lVert F_{k,a} - \bar F_a \rVert^2,$$

    `energy_std` per structure in eV and `forces_std` per atom in eV/Å, which does not change under rotations. A
    calibrated ensemble also predicts `energy_interval` per structure in eV and `forces_interval` per atom in eV/Å: the
    label lies in E ± energy_interval, or within this distance of the predicted force, with the probability
    `calibration.level`.

    An ensemble can be used like a potential: by calculators, relaxations, and evaluation.

    Args:
        members: two or more potentials with equal types, devices, and predicted quantities.
        calibration: the widths of intervals; see `gemnet_blocks.evaluation.calibrate`. None: no intervals.

    Raises:
        ValueError: there are fewer than two members, or they do not fit each other.
    """

    def __init__(self, members: Sequence[Potential], calibration: Calibration | None = None) -> None:
        super().__init__()
        _check(members)
        self.members = nn.ModuleList(members)
        self.calibration = calibration

    def __repr__(self) -> str:
        level = "" if self.calibration is None else f", calibrated at {self.calibration.level:g}"
        return f"Ensemble({len(self.members)} members{level}; {self.first!r})"

    @property
    def first(self) -> Potential:
        """The first member."""
        return self.potentials[0]

    @property
    def potentials(self) -> list[Potential]:
        """The members."""
        return [member for member in self.members if isinstance(member, Potential)]

    @property
    def model(self) -> GemNet:
        """The model of the member with the largest cutoff, whose graphs contain the pairs of all members."""
        return self._widest.model

    @property
    def _widest(self) -> Potential:
        return max(self.potentials, key=lambda member: member.cutoff)

    @property
    def meaning(self) -> StoredMeaning:
        """The meaning of the energy, such as `total` or `adsorption`."""
        return self.first.meaning

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the weights."""
        return self.first.dtype

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.first.device

    @property
    def has_stress(self) -> bool:
        """True if the models can compute stresses."""
        return self.first.has_stress

    @property
    def property_kinds(self) -> dict[str, PropertyKind]:
        """The kinds of the properties besides energy, forces and stress, by name; the spread is among them."""
        kinds = {**self.first.property_kinds, ENERGY_STD: _PER_STRUCTURE}
        if self.model.forces is not None:
            kinds[FORCES_STD] = _PER_ATOM
        if self.calibration is not None and self.calibration.energy is not None:
            kinds[ENERGY_INTERVAL] = _PER_STRUCTURE
        if self.calibration is not None and self.calibration.forces is not None:
            kinds[FORCES_INTERVAL] = _PER_ATOM
        return kinds

    @property
    def frames(self) -> TrainedFrames | None:
        """Hashes of the training and validation structures of all members; None if no member knows them."""
        known = [member.frames for member in self.potentials]
        first = next((one for one in known if one is not None), None)
        return None if first is None else reduce(TrainedFrames.and_of_source, known, first)

    @property
    def cutoff(self) -> float:
        """The largest cutoff of the models in Å, which is the radius of the neighbor search."""
        return self._widest.cutoff

    def neighbors(self, structures: Structures) -> Pairs:
        """Find all pairs within `cutoff`; see `Potential.neighbors`.

        Raises:
            StructureError: a structure cannot be computed.
        """
        return self._widest.neighbors(structures)

    def forward(
        self,
        structures: Structures,
        stress: bool | None = None,
        given: Pairs | None = None,
        memory_budget: float | None = None,
    ) -> Prediction:
        """Predict the means over the members and their spread; see `Potential.forward` for arguments and errors."""
        pairs = self.neighbors(structures) if given is None else given
        predictions = [member(structures, stress, pairs, memory_budget) for member in self.potentials]
        energies = torch.stack([one.energy for one in predictions])
        forces = _stacked([one.forces for one in predictions])
        spread = {ENERGY_STD: energies.std(0)}
        if forces is not None:
            spread[FORCES_STD] = forces.var(0).mean(-1).sqrt()
        return replace(
            predictions[0],
            energy=energies.mean(0),
            forces=None if forces is None else forces.mean(0),
            stress=_mean([one.stress for one in predictions]),
            atom_energies=_mean([one.atom_energies for one in predictions]),
            properties={
                **{
                    name: torch.stack([one.properties[name] for one in predictions]).mean(0)
                    for name in predictions[0].properties
                },
                **spread,
                **self._intervals(spread, structures),
            },
        )

    def _intervals(self, spread: dict[str, Tensor], structures: Structures) -> dict[str, Tensor]:
        found, calibration = {}, self.calibration
        if calibration is not None and calibration.energy is not None:
            atoms = structures.atom_counts.clamp(min=1).to(spread[ENERGY_STD])
            found[ENERGY_INTERVAL] = calibration.energy.of(spread[ENERGY_STD] / atoms) * atoms
        if calibration is not None and calibration.forces is not None:
            found[FORCES_INTERVAL] = calibration.forces.of(spread[FORCES_STD])
        return found


def _check(members: Sequence[Potential]) -> None:
    """Check that potentials fit each other.

    Raises:
        ValueError: there are fewer than two, or they differ in what they compute.
    """
    for index, member in enumerate(members):
        if not isinstance(member, Potential):
            raise ValueError(f"expected potentials, but member {index} is a {type(member).__name__}")
    if len(members) < 2:
        raise ValueError(f"an ensemble needs at least two members, got {len(members)}")
    compared: dict[str, Callable[[Potential], Any]] = {
        "the meaning of the energy": lambda one: one.meaning,
        "the type of the weights": lambda one: one.dtype,
        "the device": lambda one: one.device,
        "forces": lambda one: one.model.forces is not None,
        "stresses": lambda one: one.has_stress,
        "periodicity": lambda one: one.model.backbone.graphs.periodic,
        "further properties": lambda one: one.property_kinds,
        "charges and spins that the model reads": lambda one: one.model.reads,
    }
    for name, value in compared.items():
        for index, member in enumerate(members):
            if value(member) != value(members[0]):
                raise ValueError(
                    f"the members of an ensemble must agree in {name}: member 0 has {value(members[0])}, "
                    f"member {index} has {value(member)}"
                )
    reserved = {ENERGY_STD, FORCES_STD, ENERGY_INTERVAL, FORCES_INTERVAL} & members[0].property_kinds.keys()
    if reserved:
        raise ValueError(
            f"the models have a property called {min(reserved)}, which is the name of the spread: rename it"
        )


def _stacked(values: Sequence[Tensor | None]) -> Tensor | None:
    known = [value for value in values if value is not None]
    return torch.stack(known) if known else None


def _mean(values: Sequence[Tensor | None]) -> Tensor | None:
    stacked = _stacked(values)
    return None if stacked is None else stacked.mean(0)
