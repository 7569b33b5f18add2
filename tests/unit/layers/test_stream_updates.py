from __future__ import annotations

import copy
import pickle

import pytest
import torch
from e3nn import o3
from helpers import assert_close

from gemnet_blocks.layers.equivariant import EquivariantLinear, unreachable
from gemnet_blocks.layers.irreps import Stream, irreps
from gemnet_blocks.layers.stream_updates import (
    GatedUpdate,
    NoUpdate,
    NoUpdateOptions,
    ResidualUpdate,
    ResidualUpdateOptions,
)
from gemnet_blocks.testing.symmetries import Rotation

IRREPS = "2x0e+1x0o+3x1o+1x2e"


def test_gated_updates_are_equivariant() -> None:
    update, of = GatedUpdate(IRREPS, 4).double(), o3.Irreps(IRREPS)
    x, scalars = of.randn(5, -1).double(), torch.randn(5, 4).double()
    by = Rotation(0.3, 1.1, 2.0, reflect=True).representation(IRREPS)
    assert_close(update(x @ by.T, scalars), update(x, scalars) @ by.T)
    assert (update(x, scalars) - x).abs().max() > 0.1
    assert (update(x, 2 * scalars) - update(x, scalars)).abs().max() > 1e-3


def test_gated_updates_of_zeros_have_two_derivatives() -> None:
    update = GatedUpdate(IRREPS, 4).double()
    x = torch.zeros(2, o3.Irreps(IRREPS).dim, dtype=torch.float64, requires_grad=True)
    scalars = torch.randn(2, 4, dtype=torch.float64)
    torch.autograd.gradgradcheck(lambda x: update(x, scalars), [x])


def test_copies_compute_the_same() -> None:
    update, x, scalars = GatedUpdate(IRREPS, 4), o3.Irreps(IRREPS).randn(5, -1), torch.randn(5, 4)
    for twin in (copy.deepcopy(update), pickle.loads(pickle.dumps(update))):
        assert torch.equal(twin(x, scalars), update(x, scalars))


def test_linear_maps_have_one_matrix_for_each_irrep() -> None:
    layer = EquivariantLinear("4x0e+3x1o", "2x0e+5x1o+1x2e").double()
    assert [tuple(weight.shape) for weight in layer.weights] == [(4, 2), (3, 5)]
    x = torch.randn(6, 13).double()
    vectors = torch.einsum("nic,ij->njc", x[:, 4:].view(6, 3, 3), layer.weights[1]) / 3**0.5
    assert_close(layer(x)[:, 2:17], vectors.flatten(1))
    assert not layer(x)[:, 17:].any()


def test_residual_updates_are_for_scalars() -> None:
    stream = Stream("s", "atoms", "3x0e")
    update = ResidualUpdate.from_options(ResidualUpdateOptions(layers=2), stream, 4, "silu")
    assert update(torch.randn(5, 3), torch.randn(5, 4)).shape == (5, 3)
    with pytest.raises(ValueError, match=r"residual layers need scalars such as 64x0e.*choose the update gated"):
        ResidualUpdate.from_options(ResidualUpdateOptions(), Stream("v", "atoms", "3x1o"), 4, "silu")


def test_no_update_changes_nothing() -> None:
    x = torch.randn(5, 3)
    update = NoUpdate.from_options(NoUpdateOptions(), Stream("s", "atoms", "3x0e"), 4, "silu")
    assert update(x, torch.randn(5, 4)) is x


def test_irreps_are_simplified() -> None:
    assert str(irreps("2x0e + 3x0e + 0x1o")) == "5x0e"
    assert Stream("s", "atoms", "2x0e+3x1o").size == 11
    assert not Stream("s", "atoms", "2x0o").scalars


@pytest.mark.parametrize("text", ["", "1x", "3x1", "vectors", "0x1o", "1x12o", "3x-1o"])
def test_invalid_irreps(text: str) -> None:
    with pytest.raises(ValueError, match="expected irreps"):
        irreps(text)


def test_reachable_irreps() -> None:
    assert unreachable("1x1o+1x2e+1x1e+1x0o", 1) == []
    assert unreachable("1x3o+1x0e", 2) == ["3o"]
    assert unreachable("1x3o+1x1o+1x2e", 1) == []
    assert unreachable("1x0o", 3) == ["0o"]
