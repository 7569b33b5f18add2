"""A run that is stopped, however it is stopped, and goes on ends where an uninterrupted one does, bit by bit."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from helpers import file_size_limit
from training_runs import assert_same_state, config, rows, write_structures

from gemnet_blocks.errors import SpecError, StateError
from gemnet_blocks.potential.model_file import load_potential
from gemnet_blocks.spec.document import dump
from gemnet_blocks.training import load_config, train
from gemnet_blocks.training.checkpoints import FILE, KEY, read_checkpoint
from gemnet_blocks.util.locks import one_of_several_writers_to_folder, only_writer_to_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config file, and in `whole` the results of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("resume")
    settings = config(folder)
    (folder / "config.yaml").write_text(dump(settings.to_dict()))
    train(settings, folder / "whole")
    return folder


def start(folder: Path, output: Path, *arguments: str) -> subprocess.Popen[str]:
    """A process in a group of its own."""
    command = [sys.executable, "-m", "gemnet_blocks.cli", "train", "config.yaml", "--output", str(output), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_rows(process: subprocess.Popen[str], output: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (output / "log.csv").exists() and len((output / "log.csv").read_text().splitlines()) > count:
            return
        time.sleep(0.002)
    raise AssertionError(process.communicate()[1])


def assert_same_models(one: Path, other: Path) -> None:
    for name in ("best", "last"):
        first, second = (load_potential(folder / f"{name}.safetensors") for folder in (one, other))
        assert all(torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items()), (
            f"{name} differs"
        )


@pytest.mark.parametrize("row", [pytest.param(1, marks=pytest.mark.slow), 6])
def test_killed_runs_resume_with_bitwise_identical_results(folder: Path, tmp_path: Path, row: int) -> None:
    process = start(folder, tmp_path)
    wait_for_rows(process, tmp_path, row)
    process.kill()
    process.communicate()
    assert len(rows(tmp_path)) < len(rows(folder / "whole"))
    train(config(folder), tmp_path)
    assert_same_state(folder / "whole", tmp_path)
    assert_same_models(folder / "whole", tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_signals_save_a_checkpoint_and_explain_how_to_resume(
    folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process = start(folder, tmp_path)
    wait_for_rows(process, tmp_path, 3)
    process.send_signal(number)
    told, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert "run the same command again to resume" in told
    train(config(folder), tmp_path, resume=True)
    assert_same_state(folder / "whole", tmp_path)


@pytest.mark.slow
def test_ctrl_c_reaches_worker_processes_too(folder: Path, tmp_path: Path) -> None:
    """A terminal sends it to all processes; workers must not end before the state is saved."""
    process = start(folder, tmp_path, "--set", "data.workers=1")
    wait_for_rows(process, tmp_path, 3)
    os.killpg(process.pid, signal.SIGINT)
    told, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, errors
    assert "run the same command again to resume" in told
    train(config(folder), tmp_path, resume=True)
    assert_same_state(folder / "whole", tmp_path)


def test_a_finished_run_is_left_as_it_is(folder: Path) -> None:
    before = (folder / "whole" / "last.safetensors").stat().st_mtime_ns
    assert train(config(folder), folder / "whole") == folder / "whole" / "best.safetensors"
    assert (folder / "whole" / "last.safetensors").stat().st_mtime_ns == before


def test_another_config_does_not_resume(folder: Path) -> None:
    with pytest.raises(SpecError, match=r"optimizer\.learning_rate was 0\.01, is 0\.02"):
        train(config(folder, optimizer={"learning_rate": 0.02}), folder / "whole")


def test_other_data_do_not_resume(tmp_path: Path) -> None:
    settings = config(tmp_path, training={"steps": 1})
    train(settings, tmp_path / "run")
    train(settings, tmp_path / "run")
    write_structures(tmp_path / "structures.xyz", count=31)
    with pytest.raises(SpecError, match=r"files of data \(train, validation\) have changed"):
        train(settings, tmp_path / "run")


@pytest.mark.parametrize("what", ["forces", "stress", "fixed atoms", "tags", "positions"])
def test_other_labels_do_not_resume(tmp_path: Path, what: str) -> None:
    settings = config(tmp_path, training={"steps": 1})
    train(settings, tmp_path / "run")
    frames = ase.io.read(tmp_path / "structures.xyz", ":")
    for atoms in frames:
        labels = atoms.calc.results
        if what == "fixed atoms":
            atoms.set_constraint()
        elif what == "tags":
            atoms.set_tags([1] * len(atoms))
        elif what == "positions":
            atoms.positions += 1e-5
        else:  # of the same size
            labels[what] = labels[what][::-1].copy()
        atoms.calc = SinglePointCalculator(atoms, **labels)
    ase.io.write(tmp_path / "structures.xyz", frames)

    with pytest.raises(SpecError, match=r"files of data \(train, validation\) have changed"):
        train(settings, tmp_path / "run")


def test_settings_that_change_no_result_may_change(folder: Path) -> None:
    train(config(folder, training={"log": {"every": 5}}), folder / "whole")


def test_resuming_needs_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no checkpoint to resume from"):
        train(config(folder), tmp_path, resume=True)
    with pytest.raises(SpecError, match="a checkpoint already"):
        train(config(folder), folder / "whole", resume=False)


def test_a_training_in_the_folder_of_a_running_training_or_study_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder / "whole")
    for writer in (only_writer_to_folder, one_of_several_writers_to_folder):  # a training, or a study
        with writer(folder / "whole", "output"):
            for name in (folder / "whole", tmp_path / "link"):
                with pytest.raises(SpecError, match=f"is in use by process {os.getpid()} on "):
                    train(config(folder), name)
    train(config(folder), tmp_path / "link")
    assert not list((folder / "whole").glob(".*"))


def test_the_config_in_the_folder_of_a_run_resumes_it(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    moved = folder / "elsewhere" / "run"
    shutil.copytree(folder / "whole", moved)
    train(config(folder), moved)
    again = load_config(moved / "config.yaml")
    assert train(again).resolve() == moved / "best.safetensors"
    assert again.data.files == ("../../structures.xyz",)
    assert not (moved / "earlier-1").exists()


def test_runs_resume_with_renamed_and_moved_data(tmp_path: Path) -> None:
    train(config(tmp_path, training={"steps": 1}), tmp_path / "run")
    (tmp_path / "data").mkdir()
    shutil.copy(tmp_path / "structures.xyz", tmp_path / "data" / "renamed.extxyz")
    settings = config(tmp_path, training={"steps": 1}, data={"files": ["data/renamed.extxyz"]})
    train(settings, tmp_path / "run", resume=True)
    write_structures(tmp_path / "data" / "renamed.extxyz", seed=1)
    with pytest.raises(SpecError, match=r"files of data \(train, validation\) have changed"):
        train(settings, tmp_path / "run")


def test_an_extended_run_ends_where_a_longer_one_does(tmp_path: Path) -> None:
    constant = {"schedule": {"type": "constant"}}
    train(config(tmp_path, **constant, training={"steps": 8}), tmp_path / "extended")
    longer = config(tmp_path, **constant, training={"steps": 16})
    train(longer, tmp_path / "extended")
    train(longer, tmp_path / "whole")
    assert_same_state(tmp_path / "whole", tmp_path / "extended")
    assert_same_models(tmp_path / "whole", tmp_path / "extended")


def test_training_starts_from_the_weights_of_a_model(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "whole" / "best.safetensors", tmp_path)
    began = {"steps": 1, "start_from": str(tmp_path)}
    train(config(folder, training=began, optimizer={"learning_rate": 1e-30}), tmp_path / "run")
    trained, source = (load_potential(path / "best.safetensors") for path in (tmp_path / "run", tmp_path))
    for name, weight in source.model.state_dict().items():
        assert torch.equal(weight, trained.model.state_dict()[name]), name
    digest = hashlib.sha256((tmp_path / "best.safetensors").read_bytes()).hexdigest()
    assert trained.record["start_from"] == {"path": str(tmp_path), "sha256": digest}

    (tmp_path / "best.safetensors").unlink()  # it is not needed to resume
    train(config(folder, training={**began, "steps": 2}, optimizer={"learning_rate": 1e-30}), tmp_path / "run")
    for other in (None, str(folder / "whole" / "last.safetensors")):
        changed = {"steps": 2, "start_from": other}
        with pytest.raises(SpecError, match="is of a run that began with"):
            train(config(folder, training=changed, optimizer={"learning_rate": 1e-30}), tmp_path / "run")


def test_models_that_do_not_fit_are_not_started_from(folder: Path, tmp_path: Path) -> None:
    wider = {"sizes": {"edge": 12}}
    training = {"steps": 1, "start_from": str(folder / "whole")}
    with pytest.raises(SpecError, match=r"after_skip\S*: expected .*, found .*; .*differs in sizes\.edge"):
        train(config(folder, model=wider, training=training), tmp_path / "run")
    with pytest.raises(SpecError, match="expected a model file, or the folder of a run with one"):
        train(config(folder, training={"steps": 1, "start_from": str(tmp_path / "none")}), tmp_path / "run")
    with pytest.warns(UserWarning, match=r"differs in graphs\.main\.cutoff"):
        train(config(folder, model={"graphs": {"main": {"cutoff": 3.4}}}, training=training), tmp_path / "run")


@pytest.mark.parametrize(
    ("limit", "every", "named"), [(60_000, 5, "checkpoint.ckpt"), (15_000, 99, "best.safetensors")]
)
def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, limit: int, every: int, named: str) -> None:
    train(config(tmp_path, training={"steps": 8}), tmp_path / "run")
    before = (tmp_path / "run" / FILE).read_bytes()
    settings = config(tmp_path, training={"steps": 40, "checkpoint": {"steps": every}})
    with file_size_limit(limit), pytest.raises(StateError, match=f"{named}: .*File too large") as told:
        train(settings, tmp_path / "run")
    assert "\n" not in str(told.value)
    assert (tmp_path / "run" / FILE).read_bytes() == before
    assert read_checkpoint(tmp_path / "run" / FILE)[KEY]["state"]["step"] == 8
    assert not list((tmp_path / "run").glob(".*"))
