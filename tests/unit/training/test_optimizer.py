from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from gemnet_blocks.errors import SpecError
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.spec import build
from gemnet_blocks.spec.resolve import load_spec
from gemnet_blocks.structures import Structures
from gemnet_blocks.training.optimizer import (
    OptimizerOptions,
    divide_gradients,
    freeze,
    make_optimizer,
    set_learning_rate,
    shared_weights,
    undecayed,
)

CONFIGS = Path(__file__).parents[3] / "paper_configs"
SMALL = {
    "sizes": {"atom": 8, "edge": 8, "radial": 4, "circular": 4, "spherical": 4},
    "bases.radial": {"type": "spherical_bessel", "count": 6},
    "blocks.count": 3,
}


@pytest.fixture
def model() -> nn.Module:
    return build(load_spec(CONFIGS / "symmetric.yaml", SMALL), seed=0)


def test_only_matrices_of_layers_decay(model: nn.Module) -> None:
    spared = undecayed(model)
    assert "trunk.atom_embedding.table.weight" in spared
    assert any("frequencies" in name for name in spared)
    assert "trunk.edge_embedding.dense.linear.weight" not in spared
    assert "trunk.geometry.output_radial.weight" not in spared


def test_scale_factors_are_not_trained_and_all_else_is(model: nn.Module) -> None:
    optimizer = make_optimizer(model, OptimizerOptions(weight_decay=0.1, amsgrad=True, learning_rate=0.01))
    trained = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    factors = {id(one.factor) for one in model.modules() if isinstance(one, ScaleFactor)}
    assert factors
    assert trained == {id(weight) for weight in model.parameters()} - factors
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert all(group["amsgrad"] for group in optimizer.param_groups)
    assert all(group["lr"] == 0.01 for group in optimizer.param_groups)


def test_gradients_of_a_scaled_loss_can_be_clipped(model: nn.Module) -> None:
    """Lightning undoes the scale before gradients are clipped, unless the optimizer says that it will."""
    from lightning.fabric.plugins.precision.amp import _optimizer_handles_unscaling

    assert not _optimizer_handles_unscaling(make_optimizer(model, OptimizerOptions(), scaled_gradients=True))
    assert _optimizer_handles_unscaling(make_optimizer(model, OptimizerOptions()))


def test_shared_weights_are_counted_as_often_as_they_are_used(model: nn.Module) -> None:
    """Where blocks use projections, each with weights of its own, the shared ones are the sum: counts of uses."""
    counts = {
        name: shared_weights(model)[weight]
        for name, weight in model.named_parameters()
        if weight in shared_weights(model)
    }
    geometry = {
        f"trunk.geometry.{name}" for name, weight in model.backbone.geometry.named_parameters() if weight.ndim > 1
    }
    assert counts.keys() == geometry
    assert counts.pop("trunk.geometry.output_radial.weight") == 4
    assert set(counts.values()) == {3}


def test_counts_are_those_of_uses_in_the_blocks(model: nn.Module) -> None:
    """What the projection for updates gives is read by every block once."""
    used = []
    update, blocks = model.backbone.geometry.update_radial, list(model.backbone.blocks)
    handles = [
        block.register_forward_pre_hook(lambda _, inputs: used.append(inputs[1].update_radial)) for block in blocks
    ]
    from ase.build import molecule

    model(Structures.from_ase([molecule("CH3CH2OH")], dtype=torch.float32))
    for handle in handles:
        handle.remove()
    assert len(used) == shared_weights(model)[update.weight]


def test_gradients_are_divided() -> None:
    one, other = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    one.grad = torch.full((2, 2), 6.0)
    divide_gradients({one: 3, other: 3})
    assert torch.equal(one.grad, torch.full((2, 2), 2.0))
    assert other.grad is None


def test_learning_rates_by_pattern(model: nn.Module) -> None:
    rates = [
        {"parameters": "blocks.0.dense.*", "factor": 3.0},
        {"parameters": "trunk.blocks.*", "factor": 0.5},
        {"parameters": "readout.atoms.last.*", "factor": 2},
    ]
    optimizer = make_optimizer(model, OptimizerOptions(learning_rate=0.01, weight_decay=0.1, learning_rates=rates))
    set_learning_rate(optimizer, 0.1)
    names = {weight: name for name, weight in model.named_parameters()}
    found = {names[weight]: group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    assert found["trunk.blocks.0.dense.linear.weight"] == pytest.approx(0.3)
    assert found["trunk.blocks.1.dense.linear.weight"] == pytest.approx(0.05)
    assert found["read_out.atoms.last.linear.weight"] == pytest.approx(0.2)
    assert found["trunk.atom_embedding.table.weight"] == 0.1
    assert len(found) == sum(weight.requires_grad for weight in model.parameters())
    decays = {names[weight]: group["weight_decay"] for group in optimizer.param_groups for weight in group["params"]}
    assert decays == {name: 0.0 if name in undecayed(model) else 0.1 for name in found}


def test_frozen_weights_are_no_parameters_of_the_optimizer(model: nn.Module) -> None:
    freeze(model, ["*", "!blocks.1.*", "blocks.1.update.*"])
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained
    assert all(name.startswith("trunk.blocks.1.") and ".update." not in name for name in trained)
    optimizer = make_optimizer(model, OptimizerOptions())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(trained)
    with pytest.raises(SpecError, match=r"freeze: no parameter has a name like 'blocks\.7\.\*'; did you mean"):
        freeze(model, ["blocks.7.*"])
    freeze(model, ["*"])
    with pytest.raises(SpecError, match="leaves no weight to train"):
        make_optimizer(model, OptimizerOptions())
