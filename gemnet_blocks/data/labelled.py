"""Structures with the energies, forces and stresses that a model is to learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gemnet_blocks.graph.pairs import Pairs
from gemnet_blocks.structures import Structures


@dataclass(frozen=True, slots=True, eq=False)
class LabelledStructures:
    """One or many structures and what is known of them.

    Attributes:
        structures: the atoms.
        energy: in eV, in float64, since a total energy of 10⁴ eV is no float32 number to the meV; None where unknown.
        forces: in eV/Å; None where unknown.
        stress: (1/V) ∂E/∂ε in eV/Å³, positive where the cell wants to shrink; None where unknown.
        frame: the number of each structure in its source, for messages and tables.
        pairs: neighbors found before, which stand for a search; None: to be searched for.
    """

    structures: Structures
    energy: Float[Tensor, " structures"] | None
    forces: Float[Tensor, "atoms 3"] | None
    stress: Float[Tensor, "structures 3 3"] | None
    frame: Int[Tensor, " structures"]
    pairs: Pairs | None = None

    def __len__(self) -> int:
        return len(self.structures)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> LabelledStructures:
        """The same on another device; positions, cells, forces and stresses of another floating-point type."""

        def moved(value: Tensor | None, kind: torch.dtype | None) -> Any:
            return None if value is None else value.to(device=device, dtype=kind)

        pairs = self.pairs
        if pairs is not None:
            pairs = Pairs(
                moved(pairs.source, None),
                moved(pairs.target, None),
                moved(pairs.shift, None),
                moved(pairs.distance, None),
            )
        return LabelledStructures(
            structures=self.structures.to(device, dtype),
            energy=moved(self.energy, None),
            forces=moved(self.forces, dtype),
            stress=moved(self.stress, dtype),
            frame=moved(self.frame, None),
            pairs=pairs,
        )

    def pin_memory(self) -> LabelledStructures:
        """The same in memory that a GPU copies from without waiting."""
        structures = self.structures
        pairs = self.pairs
        names = ("positions", "numbers", "structure", "cells", "periodic", "tags", "fixed")
        if pairs is not None:
            pairs = Pairs(*(value.pin_memory() for value in (pairs.source, pairs.target, pairs.shift, pairs.distance)))

        def pinned(value: Any) -> Any:
            return None if value is None else value.pin_memory()

        return LabelledStructures(
            structures=replace(structures, **{name: getattr(structures, name).pin_memory() for name in names}),
            energy=pinned(self.energy),
            forces=pinned(self.forces),
            stress=pinned(self.stress),
            frame=self.frame.pin_memory(),
            pairs=pairs,
        )


def collate(items: Sequence[LabelledStructures]) -> LabelledStructures:
    """One batch of several; a label that one of them lacks is unknown for all, and so are pairs.

    Raises:
        ValueError: there are no items.
    """
    if not items:
        raise ValueError("a batch needs at least one structure")
    parts = [item.structures for item in items]
    structure_offsets = _offsets([len(part) for part in parts])
    atom_offsets = _offsets([part.atom_count for part in parts])
    joined = replace(
        parts[0],
        **{
            name: torch.cat([getattr(part, name) for part in parts])
            for name in ("positions", "numbers", "cells", "periodic", "tags", "fixed")
        },
        structure=torch.cat([part.structure + offset for part, offset in zip(parts, structure_offsets, strict=True)]),
    )
    return LabelledStructures(
        structures=joined,
        energy=_joined([item.energy for item in items]),
        forces=_joined([item.forces for item in items]),
        stress=_joined([item.stress for item in items]),
        frame=torch.cat([item.frame for item in items]),
        pairs=_joined_pairs([item.pairs for item in items], atom_offsets),
    )


def _offsets(counts: Sequence[int]) -> list[int]:
    total, offsets = 0, []
    for count in counts:
        offsets.append(total)
        total += count
    return offsets


def _joined(values: Sequence[Tensor | None]) -> Tensor | None:
    known = [value for value in values if value is not None]
    return torch.cat(known) if len(known) == len(values) else None


def _joined_pairs(many: Sequence[Pairs | None], atom_offsets: Sequence[int]) -> Pairs | None:
    known = [pairs for pairs in many if pairs is not None]
    if len(known) < len(many):
        return None
    return Pairs(
        source=torch.cat([pairs.source + offset for pairs, offset in zip(known, atom_offsets, strict=True)]),
        target=torch.cat([pairs.target + offset for pairs, offset in zip(known, atom_offsets, strict=True)]),
        shift=torch.cat([pairs.shift for pairs in known]),
        distance=torch.cat([pairs.distance for pairs in known]),
    )
