"""From numbers per atom and edge to energies and forces."""

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
    """How energies of atoms make the energy of a structure."""

    reduce: Literal["sum", "mean"] = "sum"
    """sum: extensive; mean: intensive."""


class DirectForcesOptions(Options):
    """Forces from numbers per edge, along the edges; cheap, not the gradient of any energy."""

    type: Literal["direct"] = "direct"
    """The kind of forces."""
    coupled: bool = False
    """Whether the numbers of an edge and its opposite are averaged, so that forces add up to zero."""


class GradientForcesOptions(Options):
    """Forces as the negative gradient of the energy, which conserve it."""

    type: Literal["gradient"] = "gradient"
    """The kind of forces."""
    dynamic_scaling: bool = False
    """Whether the energy is scaled up before differentiation, against underflow in half precision."""


@final
class Energy(nn.Module):
    """E = Σ_a e_a or its mean over the atoms of a structure; 0 of a structure without atoms.

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
        """The energy of each of `count` structures."""
        energy = self.sums.by_index(atoms, structure, count)
        return energy if self.reduce == "sum" else energy / self._atom_counts(atoms, structure, count)

    def shares(
        self, atoms: Float[Tensor, " atoms"], structure: Int[Tensor, " atoms"], count: int
    ) -> Float[Tensor, " atoms"]:
        """What each atom contributes to the energy of its structure; they add up to it."""
        if self.reduce == "sum":
            return atoms
        return atoms / self._atom_counts(atoms, structure, count).index_select(0, structure)

    def _atom_counts(self, atoms: Tensor, structure: Tensor, count: int) -> Tensor:
        return self.sums.by_index(torch.ones_like(atoms), structure, count).clamp(min=1)


@final
class DirectForces(nn.Module):
    """F_a = Σ_{c→a} f_ca u_ca.

    Args:
        coupled: average f over both directions of an edge, so that the forces of a structure add up to zero.
        sums: how sums are computed.
    """

    def __init__(self, coupled: bool, sums: Sums) -> None:
        super().__init__()
        self.coupled = coupled
        self.sums = sums

    def forward(self, magnitude: Float[Tensor, " edges"], main: SymmetricEdges) -> Float[Tensor, "atoms 3"]:
        """The force on each atom."""
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
        """The force on each atom, from edges in parts."""
        if self.coupled:
            magnitude = (magnitude + magnitude.index_select(0, reverse)) / 2
        return self.sums.by_index(magnitude[:, None] * direction, target, atom_count)


@final
class DynamicScale:
    """A power of two that keeps gradients in the range of half precision.

    It is halved whenever scaled gradients are not finite, and doubled after 2,000 steps without that. Gradients that
    are not finite whatever the scale are handed on, and the scale stays.

    Args:
        initial: the first value.
        enabled: whether gradients are scaled at all; a scale that is not leaves them as they are.
        growth_interval: good steps before it is doubled.
        attempts: how often it is halved before gradients that are not finite are accepted.
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
        """The present scale, under its published name."""
        return self.value

    def calc_forces_and_update(self, energy: Tensor, pos: Tensor) -> Tensor:
        """-dE/dr for training, under its published name."""
        return -self.gradient(energy, pos, create_graph=True)

    def gradient(self, energy: Tensor, positions: Tensor, create_graph: bool) -> Tensor:
        """dE/dr, computed as (d(s·E)/dr)/s with a scale s for which it is finite."""
        return self.gradients(energy, (positions,), create_graph)[0]

    def gradients(self, energy: Tensor, inputs: tuple[Tensor, ...], create_graph: bool) -> tuple[Tensor, ...]:
        """dE/dx of several inputs x, with one scale for which all are finite."""
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
    """Derivatives of the energy.

    Attributes:
        forces: F = -∂E/∂r.
        stress: (1/V) ∂E/∂ε, symmetric.
    """

    forces: Float[Tensor, "atoms 3"]
    stress: Float[Tensor, "structures 3 3"]


@final
class GradientForces(nn.Module):
    """F = -∂E/∂r.

    Args:
        dynamic_scaling: scale the energy up before differentiation.
    """

    def __init__(self, dynamic_scaling: bool = False) -> None:
        super().__init__()
        self.scale = DynamicScale() if dynamic_scaling else None

    def forward(
        self, energy: Float[Tensor, " structures"], positions: Float[Tensor, "atoms 3"], create_graph: bool
    ) -> Float[Tensor, "atoms 3"]:
        """The force on each atom.

        Args:
            energy: a differentiable function of `positions`.
            positions: of all atoms.
            create_graph: whether the forces are differentiated further, in training.
        """
        return -self._gradients(energy, (positions,), create_graph)[0]

    def with_stress(
        self, energy: Float[Tensor, " structures"], strained: StrainedStructures, create_graph: bool
    ) -> ForcesAndStress:
        """Forces and stresses of one backward pass.

        Args:
            energy: a differentiable function of the strained structures.
            strained: structures that were given a strain.
            create_graph: whether both are differentiated further, in training.
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
    if not energy.requires_grad:  # no edge anywhere: the energy is constant
        return tuple(torch.zeros_like(x) for x in inputs)
    return torch.autograd.grad(
        energy.sum(), inputs, create_graph=create_graph, retain_graph=retain_graph, materialize_grads=True
    )
