from __future__ import annotations

import pytest
import torch

from gemnet_blocks.layers.initialization import he_orthogonal_, initialize_output_


@pytest.mark.parametrize("shape", [(64, 32), (32, 64), (16, 16)])
def test_inputs_of_every_output_have_mean_zero_and_variance_one_over_their_number(shape: tuple[int, int]) -> None:
    weight = he_orthogonal_(torch.empty(shape, dtype=torch.float64))
    fan_in = shape[1]
    assert weight.mean(dim=1).abs().max() < 1e-12
    # a square orthogonal row's variance is 1/fan_in before it is standardised, next to which the 1e-6 is small
    torch.testing.assert_close(weight.var(dim=1) * fan_in, torch.ones(shape[0]).double(), rtol=1e-3, atol=0)


def test_weights_of_three_axes_are_standardised_over_both_inputs_together() -> None:
    weight = he_orthogonal_(torch.empty(8, 5, 6, dtype=torch.float64))
    flat = weight.flatten(0, 1)
    assert flat.mean(dim=0).abs().max() < 1e-12
    torch.testing.assert_close(flat.var(dim=0) * 40, torch.ones(6).double(), rtol=1e-3, atol=0)
    # but not over each input alone
    assert weight.mean(dim=0).abs().max() > 1e-3
    assert weight.mean(dim=1).abs().max() > 1e-3


def test_outputs_are_decorrelated() -> None:
    orthogonal = he_orthogonal_(torch.empty(20, 200, dtype=torch.float64))
    independent = torch.randn(20, 200, dtype=torch.float64)

    def correlation(weight: torch.Tensor) -> float:
        return float((torch.corrcoef(weight) - torch.eye(20)).abs().max())

    # removing the mean of orthogonal rows brings back a little correlation
    assert correlation(orthogonal) < 0.25 * correlation(independent)


def test_the_variance_is_unbiased_and_has_the_published_constant() -> None:
    torch.manual_seed(4)
    raw = torch.nn.init.orthogonal_(torch.empty(3, 5, dtype=torch.float64))
    torch.manual_seed(4)
    weight = he_orthogonal_(torch.empty(3, 5, dtype=torch.float64))
    for row, expected in zip(weight, raw, strict=True):
        mean = expected.sum() / 5
        variance = ((expected - mean) ** 2).sum() / 4
        torch.testing.assert_close(row, (expected - mean) / (variance + 1e-6).sqrt() / 5**0.5, rtol=1e-12, atol=0)


@pytest.mark.parametrize("shape", [(4, 1), (1, 4), (1, 1), (1, 1, 5), (3, 0)])
def test_odd_shapes_give_finite_weights_in_place(shape: tuple[int, ...]) -> None:
    weight = torch.empty(shape)
    assert he_orthogonal_(weight) is weight
    assert weight.isfinite().all()


def test_a_single_input_keeps_its_weight() -> None:
    weight = he_orthogonal_(torch.empty(4, 1, dtype=torch.float64))
    assert weight.square().sum() == pytest.approx(1)


def test_gradients_can_be_computed_afterwards() -> None:
    weight = torch.nn.Parameter(torch.empty(3, 3))
    he_orthogonal_(weight)
    initialize_output_(weight, "grid")
    assert weight.requires_grad
    assert weight.is_leaf


def test_choices_of_last_layers() -> None:
    weight = torch.full((2, 5), torch.nan)
    assert initialize_output_(weight, "zeros") is weight
    assert weight.tolist() == [[0.0] * 5] * 2
    initialize_output_(weight, "grid")
    assert weight.tolist() == [[-1, -0.5, 0, 0.5, 1]] * 2
    initialize_output_(weight, "loggrid")
    torch.testing.assert_close(weight, torch.tensor([[1e-4, 1e-3, 1e-2, 1e-1, 1]] * 2))
    torch.manual_seed(0)
    initialize_output_(weight, "he_orthogonal")
    torch.manual_seed(0)
    assert torch.equal(weight, he_orthogonal_(torch.empty(2, 5)))
