"""Structures from the batch objects of other libraries, by the names of their attributes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gemnet_blocks.errors import StructureError
from gemnet_blocks.structures import UNKNOWN_TAG, Structures, tensor_of


def read_batch(batch: Any, use_pbc: bool = True) -> Structures:
    """Read any object with `pos` (N, 3), `atomic_numbers` (N), and `natoms` (S) or `batch` (N).

    Without the last two it is one structure. Where present, `cell` (S, 3, 3) in Å, `pbc` (S, 3), `tags` (N) and `fixed`
    (N) are read too; structures with a cell and without `pbc` are periodic along all three lattice vectors. Tensors,
    arrays and lists will do; gradients to positions and cells stay.

    Args:
        batch: the object; PyTorch Geometric's batches fit.
        use_pbc: False makes every structure non-periodic, whatever the batch says.

    Raises:
        StructureError: an attribute is missing, is not an array of numbers, or does not fit the others.
    """
    positions = _tensor(batch, "pos", None, required=True)
    if not positions.is_floating_point():
        positions = positions.double()
    device, atoms = positions.device, positions.shape[0]
    if positions.shape != (atoms, 3):
        raise StructureError(f"the batch's pos is of shape {tuple(positions.shape)}: (atoms, 3) is needed")
    counts = _atom_counts(batch, device, atoms)
    count = len(counts)
    cell, pbc = _tensor(batch, "cell", device), _tensor(batch, "pbc", device)
    cells = positions.new_zeros(count, 3, 3) if cell is None else _rows("cell", cell, count, 3, 3)
    if pbc is None:
        periodic = torch.full((count, 3), cell is not None, device=device)
    elif not bool(((pbc == 0) | (pbc == 1)).all()):
        raise StructureError(f"the batch's pbc: expected truth values, found {pbc.flatten()[:9].tolist()}")
    else:
        periodic = _rows("pbc", pbc if pbc.numel() != 3 else pbc.reshape(1, 3).expand(count, 3), count, 3).bool()
    tags, fixed = _per_atom(batch, "tags", device, atoms), _per_atom(batch, "fixed", device, atoms)
    structures = Structures(
        positions=positions,
        numbers=_per_atom(batch, "atomic_numbers", device, atoms, required=True),
        structure=torch.repeat_interleave(torch.arange(count, device=device), counts),
        cells=cells.to(torch.promote_types(cells.dtype, positions.dtype)),
        periodic=periodic if use_pbc else torch.zeros_like(periodic),
        tags=torch.full((atoms,), UNKNOWN_TAG, device=device) if tags is None else tags,
        fixed=torch.zeros(atoms, dtype=torch.bool, device=device) if fixed is None else fixed.bool(),
    )
    structures.validate()
    return structures


def _tensor(batch: Any, name: str, device: torch.device | None, required: bool = False) -> Any:
    value = getattr(batch, name, None)
    if value is None:
        if required:
            raise StructureError(
                f"the batch has no attribute {name}: pass gemnet_blocks.Structures, or an object with pos, "
                "atomic_numbers, batch, natoms and, where present, cell, pbc, tags, fixed"
            )
        return None
    return tensor_of(value, f"the batch's {name}").to(device)


def _per_atom(batch: Any, name: str, device: torch.device, atoms: int, required: bool = False) -> Any:
    """Whole numbers, one per atom; published data sets store some of them as floats."""
    value = _tensor(batch, name, device, required)
    if value is None:
        return None
    if value.numel() != atoms:
        raise StructureError(f"the batch's {name} is of shape {tuple(value.shape)}: one per atom, {atoms}, is needed")
    value = value.reshape(-1)
    whole = value.long()
    if value.is_floating_point() and not torch.equal(whole.to(value.dtype), value):
        raise StructureError(f"the batch's {name} must be whole numbers")
    return whole


def _atom_counts(batch: Any, device: torch.device, atoms: int) -> Tensor:
    """Atoms per structure from `natoms`, else from `batch`, else one structure."""
    natoms, index = _tensor(batch, "natoms", device), _per_atom(batch, "batch", device, atoms)
    if index is not None and bool((index[1:] < index[:-1]).any() | (index < 0).any()):
        raise StructureError("the batch's `batch` is not ascending: put the atoms of a structure one after another")
    if natoms is None:
        return torch.tensor([atoms], device=device) if index is None else torch.bincount(index)
    counts = natoms.reshape(-1).long()
    if int(counts.sum()) != atoms:
        raise StructureError(f"the batch's natoms add up to {int(counts.sum())}, but pos has {atoms} rows")
    if index is not None and not torch.equal(torch.bincount(index, minlength=len(counts)), counts):
        raise StructureError("the batch's natoms and `batch` disagree about the atoms of each structure")
    return counts


def _rows(name: str, value: Tensor, count: int, *shape: int) -> Tensor:
    """One row of a shape per structure; batching may have joined the rows' first axes, as PyTorch Geometric does."""
    trailing = tuple(value.shape[1:])
    fits = value.ndim > 0 and trailing == shape[len(shape) - len(trailing) :]
    if not fits or value.numel() != count * math.prod(shape):
        needed = ", ".join(str(size) for size in (count, *shape))
        raise StructureError(f"the batch's {name} is of shape {tuple(value.shape)}: ({needed}) is needed")
    return value.reshape(count, *shape)
