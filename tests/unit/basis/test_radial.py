"""The radial bases against their definitions."""

import copy
import math
import pickle

import numpy as np
import pytest
import sympy
import torch
from pydantic import ValidationError
from scipy.special import spherical_jn

from gemnet_blocks.basis import symbolic
from gemnet_blocks.basis.envelopes import Envelope, Exponential, Polynomial
from gemnet_blocks.basis.radial import Bernstein, Gaussian, RadialBasis, SphericalBessel, spherical_bessel_zeros

X = sympy.Symbol("x")
CUTOFF = 5.5
CLASSES = [Gaussian, SphericalBessel, Bernstein]
all_classes = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
both_envelopes = pytest.mark.parametrize("envelope", [Polynomial(5), Exponential()], ids=["polynomial", "exponential"])


@pytest.fixture(autouse=True)
def _double_precision():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def definitions(cls, count):
    """The raw functions of a basis as sympy expressions."""
    if cls is Gaussian:
        return [symbolic.gaussian(k, count, X) for k in range(count)]
    if cls is SphericalBessel:
        return [symbolic.spherical_bessel(n, sympy.Rational(11, 2), X) for n in range(1, count + 1)]
    gamma = symbolic.softplus(sympy.Rational("0.45264"))
    return [symbolic.bernstein(k, count, gamma, X) for k in range(count)]


def expected_values(expressions, x):
    return np.stack([symbolic.evaluate(expression, {X: x}) for expression in expressions], axis=-1)


def assert_close(computed, expected, tolerance):
    """Compare relative to the largest value of each function, but no smaller than the smallest of the maxima."""
    size = np.abs(expected).max(axis=0)
    np.testing.assert_array_less(np.abs(computed - expected), np.broadcast_to(tolerance * size, expected.shape))


def derivatives(function, x, functions):
    """First and second derivative of each function by automatic differentiation, (points, functions)."""
    x = x.clone().requires_grad_()
    values = function(x)
    firsts, seconds = [], []
    for k in range(functions):
        (first,) = torch.autograd.grad(values[..., k].sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x, retain_graph=True)
        firsts.append(first.detach())
        seconds.append(second)
    return torch.stack(firsts, -1), torch.stack(seconds, -1)


def singular_points(dtype):
    cutoff = torch.tensor(CUTOFF, dtype=dtype)
    around = [cutoff, torch.nextafter(cutoff, cutoff - 1), torch.nextafter(cutoff, cutoff + 1)]
    others = [0.0, 1e-30, 1e-12, 1e-6, 1e-3, 0.05, 0.1, 1.0, CUTOFF + 0.1, 10 * CUTOFF, 1e5]
    return torch.cat([torch.stack(around), torch.tensor(others, dtype=dtype)])


@all_classes
@pytest.mark.parametrize("count", [2, 9, 32])
def test_raw_functions_equal_the_definition(cls, count):
    x = np.concatenate([np.linspace(0, 1, 24), [1e-9, 1e-4, 0.02, 1.3]])
    computed = cls(CUTOFF, count).raw(torch.from_numpy(x)).detach().numpy()
    assert_close(computed, expected_values(definitions(cls, count), x), 1e-12)


@all_classes
def test_many_functions(cls):
    chosen = [0, 1, 31, 64, 100, 126, 127]
    x = np.concatenate([np.linspace(0, 1, 17), [1e-3, 0.5, 3.0]])
    everything = definitions(cls, 128)
    computed = cls(CUTOFF, 128).raw(torch.from_numpy(x)).detach().numpy()[:, chosen]
    expected = expected_values([everything[k] for k in chosen], x)
    np.testing.assert_allclose(computed, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    single = cls(CUTOFF, 128).float().raw(torch.from_numpy(x).float())[:, chosen].detach().double().numpy()
    np.testing.assert_allclose(single, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@all_classes
@both_envelopes
def test_forward_is_envelope_times_raw_functions(cls, envelope):
    basis = cls(cutoff=CUTOFF, count=6, envelope=envelope)
    distances = np.linspace(0, 7, 29)
    symbols = {
        Polynomial: symbolic.polynomial_envelope(5, X),
        Exponential: symbolic.exponential_envelope(X),
    }
    expressions = [symbols[type(envelope)] * function for function in definitions(cls, 6)]
    expected = expected_values(expressions, distances / CUTOFF)
    assert_close(basis(torch.from_numpy(distances)).detach().numpy() + 0.0, expected, 1e-12)


@all_classes
def test_derivatives_equal_those_of_the_definition(cls):
    # small arguments too: there the series and the power functions take over
    x = np.concatenate([[0, 1e-12, 1e-7, 1e-4, 0.003, 0.012, 0.031, 0.033], np.linspace(0.05, 1, 6)])
    computed = derivatives(cls(CUTOFF, 5).raw, torch.from_numpy(x), 5)
    for order, values in enumerate(computed, start=1):
        if cls is SphericalBessel:
            expected = wave_derivatives(order, 5, x)
        else:
            expected = expected_values([sympy.diff(expression, X, order) for expression in definitions(cls, 5)], x)
        size = np.abs(expected).max(axis=0)
        assert (np.abs(values.numpy() - expected) <= 2e-12 * size).all()


def wave_derivatives(order, count, x):
    """Derivatives of the spherical waves from sin(f x)/x = ∫₀¹ f cos(f x t) dt; sympy's own are 0/0 near x = 0."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    t, weights = (nodes + 1) / 2, weights / 2
    columns = []
    for n in range(1, count + 1):
        f = n * np.pi
        integrand = f * (f * t) ** order * np.cos(f * x[:, None] * t + order * np.pi / 2)
        columns.append(np.sqrt(2 / CUTOFF**3) * integrand @ weights)
    return np.stack(columns, axis=-1)


@all_classes
@both_envelopes
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("count", [2, 7, 128])
def test_everything_is_finite(cls, envelope, dtype, count):
    basis = cls(CUTOFF, count, envelope).to(dtype)
    distances = singular_points(dtype).requires_grad_()
    values = basis(distances)
    weights = torch.linspace(-1, 2, count, dtype=dtype)
    (first,) = torch.autograd.grad((values * weights).sum(), distances, create_graph=True)
    targets = [distances, *basis.parameters()]
    second = torch.autograd.grad(first.square().sum() + first.sum(), targets)
    assert values.dtype == dtype
    for part in (values, first, *second):
        assert part.isfinite().all()
    beyond = distances.detach() >= CUTOFF
    assert (values[beyond] == 0).all()
    assert (first[beyond] == 0).all()


@pytest.mark.parametrize(
    "basis",
    [Gaussian(CUTOFF, 4), Gaussian(CUTOFF, 4, trainable=True), SphericalBessel(CUTOFF, 4), Bernstein(CUTOFF, 4)],
    ids=["Gaussian", "trainable", "SphericalBessel", "Bernstein"],
)
def test_derivatives_agree_with_finite_differences(basis):
    basis = copy.deepcopy(basis).double()
    distances = torch.tensor([0.0, 0.05, 1.1, 3.3, 5.0, 7.0], requires_grad=True)
    parameters = list(basis.parameters())
    names = [name for name, _ in basis.named_parameters()]

    def compute(distances, *parameters):
        return torch.func.functional_call(basis, dict(zip(names, parameters, strict=True)), (distances,))

    assert torch.autograd.gradcheck(compute, (distances, *parameters))
    assert torch.autograd.gradgradcheck(compute, (distances, *parameters))


@all_classes
def test_single_precision(cls):
    distances = (torch.rand(2000, generator=torch.Generator().manual_seed(0)) * 1.1 * CUTOFF).float()
    exact = cls(CUTOFF, 32)(distances.double())
    single = cls(CUTOFF, 32).float()(distances)
    assert single.dtype == torch.float32
    assert ((single.double() - exact).abs().amax(0) < 1e-5 * exact.abs().amax(0).clamp(min=0.1)).all()


@all_classes
def test_built_in_single_precision_then_doubled(cls):
    torch.set_default_dtype(torch.float32)
    basis = cls(CUTOFF, 32).double()
    torch.set_default_dtype(torch.float64)
    with torch.no_grad():  # trained values keep the rounding of the type that they were made in; constants must not
        for ours, exact in zip(basis.parameters(), cls(CUTOFF, 32).parameters(), strict=True):
            ours.copy_(exact)
    distances = torch.linspace(0, 6, 50)
    torch.testing.assert_close(basis(distances), cls(CUTOFF, 32)(distances), rtol=0, atol=1e-14)


@all_classes
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 0), (2, 3, 4)], ids=str)
def test_shapes(cls, shape):
    assert cls(CUTOFF, 6)(torch.rand(shape)).shape == (*shape, 6)


@all_classes
def test_nan_is_not_hidden(cls):
    assert cls(CUTOFF, 3)(torch.tensor([math.nan, 1.0])).isnan().any(-1).tolist() == [True, False]


@all_classes
def test_pickles_copies_and_reloads(cls):
    basis = cls(CUTOFF, 8, Exponential())
    distances = torch.rand(9) * 6
    loaded = cls(CUTOFF, 8, Exponential())
    for parameter in basis.parameters():
        parameter.data.mul_(1.1)
    loaded.load_state_dict(basis.state_dict())
    for other in (pickle.loads(pickle.dumps(basis)), copy.deepcopy(basis), loaded):
        assert torch.equal(other(distances), basis(distances))


def test_state():
    assert dict(Gaussian(CUTOFF, 4).named_buffers()).keys() == {"centers"}
    assert Gaussian(CUTOFF, 4).state_dict().keys() == {"centers"}
    assert not list(Gaussian(CUTOFF, 4).parameters())
    assert dict(Gaussian(CUTOFF, 4, trainable=True).named_parameters()).keys() == {"centers"}
    assert dict(SphericalBessel(CUTOFF, 4).named_parameters()).keys() == {"frequencies"}
    assert dict(Bernstein(CUTOFF, 4).named_parameters()).keys() == {"gamma_raw"}
    assert Bernstein(CUTOFF, 4).state_dict().keys() == {"gamma_raw"}
    assert Bernstein(CUTOFF, 4).gamma_raw.shape == ()
    torch.testing.assert_close(SphericalBessel(CUTOFF, 3).frequencies.detach(), math.pi * torch.arange(1.0, 4.0))


def test_bernstein_polynomials_sum_to_one_and_allow_a_single_one():
    x = torch.linspace(0, 3, 40)
    torch.testing.assert_close(Bernstein(CUTOFF, 128).raw(x).sum(-1), torch.ones_like(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(Bernstein(CUTOFF, 1).raw(x), torch.ones(40, 1))


def test_spherical_bessel_functions_are_orthonormal_in_the_ball():
    nodes, weights = np.polynomial.legendre.leggauss(80)
    x = torch.from_numpy((nodes + 1) / 2)
    values = SphericalBessel(CUTOFF, 12).raw(x).detach()
    volume = torch.from_numpy(weights / 2) * CUTOFF * (CUTOFF * x) ** 2  # d² dd
    gram = torch.einsum("p,pm,pn->mn", volume, values, values)
    torch.testing.assert_close(gram, torch.eye(12), rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", range(6))
def test_spherical_bessel_zeros(order):
    zeros = spherical_bessel_zeros(order, 20)
    assert zeros.shape == (20,)
    assert (np.diff(zeros) > 3).all()
    assert np.abs(spherical_jn(order, zeros)).max() < 1e-14
    assert order < zeros[0] < 2 * order + 4  # none is skipped at the start
    first = {0: np.pi, 1: 4.493409457909064, 2: 5.763459196894550, 3: 6.987932000500519}
    if order in first:
        assert zeros[0] == pytest.approx(first[order], abs=1e-14)
    assert spherical_bessel_zeros(order, 0).shape == (0,)


@all_classes
@pytest.mark.parametrize("cutoff", [0.0, -1.0, math.inf, math.nan])
def test_wrong_cutoff(cls, cutoff):
    with pytest.raises(ValueError, match=f"{cls.__name__}: cutoff .* Å"):
        cls(cutoff, 8)


@all_classes
@pytest.mark.parametrize("cutoff", [True, "6", None])
def test_cutoff_of_a_wrong_type(cls, cutoff):
    with pytest.raises((ValueError, TypeError)):  # the latter where beartype checks the annotations first
        cls(cutoff, 8)


@all_classes
@pytest.mark.parametrize("count", [0, -3])
def test_wrong_count(cls, count):
    with pytest.raises(ValueError, match=f"{cls.__name__}: count must be an integer .*, got {count}"):
        cls(6.0, count)


@all_classes
@pytest.mark.parametrize("count", [2.0, True, "8", None])
def test_count_of_a_wrong_type(cls, count):
    with pytest.raises((ValueError, TypeError)):  # the latter where beartype checks the annotations first
        cls(6.0, count)


def test_counts_that_a_basis_cannot_have():
    with pytest.raises(ValueError, match="at least 2, got 1"):
        Gaussian(6.0, 1)
    with pytest.raises(ValueError, match="from 1 to 128, got 129"):
        Bernstein(6.0, 129)


@all_classes
def test_wrong_envelope(cls):
    with pytest.raises(TypeError, match="envelope"):
        cls(6.0, 8, envelope=5)


@all_classes
def test_options(cls):
    basis = cls.from_options(cls.Options(count=9), 7.0, Exponential())
    assert (basis.cutoff, basis.count) == (7.0, 9)
    assert isinstance(basis.envelope, Exponential)
    default = cls.from_options(cls.Options(count=9), cutoff=7.0)
    assert isinstance(default.envelope, Polynomial)
    assert default.envelope.exponent == 5
    for wrong in ({}, {"count": 0}, {"count": True}, {"count": "8"}, {"count": 8, "cutoff": 6.0}):
        with pytest.raises(ValidationError):
            cls.Options(**wrong)


def test_options_of_gaussians():
    assert isinstance(Gaussian.from_options(Gaussian.Options(count=4, trainable=True), 6.0).centers, torch.nn.Parameter)
    with pytest.raises(ValidationError):
        Gaussian.Options(count=1)
    with pytest.raises(ValidationError):
        Gaussian.Options(count=4, trainable=1)
    with pytest.raises(ValidationError):
        Bernstein.Options(count=129)


class Constant(RadialBasis):
    @classmethod
    def from_options(cls, options, cutoff, envelope=None):
        return cls(cutoff, options.count, envelope)

    def raw(self, scaled_distance):
        return torch.ones(*scaled_distance.shape, self.count)


class Linear(Envelope):
    @classmethod
    def from_options(cls, options):
        return cls()

    def forward(self, scaled_distance):
        return (1 - scaled_distance).clamp(min=0)


def test_other_bases_and_envelopes_fit_in():
    with pytest.raises(TypeError, match="abstract"):
        RadialBasis(6.0, 8)
    values = Constant(cutoff=4.0, count=2, envelope=Linear())(torch.tensor([1.0, 8.0]))
    assert values.tolist() == [[0.75, 0.75], [0.0, 0.0]]
