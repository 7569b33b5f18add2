"""The model: structures → graphs → geometry → blocks → read-out → heads."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from gemnet_blocks.blocks.read_out import ReadOut
from gemnet_blocks.compilation import compile_layers
from gemnet_blocks.graph.pairs import Neighbors, Pairs
from gemnet_blocks.model.heads import DirectForces, Energy, GradientForces
from gemnet_blocks.options import byte_count
from gemnet_blocks.strain import strained
from gemnet_blocks.structures import Prediction, Structures
from gemnet_blocks.trunk import Trunk as Trunk
from gemnet_blocks.trunk import TrunkOutput as TrunkOutput
from gemnet_blocks.util.derivatives import (
    check_gradient_forces_can_be_computed,
    check_not_in_forward_mode,
    without_graph,
)
from gemnet_blocks.util.precision import PLAIN, Products, at_least_single, multiply_with
from gemnet_blocks.util.recompute import fixed, lean, without_fragments
from gemnet_blocks.util.weights import WeightedModule

if TYPE_CHECKING:
    from gemnet_blocks.model.estimate import Estimate
    from gemnet_blocks.tasks import Task

NEIGHBORS_WITHIN = 0.05
"""By what part the number of neighbors may change before memory is estimated again."""


@final
class GemNet(WeightedModule):
    """Energies and forces of structures. Made by `gemnet_blocks.spec.build`.

    Args:
        trunk: from structures to features.
        read_out: from features to numbers per atom and edge.
        energy: from numbers per atom to energies.
        forces: from numbers per edge, or from the energy's gradient, to forces; None for no forces.
        memory_budget: in bytes, for predictions that do not say otherwise; None for no limit.
        products: how layers multiply matrices; sums over edges are given theirs when they are made.
        compiled: whether residual and dense layers are compiled, see `compile_layers`; in copies too.

    Raises:
        SpecError: layers cannot be compiled for these forces.
    """

    def __init__(
        self,
        trunk: Trunk,
        read_out: ReadOut,
        energy: Energy,
        forces: DirectForces | GradientForces | None,
        memory_budget: float | None = None,
        products: Products = PLAIN,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.read_out = read_out
        self.energy = energy
        self.forces = forces
        self.memory_budget = memory_budget
        self.products = products
        self.compiled = compiled
        self._needed: dict[tuple[object, ...], _Needed] = {}
        multiply_with(self, products)
        if compiled:
            compile_layers(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Compile what is copied or unpickled again, as copies leave compiled code behind."""
        super().__setstate__(state)
        if self.compiled:
            compile_layers(self)

    def forward(
        self,
        structures: Structures,
        given: Pairs | Neighbors | None = None,
        memory_budget: float | None = None,
        stress: bool = False,
    ) -> Prediction:
        """Predict energies and forces.

        With gradients enabled, both are differentiable functions of the weights, and gradient forces of the positions
        too. Under `torch.no_grad()`, gradient forces are computed all the same and carry no gradient.

        Args:
            structures: on the device of the model.
            given: pairs that stand for the edge sets within no other, as they are; or neighbors found before.
            memory_budget: in bytes; where more would be needed, intermediate results are made anew, some atoms at a
                time, instead of being kept: less memory for more time. None: that of the model, which has none unless
                it was built with one.
            stress: whether stresses are computed too, in the backward pass of gradient forces.

        Raises:
            StructureError: a structure cannot be computed, or has no volume to divide a stress by.
            NotImplementedError: torch.func transforms the model, or compiled layers are differentiated in forward mode.
            ValueError: stresses of a model without gradient forces, or the budget is no number of bytes.
        """
        check_structures(structures)
        if self.compiled:
            check_not_in_forward_mode()
        if stress:
            self.check_stress()
        memory_budget = byte_count("predictions", "memory_budget", memory_budget)
        memory_budget = self.memory_budget if memory_budget is None else memory_budget
        if memory_budget and given is None:  # what it takes depends on how many neighbors there are
            given = self.trunk.graphs.neighbors(structures)
        short = self._exceeds(memory_budget, structures, given)
        with without_fragments(short), lean(short):
            if isinstance(self.forces, GradientForces):
                return self._with_gradient_forces(structures, given, self.forces, stress)
            features = self.trunk(structures, given)
            contributions = self.read_out(features.outputs)
            prediction = self._energies(contributions.atoms, structures)
            if self.forces is None or contributions.edges is None:
                return prediction
            return replace(prediction, forces=self.forces(contributions.edges, features.graphs.main))

    def check_stress(self) -> None:
        """Check that the model has stresses.

        Raises:
            ValueError: it has not; says why, and what to change.
        """
        if not isinstance(self.forces, GradientForces):
            raise ValueError(
                "stresses are derivatives of the energy, and this model's forces are none: "
                "set `heads: {forces: {type: gradient}}` in the spec and train it so"
            )
        if not self.trunk.graphs.periodic:
            raise ValueError(
                "this model treats all structures as isolated, so that they have no stress: "
                "remove `periodic: false` from the spec's neighbors and train it so"
            )

    def _energies(self, atoms: Tensor, structures: Structures) -> Prediction:
        arguments = (atoms, structures.structure, len(structures))
        return Prediction(self.energy(*arguments), None, atom_energies=self.energy.shares(*arguments))

    def _exceeds(self, memory_budget: float | None, structures: Structures, given: Pairs | Neighbors | None) -> bool:
        """Whether a prediction that keeps its intermediate results needs more memory.

        It is estimated anew where there are other atoms or neighbors, so that molecular dynamics need not wait for it.
        """
        if memory_budget is None:
            return False
        if given is None or memory_budget == 0:
            return True  # nothing is to be estimated where nothing suffices
        pairs = (given.pairs if isinstance(given, Neighbors) else given).source.shape[0]
        task: Task = "train" if torch.is_grad_enabled() else "predict"
        autocast = torch.is_autocast_enabled(structures.positions.device.type)
        key = (task, structures.atom_count, len(structures), self.trunk.dtype, autocast)
        needed = self._needed.get(key)
        if needed is None or abs(pairs - needed.pairs) > NEIGHBORS_WITHIN * needed.pairs:
            # an estimate takes as long as a small prediction
            needed = self._needed[key] = _Needed(pairs, self.estimate(structures, task).peak_bytes)
        return needed.peak_bytes > memory_budget

    def estimate(self, structures: Structures, task: Task = "predict") -> Estimate:
        """Find operations and memory of each part without computing the model; see `gemnet_blocks.model.estimate`.

        Args:
            structures: one batch.
            task: energy, predict or train.

        Raises:
            StructureError: a structure cannot be computed.
        """
        from gemnet_blocks.model.estimate import estimate

        return estimate(self, structures, task)

    def _with_gradient_forces(
        self, structures: Structures, given: Pairs | Neighbors | None, head: GradientForces, stress: bool
    ) -> Prediction:
        create_graph = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.enable_grad(), nullcontext() if create_graph else fixed(self):
            structures = differentiable(structures)
            deformed = strained(structures) if stress else None
            features = self.trunk(structures if deformed is None else deformed.structures, given)
            prediction = self._energies(self.read_out(features.outputs).atoms, structures)
            if deformed is None:
                found = {"forces": head(prediction.energy, structures.positions, create_graph)}
            else:
                both = head.with_stress(prediction.energy, deformed, create_graph)
                found = {"forces": both.forces, "stress": both.stress}
            found = {name: value.to(prediction.energy.dtype) for name, value in found.items()}
        prediction = replace(prediction, **found)
        return prediction if create_graph else detached(prediction)


@dataclass(frozen=True, slots=True)
class _Needed:
    """What an estimate found, and for how many pairs of neighbors."""

    pairs: int
    peak_bytes: int


def check_structures(structures: object) -> None:
    """Check that a model can read its input.

    Raises:
        TypeError: says how structures are made.
    """
    if not isinstance(structures, Structures):
        raise TypeError(
            f"a model takes Structures, not {type(structures).__name__}: make them with Structures.from_ase(atoms) "
            "or Structures.from_batch(batch)"
        )


def detached(prediction: Prediction) -> Prediction:
    """The same numbers without gradients."""
    values = ((field.name, getattr(prediction, field.name)) for field in fields(prediction))
    return replace(prediction, **{name: without_graph(value) for name, value in values if value is not None})


def differentiable(structures: Structures) -> Structures:
    """The same structures with positions that gradients are computed for.

    Positions that require gradients already stay part of their graph, so that forces can be differentiated further
    with respect to what they were computed from.

    Raises:
        NotImplementedError: torch.func transforms the model, whose forces would be wrong then.
    """
    check_gradient_forces_can_be_computed()
    structures = outside_inference(structures)
    # narrower positions and cells would accumulate derivatives in their own type
    positions = structures.positions.to(at_least_single(structures.positions.dtype))
    cells = structures.cells.to(at_least_single(structures.cells.dtype))
    if not positions.requires_grad:
        # a view of its own, as `requires_grad_` changes its tensor; it keeps the tangent of forward mode
        positions = positions.view_as(positions).requires_grad_(True)
    return replace(structures, positions=positions, cells=cells)


def outside_inference(structures: Structures) -> Structures:
    """The same structures for computing gradients, where they were made in inference mode; called outside of it."""
    if not structures.positions.is_inference():
        return structures
    structures = structures.to()
    names = ("positions", "numbers", "structure", "cells", "periodic", "tags", "fixed")
    return replace(structures, **{name: getattr(structures, name).clone() for name in names})
