"""Locks that let only one process at a time write to a folder or a file."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from gemnet_blocks.errors import SpecError
from gemnet_blocks.util.locks import one_of_several_writers_to_folder, only_writer_of_file, only_writer_to_folder

Lock = Callable[[Path, str], AbstractContextManager[None]]
LOCKS = [only_writer_to_folder, only_writer_of_file]
ALL_LOCKS = [*LOCKS, one_of_several_writers_to_folder]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_second_writer_is_refused_by_whichever_path(
    tmp_path: Path, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    with lock(tmp_path / "run", "output"):
        for name in (tmp_path / "run", Path("run"), Path("link"), tmp_path / "link", Path("..", tmp_path.name, "run")):
            expected = rf"output: {name} is in use by process {os.getpid()} on \S+: wait until .* or choose another"
            with pytest.raises(SpecError, match=expected), lock(name, "output"):
                pass
        with lock(tmp_path / "other", "output"):
            pass
    with lock(Path("link"), "output"):
        pass
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["link", "run"]


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_of_a_killed_process_vanishes(tmp_path: Path, lock: Lock) -> None:
    read, write = os.pipe()
    child = os.fork()
    if not child:
        with lock(tmp_path / "run", "output"):
            os.write(write, b"!")
            signal.pause()
    assert os.read(read, 1) == b"!"
    with pytest.raises(SpecError, match=f"in use by process {child} on"), lock(tmp_path / "run", "output"):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with lock(tmp_path / "run", "output"):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
@pytest.mark.parametrize("lock", ALL_LOCKS)
def test_a_warning_where_files_cannot_be_locked(
    tmp_path: Path, lock: Lock, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refused)
    for _ in range(2):  # it leaves the folder usable
        with (
            pytest.warns(UserWarning, match="run cannot be locked .*no other process"),
            lock(tmp_path / "run", "output"),
        ):
            pass
    assert not list(tmp_path.iterdir())


def test_a_holder_that_cannot_be_read_is_another_process(tmp_path: Path) -> None:
    with only_writer_to_folder(tmp_path, "output"):
        (tmp_path / ".lock").write_text("[]")
        with pytest.raises(SpecError, match="in use by another process"), only_writer_to_folder(tmp_path, "output"):
            pass


@pytest.mark.parametrize("lock", ALL_LOCKS)
def test_an_output_below_a_file_is_refused(tmp_path: Path, lock: Lock) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpecError, match=r"output: .* cannot be written to"), lock(tmp_path / "file" / "run", "output"):
        pass


def test_several_writers_share_a_folder_but_not_with_an_only_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    in_use = rf"output: {folder} is in use by process {os.getpid()} on"
    with one_of_several_writers_to_folder(folder, "output"):
        with (
            one_of_several_writers_to_folder(folder, "output"),
            pytest.raises(SpecError, match=in_use),
            only_writer_to_folder(folder, "output"),
        ):
            pass
        with pytest.raises(SpecError, match=in_use), only_writer_to_folder(folder, "output"):
            pass
    with only_writer_to_folder(folder, "output"):
        with pytest.raises(SpecError, match=in_use), one_of_several_writers_to_folder(folder, "output"):
            pass
        with one_of_several_writers_to_folder(folder / "study", "output"):
            pass
    assert not list(tmp_path.iterdir())


def test_the_shared_lock_of_a_killed_process_vanishes(tmp_path: Path) -> None:
    (tmp_path / ".lock-0123456789abcdef").touch()
    (tmp_path / ".lock").touch()
    with one_of_several_writers_to_folder(tmp_path, "output"):
        pass
    with only_writer_to_folder(tmp_path, "output"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_with_results_stays(tmp_path: Path) -> None:
    with only_writer_to_folder(tmp_path / "run", "output"):
        (tmp_path / "run" / "log.csv").touch()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["log.csv"]
