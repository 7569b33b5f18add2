"""Embedding of the total charge and the spin multiplicity of a structure, which is added to each of its atoms."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gemnet_blocks.structures import MAX_CHARGE, MAX_MULTIPLICITY, Structures
from gemnet_blocks.util.charges import Quantity


@final
class StateEmbedding(nn.Module):
    """One trainable embedding per total charge and one per spin multiplicity: h_a ← h_a + q[Q_s] + m[M_s].

    Q_s is the charge of the structure s of atom a, from -100 to 100 elementary charges, and M_s = 2S + 1 its
    multiplicity, from 1 to 100. Structures without a charge or spin are neutral or singlets. The embeddings start at
    zero, where all states are equal.

    Args:
        size: the number of features of each atom.
        charge: whether charges are embedded.
        spin: whether multiplicities are embedded.
    """

    def __init__(self, size: int, charge: bool, spin: bool) -> None:
        super().__init__()
        self.charges = _zeros(2 * MAX_CHARGE + 1, size) if charge else None
        self.multiplicities = _zeros(MAX_MULTIPLICITY, size) if spin else None

    @property
    def reads(self) -> frozenset[Quantity]:
        """The quantities that are embedded."""
        tables: dict[Quantity, nn.Module | None] = {"charge": self.charges, "spin": self.multiplicities}
        return frozenset(name for name, table in tables.items() if table is not None)

    def forward(self, atoms: Float[Tensor, "atoms size"], structures: Structures) -> Float[Tensor, "atoms size"]:
        """Add the embeddings of the state of each structure to those of its atoms."""
        index, count = structures.structure, structures.count
        if self.charges is not None:
            charge = structures.charge if structures.charge is not None else index.new_zeros(count)
            atoms = atoms + self._of_atoms(self.charges, charge + MAX_CHARGE, index)
        if self.multiplicities is not None:
            multiplicity = structures.spin if structures.spin is not None else index.new_ones(count)
            atoms = atoms + self._of_atoms(self.multiplicities, multiplicity - 1, index)
        return atoms

    @staticmethod
    def _of_atoms(
        table: nn.Embedding, rows: Int[Tensor, " structures"], index: Int[Tensor, " atoms"]
    ) -> Float[Tensor, "atoms size"]:
        embedded: Tensor = table(rows.index_select(0, index))
        return embedded


def _zeros(count: int, size: int) -> nn.Embedding:
    return nn.Embedding.from_pretrained(torch.zeros(count, size), freeze=False)
