"""Loggers and callbacks of Lightning in runs that are interrupted and resume, and in studies."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from training_runs import assert_same_state, config, rows

from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec.document import dump
from gemnet_blocks.training import TrainingConfig, parse_config, train
from gemnet_blocks.training.loggers import FOLDER, MEMORY

PARTS = """
import json
from pathlib import Path
from lightning.pytorch import Callback
from lightning.pytorch.loggers.logger import DummyLogger

class Recorder(DummyLogger):
    "A logger that appends to a file, like a service, which cannot remove entries."
    def __init__(self, path, fail=False):
        super().__init__()
        self.path, self.fail = Path(path), fail
    def log_metrics(self, metrics, step=None):
        if self.fail:
            raise ConnectionError("no network")
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\\n")
    def log_hyperparams(self, params, *args, **kwargs):
        self.path.with_suffix(".json").write_text(json.dumps(params))

class Crash(Callback):
    "Crashes once at a step, and counts steps in checkpoints."
    def __init__(self, step, flag):
        self.step, self.flag, self.steps = step, Path(flag), 0
    def on_train_batch_end(self, trainer, pl_module, *_):
        self.steps += 1
        assert len(trainer.loggers) == 2
        if trainer.global_step == self.step and self.flag.exists():
            self.flag.unlink()
            raise RuntimeError("crash")
    def state_dict(self):
        return {"steps": self.steps}
    def load_state_dict(self, state):
        self.steps = state["steps"]

class NotACallback:
    pass
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tracking_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tracking_parts", raising=False)
    return tmp_path


def with_plugins(folder: Path, steps: int = 20, **changes: Any) -> TrainingConfig:
    training = {"steps": steps, "deterministic": False}
    return parse_config(dump({**config(folder, training=training).to_dict(), **changes}), folder, allow_imports=True)


def test_interrupted_runs_continue_the_runs_of_their_loggers(folder: Path) -> None:
    flag = folder / "flag"

    def run(output: str) -> None:
        recorder = {"type": "tracking_parts:Recorder", "path": str(folder / f"{output}.jsonl")}
        callback = {"path": "tracking_parts:Crash", "step": 14, "flag": str(flag)}
        train(with_plugins(folder, loggers=["csv", recorder], callbacks=[callback]), folder / output)

    run("whole")
    flag.touch()
    with pytest.raises(RuntimeError, match="crash"):
        run("interrupted")
    run("interrupted")
    assert_same_state_but_names(folder)
    steps = [row["step"] for row in rows(folder / "whole")]
    for output in ("whole", "interrupted"):
        with (folder / output / FOLDER / "csv" / "metrics.csv").open() as file:
            logged = list(csv.DictReader(file))
        assert [row["step"] for row in logged] == steps
        # the numbers under the names of the log
        for row, own in zip(logged, rows(folder / output), strict=True):
            assert {key: float(row[key]) for key, text in own.items() if text} == pytest.approx(
                {key: float(text) for key, text in own.items() if text}, rel=1e-8
            )
        recorded = [json.loads(line)["step"] for line in (folder / f"{output}.jsonl").read_text().splitlines()]
        assert list(map(str, recorded)) == steps
    known = json.loads((folder / "whole.json").read_text())
    assert known["content_hash"] == with_plugins(folder).model.content_hash
    assert known["spec"]["sizes"]["atom"] == 8
    assert known["config"]["optimizer"]["learning_rate"] == 0.01
    assert known["units"]["validation_forces_mae_mev_per_angstrom"] == "meV/Å"


def assert_same_state_but_names(folder: Path) -> None:
    """The two runs differ in the names of the files of their loggers alone."""
    for output in ("whole", "interrupted"):
        path = folder / output / "checkpoint.ckpt"
        saved = torch.load(path, weights_only=True)
        assert saved["callbacks"]["Crash"]["steps"] == 20
        del saved["gemnet_blocks"]["config"]["loggers"]
        torch.save(saved, path)
    assert_same_state(folder / "whole", folder / "interrupted")


def test_loggers_do_not_change_results_and_may_fail(folder: Path) -> None:
    train(with_plugins(folder, 4), folder / "plain")
    failing = {"type": "tracking_parts:Recorder", "path": str(folder / "x.jsonl"), "fail": True}
    with pytest.warns(UserWarning, match="logger tracking_parts:Recorder failed .* ConnectionError: no network"):
        train(with_plugins(folder, 4, loggers=["tensorboard", "csv", failing]), folder / "logged")
    assert rows(folder / "plain") == rows(folder / "logged")
    assert list((folder / "logged" / "tensorboard").glob("events*"))
    # loggers may change when a finished run is extended, and a new run sets the old files aside
    (folder / "logged" / "checkpoint.ckpt").unlink()
    with pytest.warns(UserWarning, match="starts from scratch"):
        train(with_plugins(folder, 4, loggers=["csv"]), folder / "logged")
    assert (folder / "logged" / "earlier-1" / FOLDER / MEMORY).exists()


def test_callbacks_that_cannot_be_made_are_refused_before_training(folder: Path) -> None:
    for path, message in {
        "tracking_parts:NotACallback": "expected a subclass of lightning",
        "tracking_parts:Missing": "cannot be imported",
        "tracking_parts:Crash": "cannot be made with no arguments",
    }.items():
        with pytest.raises(SpecError, match=rf"callbacks\.0: .*{message}"):
            train(with_plugins(folder, callbacks=[{"path": path}]), folder / "refused")


class FakeWandb(SimpleNamespace):
    """The part of the package that Lightning calls."""

    def __init__(self) -> None:
        super().__init__(run=None, calls=[])

    def init(self, **options: Any) -> Any:
        self.calls.append(("init", options))
        config = SimpleNamespace(update=lambda params, **_: self.calls.append(("config", params)))

        def finish() -> None:
            self.run = None

        self.run = SimpleNamespace(config=config, finish=finish, log=lambda row: self.calls.append(("log", row)))
        return self.run


def test_wandb_is_offline_and_continues_one_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeWandb()
    modules = {
        "wandb": fake,
        "wandb.sdk": SimpleNamespace(),
        "wandb.sdk.lib": SimpleNamespace(RunDisabled=type("RunDisabled", (), {})),
        "wandb.wandb_run": SimpleNamespace(Run=type("Run", (), {})),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", True)
    monkeypatch.setattr("gemnet_blocks.training.plugins.find_spec", lambda name: True)
    settings = with_plugins(folder, loggers=[{"type": "wandb", "project": "mine"}])
    for steps in (4, 8):
        training = settings.training.model_copy(update={"steps": steps})
        train(settings.model_copy(update={"training": training}), folder / "run")
        assert fake.run is None  # the next run of this process is another one
    first, second = (options for name, options in fake.calls if name == "init")
    assert first["mode"] == "offline"
    assert first["project"] == "mine"
    assert first["dir"] == str((folder / "run" / FOLDER).resolve())
    assert first["id"] == second["id"]
    assert [row["trainer/global_step"] for name, row in fake.calls if name == "log"] == [4, 8]
