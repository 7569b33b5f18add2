"""Seconds and counts of a prediction."""

import gzip
import json
import sys
from pathlib import Path

import pytest
import torch

from gemnet_blocks import Structures
from gemnet_blocks.examples import platinum_slab
from gemnet_blocks.model.ledger import BACKWARD, ENERGY_GRADIENT, REST
from gemnet_blocks.model.profiler import Profile, Timer, profile, timed_prediction, write_trace
from gemnet_blocks.plotting.picture import plot_profile
from gemnet_blocks.spec import build, load_spec

CONFIGS = Path(__file__).parents[3] / "paper_configs"
SMALL = {"sizes.atom": 8, "sizes.edge": 12, "blocks.count": 2, "bases.radial.count": 8}


@pytest.mark.parametrize("forces", ["direct", "gradient"])
def test_a_timed_prediction_is_the_prediction(forces: str):
    model = build(load_spec(CONFIGS / "gemnet-oc.yaml", {**SMALL, "heads.forces.type": forces}), seed=0).double()
    structures = Structures.from_ase(platinum_slab(1, 1))
    timed = timed_prediction(model, structures)
    with torch.no_grad():
        plain = model(structures)
    torch.testing.assert_close(timed.prediction.energy, plain.energy)
    torch.testing.assert_close(timed.prediction.forces, plain.forces)
    assert timed.counts["edges of main"] > 0
    assert timed.counts["quadruplets through quad"] > 0
    assert all(seconds >= 0 for seconds in timed.seconds.values())
    assert timed.seconds["interaction quadruplet"] > 0
    assert REST in timed.seconds
    assert (ENERGY_GRADIENT in timed.seconds) == (forces == "gradient")


def test_no_hook_stays_behind():
    model = build(load_spec(CONFIGS / "triplets-only.yaml", SMALL))
    timed_prediction(model, Structures.from_ase(platinum_slab(1, 2)))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("task", "last"), [("energy", "heads"), ("predict", ENERGY_GRADIENT), ("train", BACKWARD)], ids=str
)
def test_a_profile_has_a_row_per_part(task: str, last: str):
    changes = {**SMALL, "blocks.count": 1, "heads.forces.type": "gradient"}
    model = build(load_spec(CONFIGS / "triplets-only.yaml", changes), seed=0)
    structures = Structures.from_ase(platinum_slab(1, 2))
    measured = profile(model, structures, task, repeats=1)
    names = [part.name for part in measured.parts]
    assert names[0] == "graphs"
    assert names[-2:] == [last, REST]
    assert measured.counts == model.backbone.graphs(structures, torch.float32).counts()
    assert measured.seconds == sum(part.seconds for part in measured.parts) > 0
    assert measured.peak_bytes == sum(part.held_bytes for part in measured.parts) > 0
    assert measured.flops > 0
    assert measured.operations == sum(part.operations for part in measured.parts) > 0
    assert {part.name for part in measured.parts if part.waits} == {"graphs"}
    assert measured.kernels is None
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_profile_is_drawn(tmp_path: Path):
    model = build(load_spec(CONFIGS / "triplets-only.yaml", {**SMALL, "blocks.count": 1}), seed=0)
    measured = profile(model, Structures.from_ase(platinum_slab(1, 2)), repeats=1)
    plot_profile(measured, tmp_path / "profile.svg")
    plot_profile(measured, tmp_path / "profile.png")
    assert (tmp_path / "profile.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_without_matplotlib_names_the_extra(monkeypatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"gemnet_blocks\[plot\]"):
        plot_profile(Profile("predict", {}, (), 0, 0), tmp_path / "profile.png")


@pytest.mark.parametrize("forces", ["direct", "gradient"])
def test_recomputed_results_count_towards_their_layer(forces: str):
    changes = {**SMALL, "blocks.count": 1, "heads.forces.type": forces}
    model = build(load_spec(CONFIGS / "triplets-only.yaml", changes), seed=0)
    structures = Structures.from_ase(platinum_slab(1, 2))
    watch = Timer(torch.device("cpu"))
    with watch.watching(model):
        model(structures, memory_budget=0).energy.sum().backward()
    assert watch.part == REST


@pytest.mark.parametrize("name", ["trace.json", "trace.json.gz"])
def test_a_trace_has_a_range_for_each_part(name: str, tmp_path: Path):
    model = build(load_spec(CONFIGS / "triplets-only.yaml", {**SMALL, "blocks.count": 1}), seed=0)
    path = tmp_path / name
    write_trace(path, model, Structures.from_ase(platinum_slab(1, 2)))
    content = path.read_bytes()
    events = json.loads(gzip.decompress(content) if name.endswith("gz") else content)["traceEvents"]
    names = {event["name"] for event in events}
    assert {"graphs", "interaction triplet", "heads", "aten::mm"} <= names
    assert list(tmp_path.iterdir()) == [path]
