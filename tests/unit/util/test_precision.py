from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from helpers import GRADIENT_FORCES, KINDS, small_spec
from torch import Tensor

from gemnet_blocks import Structures
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.spec import build
from gemnet_blocks.spec.execution import Execution
from gemnet_blocks.util.precision import BFloat16Products, MatrixProducts, PlainProducts


def model_with(matmul: MatrixProducts, angular: Any = "auto", **changes: Any) -> GemNet:
    return build(small_spec(**changes), seed=0, execution=Execution(matmul=matmul, angular=angular))


def settings_of_the_process() -> list[object]:
    backends: list[Any] = [torch.backends.mkldnn.matmul, torch.backends.cuda.matmul]
    return [*(backend.fp32_precision for backend in backends), torch.get_float32_matmul_precision()]


def slab() -> Structures:
    return KINDS["slab"]().to(dtype=torch.float32)


def test_factors_are_rounded_to_bfloat16_and_sums_are_not() -> None:
    a, b = torch.randn(3, 40, 30), torch.randn(3, 30, 20)
    exact = a.bfloat16().double() @ b.bfloat16().double()
    torch.testing.assert_close(BFloat16Products().product(a, b).double(), exact, rtol=1e-2, atol=1e-2)
    assert not torch.equal(BFloat16Products().product(a, b), a @ b)
    expected = BFloat16Products().product(a[0], b[0])
    torch.testing.assert_close(BFloat16Products().linear(a[0], b[0].T), expected)
    torch.testing.assert_close(BFloat16Products().subtracted(a @ b, a, b), a @ b - BFloat16Products().product(a, b))


def test_other_types_are_multiplied_as_they_are() -> None:
    a, b = torch.randn(4, 4, dtype=torch.float64), torch.randn(4, 4, dtype=torch.float64)
    assert torch.equal(BFloat16Products().product(a, b), a @ b)
    with torch.autocast("cpu", torch.float16):
        assert BFloat16Products().product(a.float(), b.float()).dtype == torch.float16


def test_derivatives_are_products_of_the_same_kind() -> None:
    rows, weight = torch.randn(2, 50, 30).requires_grad_(), torch.randn(20, 30).requires_grad_()

    def derivatives(products: PlainProducts | BFloat16Products) -> list[Tensor]:
        square = products.linear(rows, weight).square().sum()
        first = torch.autograd.grad(square, [rows, weight], create_graph=True)
        return [*first, *torch.autograd.grad(sum(g.square().sum() for g in first), [rows, weight])]

    for rounded, exact in zip(derivatives(BFloat16Products()), derivatives(PlainProducts()), strict=True):
        assert not torch.equal(rounded, exact)
        assert float((rounded - exact).norm() / exact.norm()) < 0.01


@pytest.mark.parametrize("angular", ["factorized", "explicit"])
def test_models_differ_by_rounding_alone(angular: str) -> None:
    structures, weights = slab(), []
    predictions, gradients = [], []
    for name in ("float32", "bfloat16"):
        model = model_with(name, angular, **GRADIENT_FORCES)
        weights.append(list(model.parameters()))
        prediction = model(structures)
        predictions.append(prediction)
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        loss = prediction.energy.sum() + prediction.forces.square().sum()
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, trained)]))
    exact, rounded = predictions
    assert not torch.equal(exact.energy, rounded.energy)
    torch.testing.assert_close(exact.energy, rounded.energy, rtol=0.02, atol=0.02)
    assert float((exact.forces - rounded.forces).norm() / exact.forces.norm()) < 0.02
    assert float((gradients[0] - gradients[1]).norm() / gradients[0].norm()) < 0.03
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_models_of_other_threads_and_the_process_are_left_alone() -> None:
    structures, before = slab(), settings_of_the_process()
    exact, rounded = (model_with(name, **GRADIENT_FORCES) for name in ("float32", "bfloat16"))
    alone = [exact(structures), rounded(structures)]
    with ThreadPoolExecutor(2) as threads:
        together = [[threads.submit(model, structures) for model in (exact, rounded)] for _ in range(4)]
        for both in together:
            for found, expected in zip(both, alone, strict=True):
                assert torch.equal(found.result().energy, expected.energy)
                assert torch.equal(found.result().forces, expected.forces)
    assert settings_of_the_process() == before


def test_copies_multiply_like_the_original() -> None:
    model, structures = model_with("bfloat16"), slab()
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(copied(structures).energy, model(structures).energy)
