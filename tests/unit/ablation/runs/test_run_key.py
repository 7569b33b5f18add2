"""What runs are known by."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from synthetic_learners import small_spec

from gemnet_blocks.ablation.runs.run_key import Fingerprints, run_key
from gemnet_blocks.data.options import DataOptions
from gemnet_blocks.errors import SpecError
from gemnet_blocks.training import TrainingConfig

CONFIG: dict[str, Any] = {
    "data": {"files": ["a.xyz"], "units": "eV", "energy": "total", "batch": {"structures": 2}},
    "loss": {"forces": {}},
    "training": {"steps": 3},
}


def key(patch: Any = None, seed: int = 0, learner: Any = None, files: Any = None, **sections: Any) -> str:
    spec = small_spec(**(patch or {}))
    config = TrainingConfig.model_validate({**CONFIG, **sections, "model": spec})
    return run_key(spec, config, files or {"files": [[5, "abc"]]}, seed, learner or {"class": "a:B"})


@pytest.mark.parametrize(
    "change",
    [
        {"patch": {"sizes.edge": 9}},
        {"seed": 1},
        {"learner": {"class": "a:C"}},
        {"files": {"files": [[5, "abd"]]}},
        {"loss": {"forces": {"weight": 3}}},
        {"optimizer": {"learning_rate": 1}},
        {"training": {"steps": 4}},
        {"training": {"steps": 3, "execution": {"angular": "explicit"}}},
        {"training": {"steps": 3, "execution": {"compile": True}}},
        {"data": {**CONFIG["data"], "batch": {"structures": 3}}},
        {"scales": None},
        {"references": {"mean": 0.1}},
        {"callbacks": [{"path": "my:Callback"}]},
    ],
    ids=str,
)
def test_whatever_changes_the_result_changes_the_key(change: dict[str, Any]) -> None:
    assert key(**change) != key()


@pytest.mark.parametrize(
    "change",
    [
        {"patch": {"neighbors.fade_width": 0.7}},  # which inclusive caps do not use
        {"training": {"steps": 3, "log": {"every": 3}, "checkpoint": {"steps": 3}}},
        {"data": {**CONFIG["data"], "workers": 2, "cache": "cache"}},
        {"data": {**CONFIG["data"], "files": ["moved/a.xyz"]}},
        {"output": "elsewhere"},
        {"loggers": ["csv", {"type": "wandb", "project": "mine"}], "callbacks": []},
        {"training": {"steps": 3, "execution": {"compile": False}}},
        {"references": {"mean": 0.0}},
    ],
    ids=str,
)
def test_nothing_else_does(change: dict[str, Any]) -> None:
    assert key(**change) == key()


def options(*files: str) -> DataOptions:
    return DataOptions.model_validate({**CONFIG["data"], "files": files})


def test_files_are_known_by_their_content(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("12")
    (tmp_path / "b.xyz").write_text("34")
    first = Fingerprints(tmp_path / "memory.json").of(options("a.xyz", "b.xyz"), tmp_path)
    shutil.copytree(tmp_path, tmp_path / "copy")
    assert Fingerprints(tmp_path / "memory.json").of(options("copy/a.xyz", "copy/b.xyz"), tmp_path) == first
    assert Fingerprints(tmp_path / "memory.json").of(options("b.xyz", "a.xyz"), tmp_path) != first
    (tmp_path / "a.xyz").write_text("13")
    os.utime(tmp_path / "a.xyz", ns=(1, 1))
    assert Fingerprints(tmp_path / "memory.json").of(options("a.xyz", "b.xyz"), tmp_path) != first


def test_files_that_have_not_changed_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.xyz").write_text("12")
    first = Fingerprints(tmp_path / "memory.json").of(options("a.xyz"), tmp_path)
    monkeypatch.setattr("hashlib.sha256", None)
    assert Fingerprints(tmp_path / "memory.json").of(options("a.xyz"), tmp_path) == first


def test_folders_are_known_by_what_is_in_them(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.lmdb").write_text("12")
    first = Fingerprints(tmp_path / "m").of(options("d"), tmp_path)
    (tmp_path / "d" / "a.lmdb-lock").write_text("reading leaves this")
    assert Fingerprints(tmp_path / "m").of(options("d"), tmp_path) == first
    (tmp_path / "d" / "b.lmdb").write_text("3")
    assert Fingerprints(tmp_path / "m").of(options("d"), tmp_path) != first


def test_patterns_are_known_by_the_files_that_match(tmp_path: Path) -> None:
    for name in ("a.xyz", "b.xyz"):
        (tmp_path / name).write_text(name)
    known = Fingerprints(tmp_path / "m").of(options("*.xyz"), tmp_path)
    assert known == Fingerprints(tmp_path / "m").of(options("a.xyz", "b.xyz"), tmp_path)
    for name in ("a.xyz", "b.xyz"):
        (tmp_path / name).unlink()
    assert Fingerprints(tmp_path / "m").of(options("*.xyz"), tmp_path) == known
    with pytest.raises(SpecError, match=r"data: c\*.xyz: cannot be read"):
        Fingerprints(tmp_path / "m").of(options("c*.xyz"), tmp_path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"data: a\.xyz: cannot be read: No such file"):
        Fingerprints(tmp_path / "m").of(options("a.xyz"), tmp_path)


def test_files_that_are_gone_are_what_they_were(tmp_path: Path) -> None:
    """So that there can be a report where the data are no more."""
    (tmp_path / "d").mkdir()
    for name in ("a.xyz", "d/b.lmdb", "d/a.lmdb"):
        (tmp_path / name).write_text(name)
    first = Fingerprints(tmp_path / "m").of(options("a.xyz", "d"), tmp_path)
    (tmp_path / "a.xyz").unlink()
    shutil.rmtree(tmp_path / "d")
    assert Fingerprints(tmp_path / "m").of(options("a.xyz", "d"), tmp_path) == first
    with pytest.raises(SpecError, match=r"data: b\.xyz: cannot be read"):
        Fingerprints(tmp_path / "m").of(options("b.xyz"), tmp_path)


def test_the_model_that_training_starts_from_counts_by_its_content(tmp_path: Path) -> None:
    assert key(training={"steps": 3, "start_from": None}) == key()
    found = []
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
        found.append(key(training={"steps": 3, "start_from": str(tmp_path / name)}))
    assert found[0] == found[1]
    assert len({key(), *found}) == 3
