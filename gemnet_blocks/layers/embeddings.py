"""Initial embeddings of atoms, from their elements, and of edges, from both atoms and the distance."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import accumulate
from typing import Any, ClassVar, Literal, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import override

from gemnet_blocks.geometry.edges import EdgeSet
from gemnet_blocks.layers.activations import Activation
from gemnet_blocks.layers.dense import Dense
from gemnet_blocks.options import Options
from gemnet_blocks.util.charges import Quantity

ROW_LENGTHS = (2, 8, 8, 18, 18, 32, 32)
"""The number of elements in each row of the periodic table."""

COLUMN_COUNT = max(ROW_LENGTHS)


class AtomEmbeddingOptions(Options):
    """Base class of the options of atom embeddings to which the state of the structure can be added."""

    type: str
    """The kind of atom embedding."""
    charge: bool = False
    """Whether an embedding of the total charge of the structure is added to all of its atoms, see `StateEmbedding`."""
    spin: bool = False
    """Whether an embedding of the spin multiplicity 2S + 1 of the structure is added to all of its atoms."""

    @property
    def reads(self) -> frozenset[Quantity]:
        """The quantities of structures that are embedded."""
        given: dict[Quantity, bool] = {"charge": self.charge, "spin": self.spin}
        return frozenset(name for name, wanted in given.items() if wanted)


class AtomEmbedding(nn.Module, ABC):
    """Base class of atom embeddings: features h_a before the first block, which depend on the atomic number alone."""

    Options: ClassVar[type[Options]]
    """The class of the options that `from_options` takes."""

    @classmethod
    @abstractmethod
    def from_options(cls, options: Any, element_count: int, size: int) -> AtomEmbedding:
        """Construct the embedding from its options.

        Args:
            options: an instance of `Options`.
            element_count: the largest atomic number that the model knows.
            size: the number of features of each atom.
        """

    @abstractmethod
    def forward(self, numbers: Int[Tensor, " atoms"]) -> Float[Tensor, "atoms size"]:
        """Compute the embedding of each atom from its atomic number."""


class ElementEmbeddingOptions(AtomEmbeddingOptions):
    """Options of an embedding per element."""

    type: Literal["element"] = "element"
    """The kind of atom embedding."""


@final
class ElementEmbedding(AtomEmbedding):
    """One trainable embedding per element: h_a = table[Z_a].

    Initial values are uniform in [-√3, √3], which has variance 1.

    Gasteiger et al., NeurIPS 2021, arXiv 2106.08903.

    Args:
        element_count: the largest atomic number that the model knows.
        size: the number of features of each atom; typical values are 64 to 512.
    """

    Options: ClassVar[type[ElementEmbeddingOptions]] = ElementEmbeddingOptions

    def __init__(self, element_count: int, size: int) -> None:
        super().__init__()
        self.table = _uniform(element_count, size, variance=1)

    @property
    def emb_size(self) -> int:
        """The number of features, under its name in the published implementation."""
        return self.table.embedding_dim

    @classmethod
    @override
    def from_options(cls, options: ElementEmbeddingOptions, element_count: int, size: int) -> ElementEmbedding:
        return cls(element_count, size)

    @override
    def forward(self, numbers: Int[Tensor, " atoms"]) -> Float[Tensor, "atoms size"]:
        return self.table(numbers - 1)


class PeriodicTableEmbeddingOptions(AtomEmbeddingOptions):
    """Options of an embedding by the row and column of the element in the periodic table."""

    type: Literal["periodic_table"] = "periodic_table"
    """The kind of atom embedding."""


@final
class PeriodicTableEmbedding(AtomEmbedding):
    """Sum of one trainable embedding per row and one per column of the periodic table.

    h_a = rows[r(Z_a)] + columns[c(Z_a)], where r and c are the row and the column of an element in the periodic table
    with 7 rows and 32 columns, see `place_of`. Elements that are missing in the training data share their row and their
    column with others, whereas `ElementEmbedding` leaves them at their initial values. Both tables are initialized
    uniformly in [-√(3/2), √(3/2)], so that the sum has variance 1.

    Args:
        element_count: the largest atomic number that the model knows, at most 118.
        size: the number of features of each atom; typical values are 64 to 512.

    Raises:
        ValueError: `element_count` is larger than 118.
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
    @override
    def from_options(
        cls, options: PeriodicTableEmbeddingOptions, element_count: int, size: int
    ) -> PeriodicTableEmbedding:
        return cls(element_count, size)

    @override
    def forward(self, numbers: Int[Tensor, " atoms"]) -> Float[Tensor, "atoms size"]:
        return self.rows(self.row[numbers - 1]) + self.columns(self.column[numbers - 1])


def place_of(number: int) -> tuple[int, int]:
    """Return the row and the column of an element in the periodic table with 32 columns, both counted from 0.

    Short rows have their first two elements at the left end and all others at the right end. Hydrogen is at the left
    end, and helium at the right end, above neon.

    Raises:
        ValueError: no element has this atomic number.
    """
    for row, (length, end) in enumerate(zip(ROW_LENGTHS, accumulate(ROW_LENGTHS), strict=True)):
        if end - length < number <= end:
            position = number - (end - length) - 1
            at_left_end = position < min(2, length - 1)
            return row, position if at_left_end else position + COLUMN_COUNT - length
    raise ValueError(f"the periodic table ends with element {sum(ROW_LENGTHS)} and has no element {number}")


def _uniform(count: int, size: int, variance: float) -> nn.Embedding:
    if torch.get_default_device().type == "meta":  # torch would import its compiler to draw no values
        return nn.Embedding.from_pretrained(torch.empty(count, size), freeze=False)
    table = nn.Embedding(count, size)
    nn.init.uniform_(table.weight, -math.sqrt(3 * variance), math.sqrt(3 * variance))
    return table


AtEnds = tuple[Float[Tensor, "atoms edge_size"], Float[Tensor, "atoms edge_size"]]
"""The contributions W_s h and W_t h of each atom to the edges that start and that end at it."""


@final
class EdgeEmbedding(nn.Module):
    """Embedding of an edge s→t from its atoms and its features: m_st = act(W [h_s, h_t, x_st]).

    Initial embeddings use radial basis functions as x. Because W [h_s, h_t, x] = W_s h_s + W_t h_t + W_x x, the matrix
    products with the embeddings of atoms are computed once per atom instead of once per edge.

    Args:
        atom_size: the number of features of each atom.
        edge_in_size: the number of features x of each edge.
        edge_size: the number of features of the resulting edge embeddings.
        activation: the name of the activation function.
    """

    def __init__(self, atom_size: int, edge_in_size: int, edge_size: int, activation: Activation = "silu") -> None:
        super().__init__()
        self.dense = Dense(2 * atom_size + edge_in_size, edge_size, activation)

    def forward(
        self, atoms: Float[Tensor, "atoms atom_size"], x: Float[Tensor, "edges edge_in_size"], edges: EdgeSet
    ) -> Float[Tensor, "edges edge_size"]:
        """Compute the embedding of each edge."""
        return self.of_edges(self.of_atoms(atoms), x, edges.source, edges.target)

    def of_atoms(self, atoms: Float[Tensor, "atoms atom_size"]) -> AtEnds:
        """Compute the contributions W_s h and W_t h of each atom."""
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
        """Compute the embeddings of the given edges from the contributions of all atoms."""
        at_source, at_target = atoms
        total = self.dense.linear.products.linear(x, self.dense.linear.weight[:, -x.shape[1] :])
        total += at_source.index_select(0, source)
        total += at_target.index_select(0, target)
        return self.dense.activation(total)
