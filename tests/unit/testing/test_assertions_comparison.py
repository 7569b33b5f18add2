"""Tolerances, and comparisons of values and gradients."""

from __future__ import annotations

import pytest
import torch

from gemnet_blocks.testing.assertions import TOLERANCES, Tolerance, assert_close, assert_same_function, tolerance_of


def test_a_tolerance_is_relative_and_absolute() -> None:
    tolerance = Tolerance(relative=1e-3, absolute=1e-6)
    assert tolerance.limit(2.0) == 2e-3
    assert tolerance.limit(1e-9) == 1e-6


def test_published_limits_of_symmetry() -> None:
    assert tolerance_of("symmetry of energies", torch.float32).relative == 2e-6
    assert tolerance_of("symmetry of energies", torch.float64).relative == 1e-12


@pytest.mark.parametrize("quantity", list(TOLERANCES))
def test_narrower_types_are_allowed_more(quantity: str) -> None:
    allowed = [tolerance_of(quantity, dtype).relative for dtype in (torch.float32, torch.bfloat16)]
    if torch.float64 in TOLERANCES[quantity]:
        allowed.insert(0, tolerance_of(quantity, torch.float64).relative)
    assert allowed == sorted(set(allowed))


def test_there_is_no_tolerance_for_integers() -> None:
    with pytest.raises(TypeError, match=r"got torch.int64"):
        tolerance_of("values", torch.int64)


def test_close() -> None:
    values = torch.tensor([[1.0, 200.0], [3.0, 4.0]], dtype=torch.float64)
    assert_close(values + 1e-11, values)
    assert_close(values + 0.1, values, 1e-3)
    assert_close(values[:0], values[:0])
    assert_close(torch.tensor([1, 2]), torch.tensor([1, 2]), 1e-9)
    message = r"energies: differ by 1.00e-01 at \[1, 0\], 3.1 instead of 3; the tolerance is 2"
    with pytest.raises(AssertionError, match=message):
        assert_close(values + torch.tensor([[0.0, 0.0], [0.1, 0.0]], dtype=torch.float64), values, name="energies")
    with pytest.raises(AssertionError, match=r"expected the shape \(2, 2\), found \(1, 2\)"):
        assert_close(values[:1], values)
    with pytest.raises(AssertionError, match=r"expected the type torch.float64, found torch.float32"):
        assert_close(values.float(), values)
    with pytest.raises(AssertionError, match=r"1 of 4 numbers are NaN or infinite, the first \[0, 1\]"):
        assert_close(values / torch.tensor([[1.0, 0.0], [1.0, 1.0]]), values)
    with pytest.raises(AssertionError, match="expected values: 4 of 4"):
        assert_close(values, values * torch.nan)


def test_same_function() -> None:
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    y = torch.randn(5, dtype=torch.float64)
    assert_same_function((x + y) ** 2, x * x + 2 * x * y + y * y, [x, y])
    assert_same_function(lambda a, b: (a + b) ** 2, lambda a, b: a * a + 2 * a * b + b * b, [x, y])
    with pytest.raises(AssertionError, match="values: differ"):
        assert_same_function(x * y, x * y + 1e-9, [x])
    with pytest.raises(AssertionError, match="gradients to x: differ"):
        assert_same_function(x * x, x * x.detach(), [x], names=["x"])
    with pytest.raises(AssertionError, match="gradients to input 0: differ"):
        assert_same_function(x * x, (x * x).detach(), [x, y])


def test_errors_that_cancel_in_a_sum_of_gradients_are_found() -> None:
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    fast = torch.stack([x[0] + x[1].detach(), x[1] + x[1] - x[1].detach() + x[0].detach()])
    with pytest.raises(AssertionError, match="gradients"):
        assert_same_function(fast, torch.stack([x[0] + x[1], x[1] + x[0]]), [x])


def test_comparing_draws_no_random_numbers() -> None:
    x = torch.ones(3, requires_grad=True)
    before = torch.random.get_rng_state()
    assert_same_function(x * 2, x + x, [x])
    assert torch.equal(before, torch.random.get_rng_state())
