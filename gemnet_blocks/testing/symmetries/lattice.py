"""Symmetries of lattices: nothing depends on which cell describes a crystal."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from gemnet_blocks.structures import Prediction, Structures
from gemnet_blocks.testing.symmetries.base import Symmetry

Triple = tuple[int, int, int]
"""A whole number for each lattice vector, or a shear."""


@final
@dataclass(frozen=True, slots=True)
class CellChange(Symmetry):
    r"""Describe the same crystals by other lattice vectors and by other images of their atoms.

    $$E(r + S C,\, U C) = E(r, C), \qquad F(r + S C,\, U C) = F(r, C), \qquad
    U = \prod (1 + n\, e_i e_j^\top), \quad S \in \mathbb Z^{N \times 3}.$$

    Attributes:
        shears: factors of U as triples (i, j, n), one after another: lattice vector i += n × vector j, in structures
            that are periodic along both; elsewhere nothing happens.
        shifts: rows of S, used in turn: atom a of the batch moves by shifts[a % len(shifts)], counted in lattice
            vectors C from before the shears, along the periodic ones only.

    Raises:
        ValueError: a shear adds a vector to itself or names one that is none of 0, 1, 2.
    """

    shears: tuple[Triple, ...]
    shifts: tuple[Triple, ...] = ()

    def __post_init__(self) -> None:
        for shear in self.shears:
            i, j, _ = shear
            if i == j or not {i, j} <= {0, 1, 2}:
                raise ValueError(f"shear {shear} must add a lattice vector (0, 1 or 2) to another one")

    def __str__(self) -> str:
        factors = "; ".join(f"c_{i} += {n} c_{j}" for i, j, n in self.shears) or "none"
        return f"E(r + S C, U C) = E(r, C), F likewise, with the shears U: {factors}; shifts S: {self.shifts or 0}"

    @override
    def apply(self, structures: Structures) -> Structures:
        """The same crystals with lattice vectors U C and positions r + S C."""
        cells = structures.cells.double()
        positions = structures.positions.double() + _translations(self._shifts(structures), structures)
        for i, j, n in self.shears:
            both = (structures.periodic[:, i] & structures.periodic[:, j]).double()
            vectors = list(cells.unbind(1))
            vectors[i] = vectors[i] + n * both[:, None] * vectors[j]
            cells = torch.stack(vectors, dim=1)
        return replace(
            structures, positions=positions.to(structures.positions.dtype), cells=cells.to(structures.cells.dtype)
        )

    @override
    def expected(self, prediction: Prediction, structures: Structures) -> Prediction:
        """The same energies and forces."""
        return prediction

    def _shifts(self, structures: Structures) -> Int[Tensor, "atoms 3"]:
        """S: a row for each atom."""
        rows = torch.tensor(self.shifts or ((0, 0, 0),), dtype=torch.long, device=structures.structure.device)
        return rows[torch.arange(structures.atom_count, device=rows.device) % len(rows)]


@final
@dataclass(frozen=True, slots=True)
class Reordering(Symmetry):
    r"""Name the lattice vectors, and whether structures repeat along them, in another order.

    $$E(r, P C) = E(r, C), \qquad F(r, P C) = F(r, C), \qquad (P C)_k = C_{\text{axes}_k}.$$

    Attributes:
        axes: new lattice vector k is old vector axes[k].

    Raises:
        ValueError: `axes` is no order of 0, 1, 2.
    """

    axes: Triple

    def __post_init__(self) -> None:
        if sorted(self.axes) != [0, 1, 2]:
            raise ValueError(f"axes must be 0, 1 and 2 in some order, got {self.axes}")

    def __str__(self) -> str:
        return f"E(r, P C) = E(r, C), F(r, P C) = F(r, C) with (P C)_k = C_axes[k], axes = {self.axes}"

    @override
    def apply(self, structures: Structures) -> Structures:
        """The structures with reordered lattice vectors."""
        axes = list(self.axes)
        return replace(structures, cells=structures.cells[:, axes], periodic=structures.periodic[:, axes])

    @override
    def expected(self, prediction: Prediction, structures: Structures) -> Prediction:
        """The same energies and forces."""
        return prediction


@final
@dataclass(frozen=True, slots=True)
class Supercell(Symmetry):
    r"""Describe the same crystals by larger cells that hold several images of each atom.

    $$E\big(\{r_a + s C\}_s,\, M C\big) = \det M \cdot E(r, C), \qquad F_{s, a} = F_a, \qquad
    M = \operatorname{diag}(m), \quad 0 \le s_k < m_k,$$

    where m is `repeats` along periodic vectors and 1 along others. Images s follow one another, the last index running
    fastest, each with all atoms of its structure.

    Attributes:
        repeats: m_k ≥ 1 for each lattice vector.
        extensive: whether the energy is a sum over atoms; otherwise (a mean) it stays the same.

    Raises:
        ValueError: a repeat is below 1.
    """

    repeats: Triple
    extensive: bool = True

    def __post_init__(self) -> None:
        if min(self.repeats) < 1:
            raise ValueError(f"repeats must be at least 1, got {self.repeats}")

    def __str__(self) -> str:
        times = "det M · " if self.extensive else ""
        return f"E(images of r, M C) = {times}E(r, C), F of every image = F(r, C) with M = diag{self.repeats}"

    def image_counts(self, structures: Structures) -> Int[Tensor, " structures"]:
        """How many images each structure is made of: det M."""
        return self._repeats(structures).prod(dim=1)

    @override
    def apply(self, structures: Structures) -> Structures:
        """The structures repeated along their periodic lattice vectors."""
        images = self._images(structures)
        atoms, repeats = images[:, 0], self._repeats(structures)
        chosen = replace(
            structures,
            positions=structures.positions[atoms],
            numbers=structures.numbers[atoms],
            structure=structures.structure[atoms],
            tags=structures.tags[atoms],
            fixed=structures.fixed[atoms],
        )
        positions = chosen.positions.double() + _translations(images[:, 1:], chosen)
        cells = structures.cells.double() * repeats[:, :, None]
        return replace(chosen, positions=positions.to(chosen.positions.dtype), cells=cells.to(structures.cells.dtype))

    @override
    def expected(self, prediction: Prediction, structures: Structures) -> Prediction:
        """Energies times the number of images if extensive, and the forces of each image."""
        energy, forces = prediction.energy, prediction.forces
        if self.extensive:
            energy = energy * self.image_counts(structures).to(energy.dtype)
        return Prediction(energy, None if forces is None else forces[self._images(structures)[:, 0]])

    def _repeats(self, structures: Structures) -> Int[Tensor, "structures 3"]:
        """m of each structure."""
        wanted = torch.tensor(self.repeats, dtype=torch.long, device=structures.periodic.device)
        return torch.where(structures.periodic, wanted, torch.ones_like(wanted))

    def _images(self, structures: Structures) -> Int[Tensor, "images 4"]:
        """The old atom behind each new one, and its lattice translation s."""
        rows: list[tuple[int, ...]] = []
        first = 0
        for count, repeats in zip(structures.atom_counts.tolist(), self._repeats(structures).tolist(), strict=True):
            shifts = itertools.product(*map(range, repeats))
            rows += [(atom, *shift) for shift in shifts for atom in range(first, first + count)]
            first += count
        return torch.tensor(rows, dtype=torch.long, device=structures.structure.device).reshape(-1, 4)


def _translations(shifts: Int[Tensor, "atoms 3"], structures: Structures) -> Float[Tensor, "atoms 3"]:
    """Lattice translations of atoms in Å, along periodic lattice vectors only, in float64."""
    of_atom = structures.structure
    counted = shifts.double() * structures.periodic[of_atom].double()
    return torch.einsum("nk,nkc->nc", counted, structures.cells.double()[of_atom])
