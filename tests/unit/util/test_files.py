"""Files that are there as a whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ase.build import bulk
from helpers import file_size_limit

from gemnet_blocks.data.cache_files import save_arrays
from gemnet_blocks.training.checkpoint_io import SafeCheckpointIO
from gemnet_blocks.util.ase_io import write_frames
from gemnet_blocks.util.files import remove_leftovers, replacing, write_json

LARGE = torch.zeros(1000)
WRITERS: dict[str, Callable[[Path], object]] = {
    "checkpoint.ckpt": lambda path: SafeCheckpointIO().save_checkpoint({"weights": LARGE}, path),
    "cache.safetensors": lambda path: save_arrays(path, {"pairs": LARGE}),
    "result.json": lambda path: write_json(path, LARGE.tolist()),
    "relaxed.xyz": lambda path: write_frames(path, [bulk("Cu", cubic=True) * (3, 3, 3)]),
    "steps.traj": lambda path: write_frames(path, [bulk("Cu", cubic=True) * (3, 3, 3)]),
    "relaxed.db": lambda path: write_frames(path, [bulk("Cu", cubic=True) * (3, 3, 3)]),
}


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".txt"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_keeps_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    path.write_text("old")

    def interrupted() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_can_be_read_by_whom_other_new_files_can(tmp_path: Path) -> None:
    (tmp_path / "like").touch()
    with replacing(tmp_path / "one.txt", durable=False) as temporary:
        temporary.touch(0o600)
    assert (tmp_path / "one.txt").stat().st_mode == (tmp_path / "like").stat().st_mode


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    kept = [tmp_path / ".hidden", tmp_path / "run-00000000000000000000000000000000.ckpt", tmp_path / ".a-b.ckpt"]
    for path in kept:
        path.touch()
    try:
        with replacing(tmp_path / "checkpoint.ckpt") as temporary:
            temporary.touch()
            temporary.rename(tmp_path / "saved")  # as if the process had ended here
    except OSError:
        (tmp_path / "saved").rename(temporary)
    assert temporary.exists()
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link, target = tmp_path / "link.txt", tmp_path / "folder" / "target.txt"
    target.write_text("old")
    link.symlink_to(target)
    with replacing(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_one_line_that_names_the_file_which_stays(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("old")
    with file_size_limit(1000), pytest.raises((OSError, ValueError)) as told:
        WRITERS[name](path)
    assert str(path) in str(told.value)
    assert "File too large" in str(told.value) or "disk I/O error" in str(told.value)
    assert "\n" not in str(told.value)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises((OSError, ValueError), match="directory") as told:
        WRITERS[name](tmp_path / name)
    assert str(tmp_path / name) in str(told.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_other_errors_of_writers_stay_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no disk"), replacing(tmp_path / "one.txt"):
        raise RuntimeError("no disk")
