"""Symmetries of energies and forces: transformations of structures and of predictions.

A `Symmetry` g acts on structures X and on predictions. A model is equivariant under g if, for all X,

    model(g X) = g model(X).

Symmetries are frozen dataclasses of plain numbers: their `repr` is code that recreates them, and `str` shows the
equation. They compute in float64; positions, cells and forces keep their floating-point type and their gradients.
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

from gemnet_blocks.layers.equivariant import default_type
from gemnet_blocks.structures import Prediction, PropertyKind, Structures


class Symmetry(ABC):
    """A transformation g of structures under which predictions transform in a known way: model(g X) = g model(X).

    A custom symmetry is a frozen dataclass of plain numbers with these two methods.
    """

    __slots__ = ()

    @abstractmethod
    def apply(self, structures: Structures) -> Structures:
        """Return the transformed structures g X without modifying X.

        Raises:
            ValueError: the symmetry is not defined for these structures.
        """

    @abstractmethod
    def expected(self, prediction: Prediction, structures: Structures) -> Prediction:
        """Return the expected prediction for `apply(structures)`: g model(X).

        Args:
            prediction: the prediction for `structures`; its forces may be None.
            structures: the structures X before the transformation.

        Raises:
            ValueError: the symmetry is not defined for these structures.
        """

    def expected_features(
        self, features: Float[Tensor, "atoms features"], irreps: str, structures: Structures
    ) -> Float[Tensor, "atoms features"]:
        """Return the expected features of atoms for `apply(structures)`.

        Args:
            features: the features for `structures`, a row for each atom.
            irreps: their irreps in the notation of e3nn, such as `8x0e+4x1o`.
            structures: the structures X before the transformation.

        Raises:
            NotImplementedError: a custom symmetry does not define this method.
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not define expected_features, which checks of streams need"
        )

    def expected_property(
        self, values: Float[Tensor, "rows *shape"], kind: PropertyKind, structures: Structures
    ) -> Float[Tensor, "other_rows *shape"]:
        """Return the expected values of a property for `apply(structures)`.

        Args:
            values: the values for `structures`, a row for each structure or atom.
            kind: the owner and the shape of a value, such as a vector of each structure.
            structures: the structures X before the transformation.

        Raises:
            NotImplementedError: a custom symmetry does not define this method.
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not define expected_property, which checks of further heads need"
        )


_ENERGY, _FORCES = PropertyKind("structure", "scalar", extensive=True), PropertyKind("atom", "vector")
_STRESS, _ATOM_ENERGY = PropertyKind("structure", "tensor"), PropertyKind("atom", "scalar")


class _OfProperties(Symmetry):
    """A symmetry that treats energies, forces and stresses like all other properties of their kinds."""

    __slots__ = ()

    @override
    def expected(self, prediction: Prediction, structures: Structures) -> Prediction:
        def of(values: Tensor | None, kind: PropertyKind) -> Tensor | None:
            return None if values is None else self.expected_property(values, kind, structures)

        return Prediction(
            energy=self.expected_property(prediction.energy, _ENERGY, structures),
            forces=of(prediction.forces, _FORCES),
            stress=of(prediction.stress, _STRESS),
            atom_energies=of(prediction.atom_energies, _ATOM_ENERGY),
        )


class _Invariance(_OfProperties):
    """A symmetry under which energies, forces, features and properties do not change."""

    __slots__ = ()

    @override
    def expected_features(self, features: Tensor, irreps: str, structures: Structures) -> Tensor:
        return features

    @override
    def expected_property(self, values: Tensor, kind: PropertyKind, structures: Structures) -> Tensor:
        return values


Triple = tuple[int, int, int]
"""An integer per lattice vector, or a shear."""


@final
@dataclass(frozen=True, slots=True)
class CellChange(_Invariance):
    r"""Description of the same crystals by other lattice vectors and other images of their atoms.

    $$E(r + S C,\, U C) = E(r, C), \qquad F(r + S C,\, U C) = F(r, C), \qquad
    U = \prod (1 + n\, e_i e_j^\top), \quad S \in \mathbb Z^{N \times 3}.$$

    Attributes:
        shears: factors of U as triples (i, j, n) in the order of application: lattice vector i += n × vector j, in
            structures that are periodic along both.
        shifts: rows of S, used cyclically: atom a of the batch moves by shifts[a % len(shifts)] lattice vectors C
            (before the shears), along periodic vectors only.

    Raises:
        ValueError: a shear adds a vector to itself, or its vectors are not among 0, 1 and 2.
    """

    shears: tuple[Triple, ...]
    shifts: tuple[Triple, ...] = ()

    def __post_init__(self) -> None:
        for shear in self.shears:
            i, j, _ = shear
            if i == j or not {i, j} <= {0, 1, 2}:
                raise ValueError(
                    f"shear {shear}: expected (i, j, n) with different lattice vectors i and j among 0, 1 and 2"
                )

    def __str__(self) -> str:
        factors = "; ".join(f"c_{i} += {n} c_{j}" for i, j, n in self.shears) or "none"
        return f"E(r + S C, U C) = E(r, C), F likewise, with the shears U: {factors}; shifts S: {self.shifts or 0}"

    @override
    def apply(self, structures: Structures) -> Structures:
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

    def _shifts(self, structures: Structures) -> Int[Tensor, "atoms 3"]:
        rows = torch.tensor(self.shifts or ((0, 0, 0),), dtype=torch.long, device=structures.structure.device)
        return rows[torch.arange(structures.atom_count, device=rows.device) % len(rows)]


@final
@dataclass(frozen=True, slots=True)
class Reordering(_Invariance):
    r"""Permutation of the lattice vectors and of their periodicity.

    $$E(r, P C) = E(r, C), \qquad F(r, P C) = F(r, C), \qquad (P C)_k = C_{\text{axes}_k}.$$

    Attributes:
        axes: new lattice vector k is old vector axes[k].

    Raises:
        ValueError: `axes` is not a permutation of 0, 1, 2.
    """

    axes: Triple

    def __post_init__(self) -> None:
        if sorted(self.axes) != [0, 1, 2]:
            raise ValueError(f"axes must be 0, 1 and 2 in some order, got {self.axes}")

    def __str__(self) -> str:
        return f"E(r, P C) = E(r, C), F(r, P C) = F(r, C) with (P C)_k = C_axes[k], axes = {self.axes}"

    @override
    def apply(self, structures: Structures) -> Structures:
        axes = list(self.axes)
        return replace(structures, cells=structures.cells[:, axes], periodic=structures.periodic[:, axes])


@final
@dataclass(frozen=True, slots=True)
class Supercell(_OfProperties):
    r"""Description of the same crystals by larger cells that contain several images of each atom.

    $$E\big(\{r_a + s C\}_s,\, M C\big) = \det M \cdot E(r, C), \qquad F_{s, a} = F_a, \qquad
    M = \operatorname{diag}(m), \quad 0 \le s_k < m_k,$$

    where m is `repeats` along periodic vectors and 1 along others. Images s follow each other with the last index
    running fastest, each with all atoms of its structure.

    Attributes:
        repeats: m_k ≥ 1 for each lattice vector.
        extensive: True if the energy is a sum over atoms, False if it is their mean, which does not change.

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
        """Return the number of images of each structure, det M."""
        return self._repeats(structures).prod(dim=1)

    @override
    def apply(self, structures: Structures) -> Structures:
        images = self._images(structures)
        atoms, repeats = images[:, 0], self._repeats(structures)
        chosen = _atoms(structures, atoms)
        positions = chosen.positions.double() + _translations(images[:, 1:], chosen)
        cells = structures.cells.double() * repeats[:, :, None]
        return replace(chosen, positions=positions.to(chosen.positions.dtype), cells=cells.to(structures.cells.dtype))

    @override
    def expected(self, prediction: Prediction, structures: Structures) -> Prediction:
        found = super(Supercell, self).expected(prediction, structures)
        return found if self.extensive else replace(found, energy=prediction.energy)

    @override
    def expected_property(self, values: Tensor, kind: PropertyKind, structures: Structures) -> Tensor:
        if kind.per == "atom":
            return values[self._images(structures)[:, 0]]
        if not kind.extensive:
            return values
        counts = self.image_counts(structures).to(values.dtype)
        return values * counts.reshape(-1, *(1,) * (values.dim() - 1))

    @override
    def expected_features(self, features: Tensor, irreps: str, structures: Structures) -> Tensor:
        return features[self._images(structures)[:, 0]]

    def _repeats(self, structures: Structures) -> Int[Tensor, "structures 3"]:
        wanted = torch.tensor(self.repeats, dtype=torch.long, device=structures.periodic.device)
        return torch.where(structures.periodic, wanted, torch.ones_like(wanted))

    def _images(self, structures: Structures) -> Int[Tensor, "images 4"]:
        """Return the original atom of each new atom and the lattice translation s."""
        rows: list[tuple[int, ...]] = []
        first = 0
        for count, repeats in zip(structures.atom_counts.tolist(), self._repeats(structures).tolist(), strict=True):
            shifts = itertools.product(*map(range, repeats))
            rows += [(atom, *shift) for shift in shifts for atom in range(first, first + count)]
            first += count
        return torch.tensor(rows, dtype=torch.long, device=structures.structure.device).reshape(-1, 4)


def _atoms(structures: Structures, index: Int[Tensor, " chosen"]) -> Structures:
    fields = ("positions", "numbers", "structure", "tags", "fixed")
    return replace(structures, **{field: getattr(structures, field)[index] for field in fields})


def _translations(shifts: Int[Tensor, "atoms 3"], structures: Structures) -> Float[Tensor, "atoms 3"]:
    """Convert lattice translations to Å in float64, ignoring those along lattice vectors that are not periodic."""
    of_atom = structures.structure
    counted = shifts.double() * structures.periodic[of_atom].double()
    return torch.einsum("nk,nkc->nc", counted, structures.cells.double()[of_atom])


@final
@dataclass(frozen=True, slots=True)
class Permutation(_OfProperties):
    r"""Permutation of the atoms of each structure.

    $$E(r_{\pi(0)}, r_{\pi(1)}, \dots) = E(r_0, r_1, \dots), \qquad F_i(r_{\pi(0)}, \dots) = F_{\pi(i)}(r_0, \dots).$$

    Attributes:
        order: π; new atom i is old atom order[i] of the same structure.

    Raises:
        ValueError: when applied: `order` is not a permutation of the atoms, or moves an atom to another structure.
    """

    order: tuple[int, ...]

    def __str__(self) -> str:
        return f"E(r_π) = E(r), F_i(r_π) = F_π(i)(r) with π = {self.order}"

    @override
    def apply(self, structures: Structures) -> Structures:
        return _atoms(structures, self._checked(structures))

    @override
    def expected_property(self, values: Tensor, kind: PropertyKind, structures: Structures) -> Tensor:
        order = self._checked(structures)
        return values[order] if kind.per == "atom" else values

    @override
    def expected_features(self, features: Tensor, irreps: str, structures: Structures) -> Tensor:
        return features[self._checked(structures)]

    def _checked(self, structures: Structures) -> Int[Tensor, " atoms"]:
        count = structures.atom_count
        if sorted(self.order) != list(range(count)):
            raise ValueError(f"order must be a permutation of {count} atoms, numbered from 0; got {self.order}")
        order = torch.tensor(self.order, dtype=torch.long, device=structures.structure.device)
        elsewhere = (structures.structure[order] != structures.structure).nonzero()[:, 0].tolist()
        if elsewhere:
            place = elsewhere[0]
            raise ValueError(
                f"order moves atom {self.order[place]} to place {place} in another structure: permute atoms within "
                "their structures only"
            )
        return order


@final
@dataclass(frozen=True, slots=True)
class Alone(_OfProperties):
    r"""Removal of all other structures of a batch, on which predictions must not depend.

    $$E(\{X_s\}) = E_s(X_0, X_1, \dots), \qquad F(\{X_s\}) = F_s(X_0, X_1, \dots).$$

    Attributes:
        index: index s of the remaining structure.

    Raises:
        ValueError: when applied: the batch does not have such a structure.
    """

    index: int

    def __str__(self) -> str:
        return f"E(X_s alone) = E_s(batch), F(X_s alone) = F_s(batch) with s = {self.index}"

    @override
    def apply(self, structures: Structures) -> Structures:
        return structures[self._checked(structures)]

    @override
    def expected_property(self, values: Tensor, kind: PropertyKind, structures: Structures) -> Tensor:
        index = self._checked(structures)
        return values[structures.structure == index] if kind.per == "atom" else values[index : index + 1]

    @override
    def expected_features(self, features: Tensor, irreps: str, structures: Structures) -> Tensor:
        return features[structures.structure == self._checked(structures)]

    def _checked(self, structures: Structures) -> int:
        if not 0 <= self.index < len(structures):
            raise ValueError(f"index must be below the number of structures, {len(structures)}; got {self.index}")
        return self.index


@final
@dataclass(frozen=True, slots=True)
class Rotation(_OfProperties):
    r"""Rotation about the origin, optionally combined with an inversion.

    $$E(r R^\top, C R^\top) = E(r, C), \qquad F(r R^\top, C R^\top) = F(r, C)\, R^\top, \qquad
    R = \pm R_y(\alpha)\, R_x(\beta)\, R_y(\gamma).$$

    Positions r, lattice vectors C and forces F are rows.

    Attributes:
        alpha: angle α of the last rotation, about y, in radians.
        beta: angle β of the second rotation, about x, in radians.
        gamma: angle γ of the first rotation, about y, in radians.
        reflect: multiply R by -1, which inverts the handedness.
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
        """The matrix R in float64."""
        from e3nn.o3 import angles_to_matrix

        angles = torch.tensor([self.alpha, self.beta, self.gamma], dtype=torch.float64)
        rotation: Tensor = angles_to_matrix(*angles)
        return -rotation if self.reflect else rotation

    @override
    def apply(self, structures: Structures) -> Structures:
        return replace(structures, positions=self._rotated(structures.positions), cells=self._rotated(structures.cells))

    @override
    def expected_property(self, values: Tensor, kind: PropertyKind, structures: Structures) -> Tensor:
        if kind.shape == "scalar":
            return values
        rotated = self._rotated(values)
        return rotated if kind.shape == "vector" else self._rotated(rotated.mT).mT

    @override
    def expected_features(self, features: Tensor, irreps: str, structures: Structures) -> Tensor:
        matrix = self.representation(irreps).to(features.device)
        return (features.double() @ matrix.T).to(features.dtype)

    def representation(self, irreps: str) -> Float[Tensor, "features features"]:
        """Return the matrix D(R) of irreps in the notation of e3nn in float64, parity included."""
        from e3nn.o3 import Irreps

        with default_type(torch.float64):  # e3nn computes its generators in torch's default type
            angles = torch.tensor([self.alpha, self.beta, self.gamma])
            found: Tensor = Irreps(irreps).D_from_angles(*angles, torch.tensor(float(self.reflect)))
        return found

    def _rotated(self, vectors: Tensor) -> Tensor:
        return (vectors.double() @ self.matrix.to(vectors.device).T).to(vectors.dtype)


@final
@dataclass(frozen=True, slots=True)
class Translation(_Invariance):
    r"""Translation of all atoms of all structures by the same vector; lattice vectors do not change.

    $$E(r + t) = E(r), \qquad F(r + t) = F(r).$$

    Attributes:
        x: component t_x in Å.
        y: component t_y in Å.
        z: component t_z in Å.
    """

    x: float
    y: float
    z: float

    def __str__(self) -> str:
        return f"E(r + t) = E(r), F(r + t) = F(r) with t = ({self.x}, {self.y}, {self.z}) Å"

    @override
    def apply(self, structures: Structures) -> Structures:
        positions = structures.positions
        moved = positions.double() + torch.tensor([self.x, self.y, self.z], dtype=torch.float64).to(positions.device)
        return replace(structures, positions=moved.to(positions.dtype))


__all__ = ["Alone", "CellChange", "Permutation", "Reordering", "Rotation", "Supercell", "Symmetry", "Translation"]
