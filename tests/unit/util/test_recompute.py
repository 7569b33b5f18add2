from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from ase.build import bulk
from helpers import KINDS, assert_close, small_spec
from torch import Tensor, nn

from gemnet_blocks.examples import platinum_slab
from gemnet_blocks.interactions.triplet import TripletInteraction
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.ledger import DispatchRecorder, MemoryLedger
from gemnet_blocks.spec import build
from gemnet_blocks.spec.execution import Execution
from gemnet_blocks.structures import Structures
from gemnet_blocks.util.recompute import RECOMPUTED, STORED, evaluated_by, fixed


@pytest.mark.parametrize("angular", ["factorized", "explicit"])
@pytest.mark.parametrize("forces", ["direct", "gradient"])
def test_a_memory_budget_changes_no_result(forces: str, angular: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemnet_blocks.util.recompute.VALUES_AT_ONCE", 256)  # many steps in a small structure
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
    asked: list[bool] = []
    model.backbone.register_forward_pre_hook(lambda backbone, _: asked.append(backbone.evaluation is RECOMPUTED))
    estimates = []
    estimate = type(model).estimate
    monkeypatch.setattr(type(model), "estimate", lambda *arguments: estimates.append(1) or estimate(*arguments))
    with torch.no_grad():
        for budget in (None, 1, 0):
            model(structures, memory_budget=budget)
    # the estimate is a forward pass too, once for a structure; nothing is to be estimated where nothing suffices
    assert asked == [False, False, True, True]
    assert len(estimates) == 1
    assert model.backbone.evaluation is STORED


def short_of_memory(model: GemNet, structures: Structures) -> bool:
    """Whether a prediction recomputes intermediate results."""
    asked: list[bool] = []
    # an estimate calls the backbone, too, before the prediction
    handle = model.backbone.register_forward_pre_hook(
        lambda backbone, _: asked.append(backbone.evaluation is RECOMPUTED)
    )
    with torch.no_grad():
        model(structures)
    handle.remove()
    return asked[-1]


def copper(lattice_constant: float) -> Structures:
    return Structures.from_ase(bulk("Cu", cubic=True, a=lattice_constant) * (2, 2, 2))


def test_a_budget_holds_for_denser_structures_of_as_many_atoms() -> None:
    spec = small_spec(heads__forces={"type": "gradient"})
    model = build(spec, seed=0, execution=Execution(memory_budget=1e6))
    assert not short_of_memory(model, copper(9.0))
    assert short_of_memory(model, copper(3.6))


def test_a_budget_holds_for_another_precision() -> None:
    model, structures = build(small_spec(heads__forces={"type": "gradient"}), seed=0), copper(3.6)
    least, most = (model.to(dtype).estimate(structures).peak_bytes for dtype in (torch.float32, torch.float64))
    model.memory_budget = (least + most) / 2
    assert not short_of_memory(model.float(), structures)
    assert short_of_memory(model.double(), structures)


@pytest.mark.parametrize("budget", ["8GB", -1, math.nan, True])
def test_invalid_memory_budgets(budget: Any) -> None:
    with pytest.raises(ValueError, match="memory_budget must be a number of bytes of at least 0, or None, got"):
        Execution(memory_budget=budget)
    with pytest.raises(ValueError, match="memory_budget must be a number of bytes"):
        build(small_spec(), seed=0)(KINDS["slab"](), memory_budget=budget)


@pytest.mark.parametrize("in_steps", [True, False])
def test_an_interaction_without_steps_is_recomputed_as_a_whole(in_steps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TripletInteraction, "in_steps", in_steps)
    spec = small_spec(heads__forces={"type": "gradient"})
    model = build(spec, seed=0).double()
    calls: list[int] = []
    for module in model.modules():
        if isinstance(module, TripletInteraction):
            module.register_forward_pre_hook(lambda *_: calls.append(1))
    structures = KINDS["slab"]()
    found = []
    for budget in (None, 0):
        calls.clear()
        with torch.no_grad():
            found.append(model(structures, memory_budget=budget))
        assert len(calls) == spec.blocks.count * (1 if budget is None or in_steps else 2)
    assert_close(found[1].forces, found[0].forces, 1e-10)


def test_memory_grows_less_with_a_budget() -> None:
    model = build(small_spec(heads__forces={"type": "gradient"}), seed=0, execution=Execution(atoms_at_most=8))
    structures = Structures.from_ase(platinum_slab(2))
    peaks = []
    for budget in (None, 0):
        ledger = MemoryLedger()
        with torch.no_grad(), DispatchRecorder(ledger):
            model(structures, memory_budget=budget)
        peaks.append(ledger.peak)
    assert peaks[1] < 0.5 * peaks[0]


def function(x: Tensor) -> Tensor:
    return x.sin().exp()


def test_only_arguments_are_stored() -> None:
    calls = []

    def noted(x: Tensor) -> Tensor:
        calls.append(x)
        return function(x)

    x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    RECOMPUTED(noted, x).sum().backward()
    assert len(calls) == 2
    with torch.no_grad():
        RECOMPUTED(noted, x)
    assert len(calls) == 3
    STORED(noted, x).sum().backward()
    assert len(calls) == 4
    assert torch.autograd.gradgradcheck(lambda x: RECOMPUTED(function, x), (x,))


def test_rows_are_mapped_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemnet_blocks.util.recompute.VALUES_AT_ONCE", 8)
    sizes = []

    def noted(x: Tensor, factor: Tensor) -> Tensor:
        sizes.append(len(x))
        return function(x) * factor

    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    factor = torch.randn(5, 1, dtype=torch.float64, requires_grad=True)
    expected = STORED.by_rows(noted, x, factor)
    found = RECOMPUTED.by_rows(noted, x, factor)
    assert sizes == [5, 2, 2, 1]
    torch.testing.assert_close(found, expected)
    given = torch.autograd.grad(found.sum(), (x, factor))
    torch.testing.assert_close(given, torch.autograd.grad(expected.sum(), (x, factor)))
    assert torch.autograd.gradgradcheck(lambda *rows: RECOMPUTED.by_rows(noted, *rows), (x, factor))
    none = torch.zeros(0, 3, dtype=torch.float64, requires_grad=True)
    assert RECOMPUTED.by_rows(function, none).shape == (0, 3)


def test_a_module_that_recomputes_shares_weights_and_hooks() -> None:
    backbone = build(small_spec(), seed=0).backbone
    called: list[nn.Module] = []
    backbone.blocks[0].register_forward_hook(lambda block, *_: called.append(block))
    recomputing = evaluated_by(RECOMPUTED, backbone)
    assert recomputing.state_dict().keys() == backbone.state_dict().keys()
    for weight, same in zip(backbone.parameters(), recomputing.parameters(), strict=True):
        assert weight is same
    backbone.double()
    structures = KINDS["slab"]()
    recomputing(structures, backbone.topology(structures))
    assert len(called) == 1
    evaluations = {module.evaluation for module in backbone.modules() if hasattr(module, "evaluation")}
    assert evaluations == {STORED}


def test_parameters_are_fixed_inside_and_trained_afterwards() -> None:
    module = nn.Linear(2, 2)
    module.bias.requires_grad_(False)
    with fixed(module):
        assert not module.weight.requires_grad
    assert module.weight.requires_grad
    assert not module.bias.requires_grad
