"""Batched atomic structures, the input of every model, and the prediction that a model returns."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gemnet_blocks.errors import StructureError
from gemnet_blocks.util.ase_io import fixed_atoms
from gemnet_blocks.util.charges import (
    QUANTITIES,
    Quantity,
    described,
    states_of,
    states_of_batch,
    unread_of_atoms,
    unread_of_batch,
)
from gemnet_blocks.util.derivatives import check_graphs_can_be_built
from gemnet_blocks.util.html import upper_layer

if TYPE_CHECKING:
    from ase import Atoms


UNKNOWN_TAG = -1
"""The tag of atoms without one."""

_REAL, _BOOLEANS = ("positions", "cells"), ("periodic", "fixed")
_INTEGERS = ("numbers", "structure", "tags", "charge", "spin")
_OF_STRUCTURES = ("cells", "periodic", "charge", "spin")

NEUTRAL: Mapping[Quantity, int] = {"charge": 0, "spin": 1}
"""The charge and multiplicity of structures without them."""

MAX_CHARGE, MAX_MULTIPLICITY = 100, 100
"""Bounds of total charges, and of spin multiplicities, that models read."""


@dataclass(frozen=True, slots=True, eq=False)
class Structures:
    """A batch of structures with the atoms of all structures in one list.

    Arrays and nested lists are converted to tensors: integers to 64 bits, integer positions and cells to float64, and 0
    and 1 to booleans. Types that would change a value are refused.

    Attributes:
        positions: Cartesian coordinates in Å.
        numbers: atomic numbers Z.
        structure: the index of each atom's structure, in ascending order from 0.
        cells: lattice vectors as rows in Å; zero for structures without a cell.
        periodic: whether each structure is periodic along each lattice vector.
        tags: 0 below the surface, 1 on the surface, 2 for adsorbates (Open Catalyst's convention); -1 if unknown.
        fixed: whether relaxations keep the atom in place.
        charge: the total charge of each structure in elementary charges; None: all are neutral.
        spin: the spin multiplicity 2S + 1 of each structure, as in OMol25; None: all are singlets.

    Raises:
        StructureError: an attribute is not an array of numbers, or has the wrong kind of numbers.
    """

    positions: Float[Tensor, "atoms 3"]
    numbers: Int[Tensor, " atoms"]
    structure: Int[Tensor, " atoms"]
    cells: Float[Tensor, "structures 3 3"]
    periodic: Bool[Tensor, "structures 3"]
    tags: Int[Tensor, " atoms"]
    fixed: Bool[Tensor, " atoms"]
    charge: Int[Tensor, " structures"] | None = None
    spin: Int[Tensor, " structures"] | None = None

    def __post_init__(self) -> None:
        for names, convert in ((_REAL, _as_real), (_INTEGERS, _as_integer), (_BOOLEANS, _as_boolean)):
            for name in names:
                value = getattr(self, name)
                if value is None and name in QUANTITIES:
                    continue
                converted = convert(name, tensor_of(value, name))
                if converted is not value:
                    object.__setattr__(self, name, converted)

    def __len__(self) -> int:
        return self.cells.shape[0]

    def __repr__(self) -> str:
        counts = f"{len(self)} structure{'' if len(self) == 1 else 's'}, {self.atom_count} atoms"
        return f"Structures({counts}, {str(self.positions.dtype).removeprefix('torch.')}, {self.positions.device})"

    def _repr_html_(self) -> str:
        return upper_layer("plotting.notebook").html(self)

    @property
    def count(self) -> int:
        """The number of structures, which unlike `len` stays symbolic while a model is traced."""
        return self.cells.shape[0]

    @property
    def atom_count(self) -> int:
        """The total number of atoms."""
        return self.positions.shape[0]

    @property
    def atom_counts(self) -> Int[Tensor, " structures"]:
        """The number of atoms of each structure."""
        return torch.zeros(self.count, dtype=torch.long, device=self.structure.device).index_add(
            0, self.structure, torch.ones_like(self.structure)
        )

    @classmethod
    def from_ase(
        cls,
        atoms: Atoms | Sequence[Atoms],
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
        ignore: Collection[str] = (),
    ) -> Structures:
        """Convert ASE atoms, including their periodicity, tags and constraints.

        Tags that were never set are unknown, not 0. Total charges and spin multiplicities are read from `atoms.info`.
        As only models whose atom embedding reads them do not treat the structures as neutral, a warning names such
        structures.

        Args:
            atoms: one or several structures.
            dtype: the floating-point type of positions and cells.
            device: the device of the tensors; None for torch's default device, or the CPU if that is "meta".
            ignore: `charge` and `spin`, as far as no warning is wanted, for example since the model reads them.

        Raises:
            StructureError: positions or cells are not finite, an atomic number is below 1, or the lattice vectors do
                not span the directions marked periodic.
        """
        if device is None and torch.get_default_device().type == "meta":
            device = "cpu"
        many: Sequence[Any] = [atoms] if hasattr(atoms, "get_positions") else list(atoms)
        if unread := {f"structure {i}": found for i, one in enumerate(many) if (found := unread_of_atoms(one, ignore))}:
            warnings.warn(described(unread, len(many)), stacklevel=2)
        counts = [len(one) for one in many]
        states = {
            name: None if values is None else torch.tensor(values, dtype=torch.long, device=device)
            for name, values in states_of([one.info for one in many]).items()
        }
        structures = cls(
            positions=torch.as_tensor(_stack([one.positions for one in many], (0, 3)), dtype=dtype, device=device),
            numbers=torch.as_tensor(_stack([one.numbers for one in many], (0,)), dtype=torch.long, device=device),
            structure=torch.as_tensor(np.repeat(np.arange(len(many)), counts), dtype=torch.long, device=device),
            cells=torch.as_tensor(_stack([one.cell[:][None] for one in many], (0, 3, 3)), dtype=dtype, device=device),
            periodic=torch.as_tensor(_stack([one.pbc[None] for one in many], (0, 3)), dtype=torch.bool, device=device),
            tags=torch.as_tensor(_stack([_tags_of(one) for one in many], (0,)), dtype=torch.long, device=device),
            fixed=torch.as_tensor(_stack([fixed_atoms(one) for one in many], (0,)), dtype=torch.bool, device=device),
            charge=states["charge"],
            spin=states["spin"],
        )
        structures.validate()
        return structures

    @classmethod
    def from_batch(cls, batch: Any, use_pbc: bool = True, ignore: Collection[str] = ()) -> Structures:
        """Convert a batch object such as one of PyTorch Geometric; see `read_batch`."""
        return read_batch(batch, use_pbc, ignore)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Structures:
        """Move the structures to a device, and convert positions and cells to a floating-point type.

        Raises:
            ValueError: `dtype` is not a floating-point type.
        """
        if dtype is not None and not dtype.is_floating_point:
            raise ValueError(f"positions and cells need a floating-point type such as torch.float64, got {dtype}")
        moved = {}
        for one in fields(self):
            value: Tensor | None = getattr(self, one.name)
            if value is not None:
                moved[one.name] = value.to(device=device, dtype=dtype if value.is_floating_point() else None)
        return replace(self, **moved)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Structures:
        """Apply a function, such as `Tensor.pin_memory`, to every tensor."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return replace(self, **{name: change(value) for name, value in values.items() if value is not None})

    def __getitem__(self, index: int) -> Structures:
        """Return one structure as a batch."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"structure {index} of {len(self)}")
        index %= len(self)
        return self.part(index, self.structure == index)

    def part(self, index: int, atoms: Tensor | slice) -> Structures:
        """Return one structure, whose atoms are given, as a batch; slices of atoms share memory."""
        values: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            chosen = slice(index, index + 1) if one.name in _OF_STRUCTURES else atoms
            values[one.name] = None if value is None else value[chosen]
        return Structures(**{**values, "structure": torch.zeros_like(values["structure"])})

    def _check_shapes(self) -> None:
        """Check shapes and devices."""
        for name, axes, needed in (("positions", 2, "(atoms, 3)"), ("cells", 3, "(structures, 3, 3)")):
            if getattr(self, name).ndim != axes:
                raise StructureError(f"{name} has shape {tuple(getattr(self, name).shape)}, expected {needed}")
        atoms, count, device = self.positions.shape[0], self.cells.shape[0], self.positions.device
        shapes = {
            "positions": (atoms, 3),
            "numbers": (atoms,),
            "structure": (atoms,),
            "cells": (count, 3, 3),
            "periodic": (count, 3),
            "tags": (atoms,),
            "fixed": (atoms,),
            "charge": (count,),
            "spin": (count,),
        }
        for name, shape in shapes.items():
            value: Tensor | None = getattr(self, name)
            if value is None:
                continue
            if tuple(value.shape) != shape:
                raise StructureError(f"{name} has shape {tuple(value.shape)}, expected {shape} for {atoms} atoms")
            if value.device != device:
                raise StructureError(
                    f"{name} is on the device {value.device}, but positions are on {device}: move all with "
                    "structures.to(device)"
                )

    def validate(
        self, element_count: int | None = None, needs_tags: bool = False, reads: Collection[Quantity] = ()
    ) -> None:
        """Check that a model can compute the structures.

        Args:
            element_count: the model's largest atomic number; None for any.
            needs_tags: whether the model needs the tags of all atoms.
            reads: whichever of charge and spin the model reads.

        Raises:
            StructureError: names the first invalid structure, the problem and its fix.
        """
        self._check_shapes()
        count, index = len(self), self.structure
        # atoms of structures that do not exist are reported below
        known = torch.where((index >= 0) & (index < count), index, count)
        per_structure = torch.zeros(count + 1, dtype=torch.long, device=self.cells.device)

        def structures_with(atoms: Tensor) -> Tensor:
            return per_structure.index_add(0, known, atoms.long())[:count] > 0

        problems: list[tuple[Tensor, str]] = [
            (
                structures_with(~self.positions.isfinite().all(dim=-1)),
                "positions that are NaN or infinite: correct or remove it",
            ),
            (~self.cells.isfinite().all(dim=(-1)).all(dim=-1), "a cell that is NaN or infinite: correct or remove it"),
            (structures_with(self.numbers < 1), "an atomic number below 1: numbers start at 1 (hydrogen)"),
            (
                _singular(self.cells, self.periodic),
                "lattice vectors that do not span the directions marked periodic: give it a cell of non-zero volume "
                "or set its periodicity (pbc) to False there",
            ),
        ]
        if element_count is not None:
            problems.append(
                (
                    structures_with(self.numbers > element_count),
                    f"an atomic number above {element_count}, the last element of this model: "
                    "remove the structure or raise `elements` in the spec",
                )
            )
        if needs_tags:
            problems.append(
                (
                    structures_with(self.tags == UNKNOWN_TAG),
                    "no tags, by which this model selects edges: set them (ASE: atoms.set_tags, 0 below the surface, "
                    "1 surface, 2 adsorbate; command line: --default-tag) or remove `tags` from the spec's graphs",
                )
            )
        if "charge" in reads and self.charge is not None:
            problems.append(
                (
                    self.charge.abs() > MAX_CHARGE,
                    f"a total charge that is not an integer from -{MAX_CHARGE} to {MAX_CHARGE}: correct `charge`",
                )
            )
        if "spin" in reads and self.spin is not None:
            problems.append(
                (
                    (self.spin < 1) | (self.spin > MAX_MULTIPLICITY),
                    f"a spin multiplicity 2S + 1 that is not an integer from 1 to {MAX_MULTIPLICITY}: correct `spin`",
                )
            )
        flags = torch.stack([flag for flag, _ in problems])
        disordered = torch.cat([index.diff() < 0, index[:1] < 0, index[-1:] >= count]).any()
        if not bool(disordered | flags.any()):  # the device is waited for once
            return
        if bool(disordered):
            raise StructureError(
                f"`structure` must ascend from 0 and stay below {count}: put the atoms of a structure one after another"
            )
        which, first = (int(i) for i in flags.nonzero()[0])
        raise StructureError(f"has {problems[which][1]}", structure=first)


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The prediction of a model for a batch of structures.

    Attributes:
        energy: the energy of each structure, in the unit of the training labels (eV for Open Catalyst's models).
        forces: the force on each atom in that unit per Å; None for a model without forces.
        stress: (1/V) ∂E/∂ε in that unit per Å³, positive if the cell tends to shrink; None unless requested.
        atom_energies: the contribution of each atom to the energy of its structure; None if the model has none.
        properties: the other properties by the names of their heads, such as a dipole, with a row per structure or per
            atom, in the units of the training labels; empty for a model without such heads.
    """

    energy: Float[Tensor, " structures"]
    forces: Float[Tensor, "atoms 3"] | None
    stress: Float[Tensor, "structures 3 3"] | None = None
    atom_energies: Float[Tensor, " atoms"] | None = None
    properties: Mapping[str, Float[Tensor, "rows *shape"]] = field(default_factory=dict)

    def __repr__(self) -> str:
        named = {"forces": self.forces, "stress": self.stress, **self.properties}
        known = [f"{name} {tuple(value.shape)}" for name, value in named.items() if value is not None]
        return f"Prediction({', '.join((f'energy {tuple(self.energy.shape)}', *known))})"

    def _repr_html_(self) -> str:
        return upper_layer("plotting.notebook").html(self)


PropertyOwner = Literal["structure", "atom"]
"""The owner of a property: each structure has one value, or each atom has one."""

PropertyShape = Literal["scalar", "vector", "tensor"]
"""The shape of one value: a number, three components, or a matrix of nine components."""


@dataclass(frozen=True, slots=True)
class PropertyKind:
    """The kind of a property.

    Attributes:
        per: whether each structure or each atom has a value.
        shape: a scalar, a vector (3) or a tensor (3, 3).
        extensive: whether the value of a structure grows with its number of atoms.
        molecular: whether it is defined for molecules only, such as a dipole moment from charges.
    """

    per: PropertyOwner = "structure"
    shape: PropertyShape = "scalar"
    extensive: bool = False
    molecular: bool = False

    @property
    def size(self) -> tuple[int, ...]:
        """The shape of one value: (), (3,) or (3, 3)."""
        return {"scalar": (), "vector": (3,), "tensor": (3, 3)}[self.shape]

    @property
    def components(self) -> tuple[str, ...]:
        """The names of the components: x, y, z or xx, xy, …; one empty name for a scalar."""
        axes = "xyz"
        return {"scalar": ("",), "vector": tuple(axes), "tensor": tuple(a + b for a in axes for b in axes)}[self.shape]


def tensor_of(value: Any, name: str) -> Tensor:
    """Convert numbers to a dense tensor; lists keep double precision and are put on the CPU.

    Args:
        value: a tensor, a NumPy array, a number, or nested lists of numbers.
        name: the name of the value in errors.

    Raises:
        StructureError: the value is not an array of numbers.
    """
    if isinstance(value, Tensor):
        _check_dense(value, name)
        return value
    try:
        return torch.from_numpy(np.array(value))
    except (TypeError, ValueError, RuntimeError) as error:
        raise StructureError(f"{name} is not an array of numbers: {error}") from error


def _check_dense(value: Tensor, name: str) -> None:
    """Refuse nested, quantized, sparse and 8-bit tensors, which most operations of torch do not support."""
    if value.is_nested or value.is_quantized or value.layout != torch.strided:
        kind = "nested" if value.is_nested else value.dtype if value.is_quantized else value.layout
        raise StructureError(
            f"{name} must be a dense tensor of ordinary numbers, got a {kind} one: convert it first, "
            "for example with to_dense() or dequantize()"
        )
    if value.is_floating_point() and value.element_size() < 2:
        raise StructureError(
            f"{name} must have a type of 16 to 64 bits, got {value.dtype}: convert it first, for example with double()"
        )


def _as_real(name: str, value: Tensor) -> Tensor:
    if value.is_floating_point():
        return value
    if not _is_integer(value):
        raise _wrong_kind(name, "real numbers", value)
    return value.double()


def _as_integer(name: str, value: Tensor) -> Tensor:
    if not _is_integer(value) and value.numel():  # an empty list is read as an array of floating-point numbers
        raise _wrong_kind(name, "integers", value)
    return value.long()


def _as_boolean(name: str, value: Tensor) -> Tensor:
    if value.dtype == torch.bool or not value.numel():
        return value.bool()
    if not _is_integer(value) or bool((value.long() >> 1).any()):
        raise _wrong_kind(name, "booleans, or 0 and 1", value)
    return value.bool()


def _is_integer(value: Tensor) -> bool:
    return not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)


def _wrong_kind(name: str, needed: str, value: Tensor) -> StructureError:
    return StructureError(f"{name} must be {needed}, got {value.dtype}: convert the array first")


def _stack(arrays: Sequence[np.ndarray[Any, Any]], empty: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.concatenate(arrays) if arrays else np.zeros(empty)


def _tags_of(atoms: Any) -> np.ndarray[Any, Any]:
    return atoms.get_tags() if atoms.has("tags") else np.full(len(atoms), UNKNOWN_TAG)


def _singular(cells: Tensor, periodic: Tensor) -> Tensor:
    """Return whether the lattice vectors of the periodic directions are (nearly) linearly dependent.

    For vectors of unit length, the Gram determinant is the squared volume that they span. Directions without
    periodicity count as perpendicular unit vectors.
    """
    cells = cells.double()
    lengths = cells.norm(dim=-1, keepdim=True)
    vectors = torch.where(periodic[..., None], cells / lengths.clamp(min=1e-30), torch.zeros_like(cells))
    gram = vectors @ vectors.transpose(-1, -2)
    gram = gram + torch.diag_embed((~periodic).to(gram.dtype))
    # cells that contain NaN have an error message of their own
    squared_volume = torch.linalg.det(torch.where(gram.isfinite(), gram, torch.zeros_like(gram)))
    missing = periodic & (lengths[..., 0] <= 1e-6)
    return (squared_volume < 1e-12) | missing.any(dim=-1)


def read_batch(batch: Any, use_pbc: bool = True, ignore: Collection[str] = ()) -> Structures:
    """Convert an object with `pos` (N, 3) in Å, `atomic_numbers` (N), and `natoms` (S) or `batch` (N).

    Without `natoms` and `batch`, the object is one structure. The optional attributes are `cell` (S, 3, 3) in Å, `pbc`
    (S, 3), `tags` (N) and `fixed` (N). Structures with a cell and without `pbc` are periodic in all three directions.
    Attributes may be tensors, arrays or lists; positions and cells keep their gradients. Models do not read a total
    charge or spin, such as `charge` (S); a warning names such structures.

    Args:
        batch: the object, such as a batch of PyTorch Geometric.
        use_pbc: False to treat all structures as non-periodic.
        ignore: `charge` and `spin`, as far as no warning is wanted.

    Raises:
        StructureError: an attribute is missing, is not an array of numbers, or does not fit the others.
        NotImplementedError: positions or cells are traced, or transformed by torch.func.
    """
    positions = _as_real("the batch's pos", _tensor(batch, "pos", None, required=True))
    device, atoms = positions.device, positions.shape[0]
    cell, pbc = _tensor(batch, "cell", device), _tensor(batch, "pbc", device)
    check_graphs_can_be_built(positions, positions if cell is None else cell)
    if positions.shape != (atoms, 3):
        raise StructureError(f"the batch's pos has shape {tuple(positions.shape)}, expected (atoms, 3)")
    counts = _atom_counts(batch, device, atoms)
    count = len(counts)
    cells = positions.new_zeros(count, 3, 3) if cell is None else _rows("cell", cell, count, 3, 3)
    if pbc is None:
        periodic = torch.full((count, 3), cell is not None, device=device)
    else:
        pbc = _truth_values("pbc", pbc)
        periodic = _rows("pbc", pbc if pbc.numel() != 3 else pbc.reshape(1, 3).expand(count, 3), count, 3)
    tags, fixed = _per_atom(batch, "tags", device, atoms), _per_atom(batch, "fixed", device, atoms)
    structures = Structures(
        positions=positions,
        numbers=_per_atom(batch, "atomic_numbers", device, atoms, required=True),
        structure=torch.repeat_interleave(torch.arange(count, device=device), counts),
        cells=cells.to(torch.promote_types(cells.dtype, positions.dtype)),
        periodic=periodic if use_pbc else torch.zeros_like(periodic),
        tags=torch.full((atoms,), UNKNOWN_TAG, device=device) if tags is None else tags,
        fixed=torch.zeros(atoms, dtype=torch.bool, device=device) if fixed is None else _truth_values("fixed", fixed),
        **{
            name: None if values is None else torch.tensor(values, dtype=torch.long, device=device)
            for name, values in states_of_batch(batch, count).items()
        },
    )
    structures.validate()
    if unread := unread_of_batch(batch, count, "structure", ignore):
        warnings.warn(described(unread, count), stacklevel=3)
    return structures


def _truth_values(name: str, value: Tensor) -> Tensor:
    if value.dtype != torch.bool and not bool(((value == 0) | (value == 1)).all()):
        raise StructureError(f"the batch's {name}: expected booleans, found {value.flatten()[:9].tolist()}")
    return value.bool()


def _tensor(batch: Any, name: str, device: torch.device | None, required: bool = False) -> Any:
    value = getattr(batch, name, None)
    if value is None:
        if required:
            raise StructureError(
                f"the batch has no attribute {name}: pass gemnet_blocks.Structures, or an object with pos, "
                "atomic_numbers, batch, natoms and optionally cell, pbc, tags, fixed"
            )
        return None
    return tensor_of(value, f"the batch's {name}").to(device)


def _per_atom(batch: Any, name: str, device: torch.device, atoms: int, required: bool = False) -> Any:
    """Read integers, one per atom; published data sets store some of them as floats."""
    value = _tensor(batch, name, device, required)
    if value is None:
        return None
    if value.numel() != atoms:
        raise StructureError(f"the batch's {name} has shape {tuple(value.shape)}, expected ({atoms},), one per atom")
    return _whole(name, value)


def _whole(name: str, value: Tensor) -> Tensor:
    value = value.reshape(-1)
    whole = value.long()
    if value.is_floating_point() and not torch.equal(whole.to(value.dtype), value):
        raise StructureError(f"the batch's {name} must be integers")
    return whole


def _atom_counts(batch: Any, device: torch.device, atoms: int) -> Tensor:
    natoms, index = _tensor(batch, "natoms", device), _per_atom(batch, "batch", device, atoms)
    if index is not None and bool((index[1:] < index[:-1]).any() | (index < 0).any()):
        raise StructureError("the batch's `batch` is not ascending: put the atoms of a structure one after another")
    if natoms is None:
        return torch.tensor([atoms], device=device) if index is None else torch.bincount(index)
    counts = _whole("natoms", natoms)
    if int(counts.sum()) != atoms:
        raise StructureError(f"the batch's natoms add up to {int(counts.sum())}, but pos has {atoms} rows")
    if index is not None and not torch.equal(torch.bincount(index, minlength=len(counts)), counts):
        raise StructureError("the batch's natoms and `batch` disagree about the atoms of each structure")
    return counts


def _rows(name: str, value: Tensor, count: int, *shape: int) -> Tensor:
    """Reshape to one row per structure; PyTorch Geometric's batching merges the first two axes."""
    trailing = tuple(value.shape[1:])
    fits = value.ndim > 0 and trailing == shape[len(shape) - len(trailing) :]
    if not fits or value.numel() != count * math.prod(shape):
        needed = ", ".join(str(size) for size in (count, *shape))
        raise StructureError(f"the batch's {name} has shape {tuple(value.shape)}, expected ({needed})")
    return value.reshape(count, *shape)


@dataclass(frozen=True, slots=True, eq=False)
class StrainedStructures:
    """Structures as differentiable functions of a strain of value zero.

    r → r(1 + ε),  A → A(1 + ε),  with ε = (s + sᵀ)/2

    Attributes:
        structures: the strained structures, bitwise equal to the original ones.
        positions: the original positions; forces are derivatives with respect to these.
        strain: s of each structure. Derivatives with respect to s are symmetric.
        volume: |det A| of each structure in Å³.
    """

    structures: Structures
    positions: Float[Tensor, "atoms 3"]
    strain: Float[Tensor, "structures 3 3"]
    volume: Float[Tensor, " structures"]


def strained(structures: Structures) -> StrainedStructures:
    """Apply a strain of zero, with respect to which energies can be differentiated.

    The structures must be periodic in all three directions, so that their volumes are defined.
    """
    cells = structures.cells
    strain = torch.zeros_like(cells).requires_grad_()
    symmetric = (strain + strain.transpose(1, 2)) / 2
    of_atoms = symmetric.to(structures.positions.dtype).index_select(0, structures.structure)
    # sums instead of matrix products, which devices may compute in low precision
    moved = structures.positions + (structures.positions[:, :, None] * of_atoms).sum(dim=1)
    deformed = cells + (cells[..., None] * symmetric[:, None]).sum(dim=2)
    # building the topology refuses flat cells, whose volume is zero
    volume = torch.linalg.det(cells.double()).abs().to(cells.dtype)
    return StrainedStructures(
        replace(structures, positions=moved, cells=deformed), structures.positions, strain, volume
    )


def as_structures(structures: Structures | Atoms | Sequence[Atoms]) -> Structures:
    """Convert ASE atoms to `Structures`, which are returned as they are.

    Raises:
        TypeError: the argument is neither atoms, nor a sequence of atoms, nor `Structures`.
        StructureError: a structure cannot be computed.
    """
    if isinstance(structures, Structures):
        return structures
    several = isinstance(structures, Iterable) and not hasattr(structures, "get_positions")
    many: list[Any] = list(structures) if several else [structures]
    if not all(hasattr(one, "get_positions") for one in many):
        raise TypeError(f"expected Structures, ASE atoms or a list of ASE atoms, got {structures!r:.80}")
    return Structures.from_ase(many)


EnergyMeaning = Literal["total", "adsorption", "atomisation"]
"""Reference of energies: the zero of the electronic-structure code, clean slab and gas molecule, or isolated atoms."""

StoredMeaning = EnergyMeaning | Literal["unknown"]
"""Reference of a potential's energies; unknown for published weights, whose files do not record it."""

AtomChoice = Literal["all", "free"]
"""All atoms, or only those that relaxations may move."""


def joined_states(name: Quantity, parts: Sequence[Structures]) -> Tensor | None:
    """Join charges or spins; structures without them are neutral or singlets."""
    values = [getattr(part, name) for part in parts]
    if all(value is None for value in values):
        return None
    like = parts[0].structure
    return torch.cat(
        [
            like.new_full((len(part),), NEUTRAL[name]) if value is None else value
            for part, value in zip(parts, values, strict=True)
        ]
    )


def to_ase(structures: Structures) -> list[Atoms]:
    """Convert structures to ASE atoms with their tags and `FixAtoms` constraints; the inverse of `from_ase`."""
    from ase import Atoms
    from ase.constraints import FixAtoms

    many = []
    for index in range(len(structures)):
        one = structures[index].to("cpu")
        atoms = Atoms(
            numbers=one.numbers.numpy(),
            positions=one.positions.detach().double().numpy(),
            cell=one.cells[0].detach().double().numpy(),
            pbc=one.periodic[0].numpy(),
        )
        if bool((one.tags != UNKNOWN_TAG).any()):
            atoms.set_tags(one.tags.numpy())
        if bool(one.fixed.any()):
            atoms.set_constraint(FixAtoms(mask=one.fixed.numpy()))
        states = {"charge": one.charge, "spin": one.spin}
        atoms.info |= {name: int(value) for name, value in states.items() if value is not None}
        many.append(atoms)
    return many
