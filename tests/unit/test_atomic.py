"""Files that are there as a whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemnet_blocks.atomic import remove_leftovers, replacing


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "one.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".txt"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_what_was_there(tmp_path: Path) -> None:
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


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
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
