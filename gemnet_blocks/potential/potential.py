"""A model together with what its numbers mean: energies in eV, forces in eV/Å, stresses in eV/Å³."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, final

import torch
from ase.data import chemical_symbols
from jaxtyping import Float
from torch import Tensor

from gemnet_blocks.data.trained_frames import TrainedFrames
from gemnet_blocks.errors import StructureError
from gemnet_blocks.graph.pairs import Neighbors, Pairs
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.heads import GradientForces
from gemnet_blocks.potential.references import References
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.structures import Prediction, StoredMeaning, Structures
from gemnet_blocks.util.derivatives import check_graphs_can_be_built
from gemnet_blocks.util.weights import WeightedModule, ordinary_tensors


@final
class Potential(WeightedModule):
    """A model whose outputs have a unit, a zero and a meaning.

        E = scale·E_model + offset + Σ_a reference[Z_a],   F = scale·F_model,   stress = scale·stress_model

    Energies are in float64 whatever the type of the weights, as a total energy of 10⁴ eV is no float32 number to the
    meV; forces and stresses are of the weights' type.

    Args:
        model: the model.
        spec: what the model was built from.
        references: energies of elements, scale and meaning.
        record: how the model came about; anything that JSON can hold.
        frames: the structures that it was trained and validated on; None where they are unknown.

    Raises:
        TypeError: the record is nothing that JSON can hold.
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
        # stored with the meaning and the unit, not with the weights
        self.register_buffer("reference_energies", stored, persistent=False)

    @property
    def meaning(self) -> StoredMeaning:
        """What the energies are relative to."""
        return self.references.meaning

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the weights."""
        return self.model.trunk.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.trunk.edge_embedding.dense.linear.weight.device

    @property
    def has_stress(self) -> bool:
        """Whether the model has stresses: those with gradient forces have."""
        return isinstance(self.model.forces, GradientForces) and self.model.trunk.graphs.periodic

    def forward(
        self,
        structures: Structures,
        stress: bool = False,
        given: Pairs | None = None,
        memory_budget: float | None = None,
    ) -> Prediction:
        """Predict energies in eV, forces in eV/Å and, where asked for, stresses in eV/Å³.

        Args:
            structures: on the device of the weights; positions and cells may be of a wider type than these.
            stress: whether stresses are computed too.
            given: all pairs within `cutoff`, or more, as `neighbors` finds them; they stand for a search.
            memory_budget: in bytes; see `GemNet`.

        Raises:
            StructureError: a structure cannot be computed, has an element without reference energy, or no volume to
                divide a stress by.
            ValueError: stresses of a model without gradient forces.
            NotImplementedError: torch.func transforms the model, or it is traced.
        """
        check_graphs_can_be_built(structures.positions, structures.cells)
        references = self._of_atoms(structures)
        predicted: Prediction = self.model(
            structures, None if given is None else Neighbors(given), memory_budget, stress
        )
        scale = self.references.scale
        energy = predicted.energy.double() * scale + self._summed(references, structures)
        atoms = predicted.atom_energies
        return replace(
            predicted,
            energy=energy,
            forces=None if predicted.forces is None else predicted.forces * scale,
            stress=None if predicted.stress is None else predicted.stress * scale,
            atom_energies=None if atoms is None else self._shares(atoms.double() * scale + references, structures),
        )

    @property
    def cutoff(self) -> float:
        """How far neighbors are searched for, in Å."""
        return self.model.trunk.graphs.reach

    def neighbors(self, structures: Structures) -> Pairs:
        """All pairs within `cutoff`; may be found once and given whenever these structures are computed.

        Raises:
            StructureError: a structure cannot be computed.
        """
        graphs = self.model.trunk.graphs
        return graphs.search(graphs.as_periodic(structures), self.cutoff)

    def reference_energy(self, structures: Structures) -> Float[Tensor, " structures"]:
        """offset + Σ_a reference[Z_a] of each structure, in eV: what energies are relative to inside the model.

        Raises:
            StructureError: an element has no reference energy.
        """
        return self._summed(self._of_atoms(structures), structures)

    def _of_atoms(self, structures: Structures) -> Tensor:
        """The reference energy of each atom."""
        numbers = structures.numbers
        known = (numbers >= 0) & (numbers < len(self.reference_energies))
        energies = self.reference_energies.index_select(0, numbers * known)
        energies = torch.where(known, energies, torch.nan)
        unknown = energies.isnan()
        if bool(unknown.any()):
            atom = int(unknown.nonzero()[0])
            self._refuse(int(numbers[atom]), int(structures.structure[atom]))
        return energies

    def _summed(self, energies: Tensor, structures: Structures) -> Tensor:
        """The sum of each structure, and the offset."""
        total = energies.new_zeros(len(structures)).index_add(0, structures.structure, energies)
        return total + self.references.offset

    def _shares(self, energies: Tensor, structures: Structures) -> Tensor:
        """Energies of atoms that add up to those of structures, offset included."""
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
            f"contains {name}, for which the potential has no reference energy: it knows {known}. Remove the "
            "structure, or train with data that has this element",
            structure,
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Potential:
        """Move or convert everything, but keep reference energies in float64."""
        energies = self.reference_energies
        super()._apply(fn, recurse)
        self.reference_energies = energies.to(self.reference_energies.device)
        return self
