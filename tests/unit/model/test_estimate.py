"""Operations and memory that are found without computing."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from ase import Atoms
from torch.profiler import ProfilerActivity
from torch.utils.flop_counter import FlopCounterMode

from gemnet_blocks import Structures
from gemnet_blocks.examples import platinum_slab
from gemnet_blocks.model.costs import Estimate, Task
from gemnet_blocks.model.estimate import estimate
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.ledger import BACKWARD, ENERGY_GRADIENT, REST, MemoryLedger, Step
from gemnet_blocks.model.profiler import profile
from gemnet_blocks.spec import build, load_spec
from gemnet_blocks.spec.execution import Execution

CONFIGS = Path(__file__).parents[3] / "paper_configs"
SMALL = {"sizes.atom": 8, "sizes.edge": 12, "blocks.count": 1, "bases.radial.count": 8}
ACCEPTED = 0.25


def small_model(forces: str | None = "direct", plan: str = "auto", config: str = "gemnet-oc") -> GemNet:
    changes = {**SMALL, "heads.forces": None if forces is None else {"type": forces}}
    return build(load_spec(CONFIGS / f"{config}.yaml", changes), execution=Execution(angular=plan), seed=0)


def slab() -> Structures:
    return Structures.from_ase(platinum_slab(1, 2))


class NoModules:
    """In place of what follows modules, which does not get along with gradients to inputs."""

    parents = ("Global",)
    is_bw = False

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        pass


def measured_flops(model: GemNet, structures: Structures, task: Task) -> int:
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = NoModules()
    with counter:
        Step(model, task, MemoryLedger())(structures)
    return counter.get_total_flops()


def measured_peak(model: GemNet, structures: Structures, task: Task) -> int:
    """The high-water mark of torch's allocations."""
    step = Step(model, task, MemoryLedger())
    step(structures)  # what is made once only
    with torch.profiler.profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = step(structures)
    del result
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    in_use = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        in_use += event.nbytes()
        peak = max(peak, in_use)
    return peak


@functools.cache
def gradient_estimate(task: Task) -> Estimate:
    """The estimate for a model with gradient forces, which several tests read."""
    return small_model("gradient", config="triplets-only").estimate(slab(), task)


@pytest.mark.parametrize(
    ("forces", "plan", "task", "config"),
    [
        ("direct", "explicit", "train", "gemnet-oc"),
        ("direct", "factorized", "energy", "triplets-only"),
        ("gradient", "auto", "train", "triplets-only"),
        ("gradient", "auto", "predict", "gemnet-oc"),
        (None, "factorized", "train", "triplets-only"),
    ],
)
def test_estimates_equal_measurements(forces: str | None, plan: str, task: Task, config: str):
    model, structures = small_model(forces, plan, config), slab()
    shared = (forces, plan, task, config) == ("gradient", "auto", "train", "triplets-only")
    estimate = gradient_estimate("train") if shared else model.estimate(structures, task)
    assert estimate.flops == pytest.approx(measured_flops(model, structures, task), rel=ACCEPTED)
    assert estimate.peak_bytes == pytest.approx(measured_peak(model, structures, task), rel=ACCEPTED)
    assert sum(part.held_bytes for part in estimate.parts) == estimate.peak_bytes
    assert max(part.peak_bytes for part in estimate.parts) == estimate.peak_bytes


@pytest.mark.parametrize(
    ("config", "plan"),
    [
        ("gemnet-oc", "explicit"),
        ("gemnet-oc", "factorized"),
        ("symmetric", "factorized"),
        ("scaled-bases", "explicit"),
    ],
)
def test_counts_are_those_of_the_graphs(plan: str, config: str):
    model, structures = small_model(None, config=config, plan=plan), slab()
    assert model.estimate(structures, "energy").counts == model.backbone.graphs(structures, torch.float32).counts()


def test_listed_quadruplets_are_not_listed(monkeypatch):
    model, structures = small_model(None, plan="explicit"), slab()

    def listed(*_: object) -> None:
        raise AssertionError("quadruplets were listed")

    monkeypatch.setattr("gemnet_blocks.graph.index_sets.quadruplets", listed)
    assert model.estimate(structures, "energy").counts["quadruplets through quad"] > 100
    with pytest.raises(AssertionError, match="were listed"):
        model(structures)


def test_the_estimated_memory_of_listing_quadruplets():
    model, structures = small_model(plan="explicit"), slab()
    estimated, measured = (
        next(part.peak_bytes for part in found.parts if part.name == "graphs")
        for found in (model.estimate(structures, "energy"), profile(model, structures, "energy", repeats=1))
    )
    assert estimated == pytest.approx(measured, rel=0.03)


def test_parts_by_task():
    named = {task: {part.name for part in gradient_estimate(task).parts} for task in ("energy", "predict", "train")}
    assert "interaction triplet" in named["energy"]
    assert not named["energy"] & {ENERGY_GRADIENT, BACKWARD}
    assert named["predict"] - named["energy"] - {REST} == {ENERGY_GRADIENT}
    assert BACKWARD in named["train"]


def test_the_model_is_left_as_it_was():
    changes = {**SMALL, "heads.forces": {"type": "gradient", "dynamic_scaling": True}}
    model = build(load_spec(CONFIGS / "triplets-only.yaml", changes), seed=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.estimate(slab(), "train")
    assert model.forces.scale._good_steps == 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(
        parameter.grad is None and parameter.requires_grad for parameter in model.backbone.edge_embedding.parameters()
    )
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert model(slab()).energy.isfinite().all()


@pytest.mark.parametrize(
    ("atoms", "plan", "task"),
    [
        ([], "explicit", "energy"),
        ([Atoms()], "factorized", "predict"),
        ([Atoms("H", tags=[1])], "explicit", "train"),
        ([Atoms("H2", [[0, 0, 0], [0, 0, 30]], tags=[1, 1])], "factorized", "energy"),
    ],
)
def test_structures_without_edges(atoms: list[Atoms], plan: str, task: Task):
    estimate = small_model("gradient", plan).estimate(Structures.from_ase(atoms), task)
    assert estimate.counts["edges of main"] == 0
    assert estimate.counts["quadruplets through quad"] == 0


def test_memory_counts_the_type_of_the_numbers():
    model, structures = small_model(None, config="triplets-only"), slab()
    single = model.estimate(structures, "energy")
    double = model.double().estimate(structures, "energy")
    assert double.weight_bytes == pytest.approx(2 * single.weight_bytes, rel=0.01)
    assert 1.2 < double.peak_bytes / single.peak_bytes <= 2


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_estimates_do_not_depend_on_enabled_gradients(without: type):
    model, expected = small_model("gradient", config="triplets-only"), gradient_estimate("train")
    with without():
        found = model.estimate(slab(), "train")
    assert (found.counts, found.flops) == (expected.counts, expected.flops)
    assert found.peak_bytes == pytest.approx(expected.peak_bytes, rel=0.01)  # structures may be copied


@pytest.mark.parametrize("cost", [estimate, profile])
def test_unknown_tasks_and_inputs(cost: Any) -> None:
    model, structures = small_model(), slab()
    with pytest.raises(ValueError, match="unknown task 'training': choose one of energy, predict, train"):
        cost(model, structures, "training")
    with pytest.raises(TypeError, match="expected Structures, got list"):
        cost(model, [structures])
