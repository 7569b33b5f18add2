"""Pictures of bases show the library's own functions."""

import numpy as np
import pytest
import torch
from drawings import SYMMETRIC
from pydantic import Field

from gemnet_blocks.basis.circular import Legendre
from gemnet_blocks.basis.envelopes import Exponential, Polynomial
from gemnet_blocks.basis.radial import Bernstein, Gaussian, RadialBasis, SphericalBessel
from gemnet_blocks.basis.spherical import GaussianOuter, LegendreOuter, RealHarmonics
from gemnet_blocks.errors import SpecError
from gemnet_blocks.options import Options
from gemnet_blocks.plotting import draw_bases, draw_circular, draw_envelope, draw_radial, draw_spherical
from gemnet_blocks.plotting.bases import map_rows


def lines(picture, panel=0):
    return [line.get_xydata() for line in picture.figure.axes[panel].lines]


@pytest.mark.parametrize("envelope", [Polynomial(5), Exponential()])
def test_envelopes_and_their_derivatives(envelope):
    picture = draw_envelope(envelope)
    x, value = lines(picture)[0].T
    np.testing.assert_allclose(value, envelope(torch.tensor(x)).numpy(), atol=1e-12)
    first, second = (line[:, 1] for line in lines(picture, 1)[:2])
    np.testing.assert_allclose(np.gradient(value, x)[1:-1], first[1:-1], atol=2e-3)
    np.testing.assert_allclose(np.gradient(first, x)[2:-2], second[2:-2], atol=0.1)


@pytest.mark.parametrize("basis", [Gaussian(6.0, 5), SphericalBessel(6.0, 5), Bernstein(6.0, 5)], ids=repr)
def test_radial_functions(basis):
    found = lines(draw_radial(basis))
    assert len(found) == basis.count + 1  # and the envelope
    expected = basis.double()(torch.tensor(found[0][:, 0])).detach().numpy()
    for column, line in enumerate(found[:-1]):
        np.testing.assert_allclose(line[:, 1], expected[:, column], atol=1e-12)


def test_some_of_many_functions():
    picture = draw_radial(Gaussian(6.0, 128))
    assert len(lines(picture)) == 17
    assert "16 of 128" in picture.figure.axes[0].get_title()


def test_drawing_does_not_change_a_basis():
    basis = Gaussian(6.0, 5, trainable=True)
    draw_radial(basis)
    assert basis.centers.dtype == torch.get_default_dtype()


def test_circular_functions():
    found = lines(draw_circular(Legendre(4)))
    angle = np.radians(found[1][:, 0])
    np.testing.assert_allclose(found[1][:, 1], np.sqrt(3 / (4 * np.pi)) * np.cos(angle), atol=1e-12)


@pytest.mark.parametrize("basis", [LegendreOuter(3), GaussianOuter(3), RealHarmonics(3)], ids=repr)
def test_every_spherical_function_is_a_map(basis):
    picture = draw_spherical(basis)
    assert sorted(index for row in map_rows(basis) for index in row) == list(range(9))
    assert sum(len(axes.images) for axes in picture.figure.axes) == 9


def test_harmonics_are_in_the_order_of_m():
    assert map_rows(RealHarmonics(3)) == [[0], [3, 1, 2], [7, 8, 4, 5, 6]]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bases.spherical": None, "interactions.quadruplet": None},
        {"bases.spherical.type": "real_harmonics", "bases.circular.type": "gaussian"},
        {"bases.angular_radial": {"type": "spherical_bessel", "count": 3}, "bases.envelope": {"type": "exponential"}},
        {"bases.spherical.count": 9},
        {"interactions.triplet.bases": {"radial": {"type": "bernstein", "count": 4}}},
        {"interactions.quadruplet.bases": {"envelope": {"type": "exponential"}, "spherical": None}},
    ],
    ids=str,
)
def test_bases_of_specs(changes):
    spec = SYMMETRIC.patch({"bases.spherical.count": 3}).patch(changes)
    picture = draw_bases(spec)
    titles = " ".join(
        [axes.get_title() for axes in picture.figure.axes] + [panel.get_suptitle() for panel in picture.figure.subfigs]
    )
    own = [part.bases for part in spec.interactions.values() if part.bases is not None]
    for options in [
        spec.bases.radial,
        spec.bases.circular,
        spec.bases.envelope,
        spec.bases.spherical,
        *(one for part in own for one in part.given().values()),
    ]:
        assert options is None or options.type in titles


class TentOptions(Options):
    """One tent."""

    type: str
    count: int = Field(ge=1)


class Tent(RadialBasis):
    """1 - x, as often as asked for."""

    Options = TentOptions

    @classmethod
    def from_options(cls, options, cutoff, envelope=None):
        return cls(cutoff, options.count, envelope)

    def raw(self, scaled_distance):
        return (1 - scaled_distance)[..., None].expand(*scaled_distance.shape, self.count)


def test_own_bases():
    spec = SYMMETRIC.patch({"bases.radial": {"type": "tent", "count": 2}})
    assert "tent" in draw_bases(spec, extra={"tent": Tent}).figure.axes[2].get_title()
    with pytest.raises(SpecError, match=r"bases.radial: unknown radial basis 'tent'"):
        draw_bases(spec)


def test_edge_sets_that_do_not_exist():
    with pytest.raises(SpecError, match="unknown edge set 'other'"):
        draw_bases(SYMMETRIC, edge_set="other")
