"""The tensor-product interaction against sums with Clebsch–Gordan coefficients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ase.build import molecule
from e3nn import get_optimization_defaults, o3
from helpers import assert_close

from gemnet_blocks.errors import SpecError
from gemnet_blocks.interactions.tensor_product import TensorProductInteraction
from gemnet_blocks.layers.equivariant import Harmonics, TensorProduct
from gemnet_blocks.spec.alone import InteractionAlone
from gemnet_blocks.testing.symmetries import Rotation


def tensor_product(streams: dict[str, Any] | None = None, **options: Any) -> InteractionAlone:
    alone: InteractionAlone = TensorProductInteraction.alone(
        molecule("CH4"),
        {"radial": 5, "radial_layers": 1, **options},
        sizes={"atom": 6, "edge": 4},
        cutoff=3.0,
        streams=streams,
    )
    return alone


def test_the_product_is_the_sum_with_coefficients() -> None:
    product = TensorProduct("2x0e+2x1o", "1x0e+1x1o+1x2e", "1x0e+1x1o").double()
    left, right, out = o3.Irreps("2x0e+2x1o"), o3.Irreps("0e+1o+2e"), o3.Irreps(product.irreps_out)
    x, y, weights = (torch.randn(3, size).double() for size in (left.dim, right.dim, product.weight_count))
    result = product(x, y, weights).split([part.dim for part in o3.Irreps(product.product.irreps_out)], dim=1)
    assert out.dim == sum(part.shape[1] for part in result)
    position = 0
    for path in product.product.instructions:
        first, second, third = left[path.i_in1], right[path.i_in2], product.product.irreps_out[path.i_out]
        coefficients = o3.wigner_3j(first.ir.l, second.ir.l, third.ir.l, dtype=torch.float64)
        a, b = x[:, left.slices()[path.i_in1]].view(3, 2, -1), y[:, right.slices()[path.i_in2]]
        w = weights[:, position : position + 2]
        position += 2
        expected = torch.einsum("ijk,nci,nj,nc->nck", coefficients, a, b, w) * third.ir.dim**0.5
        assert_close(result[path.i_out], expected.flatten(1))


def test_coefficients_are_exact_after_every_change_of_type() -> None:
    product = TensorProduct("1x1o", "1x1o", "1x2e")
    (exact,) = (buffer.clone() for name, buffer in product.double().named_buffers() if "w3j" in name)
    (again,) = (buffer for name, buffer in product.half().double().named_buffers() if "w3j" in name)
    assert torch.equal(exact, again)
    assert torch.equal(exact, o3.wigner_3j(1, 1, 2, dtype=torch.float64))


def test_e3nn_keeps_its_settings_and_nothing_of_it_is_saved() -> None:
    before = dict(get_optimization_defaults())
    layer = tensor_product(size=2).interaction
    assert get_optimization_defaults() == before
    assert not any("w3j" in name or "mask" in name for name in layer.state_dict())


def test_harmonics_of_vectors_are_vectors() -> None:
    direction = torch.nn.functional.normalize(torch.randn(4, 3), dim=1)
    values = Harmonics(1)(direction)
    assert_close(values[:, 1:], direction * 3**0.5)
    assert_close(values[:, 0], torch.ones(4))


def test_messages_are_equivariant() -> None:
    alone = tensor_product({"tensors": {"irreps": "2x1o+1x2e+1x1e+1x0o"}})
    layer, geometry = alone.interaction, alone.geometry
    rotation = Rotation(0.3, 1.1, 2.0, reflect=True)
    turned = type(geometry)(
        geometry.source,
        geometry.target,
        geometry.atom_count,
        geometry.radial,
        geometry.angular @ rotation.representation(Harmonics(2).irreps).T,
    )
    by = rotation.representation(alone.spec.streams["tensors"].irreps)
    streams = {"tensors": alone.embeddings.streams["tensors"] @ by.T}
    messages = layer(alone.embeddings, geometry)
    rotated = layer(type(alone.embeddings)(alone.embeddings.atoms, alone.embeddings.edges, streams), turned)
    assert_close(rotated["atoms"], messages["atoms"])
    assert_close(rotated["tensors"], messages["tensors"] @ by.T)
    assert messages["tensors"].abs().sum() > 0


@pytest.mark.parametrize(
    ("streams", "options", "message"),
    [
        ({"tensors": {"irreps": "1x1o+1x3o"}}, {"degree": 1}, "has the irreps 3o, which messages"),
        ({"tensors": {"irreps": "1x1o", "on": "edges"}}, {}, "expected a stream on atoms"),
        ({"tensors": {"irreps": "3x1o"}}, {"size": 3}, "remove `size`"),
        (None, {"degree": 12}, "degree: must be at most 11"),
        (None, {"writes": "mine"}, "unknown stream 'mine'"),
    ],
)
def test_streams_that_do_not_fit(streams: dict[str, Any] | None, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match="tensor_product") as caught:
        tensor_product(streams, **options)
    assert message in str(caught.value)
