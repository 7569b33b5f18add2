"""What must not change an energy: transformations of structures, and what they do to a prediction.

A `Symmetry` g acts on structures X and on predictions. A model is symmetric under it if, for all X,

    model(g X) = g model(X).

All are frozen dataclasses of plain numbers: their repr is code that makes them again, and `str` shows the equation.
Arithmetic is done in float64; positions, cells and forces keep their floating-point type and carry gradients.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from gemnet_blocks.structures import Prediction, Structures


class Symmetry(ABC):
    """A transformation g of structures under which a prediction changes in a known way: model(g X) = g model(X).

    To write your own: a frozen dataclass of plain numbers with these two methods.
    """

    __slots__ = ()

    @abstractmethod
    def apply(self, structures: Structures) -> Structures:
        """The transformed structures g X; the given ones stay as they are.

        Raises:
            ValueError: the symmetry does not fit these structures.
        """

    @abstractmethod
    def expected(self, prediction: Prediction, structures: Structures) -> Prediction:
        """What must be predicted for `apply(structures)`: g model(X).

        Args:
            prediction: the prediction for `structures`; its forces may be None.
            structures: X, as they were before.

        Raises:
            ValueError: the symmetry does not fit these structures.
        """


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


@final
@dataclass(frozen=True, slots=True)
class Permutation(Symmetry):
    r"""Number the atoms of each structure in another order.

    $$E(r_{\pi(0)}, r_{\pi(1)}, \dots) = E(r_0, r_1, \dots), \qquad F_i(r_{\pi(0)}, \dots) = F_{\pi(i)}(r_0, \dots).$$

    Attributes:
        order: π; new atom i is old atom order[i], of the same structure.
    """

    order: tuple[int, ...]

    def __str__(self) -> str:
        return f"E(r_π) = E(r), F_i(r_π) = F_π(i)(r) with π = {self.order}"

    @override
    def apply(self, structures: Structures) -> Structures:
        """The structures with their atoms in the new order.

        Raises:
            ValueError: the order is no permutation of these atoms, or moves one to another structure.
        """
        order = self._checked(structures)
        return replace(
            structures,
            positions=structures.positions[order],
            numbers=structures.numbers[order],
            tags=structures.tags[order],
            fixed=structures.fixed[order],
        )

    @override
    def expected(self, prediction: Prediction, structures: Structures) -> Prediction:
        """The same energies, and forces in the new order.

        Raises:
            ValueError: as `apply`.
        """
        order, forces = self._checked(structures), prediction.forces
        return replace(prediction, forces=None if forces is None else forces[order])

    def _checked(self, structures: Structures) -> Int[Tensor, " atoms"]:
        count = structures.atom_count
        if sorted(self.order) != list(range(count)):
            raise ValueError(f"order must name each of {count} atoms, numbered from 0, once; got {self.order}")
        order = torch.tensor(self.order, dtype=torch.long, device=structures.structure.device)
        elsewhere = (structures.structure[order] != structures.structure).nonzero()[:, 0].tolist()
        if elsewhere:
            place = elsewhere[0]
            raise ValueError(
                f"order puts atom {self.order[place]} at place {place}, which is another structure's: permute atoms "
                "within their structures only"
            )
        return order


@final
@dataclass(frozen=True, slots=True)
class Alone(Symmetry):
    r"""Take one structure out of its batch: it must not feel the others.

    $$E(\{X_s\}) = E_s(X_0, X_1, \dots), \qquad F(\{X_s\}) = F_s(X_0, X_1, \dots).$$

    Attributes:
        index: s.
    """

    index: int

    def __str__(self) -> str:
        return f"E(X_s alone) = E_s(batch), F(X_s alone) = F_s(batch) with s = {self.index}"

    @override
    def apply(self, structures: Structures) -> Structures:
        """Structure s by itself.

        Raises:
            ValueError: there is no such structure.
        """
        return structures[self._checked(structures)]

    @override
    def expected(self, prediction: Prediction, structures: Structures) -> Prediction:
        """The energy and forces of structure s.

        Raises:
            ValueError: as `apply`.
        """
        index, forces = self._checked(structures), prediction.forces
        return Prediction(
            energy=prediction.energy[index : index + 1],
            forces=None if forces is None else forces[structures.structure == index],
        )

    def _checked(self, structures: Structures) -> int:
        if not 0 <= self.index < len(structures):
            raise ValueError(f"there is no structure {self.index} in a batch of {len(structures)}")
        return self.index


@final
@dataclass(frozen=True, slots=True)
class Rotation(Symmetry):
    r"""Rotate everything about the origin, and invert it as well if told.

    $$E(r R^\top, C R^\top) = E(r, C), \qquad F(r R^\top, C R^\top) = F(r, C)\, R^\top, \qquad
    R = \pm R_y(\alpha)\, R_x(\beta)\, R_y(\gamma).$$

    Positions r, lattice vectors C and forces F are rows.

    Attributes:
        alpha: α, the last rotation, about y, in radians.
        beta: β, about x.
        gamma: γ, the first rotation, about y.
        reflect: whether R is multiplied by -1, which makes a left hand of a right one.
    """

    alpha: float
    beta: float
    gamma: float
    reflect: bool = False

    def __str__(self) -> str:
        sign = "-" if self.reflect else ""
        return (
            f"E(r Rᵀ, C Rᵀ) = E(r, C), F(r Rᵀ, C Rᵀ) = F(r, C) Rᵀ with "
            f"R = {sign}R_y({self.alpha}) R_x({self.beta}) R_y({self.gamma})"
        )

    @property
    def matrix(self) -> Float[Tensor, "3 3"]:
        """R in float64.

        Raises:
            ImportError: e3nn is not installed.
        """
        try:
            from e3nn.o3 import angles_to_matrix
        except ImportError as error:
            raise ImportError("rotations need e3nn: pip install 'gemnet_blocks[testing]'") from error
        angles = torch.tensor([self.alpha, self.beta, self.gamma], dtype=torch.float64)
        rotation: Tensor = angles_to_matrix(*angles)
        return -rotation if self.reflect else rotation

    @override
    def apply(self, structures: Structures) -> Structures:
        """The structures with positions r Rᵀ and cells C Rᵀ."""
        return replace(structures, positions=self._rotated(structures.positions), cells=self._rotated(structures.cells))

    @override
    def expected(self, prediction: Prediction, structures: Structures) -> Prediction:
        """The same energies and forces F Rᵀ."""
        forces = prediction.forces
        return replace(prediction, forces=None if forces is None else self._rotated(forces))

    def _rotated(self, vectors: Tensor) -> Tensor:
        return (vectors.double() @ self.matrix.to(vectors.device).T).to(vectors.dtype)


@final
@dataclass(frozen=True, slots=True)
class Translation(Symmetry):
    r"""Move all atoms of all structures by the same vector; lattice vectors stay.

    $$E(r + t) = E(r), \qquad F(r + t) = F(r).$$

    Attributes:
        x: t_x in Å.
        y: t_y in Å.
        z: t_z in Å.
    """

    x: float
    y: float
    z: float

    def __str__(self) -> str:
        return f"E(r + t) = E(r), F(r + t) = F(r) with t = ({self.x}, {self.y}, {self.z}) Å"

    @override
    def apply(self, structures: Structures) -> Structures:
        """The structures with positions r + t."""
        positions = structures.positions
        moved = positions.double() + torch.tensor([self.x, self.y, self.z], dtype=torch.float64).to(positions.device)
        return replace(structures, positions=moved.to(positions.dtype))

    @override
    def expected(self, prediction: Prediction, structures: Structures) -> Prediction:
        """The same energies and forces."""
        return prediction


__all__ = [
    "Alone",
    "CellChange",
    "Permutation",
    "Reordering",
    "Rotation",
    "Supercell",
    "Symmetry",
    "Translation",
]
