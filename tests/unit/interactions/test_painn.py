"""The PaiNN interaction against its equations, computed edge by edge."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ase.build import bulk, molecule
from helpers import assert_close

from gemnet_blocks.errors import SpecError
from gemnet_blocks.interactions.painn import SMALLEST, PaiNNInteraction, PaiNNOptions
from gemnet_blocks.spec.alone import InteractionAlone


def painn(streams: dict[str, Any] | None = None, **options: Any) -> InteractionAlone:
    alone: InteractionAlone = PaiNNInteraction.alone(
        [molecule("H2O"), bulk("Cu"), molecule("H")], options, sizes={"atom": 6, "edge": 4}, cutoff=3.0, streams=streams
    )
    return alone


@pytest.mark.parametrize("count", [6, 2])
def test_equals_the_sum_over_edges(count: int) -> None:
    alone = painn(size=count)
    layer, h = alone.interaction, alone.embeddings.atoms
    assert isinstance(layer, PaiNNInteraction)
    v = alone.embeddings.streams["vectors"].view(-1, count, 3)
    to_h, to_v = torch.zeros_like(h), torch.zeros_like(v)
    for edge in range(len(alone.geometry.source)):
        b, a = int(alone.geometry.source[edge]), int(alone.geometry.target[edge])
        product = layer.of_source(h[b]) * layer.filters(alone.geometry.radial[edge])
        direction = alone.graphs["main"].direction[edge]
        scalars, along, radially = product[:6], product[6 : 6 + count], product[6 + count :]
        to_h = to_h.index_put((torch.tensor(a),), scalars, accumulate=True)
        message = v[b] * along[:, None] + torch.outer(radially, direction)
        to_v = to_v.index_put((torch.tensor(a),), message, accumulate=True)
    h, v = h + to_h, v + to_v
    u, w = torch.einsum("ij,ajc->aic", layer.u.weight, v), torch.einsum("ij,ajc->aic", layer.v.weight, v)
    lengths = (w.pow(2).sum(2) + SMALLEST).sqrt()
    gates = layer.of_atom(torch.cat([h, lengths], dim=1))
    to_h = to_h + gates[:, :6] + layer.products(gates[:, 6 : 6 + count] * (u * w).sum(2))
    to_v = to_v + u * gates[:, 6 + count :, None]
    messages = alone()
    assert set(messages) == {"atoms", "vectors"}
    assert_close(messages["atoms"], to_h)
    assert_close(messages["vectors"], to_v.flatten(1))


def test_the_vectors_may_have_another_name() -> None:
    alone = painn(streams={"dipoles": {"irreps": "3x1o"}}, writes="dipoles")
    assert set(alone()) == {"atoms", "dipoles"}
    assert alone.interaction.receivers == ("atoms", "dipoles")


def test_without_a_stream_there_is_a_vector_for_each_scalar() -> None:
    assert painn()()["vectors"].shape[1] == 3 * 6
    assert PaiNNOptions().edge_sets() == {"graph": "main"}


@pytest.mark.parametrize(
    ("streams", "options", "message"),
    [
        ({"vectors": {"irreps": "3x1e"}}, {}, "expected a stream of vectors on atoms, with irreps such as 32x1o"),
        ({"vectors": {"irreps": "3x1o+1x0e"}}, {}, "the stream 'vectors' on atoms has the irreps 3x1o+1x0e"),
        ({"vectors": {"irreps": "3x1o", "on": "edges"}}, {}, "the stream 'vectors' on edges"),
        ({"vectors": {"irreps": "3x1o"}}, {"size": 4}, "expected 4 vectors, as `size` says"),
        ({"vectors": {"irreps": "3x1o"}}, {"writes": "vector"}, "unknown stream 'vector'; did you mean 'vectors'?"),
        (None, {"writes": "mine"}, "unknown stream 'mine'; declare it in `streams`"),
        (None, {"writes": "atoms"}, "'atoms' is a built-in stream of scalars"),
    ],
)
def test_streams_that_do_not_fit(streams: dict[str, Any] | None, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match="painn") as caught:
        painn(streams, **options)
    assert message in str(caught.value)
