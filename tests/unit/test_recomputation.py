from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import KINDS, assert_close, small_spec
from torch import nn

from gemnet_blocks.recomputation import fixed, remade, without_fragments
from gemnet_blocks.spec import build
from gemnet_blocks.spec.build import Execution


@pytest.mark.parametrize("angular", ["factorised", "explicit"])
@pytest.mark.parametrize("forces", ["direct", "gradient"])
def test_a_memory_budget_changes_no_result(forces: str, angular: str) -> None:
    spec = small_spec(heads__forces={"type": forces})
    model = build(spec, seed=0, execution=Execution(angular=angular, atoms_at_most=2)).double()
    structures = KINDS["slab"]()
    found = []
    for budget in (None, 0):
        with torch.no_grad():
            alone = model(structures, memory_budget=budget)
        trained = model(structures, memory_budget=budget)
        weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
        loss = trained.energy.sum() + trained.forces.square().sum()
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        given = [torch.zeros(()) if gradient is None else gradient for gradient in gradients]
        found.append((alone.energy, alone.forces, trained.energy, trained.forces, *given))
    for kept, made_anew in zip(*found, strict=True):
        assert_close(made_anew, kept, 1e-10)


def test_a_budget_that_suffices_is_no_constraint(monkeypatch: pytest.MonkeyPatch) -> None:
    structures = KINDS["slab"]()
    model = build(small_spec(), seed=0, execution=Execution(memory_budget=1e12)).double()
    lean: list[bool] = []

    def noted(made_anew: bool, function: Callable[..., Any], *arguments: Any) -> Any:
        lean.append(made_anew)
        return remade(made_anew, function, *arguments)

    monkeypatch.setattr("gemnet_blocks.trunk.remade", noted)
    with torch.no_grad():
        model(structures)
        assert lean
        assert not any(lean)
        model(structures, memory_budget=1)
    assert any(lean)


def test_nothing_is_kept_where_it_is_made_anew() -> None:
    calls = []

    def function(x: torch.Tensor) -> torch.Tensor:
        calls.append(x)
        return x.sin().exp()

    x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    remade(True, function, x).sum().backward()
    assert len(calls) == 2
    with torch.no_grad():
        remade(True, function, x)
    assert len(calls) == 3
    assert torch.autograd.gradgradcheck(lambda x: remade(True, function, x), (x,))


def test_parameters_are_fixed_inside_and_trained_afterwards() -> None:
    module = nn.Linear(2, 2)
    module.bias.requires_grad_(False)
    with fixed(module):
        assert not module.weight.requires_grad
    assert module.weight.requires_grad
    assert not module.bias.requires_grad


@pytest.mark.parametrize(("gradients", "expected"), [(False, [2**23, 2**25]), (True, [2**20])])
def test_memory_goes_back_until_the_end_or_with_backward_passes_from_then_on(
    gradients: bool, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    thresholds: list[int] = []

    class Library:
        def mallopt(self, option: int, value: int) -> None:
            assert option == -3
            thresholds.append(value)

    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda _: Library())
    with torch.set_grad_enabled(gradients):
        with without_fragments(False):
            pass
        assert thresholds == []
        with without_fragments(True):
            assert thresholds == expected[:1]
    assert thresholds == expected
