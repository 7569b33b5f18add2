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
from gemnet_blocks.graph.pairs import Pairs
from gemnet_blocks.graph.verlet_list import KeptNeighbors
from gemnet_blocks.potential.model_file import floating_type, load_potential
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.spec.build import Execution
from gemnet_blocks.structures import Prediction, StoredMeaning, Structures
from gemnet_blocks.util.ase_io import with_tag
from gemnet_blocks.util.charges import QUANTITIES, described, unread_of_atoms


class GemNetCalculator(Calculator):
    """Energies in eV, forces in eV/Å and stresses in eV/Å³ for ASE's optimisers and dynamics.

    `energies` are what atoms contribute to the energy, `free_energy` is the energy. Stresses come from models with
    gradient forces, for structures that are periodic in all three directions; they cost next to nothing, and are
    computed whenever there are any. Positions stay in float64 whatever the type of the weights.

    Args:
        potential: a potential, or a file that `save_potential` wrote. It is not changed.
        skin: neighbors are searched for this much farther than needed, in Å, and kept until an atom has moved by half
            of it; 0: a search in every step. Changes no result.
        dtype: the floating-point type of the weights, or its name; None: as they are.
        device: where to compute; None: where the weights are.
        default_tag: the tag of atoms that have none; None: models that need tags refuse them.
        memory_budget: in bytes, see `GemNet`; None: that of the model.
        execution: how the model of a file is computed.
        allow_coinciding: whether atoms may coincide, that is be less than 0.01 Å apart; otherwise they are refused, as
            forces cannot move them apart.
        extra: custom parts, by the name that `type` gives them in the spec of a file.
        allow_imports: whether a file may import parts like `my_lab.blocks:GatedTriplet`; only for files that you trust.

    A total charge or spin in `atoms.info` is not read; a warning says so, once.

    Raises:
        StateError: the file cannot be read.
        ValueError: a negative skin, or an execution for a potential that is built already.
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
        potential: Potential | str | os.PathLike[str],
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
        self.potential = own_potential(potential, dtype, device, execution, extra, allow_imports)
        self.allow_coinciding = allow_coinciding
        self._warned: set[str] = set()
        self.default_tag = default_tag
        self.memory_budget = memory_budget
        search = self.potential.model.trunk.graphs.search
        self.search: NeighborSearch = KeptNeighbors(search, skin) if skin else search
        without = [
            name
            for name, there in (
                ("forces", self.potential.model.forces is not None),
                ("stress", self.potential.has_stress),
            )
            if not there
        ]
        self.implemented_properties = [name for name in type(self).implemented_properties if name not in without]

    @property
    def meaning(self) -> StoredMeaning:
        """What the energies are relative to."""
        return self.potential.meaning

    def get_property(self, name: str, atoms: Any = None, allow_calculation: bool = True) -> Any:
        """A property of atoms, computed where it is not known yet.

        Raises:
            PropertyNotImplementedError: the model does not have it; says why.
            StructureError: the atoms cannot be computed.
        """
        self._check(name, self.atoms if atoms is None else atoms)
        return super().get_property(name, atoms, allow_calculation)

    def check_state(self, atoms: Any, tol: float = 1e-15) -> list[str]:
        """What differs from the last calculation; tags count too, since models select edges by them."""
        changes = cast("list[str]", super().check_state(atoms, tol))
        if self.atoms is not None and len(self.atoms) == len(atoms) and _tags(self.atoms) != _tags(atoms):
            changes = [*changes, "tags"]
        return changes

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = tuple(all_changes)
    ) -> None:
        """Compute everything that there is at once, into `results`.

        Raises:
            PropertyNotImplementedError: a property that the model does not have; says why.
            StructureError: the atoms cannot be computed.
        """
        self.results = {}  # of other atoms, should these fail
        super().calculate(atoms, list(properties), list(system_changes))
        own: Any = self.atoms  # a copy
        for name in properties:
            self._check(name, own)
        self._warn(own)
        self.results = _results(self._predict(own, self.potential.has_stress and bool(own.pbc.all())))

    @torch.no_grad()
    def _predict(self, atoms: Any, stress: bool) -> Prediction:
        tagged = atoms if self.default_tag is None else with_tag(atoms, self.default_tag)
        structures = Structures.from_ase(tagged, device=self.potential.device, ignore=QUANTITIES)
        pairs = self._neighbors(structures)
        if not self.allow_coinciding:
            refuse_coinciding(structures, pairs)
        prediction: Prediction = self.potential(structures, stress, pairs, self.memory_budget)
        return prediction

    def _warn(self, atoms: Any) -> None:
        """Warn of a charge or spin that is not read, once for each value instead of in each step."""
        found = unread_of_atoms(atoms)
        text = ", ".join(map(str, found))
        if found and text not in self._warned:
            self._warned.add(text)
            warnings.warn(described({"these atoms": found}, 1), stacklevel=2)

    def _neighbors(self, structures: Structures) -> Pairs:
        graphs = self.potential.model.trunk.graphs
        return self.search(graphs.as_periodic(structures), graphs.reach)

    def _check(self, name: str, atoms: Any) -> None:
        if name == "stress" and not self.potential.has_stress:
            try:
                self.potential.model.check_stress()
            except ValueError as error:
                raise PropertyNotImplementedError(str(error)) from error
        if name == "stress" and atoms is not None and not atoms.pbc.all():
            raise PropertyNotImplementedError(
                "these atoms have no stress, as they are not periodic in all three directions and their volume is "
                "undefined: set atoms.pbc and atoms.cell, or relax without the cell"
            )
        if name == "forces" and self.potential.model.forces is None:
            raise PropertyNotImplementedError(
                "this model has no forces: set `heads: {forces: {type: gradient}}` in the spec and train it so"
            )


def own_potential(
    potential: Potential | str | os.PathLike[str],
    dtype: torch.dtype | str | None,
    device: torch.device | str | None,
    execution: Execution | None = None,
    extra: Mapping[str, type] | None = None,
    allow_imports: bool = False,
) -> Potential:
    """The potential of a file, or the given one, or a copy where its type or device have to be changed."""
    dtype = floating_type(dtype)
    if not isinstance(potential, Potential):
        return load_potential(potential, execution, dtype, device, extra=extra, allow_imports=allow_imports)
    if execution is not None:
        raise ValueError("execution is chosen when a model is built: give it to build, or give the path of a file here")
    other_type = dtype is not None and dtype != potential.dtype
    other_device = device is not None and torch.device(device) != potential.device
    if other_type or other_device:
        return copy.deepcopy(potential).to(device=device, dtype=dtype)
    return potential


def _tags(atoms: Any) -> list[int] | None:
    return list(atoms.get_tags()) if atoms.has("tags") else None


def _results(prediction: Prediction) -> dict[str, Any]:
    """A prediction for one structure, as ASE names and shapes it."""
    energy = float(prediction.energy[0])
    results: dict[str, Any] = {"energy": energy, "free_energy": energy}
    arrays = {"energies": prediction.atom_energies, "forces": prediction.forces}
    results |= {name: value.double().cpu().numpy() for name, value in arrays.items() if value is not None}
    if prediction.stress is not None:
        results["stress"] = full_3x3_to_voigt_6_stress(prediction.stress[0].double().cpu().numpy())
    return results
