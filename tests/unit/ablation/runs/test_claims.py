"""Claims of runs: one owner at a time, and none that has ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from gemnet_blocks.ablation.runs.run_folder import FILE, STALE, Claim, owner, process_start

# claims the folder as soon as a file says so, then waits
OWNER = """
import sys, time
from pathlib import Path
from gemnet_blocks.ablation.runs.run_folder import Claim
print("ready", flush=True)
while not Path(sys.argv[2]).exists():
    pass
claims = [claim for index in range(int(sys.argv[3])) if (claim := Claim.acquire(Path(sys.argv[1], str(index))))]
print(*[claim.folder.name for claim in claims], flush=True)
time.sleep(60)
"""


def start(folder: Path, go: Path, count: int = 1) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OWNER, str(folder), str(go), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def told(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


def test_a_claim_is_one_owners(tmp_path: Path) -> None:
    claim = Claim.acquire(tmp_path / "run")
    assert claim is not None
    assert Claim.acquire(tmp_path / "run") is None
    assert str(os.getpid()) in str(owner(tmp_path / "run"))
    claim.release()
    assert owner(tmp_path / "run") is None
    assert Claim.acquire(tmp_path / "run") is not None


def test_processes_share_runs_out_and_a_killed_one_loses_its_own(tmp_path: Path) -> None:
    go = tmp_path / "go"
    processes = [start(tmp_path, go, 40) for _ in range(2)]
    try:
        assert [told(one) for one in processes] == [["ready"], ["ready"]]
        go.touch()
        shares = [set(told(one)) for one in processes]
        assert shares[0] | shares[1] == {str(index) for index in range(40)}
        assert not shares[0] & shares[1]
        kept, lost = (processes[0], processes[1]) if shares[1] else (processes[1], processes[0])
        share = shares[processes.index(lost)]
        assert all(Claim.acquire(tmp_path / name) is None for name in share)
        lost.kill()  # and not waited for: a zombie is dead, too
        deadline = time.monotonic() + 20
        while any(owner(tmp_path / name) for name in share) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert all(Claim.acquire(tmp_path / name) is not None for name in share)
        assert all(owner(tmp_path / name) for name in shares[processes.index(kept)])
    finally:
        for one in processes:
            one.kill()
            one.communicate()


def test_a_run_is_handed_over(tmp_path: Path) -> None:
    claim = Claim.acquire(tmp_path)
    assert claim is not None
    assert Claim.adopt(tmp_path, "other") is None
    assert Claim.adopt(tmp_path, claim.token) is not None
    content = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({**content, "pid": 1, "started": process_start(1)}))
    claim.release()  # it is another process's now
    assert owner(tmp_path) is not None
    claim.release(whoever_has_it=True)
    assert owner(tmp_path) is None


def test_another_process_of_the_same_number_is_no_owner(tmp_path: Path) -> None:
    Claim.acquire(tmp_path)
    content = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({**content, "started": "1"}))
    assert owner(tmp_path) is None


def test_owners_on_other_machines_are_alive_by_their_heartbeat(tmp_path: Path) -> None:
    claim = Claim.acquire(tmp_path)
    assert claim is not None
    content = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({**content, "machine": "elsewhere"}))
    assert Claim.acquire(tmp_path) is None
    old = time.time() - STALE - 1
    os.utime(tmp_path / FILE, (old, old))
    assert owner(tmp_path) is None
    assert claim.beat()
    assert owner(tmp_path) is not None
    os.utime(tmp_path / FILE, (old, old))
    assert Claim.acquire(tmp_path) is not None
    assert not claim.beat()  # it has been lost


def test_a_claim_that_is_damaged_is_none(tmp_path: Path) -> None:
    for text in ("", "{", "[]", '{"pid": 3}'):
        (tmp_path / FILE).write_text(text)
        assert owner(tmp_path) is None
    assert Claim.acquire(tmp_path) is not None
