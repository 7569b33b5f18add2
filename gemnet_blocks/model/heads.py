"""Output heads: energies, forces and stresses from numbers per atom and per edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.geometry.edges import SymmetricEdges
from gemnet_blocks.options import Options
from gemnet_blocks.structures import StrainedStructures


class EnergyOptions(Options):
    """Options of the energy head."""

    reduce: Literal["sum", "mean"] = "sum"
    """sum: the energy of a structure is the sum over its atoms (extensive); mean: their mean (intensive)."""
    short_range: Literal["zbl"] | None = None
    """zbl: add the repulsion of nuclei after Ziegler, Biersack and Littmark to the energies of atoms that are nearer
    than a bond, so that atoms do not collapse onto each other where training data have no such neighbors. It needs
    `reduce: sum`, and no direct forces. null: energies are those of the network alone."""


class DirectForcesOptions(Options):
    """Options of direct forces: a number per edge along its direction; fast, but not the gradient of an energy."""

    type: Literal["direct"] = "direct"
    """The kind of forces."""
    coupled: bool = False
    """Average the numbers of an edge and its opposite, so that the forces of a structure add up to zero."""


class GradientForcesOptions(Options):
    """Options of gradient forces: the negative gradient of the energy, which molecular dynamics conserves."""

    type: Literal["gradient"] = "gradient"
    """The kind of forces."""
    dynamic_scaling: bool = False
    """Scale the energy up before differentiation, against underflow in half precision."""


class StressHeadOptions(Options):
    """Options of the stress head: predictions for periodic structures contain stresses, which need gradient forces.

    Without this head, stresses are computed on request.
    """

    type: Literal["stress"] = "stress"
    """The kind of head."""


@final
class Energy(nn.Module):
    """The energy of each structure, E = Σ_a e_a or the mean of e_a; 0 for a structure without atoms.

    Args:
        reduce: "sum" or "mean".
        sums: how sums are computed.
    """

    def __init__(self, reduce: Literal["sum", "mean"], sums: Sums) -> None:
        super().__init__()
        self.reduce = reduce
        self.sums = sums

    def forward(
        self, atoms: Float[Tensor, " atoms"], structure: Int[Tensor, " atoms"], count: int
    ) -> Float[Tensor, " structures"]:
        """Compute the energies of `count` structures, in eV if the model was trained on eV."""
        summed = self.sums.by_index if self.reduce == "sum" else self.sums.mean_by_index
        return summed(atoms, structure, count)

    def shares(
        self, atoms: Float[Tensor, " atoms"], structure: Int[Tensor, " atoms"], count: int
    ) -> Float[Tensor, " atoms"]:
        """Compute the contribution of each atom; the contributions add up to the energy of the structure."""
        if self.reduce == "sum":
            return atoms
        return atoms / self.sums.counts(structure, count).index_select(0, structure)


@final
class DirectForces(nn.Module):
    """Direct forces, F_a = Σ_{c→a} f_ca u_ca.

    Args:
        coupled: average f over both directions of an edge, so that the forces of a structure add up to zero.
        sums: how sums are computed.
    """

    def __init__(self, coupled: bool, sums: Sums) -> None:
        super().__init__()
        self.coupled = coupled
        self.sums = sums

    def forward(self, magnitude: Float[Tensor, " edges"], main: SymmetricEdges) -> Float[Tensor, "atoms 3"]:
        """Compute the force on each atom."""
        edges = main.edges
        return self.along(magnitude, edges.direction, edges.target, main.reverse, edges.atom_count)

    def along(
        self,
        magnitude: Float[Tensor, " edges"],
        direction: Float[Tensor, "edges 3"],
        target: Int[Tensor, " edges"],
        reverse: Int[Tensor, " edges"],
        atom_count: int,
    ) -> Float[Tensor, "atoms 3"]:
        """Compute the force on each atom from the tensors of the edges."""
        if self.coupled:
            magnitude = (magnitude + magnitude.index_select(0, reverse)) / 2
        return self.sums.by_index(magnitude[:, None] * direction, target, atom_count)


@final
class DynamicScale:
    """A power of two that keeps gradients within the range of half precision.

    It is halved whenever scaled gradients are not finite, and doubled after 2,000 steps in which they are. Gradients
    that are not finite at any scale are returned, and the scale stays as it was.

    Args:
        initial: the first value.
        growth_interval: the number of steps with finite gradients before it is doubled.
        attempts: the number of times it is halved before gradients that are not finite are returned.
        enabled: false leaves gradients unscaled.
    """

    def __init__(
        self, initial: float = 2.0**8, growth_interval: int = 2000, attempts: int = 50, enabled: bool = True
    ) -> None:
        self.value = initial
        self.enabled = enabled
        self.growth_interval = growth_interval
        self.attempts = attempts
        self._good_steps = 0

    @property
    def scale_factor(self) -> float:
        """The current scale, under its published name."""
        return self.value

    def calc_forces_and_update(self, energy: Tensor, pos: Tensor) -> Tensor:
        """Compute -dE/dr for training, under its published name."""
        return -self.gradient(energy, pos, create_graph=True)

    def gradient(self, energy: Tensor, positions: Tensor, create_graph: bool) -> Tensor:
        """Compute dE/dr as (d(s·E)/dr)/s with a scale s for which it is finite."""
        return self.gradients(energy, (positions,), create_graph)[0]

    def gradients(self, energy: Tensor, inputs: tuple[Tensor, ...], create_graph: bool) -> tuple[Tensor, ...]:
        """Compute dE/dx of several inputs x with one scale for which all are finite."""
        if not self.enabled:
            return _gradients(energy, inputs, create_graph, retain_graph=create_graph)
        before = self.value
        for _ in range(self.attempts):
            large = _gradients(energy * self.value, inputs, create_graph, retain_graph=True)
            scaled = tuple(gradient / self.value for gradient in large)
            if bool(torch.stack([gradient.isfinite().all() for gradient in scaled]).all()):
                self._good_steps += 1
                if self._good_steps == self.growth_interval:
                    self.value, self._good_steps = self.value * 2, 0
                return scaled
            self.value, self._good_steps = self.value / 2, 0
        self.value = before
        return scaled


@dataclass(frozen=True, slots=True, eq=False)
class ForcesAndStress:
    """The derivatives of the energy.

    Attributes:
        forces: F = -∂E/∂r, in eV/Å.
        stress: (1/V) ∂E/∂ε, symmetric, in eV/Å³.
    """

    forces: Float[Tensor, "atoms 3"]
    stress: Float[Tensor, "structures 3 3"]


@final
class GradientForces(nn.Module):
    """Gradient forces, F = -∂E/∂r, and stresses.

    Args:
        dynamic_scaling: scale the energy up before differentiation.
        stress: whether predictions contain stresses unless they are requested without.
    """

    def __init__(self, dynamic_scaling: bool = False, stress: bool = False) -> None:
        super().__init__()
        self.stress = stress
        self.scale = DynamicScale() if dynamic_scaling else None

    def forward(
        self, energy: Float[Tensor, " structures"], positions: Float[Tensor, "atoms 3"], create_graph: bool
    ) -> Float[Tensor, "atoms 3"]:
        """Compute the force on each atom.

        Args:
            energy: a differentiable function of `positions`.
            positions: the positions of all atoms.
            create_graph: whether the forces are differentiated again, as in training.
        """
        return -self._gradients(energy, (positions,), create_graph)[0]

    def with_stress(
        self, energy: Float[Tensor, " structures"], strained: StrainedStructures, create_graph: bool
    ) -> ForcesAndStress:
        """Compute forces and stresses in one backward pass.

        Args:
            energy: a differentiable function of the strained structures.
            strained: the structures with their strain.
            create_graph: whether both are differentiated again, as in training.
        """
        inputs = (strained.positions, strained.strain)
        slope, by_strain = self._gradients(energy, inputs, create_graph)
        return ForcesAndStress(-slope, by_strain / strained.volume[:, None, None])

    def _gradients(self, energy: Tensor, inputs: tuple[Tensor, ...], create_graph: bool) -> tuple[Tensor, ...]:
        if self.scale is not None:
            return self.scale.gradients(energy, inputs, create_graph)
        return _gradients(energy, inputs, create_graph, retain_graph=create_graph)


def _gradients(
    energy: Tensor, inputs: tuple[Tensor, ...], create_graph: bool, retain_graph: bool
) -> tuple[Tensor, ...]:
    if not energy.requires_grad:  # without edges the energy is constant
        return tuple(torch.zeros_like(x) for x in inputs)
    return torch.autograd.grad(
        energy.sum(), inputs, create_graph=create_graph, retain_graph=retain_graph, materialize_grads=True
    )
