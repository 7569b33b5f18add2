"""Structures with the energies, forces and stresses that a model is to learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gemnet_blocks.graph.pairs import Pairs
from gemnet_blocks.structures import Structures, joined_states


@dataclass(frozen=True, slots=True, eq=False)
class LabelledStructures:
    """One or many structures with their labels.

    Attributes:
        structures: the atoms.
        energy: in eV, in float64, since float32 does not resolve meV in a total energy of 10⁴ eV; None if unknown.
        forces: in eV/Å; None if unknown.
        stress: (1/V) ∂E/∂ε in eV/Å³, positive if the energy decreases when the cell shrinks; None if unknown.
        frame: the number of each structure in its source, for messages and tables.
        pairs: neighbor list that replaces a search; None: neighbors are searched for.
        properties: the labels of further properties by name, a row per structure or per atom, in the unit of the file.
    """

    structures: Structures
    energy: Float[Tensor, " structures"] | None
    forces: Float[Tensor, "atoms 3"] | None
    stress: Float[Tensor, "structures 3 3"] | None
    frame: Int[Tensor, " structures"]
    pairs: Pairs | None = None
    properties: Mapping[str, Float[Tensor, "rows *shape"]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.structures)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> LabelledStructures:
        """Move to another device, and convert everything but energies to another floating-point type."""
        structures = self.structures.to(device, dtype)

        def moved(value: Tensor, name: str) -> Tensor:
            converted = name in ("forces", "stress") or name in self.properties
            return value.to(device=device, dtype=dtype if converted else None)

        return self._with(structures, moved)

    def pin_memory(self) -> LabelledStructures:
        """Copy to page-locked memory, from which a GPU copies asynchronously."""
        return self._with(self.structures.mapped(Tensor.pin_memory), lambda value, name: value.pin_memory())

    def _with(self, structures: Structures, change: Callable[[Tensor, str], Tensor]) -> LabelledStructures:
        """Apply a function to every tensor, given with its name, besides those of the structures."""
        known = {name: getattr(self, name) for name in ("energy", "forces", "stress", "frame")}
        changed: dict[str, Any] = {
            name: None if value is None else change(value, name) for name, value in known.items()
        }
        pairs = self.pairs
        if pairs is not None:
            names = ("source", "target", "shift", "distance")
            source, target, shift, distance = (change(getattr(pairs, name), name) for name in names)
            pairs = Pairs(source, target, shift, distance)
        properties = {name: change(value, name) for name, value in self.properties.items()}
        return replace(self, structures=structures, pairs=pairs, properties=properties, **changed)


def collate(items: Sequence[LabelledStructures]) -> LabelledStructures:
    """Join structures to a batch; a label or neighbor list that one of them lacks is unknown for the batch.

    Raises:
        ValueError: there are no items.
    """
    if not items:
        raise ValueError("a batch needs at least one structure")
    parts = [item.structures for item in items]
    structure_offsets = list(accumulate((len(part) for part in parts[:-1]), initial=0))
    atom_offsets = list(accumulate((part.atom_count for part in parts[:-1]), initial=0))
    joined = replace(
        parts[0],
        **{
            name: torch.cat([getattr(part, name) for part in parts])
            for name in ("positions", "numbers", "cells", "periodic", "tags", "fixed")
        },
        structure=torch.cat([part.structure + offset for part, offset in zip(parts, structure_offsets, strict=True)]),
        charge=joined_states("charge", parts),
        spin=joined_states("spin", parts),
    )
    return LabelledStructures(
        structures=joined,
        energy=_joined([item.energy for item in items]),
        forces=_joined([item.forces for item in items]),
        stress=_joined([item.stress for item in items]),
        frame=torch.cat([item.frame for item in items]),
        pairs=_joined_pairs([item.pairs for item in items], atom_offsets),
        properties={
            name: torch.cat([item.properties[name] for item in items])
            for name in items[0].properties
            if all(name in item.properties for item in items)
        },
    )


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
