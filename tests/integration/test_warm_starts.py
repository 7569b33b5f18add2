"""Training that starts from the weights of a model: grafted parts, frozen weights, learning rates and references."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import ase.io
import pytest
import torch
from ablation_studies import study_file
from ase.build import bulk
from ase.calculators.emt import EMT
from helpers import assert_close
from training_runs import assert_same_state, config

from gemnet_blocks.ablation import Study, StudyResults
from gemnet_blocks.errors import SpecError
from gemnet_blocks.potential.model_file import load_potential
from gemnet_blocks.structures import Structures
from gemnet_blocks.training import train
from gemnet_blocks.training.checkpoints import FILE

QUIET = {"log": {"progress": False, "tensorboard": False}, "validate_every": {"steps": 4}, "precision": "64"}
LARGER = {
    "interactions.atom_atom": {"graph": "main", "down": 4, "up": 4},
    "interactions.painn": {"type": "painn", "size": 2},
    "blocks.count": 2,
}
UNMOVED = {"learning_rate": 1e-30}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data, and in `small` the results of a short run."""
    folder = tmp_path_factory.mktemp("warm")
    train(config(folder, training={"steps": 8, **QUIET}), folder / "small")
    return folder


def warm(folder: Path, start: str = "small", **changes: Any) -> Any:
    """A config that starts from a run, by section."""
    training = {"steps": 1, "start_from": str(folder / start), **QUIET, **changes.pop("training", {})}
    return config(folder, training=training, **changes)


def predictions(folder: Path, run: str) -> Any:
    frames = ase.io.read(folder / "structures.xyz", ":3")
    return load_potential(folder / run, dtype=torch.float64)(Structures.from_ase(frames), stress=True)


def test_a_larger_model_predicts_the_same_at_first(folder: Path) -> None:
    settings = warm(folder, model=LARGER, references={"keep": True}, optimizer=UNMOVED, training={"ema": None})
    train(settings, folder / "larger")
    # a run stands for its best model
    before, after = predictions(folder, "small"), predictions(folder, "larger/last.safetensors")
    for name in ("energy", "forces", "stress"):
        assert_close(getattr(after, name), getattr(before, name))
    trained = load_potential(folder / "larger")
    told = trained.record["start_from"]["weights"]
    assert "weights taken; new parts that start at zero: " in told
    assert "blocks.0.interactions.painn, blocks.1" in told
    assert all(factor.fitted for factor in trained.model.modules() if hasattr(factor, "fitted"))


def test_checkpoints_and_runs_without_models_are_starts(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "small" / FILE, tmp_path)
    settings = warm(folder, start=str(tmp_path), references={"keep": True}, optimizer=UNMOVED)
    train(settings, tmp_path / "run")
    last = load_potential(folder / "small" / "last.safetensors").model.state_dict()
    for name, weight in load_potential(tmp_path / "run" / "last.safetensors").model.state_dict().items():
        assert torch.equal(weight, last[name]), name


def test_frozen_weights_stay_and_resumed_runs_are_the_same(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "small", tmp_path / "small")

    def settings(steps: int) -> Any:
        return warm(
            folder,
            start=str(tmp_path / "small"),
            model=LARGER,
            schedule={"type": "constant"},
            training={"steps": steps, "freeze": ["blocks.0.*", "atom_embedding.*", "!*.interactions.painn.*"]},
            optimizer={
                "weight_decay": 0.1,
                "learning_rates": [{"parameters": "readout.*", "factor": 0.1}, {"parameters": "*.up.*", "factor": 2}],
            },
        )

    train(settings(8), tmp_path / "whole")
    train(settings(4), tmp_path / "resumed")
    shutil.rmtree(tmp_path / "small")  # it is not needed to resume
    train(settings(8), tmp_path / "resumed")
    assert_same_state(tmp_path / "whole", tmp_path / "resumed")
    before = load_potential(folder / "small").model.state_dict()
    after = load_potential(tmp_path / "whole" / "last.safetensors").model.state_dict()
    assert after["trunk.blocks.0.interactions.painn.u.weight"].any()
    for name in before.keys() & after.keys():
        frozen = name.startswith(("trunk.blocks.0.", "trunk.atom_embedding")) or name.endswith("factor")
        if before[name].shape == after[name].shape:
            assert torch.equal(before[name], after[name]) == frozen, name
    groups = torch.load(tmp_path / "whole" / FILE, weights_only=True)["optimizer_states"][0]["param_groups"]
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [
        (1e-2, 0.1),
        (1e-2, 0.0),
        (2e-2, 0.1),
        (1e-3, 0.1),
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"training": {"freeze": ["block.0.*"]}},
            r"training\.freeze: no parameter has a name like 'block\.0\.\*'; did",
        ),
        ({"training": {"freeze": ["*"]}}, r"training\.freeze: leaves no weight to train"),
        (
            {"optimizer": {"learning_rates": [{"parameters": "head.*", "factor": 2}]}},
            r"optimizer\.learning_rates: no parameter has a name like 'head\.\*'",
        ),
        (
            {"training": {"start_from": None}, "references": {"keep": True}},
            r"references\.keep: there is no model whose",
        ),
        ({"model": {"sizes": {"edge": 12}}}, r"training\.new_weights: drawn, or give `model` the architecture"),
        ({"training": {"freeze": [], "new_weights": "new"}}, "new_weights: must be 'grafted' or 'drawn', got 'new'"),
        ({"references": {"keep": True, "scale": 2.0}}, "references: keep: mean and scale are those of"),
    ],
)
def test_wrong_options_are_named(folder: Path, tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError, match=told):
        train(warm(folder, **changes), tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_weights_that_do_not_fit_are_drawn_on_request(folder: Path, tmp_path: Path) -> None:
    changed = {"interactions.triplet.down": 3, "interactions.atom_atom": LARGER["interactions.atom_atom"]}
    train(warm(folder, model=changed, training={"new_weights": "drawn"}, optimizer=UNMOVED), tmp_path)
    before, after = (load_potential(path) for path in (folder / "small", tmp_path))
    kept = "trunk.edge_embedding.dense.linear.weight"
    assert torch.equal(before.model.state_dict()[kept], after.model.state_dict()[kept])
    assert after.model.state_dict()["trunk.blocks.0.interactions.atom_atom.up.linear.weight"].abs().max() > 0.1
    assert after.spec.block_layers[0].divisors is None
    assert "drawn: " in after.record["start_from"]["weights"]


def test_removed_parts_and_new_elements_are_told(folder: Path, tmp_path: Path) -> None:
    atoms = bulk("Al", cubic=True)
    atoms.rattle(0.05, seed=0)
    atoms.calc = EMT()
    frames = ase.io.read(folder / "structures.xyz", ":")
    atoms.get_potential_energy(), atoms.get_stress()
    shutil.copy(folder / "structures.xyz", tmp_path)
    ase.io.write(tmp_path / "structures.xyz", [*frames, *[atoms] * 3], format="extxyz")
    settings = warm(
        tmp_path, start=str(folder / "small"), model={"interactions.triplet": None}, references={"keep": True}
    )
    with (
        pytest.warns(UserWarning, match=r"differs in the missing .*, the missing blocks\.0\.interactions\.triplet"),
        pytest.warns(UserWarning, match="was trained without Al: its embeddings of these elements are random"),
    ):
        train(settings, tmp_path / "run")
    old, new = (load_potential(path).references for path in (folder / "small", tmp_path / "run"))
    assert new.per_element[29] == old.per_element[29]
    assert new.scale == old.scale
    assert new.per_element[13] == pytest.approx(atoms.get_potential_energy() / 4, abs=1e-6)


def test_variants_of_a_study_start_from_models_of_their_own(folder: Path, tmp_path: Path) -> None:
    variants = """
  warm: {start_from: "start/{seed}"}
  warm without triplets: {start_from: "start/{seed}", interactions: {triplet: null}}
  without triplets: {interactions: {triplet: null}}
"""
    path = study_file(tmp_path, variants, steps=2)
    for seed in (0, 1):
        shutil.copytree(folder / "small", tmp_path / "start" / str(seed))
    model = load_potential(folder / "small")
    plan = Study.from_file(path, {"base.heads.forces.type": "gradient"}, folder=tmp_path / "study").check()
    assert model.spec.content_hash == plan.variants[0].spec_hash == plan.variants[1].spec_hash
    assert len({run.task.key for run in plan.runs}) == 8
    starts = {run.name: run.task.training.training.start_from for run in plan.runs}
    assert starts["warm, seed 1"] == "start/1"
    assert starts["base, seed 1"] is None
    assert [one.path for one in plan.variants[1].differences] == ["start_from"]
    first, second = (run for run in plan.runs if run.task.variant == "warm")
    before = first.task.key
    shutil.copy(folder / "small" / "last.safetensors", tmp_path / "start" / "0" / "best.safetensors")
    again = Study.from_file(path, {"base.heads.forces.type": "gradient"}, folder=tmp_path / "study").check()
    keys = [run.task.key for run in again.runs if run.task.variant == "warm"]
    assert keys == [keys[0], second.task.key]
    assert keys[0] != before
    with pytest.raises(SpecError, match=r"variants\.warm: training\.training\.start_from: expected a model file"):
        Study.from_file(path, {"variants.warm.start_from": "absent"}, folder=tmp_path / "other").check()
    with pytest.raises(SpecError, match=r"base: training\.training\.freeze: no parameter has a name like 'heads\.\*'"):
        Study.from_file(path, {"training.training.freeze": ["heads.*"]}, folder=tmp_path / "other").check()
    with pytest.raises(SpecError, match=r"variants\.warm: start_from: must be the path of a model file"):
        Study.from_file(path, {"variants.warm.start_from": 3}, folder=tmp_path / "other").check()


KILLED = """
import os, sys
from gemnet_blocks.ablation import Study
from gemnet_blocks.training import module

steps, train = [], module.PotentialModule.training_step

def killed(*arguments):
    steps.append(1)
    if len(steps) == int(sys.argv[3]):
        os.kill(os.getpid(), 9)
    return train(*arguments)

module.PotentialModule.training_step = killed
Study.from_file(sys.argv[1], {"base.heads.forces.type": "gradient"}, folder=sys.argv[2]).run("here", progress=False)
"""


@pytest.mark.slow
def test_a_killed_study_of_warm_starts_goes_on_to_the_same_results(folder: Path, tmp_path: Path) -> None:
    """The driver is killed in a run from random weights, and another one in a run that starts from a model."""
    path = study_file(tmp_path, '\n  warm: {start_from: "small"}\n', steps=3)
    shutil.copytree(folder / "small", tmp_path / "small")

    def results(name: str) -> StudyResults:
        study = Study.from_file(path, {"base.heads.forces.type": "gradient"}, folder=tmp_path / name)
        return study.run("here", progress=False)

    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for step in (2, 7):
        command = [sys.executable, "-c", KILLED, str(path), str(tmp_path / "killed"), str(step)]
        assert subprocess.run(command, env=surroundings, check=False).returncode == -9
    found, expected = results("killed"), results("whole")
    assert found.complete
    for variant in ("base", "warm"):
        assert found.values(variant) == expected.values(variant)
    assert [run.curve[-1]["step"] for run in found.runs] == [run.curve[-1]["step"] for run in expected.runs]
    assert max(run.attempts for run in found.runs) == 2
