"""Potentials: a model with units and atomic reference energies."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, final

import torch
from ase.data import chemical_symbols
from jaxtyping import Float, Int
from torch import Tensor

from gemnet_blocks.data.trained_frames import TrainedFrames
from gemnet_blocks.errors import StructureError
from gemnet_blocks.graph.pairs import Neighbors, Pairs
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.heads import GradientForces
from gemnet_blocks.potential.references import References
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.structures import Prediction, PropertyKind, StoredMeaning, Structures
from gemnet_blocks.util.derivatives import check_graphs_can_be_built
from gemnet_blocks.util.html import upper_layer
from gemnet_blocks.util.weights import WeightedModule, ordinary_tensors


@final
class Potential(WeightedModule):
    """A model with units and atomic reference energies: energies in eV, forces in eV/Å, stresses in eV/Å³.

        E = scale·E_model + offset + Σ_a reference[Z_a],   F = scale·F_model,   stress = scale·stress_model

    Further properties are scale·p_model + mean, with the scale and mean of their training labels and in their unit.

    Energies are always in float64, since float32 cannot resolve 1 meV of a total energy of 10⁴ eV; forces and stresses
    have the type of the weights.

    Args:
        model: the model, whose outputs are normalized.
        spec: the spec from which the model was built.
        references: atomic reference energies, scale, offset and meaning of the energy.
        record: training record, in values that JSON can represent.
        frames: hashes of the training and validation structures; None if they are unknown.

    Raises:
        TypeError: JSON cannot represent the record.
    """

    reference_energies: Tensor

    def __init__(
        self,
        model: GemNet,
        spec: Spec,
        references: References,
        record: Mapping[str, Any] | None = None,
        frames: TrainedFrames | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.spec = spec
        self.references = references
        self.frames = frames
        self.record: dict[str, Any] = json.loads(json.dumps(dict(record or {})))
        energies = [torch.nan] * (max(references.per_element, default=0) + 1)
        for number, energy in references.per_element.items():
            energies[number] = energy
        with ordinary_tensors():
            stored = torch.tensor(energies, dtype=torch.float64, device=self.device)
        # the file stores it with `references`
        self.register_buffer("reference_energies", stored, persistent=False)
        if model.short_range is not None:
            model.short_range.in_units_of(references.scale)

    def __repr__(self) -> str:
        return f"Potential({self.meaning} energies in eV; {self.model!r})"

    def _repr_html_(self) -> str:
        return upper_layer("plotting.notebook").html(self)

    @property
    def meaning(self) -> StoredMeaning:
        """The meaning of the energy, such as `total` or `adsorption`."""
        return self.references.meaning

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the weights."""
        return self.model.backbone.dtype

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.model.backbone.geometry.device

    @property
    def has_stress(self) -> bool:
        """True if the model can compute stresses, which needs gradient forces and periodic graphs."""
        return isinstance(self.model.forces, GradientForces) and self.model.backbone.graphs.periodic

    @property
    def property_kinds(self) -> dict[str, PropertyKind]:
        """The kinds of the properties that the model predicts besides energy, forces and stress, by name."""
        return self.model.property_kinds

    def forward(
        self,
        structures: Structures,
        stress: bool | None = None,
        given: Pairs | None = None,
        memory_budget: float | None = None,
    ) -> Prediction:
        """Predict energies in eV, forces in eV/Å, further properties and, if requested, stresses in eV/Å³.

        Args:
            structures: structures on the device of the weights; positions and cells may have a wider type.
            stress: whether stresses are computed too; None: if the spec has `heads.stress` and all structures are
                periodic in all three directions.
            given: all pairs within `cutoff`, as `neighbors` returns them, to avoid a neighbor search; pairs beyond the
                cutoff are ignored.
            memory_budget: memory budget in bytes; see `GemNet`.

        Raises:
            StructureError: a structure cannot be computed, contains an element without a reference energy, or has no
                volume although stresses are requested.
            ValueError: stresses are requested from a model without gradient forces.
            NotImplementedError: torch.func transforms or traces the model.
        """
        check_graphs_can_be_built(structures.positions, structures.cells)
        references = self._of_atoms(structures)
        predicted: Prediction = self.model(
            structures, None if given is None else Neighbors(given), memory_budget, stress
        )
        return self.in_units(predicted, references, structures)

    def in_units(
        self, predicted: Prediction, references: Float[Tensor, " atoms"], structures: Structures
    ) -> Prediction:
        """Convert the prediction of the model to eV, eV/Å, eV/Å³ and the units of further properties.

        Args:
            predicted: the prediction of the model.
            references: the reference energy of each atom in eV.
            structures: the structures.
        """
        scale = self.references.scale
        energy = predicted.energy.double() * scale + self._summed(references, structures)
        atoms = predicted.atom_energies
        return replace(
            predicted,
            energy=energy,
            forces=None if predicted.forces is None else predicted.forces * scale,
            stress=None if predicted.stress is None else predicted.stress * scale,
            atom_energies=None if atoms is None else self._shares(atoms.double() * scale + references, structures),
            properties={
                name: self._normalized(name, value, structures) for name, value in predicted.properties.items()
            },
        )

    def _normalized(self, name: str, value: Tensor, structures: Structures) -> Tensor:
        """Convert a property to the unit of its labels."""
        fitted = self.references.normalization(name)
        value = value * fitted.scale
        if not self.property_kinds[name].extensive:
            return value + fitted.mean
        return value + (fitted.mean * structures.atom_counts).to(value).view(-1, *(1 for _ in value.shape[1:]))

    @property
    def cutoff(self) -> float:
        """The largest cutoff of the model in Å, which is the radius of the neighbor search."""
        return self.model.backbone.graphs.reach

    def neighbors(self, structures: Structures) -> Pairs:
        """Find all pairs within `cutoff`, which can be passed to `forward` each time these structures are computed.

        Raises:
            StructureError: a structure cannot be computed.
        """
        graphs = self.model.backbone.graphs
        return graphs.search(graphs.as_periodic(structures), self.cutoff)

    def reference_energy(self, structures: Structures) -> Float[Tensor, " structures"]:
        """Compute offset + Σ_a reference[Z_a] of each structure in eV.

        Raises:
            StructureError: an element does not have a reference energy.
        """
        return self._summed(self._of_atoms(structures), structures)

    def _of_atoms(self, structures: Structures) -> Tensor:
        numbers, energies = structures.numbers, self.energies_of(structures.numbers)
        unknown = energies.isnan()
        if bool(unknown.any()):
            atom = int(unknown.nonzero()[0])
            self._refuse(int(numbers[atom]), int(structures.structure[atom]))
        return energies

    def energies_of(self, numbers: Int[Tensor, " atoms"]) -> Float[Tensor, " atoms"]:
        """Return the reference energies of atomic numbers in eV; NaN for elements without one."""
        known = (numbers >= 0) & (numbers < len(self.reference_energies))
        energies = self.reference_energies.index_select(0, numbers * known)
        return torch.where(known, energies, torch.nan)

    def _summed(self, energies: Tensor, structures: Structures) -> Tensor:
        total = energies.new_zeros(structures.count).index_add(0, structures.structure, energies)
        return total + self.references.offset

    def _shares(self, energies: Tensor, structures: Structures) -> Tensor:
        """Distribute the offset over the atoms, so that atomic energies add up to the energy of the structure."""
        if not self.references.offset:
            return energies
        counts = structures.atom_counts.index_select(0, structures.structure).double()
        return energies + self.references.offset / counts

    def _refuse(self, number: int, structure: int) -> None:
        if number < 1:
            raise StructureError("has an atomic number below 1: numbers start at 1 (hydrogen)", structure)
        name = chemical_symbols[number] if number < len(chemical_symbols) else f"element {number}"
        known = ", ".join(chemical_symbols[one] for one in self.references.per_element) or "none"
        raise StructureError(
            f"contains {name}, for which the potential does not have a reference energy (known elements: {known}): "
            "remove the structure, or train with data that contain this element",
            structure,
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Potential:
        """Move or convert the model, but keep the reference energies in float64."""
        energies = self.reference_energies
        super()._apply(fn, recurse)
        self.reference_energies = energies.to(self.reference_energies.device)
        return self
