"""Radial functions that depend on the degree: every sum with them equals its definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ase.build import molecule
from helpers import KINDS, assert_close, small_spec
from torch import Tensor

from gemnet_blocks.basis.fourier_bessel import DegreeRadialBasis, FourierBessel
from gemnet_blocks.errors import SpecError
from gemnet_blocks.layers.projection import RadialAngularProjection
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.options import Options
from gemnet_blocks.spec import Execution, build
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles
from gemnet_blocks.util.recompute import RECOMPUTED, evaluated_by

OF_DEGREE = {"type": "fourier_bessel", "count": 2}
GRADIENT = {"type": "gradient"}


def model(angular: Any, **changes: Any) -> GemNet:
    """GemNet-OC with all interactions, and functions of the degree beside angles."""
    spec = small_spec(bases__angular_radial=OF_DEGREE, heads__forces=GRADIENT, **changes)
    return build(spec, seed=0, execution=Execution(angular=angular)).double()


def rattled(name: str) -> Structures:
    atoms = molecule(name)
    atoms.rattle(0.1)
    return Structures.from_ase(atoms)


def results(model: GemNet, structures: Structures) -> list[Tensor]:
    """Energies, forces and the gradients of both to all weights."""
    prediction = model(structures)
    assert prediction.forces is not None
    (prediction.energy.sum() + prediction.forces.square().sum()).backward()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    return [prediction.energy.detach(), prediction.forces.detach(), *gradients]


@pytest.mark.parametrize(
    "changes",
    [
        {
            "bases__spherical": {"type": "legendre_outer", "count": 2},
            "bases__circular": {"type": "legendre", "count": 4},
        },
        {
            "bases__spherical": {"type": "legendre_outer", "count": 3},
            "bases__circular": {"type": "legendre", "count": 2},
        },
        {"bases__spherical": {"type": "real_harmonics", "count": 3}, "neighbors__ties": "smooth"},
    ],
    ids=["more circular degrees", "more spherical degrees", "harmonics, fading neighbors"],
)
def test_explicit_and_factorized_sums_are_equal(changes: dict[str, Any]) -> None:
    structures = rattled("H2O2")
    slow, fast = model("explicit", **changes), model("factorized", **changes)
    for one, other in zip(results(fast, structures), results(slow, structures), strict=True):
        assert_close(one, other, 1e-10)
    recomputing = evaluated_by(RECOMPUTED, fast)
    assert_close(recomputing(structures).energy, slow(structures).energy, 1e-10)


def test_all_interactions_equal_their_definitions() -> None:
    found, structures = model("auto", bases__spherical={"type": "real_harmonics", "count": 2}), rattled("NH3")
    assert_close(found(structures).energy, oracles.model(found, structures).energy, 1e-10)


def test_the_projection_takes_the_functions_of_the_degree() -> None:
    projection = RadialAngularProjection(2, 4, 3, degrees=(0, 1, 1, 2), degree_count=4).double()
    radial = torch.randn(5, 4, 2, dtype=torch.float64)
    assert_close(projection(radial), oracles.project(projection, radial))
    expected = torch.einsum("en,nk->ek", radial[:, 1], projection.weight[:, :, 2])
    assert_close(projection(radial)[:, :, 2], expected)
    assert list(projection.state_dict()) == ["weight"]


def test_edge_sets_have_their_own_cutoffs_and_enough_degrees() -> None:
    bases = model("auto", bases__circular={"type": "legendre", "count": 4}).backbone.geometry.bases
    spec = small_spec()
    for name, basis in bases.angular.items():
        assert isinstance(basis, FourierBessel)
        assert basis.cutoff == spec.graphs[name].cutoff
        assert basis.degree_count == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"bases__circular": {"type": "gaussian", "count": 3}},
            r"the functions of\s+bases.circular do not have a degree",
        ),
        ({"bases__spherical": {"type": "gaussian_outer", "count": 3}}, "bases.spherical do not have a degree"),
        ({"bases__radial": OF_DEGREE}, "bases.radial: the functions of 'fourier_bessel' depend on the degree"),
        ({"bases__angular_radial": None, "bases__radial": OF_DEGREE}, "choose another bases.radial"),
    ],
)
def test_bases_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        build(small_spec(**{"bases__angular_radial": OF_DEGREE, **changes}))


class Powers(DegreeRadialBasis):
    """f_ln(x) = x^(l + n)."""

    class Options(Options):
        type: str
        count: int

    @classmethod
    def from_options(cls, options: Any, cutoff: float, envelope: Any = None, degree_count: int = 1) -> Powers:
        return cls(cutoff, options.count, degree_count, envelope)

    def raw(self, scaled_distance: Tensor) -> Tensor:
        exponents = torch.arange(self.degree_count)[:, None] + torch.arange(self.count)
        return scaled_distance[..., None, None] ** exponents


def test_custom_bases() -> None:
    spec, structures = small_spec(bases__angular_radial={"type": "powers", "count": 2}), KINDS["molecules"]()
    found = [
        build(spec, extra={"powers": Powers}, seed=0, execution=Execution(angular=angular)).double()(structures).energy
        for angular in ("explicit", "factorized")
    ]
    assert_close(found[1], found[0], 1e-10)
    with pytest.raises(SpecError, match=r"bases\.radial: the functions of 'powers' depend on the degree"):
        build(small_spec(bases__radial={"type": "powers", "count": 2}), extra={"powers": Powers})


def test_bases_without_degrees_that_no_interaction_reads() -> None:
    changes = {"interactions__quadruplet": None, "bases__spherical": {"type": "gaussian_outer", "count": 3}}
    build(small_spec(bases__angular_radial=OF_DEGREE, **changes))
