"""Potentials as ASE calculators."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Mapping
from typing import Any, cast

import torch
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from gemnet_blocks.graph.coinciding import refuse_coinciding
from gemnet_blocks.graph.neighbor_list import NeighborSearch
from gemnet_blocks.graph.verlet_list import VerletList
from gemnet_blocks.potential.ensemble import Ensemble
from gemnet_blocks.potential.ensemble_file import load_potential_or_ensemble
from gemnet_blocks.potential.model_file import floating_type
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.spec.execution import Execution
from gemnet_blocks.structures import Prediction, PropertyKind, StoredMeaning, Structures
from gemnet_blocks.util.ase_io import with_tag
from gemnet_blocks.util.charges import QUANTITIES, described, state_of, unread_of_atoms


class GemNetCalculator(Calculator):
    """ASE calculator with energies in eV, forces in eV/Å and stresses in eV/Å³.

    Further properties that the model predicts have the names of their heads in `results`; those called dipole, charges,
    magmom or magmoms are the properties that ASE gives these names.

    `energies` are the contributions of the atoms to the energy, and `free_energy` equals the energy. Stresses need a
    model with gradient forces and a structure that is periodic in all three directions; they are then always computed,
    since they cost next to nothing. Positions stay in float64 even if the weights are in a narrower type. A total
    charge or spin in `atoms.info` is ignored with a warning unless the model reads it.

    Args:
        potential: a potential, an ensemble, or a file that `save_potential` or `save_ensemble` wrote; it is not
            modified. The standard deviations and intervals of an ensemble are further properties in `results`.
        skin: skin of the Verlet list in Å, typically 0.3 to 1: the neighbor search extends this far beyond the cutoff
            and is repeated when an atom has moved by half of the skin; 0: search in every step. Results do not depend
            on it.
        dtype: floating-point type of the weights, or its name; None: the type that they have.
        device: device of the computation; None: the device of the weights.
        default_tag: tag of atoms without tags; None: models that need tags refuse such atoms.
        memory_budget: memory budget in bytes, see `GemNet`; None: that of the model.
        execution: execution options of a model that is read from a file.
        allow_coinciding: accept atoms that are less than 0.01 Å apart; they are otherwise refused, since forces cannot
            separate them.
        extra: custom components, by the name that `type` gives them in the spec of a file.
        allow_imports: let a file import components such as `my_lab.blocks:GatedTriplet`, which runs their code; only
            for files that you trust.

    Raises:
        StateError: the file cannot be read.
        ValueError: the skin is negative, or `execution` is given for a potential that is already built.
    """

    implemented_properties: list[str] = [  # noqa: RUF012 (as ASE declares it)
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
    ]

    def __init__(
        self,
        potential: Potential | Ensemble | str | os.PathLike[str],
        skin: float = 0.5,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
        default_tag: int | None = None,
        memory_budget: float | None = None,
        execution: Execution | None = None,
        allow_coinciding: bool = False,
        *,
        extra: Mapping[str, type] | None = None,
        allow_imports: bool = False,
    ) -> None:
        super().__init__()
        self.potential = prepared_potential(potential, dtype, device, execution, extra, allow_imports)
        self.allow_coinciding = allow_coinciding
        self._warned: set[str] = set()
        self.default_tag = default_tag
        self.memory_budget = memory_budget
        search = self.potential.model.backbone.graphs.search
        self.search: NeighborSearch = VerletList(search, skin) if skin else search
        available = {"forces": self.potential.model.forces is not None, "stress": self.potential.has_stress}
        self.implemented_properties = [name for name in type(self).implemented_properties if available.get(name, True)]
        self.implemented_properties += self.potential.property_kinds

    @property
    def meaning(self) -> StoredMeaning:
        """The meaning of the energy, such as `total` or `adsorption`."""
        return self.potential.meaning

    def get_property(self, name: str, atoms: Any = None, allow_calculation: bool = True) -> Any:
        """Return a property of atoms, computing it if it is not known yet.

        Raises:
            PropertyNotImplementedError: the model does not have the property; the message gives the reason.
            StructureError: the atoms cannot be computed.
        """
        self._check(name, self.atoms if atoms is None else atoms)
        return super().get_property(name, atoms, allow_calculation)

    def check_state(self, atoms: Any, tol: float = 1e-15) -> list[str]:
        """Return the changes since the last calculation, including tags, by which models select edges.

        A changed total charge or spin counts as changed charges and magnetic moments of atoms.
        """
        changes = cast("list[str]", super().check_state(atoms, tol))
        if self.atoms is not None and len(self.atoms) == len(atoms) and _tags(self.atoms) != _tags(atoms):
            changes = [*changes, "tags"]
        if self.atoms is not None and state_of(self.atoms.info) != state_of(atoms.info):
            changes = [*changes, "charges", "magmoms"]
        return changes

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = tuple(all_changes)
    ) -> None:
        """Compute all properties at once and store them in `results`.

        Raises:
            PropertyNotImplementedError: the model does not have a property; the message gives the reason.
            StructureError: the atoms cannot be computed.
        """
        self.results = {}  # an error must not leave the results of other atoms
        super().calculate(atoms, list(properties), list(system_changes))
        copied: Any = self.atoms
        for name in properties:
            self._check(name, copied)
        self._warn(copied)
        prediction = self._predict(copied, self.potential.has_stress and bool(copied.pbc.all()))
        self.results = _results(prediction, self.potential.property_kinds)

    @torch.no_grad()
    def _predict(self, atoms: Any, stress: bool) -> Prediction:
        tagged = atoms if self.default_tag is None else with_tag(atoms, self.default_tag)
        structures = Structures.from_ase(tagged, device=self.potential.device, ignore=QUANTITIES)
        graphs = self.potential.model.backbone.graphs
        pairs = self.search(graphs.as_periodic(structures), graphs.reach)
        if not self.allow_coinciding:
            refuse_coinciding(structures, pairs)
        prediction: Prediction = self.potential(structures, stress, pairs, self.memory_budget)
        return prediction

    def _warn(self, atoms: Any) -> None:
        """Warn of an ignored charge or spin, once per value instead of in every step."""
        found = unread_of_atoms(atoms, self.potential.model.reads)
        text = ", ".join(map(str, found))
        if found and text not in self._warned:
            self._warned.add(text)
            warnings.warn(described({"these atoms": found}, 1), stacklevel=2)

    def _check(self, name: str, atoms: Any) -> None:
        if name == "stress" and not self.potential.has_stress:
            try:
                self.potential.model.check_stress()
            except ValueError as error:
                raise PropertyNotImplementedError(str(error)) from error
        if name == "stress" and atoms is not None and not atoms.pbc.all():
            raise PropertyNotImplementedError(
                "stress needs a structure that is periodic in all three directions, since its volume is undefined "
                "otherwise: set atoms.pbc and atoms.cell, or relax without the cell"
            )
        if name == "forces" and self.potential.model.forces is None:
            raise PropertyNotImplementedError(
                "this model does not predict forces: set `heads: {forces: {type: gradient}}` in the spec and retrain"
            )


def prepared_potential(
    potential: Potential | Ensemble | str | os.PathLike[str],
    dtype: torch.dtype | str | None,
    device: torch.device | str | None,
    execution: Execution | None = None,
    extra: Mapping[str, type] | None = None,
    allow_imports: bool = False,
) -> Potential | Ensemble:
    """Load a potential from a file, or copy a given one if its type or device must change."""
    dtype = floating_type(dtype)
    if not isinstance(potential, (Potential, Ensemble)):
        return load_potential_or_ensemble(potential, execution, dtype, device, extra=extra, allow_imports=allow_imports)
    if execution is not None:
        raise ValueError(
            "`execution` cannot change a model that is already built: pass it to build, or pass a file here"
        )
    other_type = dtype is not None and dtype != potential.dtype
    other_device = device is not None and torch.device(device) != potential.device
    if other_type or other_device:
        return copy.deepcopy(potential).to(device=device, dtype=dtype)
    return potential


def _tags(atoms: Any) -> list[int] | None:
    return list(atoms.get_tags()) if atoms.has("tags") else None


def values_of_properties(prediction: Prediction, kinds: Mapping[str, PropertyKind]) -> dict[str, Any]:
    """Convert the further properties of one structure to a number, or to an array per structure or per atom."""
    values: dict[str, Any] = {}
    for name, kind in kinds.items():
        array = prediction.properties[name].detach().double().cpu().numpy()
        values[name] = array if kind.per == "atom" else array[0] if kind.size else float(array[0])
    return values


def _results(prediction: Prediction, kinds: Mapping[str, PropertyKind]) -> dict[str, Any]:
    energy = float(prediction.energy[0])
    results: dict[str, Any] = {"energy": energy, "free_energy": energy}
    arrays = {"energies": prediction.atom_energies, "forces": prediction.forces}
    results |= {name: value.double().cpu().numpy() for name, value in arrays.items() if value is not None}
    if prediction.stress is not None:
        results["stress"] = full_3x3_to_voigt_6_stress(prediction.stress[0].double().cpu().numpy())
    return results | values_of_properties(prediction, kinds)
