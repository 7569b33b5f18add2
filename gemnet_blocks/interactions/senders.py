"""Edges b→a of triplets c→a←b that are not the main edges, and the embeddings that they send."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import override

from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.graph.builder import MAIN
from gemnet_blocks.graph.common_edges import CommonEdgeRequest, CommonEdges
from gemnet_blocks.interactions.interaction import BuildContext, Embeddings
from gemnet_blocks.layers.embeddings import EdgeEmbedding
from gemnet_blocks.util.recompute import STORED, Evaluation


@dataclass(frozen=True, slots=True, eq=False)
class SendingEdges:
    """The edges b→a of triplets c→a←b.

    Attributes:
        functions: radial functions of the edges. They vanish where an edge stops to send.
        source: the atom b of each edge.
        target: the atom a of each edge.
        common: those edges that are main edges, if only these send.
    """

    functions: Float[Tensor, "inner_edges functions"]
    source: Int[Tensor, " inner_edges"]
    target: Int[Tensor, " inner_edges"]
    common: CommonEdges | None


def sending_edges(
    graphs: Graphs,
    edge_set: str,
    functions: Float[Tensor, "inner_edges functions"],
    request: CommonEdgeRequest | None,
) -> SendingEdges:
    """Describe the edges b→a of an edge set.

    Args:
        graphs: the graphs.
        edge_set: the edge set of the edges b→a.
        functions: their radial functions, which have their weights already.
        request: the request for the edges that are main edges, if only these send.
    """
    edges, weight = graphs.edge_sets[edge_set], graphs.main.edges.weight
    common = None if request is None else graphs.indices[request]
    assert isinstance(common, CommonEdges | None)
    if common is not None and weight is not None:
        # an edge sends ever less while its main edge fades out
        of_edge = weight.new_zeros(edges.count)
        of_edge = of_edge.index_copy(0, common.edge, weight.index_select(0, common.other))
        functions = functions * of_edge.to(functions.dtype)[:, None]
    return SendingEdges(functions, edges.source, edges.target, common)


class Senders(nn.Module, ABC):
    """Base class of the embeddings that edges b→a other than the main edges send.

    Attributes:
        reads: the embeddings that they are made from, for tables.
    """

    reads: ClassVar[str] = "edges"

    @abstractmethod
    def forward(self, embeddings: Embeddings, sending: SendingEdges) -> Float[Tensor, "inner_edges edge_size"]:
        """Return the embedding of each edge b→a."""


@final
class MainSenders(Senders):
    """The embeddings m_ba of those edges that are main edges, and zero, which sends nothing, for all others."""

    @override
    def forward(self, embeddings: Embeddings, sending: SendingEdges) -> Float[Tensor, "inner_edges edge_size"]:
        m, common = embeddings.edges, sending.common
        assert common is not None
        nothing = m.new_zeros(sending.source.shape[0], m.shape[1])
        return nothing.index_copy(0, common.edge, m.index_select(0, common.other))


@final
class EmbeddedSenders(Senders):
    """Embeddings of the edges from their two atoms and their length: Dense([h_b, h_a, rad(d_ba)]).

    Args:
        embedding: from atoms and radial functions to the embeddings.
    """

    reads = "atoms"

    def __init__(self, embedding: EdgeEmbedding) -> None:
        super().__init__()
        self.embedding = embedding
        self.evaluation: Evaluation = STORED

    @override
    def forward(self, embeddings: Embeddings, sending: SendingEdges) -> Float[Tensor, "inner_edges edge_size"]:
        of_atoms = self.embedding.of_atoms(embeddings.atoms)

        def embedded(functions: Tensor, source: Tensor, target: Tensor) -> Tensor:
            return self.embedding.of_edges(of_atoms, functions, source, target)

        return self.evaluation.by_rows(embedded, sending.functions, sending.source, sending.target)


def common_with_main(edge_set: str, context: BuildContext) -> CommonEdgeRequest | None:
    """Return the request for the main edges in an edge set whose edges send; None if all of its edges send."""
    if edge_set == MAIN or context.reaches_beyond_main(edge_set):
        return None
    return CommonEdgeRequest(edge_set, MAIN)


def senders_of(edge_set: str, context: BuildContext) -> Senders | None:
    """Choose the embeddings that the edges of an edge set send; None for the main edges."""
    if edge_set == MAIN:
        return None
    if not context.reaches_beyond_main(edge_set):
        return MainSenders()
    sizes = context.sizes
    return EmbeddedSenders(EdgeEmbedding(sizes.atom, context.radial_count, sizes.edge, context.activation))
