"""Heads that read a feature stream: their values turn with the structure, and streams that do not fit are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ase.build import molecule
from helpers import small_spec
from torch import Tensor

from gemnet_blocks.errors import SpecError
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.stream_values import _matrix
from gemnet_blocks.spec import Spec, build
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing.symmetries import Rotation

HEADS: dict[str, dict[str, Any]] = {
    "charges": {"type": "property", "per": "atom", "reads": "features"},
    "dipole": {"type": "property", "shape": "vector", "reads": "features"},
    "polarizability": {"type": "property", "shape": "tensor", "reads": "features", "reduce": "mean"},
}


def spec_with(heads: dict[str, Any], irreps: str = "3x0e+2x1o+2x2e") -> Spec:
    return small_spec(blocks__count=1).patch(
        {
            "interactions": {
                **dict.fromkeys(("quadruplet", "atom_edge", "edge_atom")),
                "features": {"type": "tensor_product", "degree": 2, "radial": 4, "writes": "features"},
            },
            "streams": {"features": {"irreps": irreps}},
            "heads": heads,
        }
    )


def model_of(heads: dict[str, Any]) -> GemNet:
    return build(spec_with(heads), seed=0).double()


def turned(positions: Tensor, other: Tensor) -> Tensor:
    """The matrix that maps positions to other ones, up to a shift."""
    centered = (one - one.mean(dim=0) for one in (positions, other))
    return torch.linalg.lstsq(*centered).solution.T


@pytest.mark.parametrize("reflect", [False, True])
def test_values_turn_with_the_structure(reflect: bool) -> None:
    model, structures = model_of(HEADS), Structures.from_ase([molecule("CH3OH")])
    other = Rotation(0.3, 1.2, 2.5, reflect=reflect).apply(structures)
    found, expected = model(other).properties, model(structures).properties
    matrix = turned(structures.positions, other.positions)
    assert all(bool(value.abs().max() > 1e-6) for value in expected.values())
    torch.testing.assert_close(found["charges"], expected["charges"])
    torch.testing.assert_close(found["dipole"], expected["dipole"] @ matrix.T)
    torch.testing.assert_close(found["polarizability"], matrix @ expected["polarizability"] @ matrix.T)


def test_tensors_have_the_harmonics_of_degree_2_as_quadratic_forms() -> None:
    o3 = pytest.importorskip("e3nn.o3")
    values, v = torch.randn(5, 6, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    harmonics = o3.spherical_harmonics(2, v, normalize=False, normalization="norm")
    expected = values[:, 0] * v.square().sum(1) + (values[:, 1:] * harmonics).sum(1)
    torch.testing.assert_close(torch.einsum("ni,nij,nj->n", v, _matrix(values), v), expected)


def test_they_are_trained_and_copied_with_the_model() -> None:
    model, structures = model_of(HEADS), Structures.from_ase([molecule("NH3"), molecule("H2O")])
    prediction = model(structures)
    sum(value.square().sum() for value in prediction.properties.values()).backward()
    gradients = [weight.grad for name, weight in model.named_parameters() if name.startswith("heads.")]
    assert all(gradient is not None and bool(gradient.any()) for gradient in gradients)
    with torch.no_grad():
        short = model(structures, memory_budget=0).properties
    assert all(torch.allclose(short[name], value) for name, value in prediction.properties.items())


@pytest.mark.parametrize(
    ("head", "irreps", "message"),
    [
        ({"type": "property", "reads": "feature"}, "2x0e", "heads.own: reads: unknown stream 'feature'; known: atoms"),
        ({"type": "property", "shape": "vector", "reads": "features"}, "2x0e", "a vector needs a stream on atoms"),
        ({"type": "property", "shape": "tensor", "reads": "features"}, "2x0e+1x1o", "such as 16x2e, but the stream"),
        ({"type": "property", "reads": "features"}, "2x1o", "a scalar needs a stream on atoms with irreps such as"),
        ({"type": "dipole", "reads": "features"}, "2x0e+1x1o", "write {type: property, shape: vector, reads"),
    ],
)
def test_streams_that_do_not_fit_are_refused(head: dict[str, Any], irreps: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        build(spec_with({"own": head}, irreps), seed=0)
    assert message in str(raised.value)
