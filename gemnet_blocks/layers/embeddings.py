"""The first embeddings of atoms: a table of elements, or of the rows and columns of the periodic table."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import accumulate
from typing import Any, ClassVar, Literal, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gemnet_blocks.geometry.edges import EdgeSet
from gemnet_blocks.layers.dense import Activation, Dense
from gemnet_blocks.options import Options

ROW_LENGTHS = (2, 8, 8, 18, 18, 32, 32)
"""Elements in each row of the periodic table."""

COLUMN_COUNT = max(ROW_LENGTHS)


class AtomEmbedding(nn.Module, ABC):
    """h_a before the first block, from the atomic number alone."""

    Options: ClassVar[type[Options]]
    """The class of the options that `from_options` takes."""

    @classmethod
    @abstractmethod
    def from_options(cls, options: Any, element_count: int, size: int) -> AtomEmbedding:
        """Make the embedding that the options describe.

        Args:
            options: an instance of `Options`.
            element_count: the greatest atomic number known; numbers start at 1.
            size: features of atom embeddings.
        """

    @abstractmethod
    def forward(self, numbers: Int[Tensor, " atoms"]) -> Float[Tensor, "atoms size"]:
        """The embedding of each atom from its atomic number."""


class ElementEmbeddingOptions(Options):
    """What a spec says of embeddings by element."""

    type: Literal["element"] = "element"
    """The kind of atom embedding."""


@final
class ElementEmbedding(AtomEmbedding):
    """h_a = table[Z_a], initially uniform in ±√3, which has variance 1.

    Gasteiger et al., NeurIPS 2021, arXiv 2106.08903.

    Args:
        element_count: the greatest atomic number known; numbers start at 1.
        size: features of atom embeddings.
    """

    Options: ClassVar[type[ElementEmbeddingOptions]] = ElementEmbeddingOptions

    def __init__(self, element_count: int, size: int) -> None:
        super().__init__()
        self.table = _uniform(element_count, size, variance=1)

    @property
    def emb_size(self) -> int:
        """The number of features, under its published name."""
        return self.table.embedding_dim

    @classmethod
    def from_options(cls, options: ElementEmbeddingOptions, element_count: int, size: int) -> ElementEmbedding:
        """Make the embedding that the options describe."""
        return cls(element_count, size)

    def forward(self, numbers: Int[Tensor, " atoms"]) -> Float[Tensor, "atoms size"]:
        """The embedding of each atom from its atomic number."""
        return self.table(numbers - 1)


class PeriodicTableEmbeddingOptions(Options):
    """What a spec says of embeddings by place in the periodic table."""

    type: Literal["periodic_table"] = "periodic_table"
    """The kind of atom embedding."""


@final
class PeriodicTableEmbedding(AtomEmbedding):
    """h_a = rows[r(Z_a)] + columns[c(Z_a)], each initially uniform in ±√(3/2), so that the sum has variance 1.

    r and c are the place of the element in the periodic table of 7 rows and 32 columns. An element that no training
    structure has shares both with others, whereas `ElementEmbedding` leaves it as it was drawn.

    Args:
        element_count: the greatest atomic number known, at most 118; numbers start at 1.
        size: features of atom embeddings.

    Raises:
        ValueError: there is no such element.
    """

    Options: ClassVar[type[PeriodicTableEmbeddingOptions]] = PeriodicTableEmbeddingOptions

    row: Tensor
    column: Tensor

    def __init__(self, element_count: int, size: int) -> None:
        super().__init__()
        places = torch.tensor([place_of(number) for number in range(1, element_count + 1)]).t().contiguous()
        self.register_buffer("row", places[0], persistent=False)
        self.register_buffer("column", places[1], persistent=False)
        self.rows = _uniform(len(ROW_LENGTHS), size, variance=0.5)
        self.columns = _uniform(COLUMN_COUNT, size, variance=0.5)

    @classmethod
    def from_options(
        cls, options: PeriodicTableEmbeddingOptions, element_count: int, size: int
    ) -> PeriodicTableEmbedding:
        """Make the embedding that the options describe."""
        return cls(element_count, size)

    def forward(self, numbers: Int[Tensor, " atoms"]) -> Float[Tensor, "atoms size"]:
        """The embedding of each atom from its atomic number."""
        return self.rows(self.row[numbers - 1]) + self.columns(self.column[numbers - 1])


def place_of(number: int) -> tuple[int, int]:
    """The row and the column of an element in the periodic table with 32 columns, both counted from 0.

    Columns are those of the longest rows; shorter rows have their first two elements at the left end, hydrogen among
    them, and the others at the right end, with helium above neon.

    Args:
        number: the atomic number.

    Raises:
        ValueError: there is no such element.
    """
    for row, (length, end) in enumerate(zip(ROW_LENGTHS, accumulate(ROW_LENGTHS), strict=True)):
        if end - length < number <= end:
            position = number - (end - length) - 1
            at_left_end = position < min(2, length - 1)
            return row, position if at_left_end else position + COLUMN_COUNT - length
    raise ValueError(f"the periodic table ends with element {sum(ROW_LENGTHS)} and has no element {number}")


def _uniform(count: int, size: int, variance: float) -> nn.Embedding:
    table = nn.Embedding(count, size)
    nn.init.uniform_(table.weight, -math.sqrt(3 * variance), math.sqrt(3 * variance))
    return table


AtEnds = tuple[Float[Tensor, "atoms edge_size"], Float[Tensor, "atoms edge_size"]]
"""What every atom adds to the edges that start at it, and to those that end at it."""


@final
class EdgeEmbedding(nn.Module):
    """m_st = Dense([h_s, h_t, x_st]) for an edge from s to t.

    Args:
        atom_size: features of atom embeddings.
        edge_in_size: features x of each edge.
        edge_size: features of edge embeddings.
        activation: of the dense layer.
    """

    def __init__(self, atom_size: int, edge_in_size: int, edge_size: int, activation: Activation = "silu") -> None:
        super().__init__()
        self.dense = Dense(2 * atom_size + edge_in_size, edge_size, activation)

    def forward(
        self, atoms: Float[Tensor, "atoms atom_size"], x: Float[Tensor, "edges edge_in_size"], edges: EdgeSet
    ) -> Float[Tensor, "edges edge_size"]:
        """The embedding of each edge."""
        return self.of_edges(self.of_atoms(atoms), x, edges.source, edges.target)

    def of_atoms(self, atoms: Float[Tensor, "atoms atom_size"]) -> AtEnds:
        """What atoms add to the edges from and to them: W [h_s, h_t, x] = W_s h_s + W_t h_t + W_x x."""
        of_source, of_target = self.dense.linear.weight[:, : 2 * atoms.shape[1]].chunk(2, dim=1)
        linear = self.dense.linear.products.linear
        return linear(atoms, of_source), linear(atoms, of_target)

    def of_edges(
        self,
        atoms: AtEnds,
        x: Float[Tensor, "edges edge_in_size"],
        source: Int[Tensor, " edges"],
        target: Int[Tensor, " edges"],
    ) -> Float[Tensor, "edges edge_size"]:
        """The embeddings of some edges, given what atoms add to them."""
        at_source, at_target = atoms
        total = self.dense.linear.products.linear(x, self.dense.linear.weight[:, -x.shape[1] :])
        total += at_source.index_select(0, source)
        total += at_target.index_select(0, target)
        return self.dense.activation(total)
