"""The benchmarks compare results correctly and record failures; these tests measure no times."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import cases  # noqa: E402
import compare  # noqa: E402
import gpu  # noqa: E402
import results  # noqa: E402
import scaling  # noqa: E402
import scaling_tables  # noqa: E402
import worker  # noqa: E402
import worker_gpu  # noqa: E402
import worker_here  # noqa: E402
from processes import Process, WorkerError  # noqa: E402

TOY = {
    "sizes.atom": 8,
    "sizes.edge": 12,
    "blocks.count": 1,
    "bases.radial.count": 8,
    "bases.circular.count": 3,
    "bases.spherical.count": 3,
    **{f"graphs.{name}.cutoff": 5.0 for name in ("atom", "main", "atom_edge", "quad")},
}
SETTING = {"cpu": "a processor"}


def entrant(plan: str, seconds: float, megabytes: float, **more: Any) -> dict[str, Any]:
    return {"plan": plan, "execution": {}, "seconds": [seconds, seconds, 9.0], "megabytes": megabytes, **more}


def record(*entrants: dict[str, Any]) -> dict[str, Any]:
    return {"setting": SETTING, "date": "2026-01-01", "repeats": 3, "entrants": list(entrants)}


def verdict(target: cases.Target, *entrants: dict[str, Any]) -> tuple[str, str]:
    page = results.text_of({target.case: record(*entrants)}, {}, "\n")
    wanted = f"| {target.case} | {target.plan} |"
    line = next(line for line in page.splitlines() if line.startswith(wanted))
    return line.split(" | ")[3], line.split(" | ")[4].removesuffix(" |")


class InThisProcess:
    """Replacement for a worker process."""

    def __init__(self, interpreter: str, script: str, library: Path | None = None) -> None:
        assert interpreter == sys.executable
        assert library is None
        assert (ROOT / "benchmarks" / script).is_file()
        self.worker = worker.Worker(worker_here.make, "gemnet_blocks")
        self.worker.imported = 0  # earlier tests left memory in this process

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        try:
            return json.loads(json.dumps(self.worker.answer(do, **json.loads(json.dumps(request)))))
        except Exception as error:
            raise WorkerError(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        pass

    def __enter__(self) -> InThisProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.mark.parametrize("forces", ["direct", "gradient"])
def test_the_small_model_differs_from_the_published_one_in_widths(forces: str) -> None:
    small, paper = (cases.published_arguments(size, forces) for size in ("small", "paper"))
    changed = {name: value for name, value in small.items() if value != paper[name]}
    assert changed == {
        "num_radial": 32,
        **{f"emb_size_{name}": 64 for name in ("atom", "edge")},
        **{f"emb_size_{name}": 32 for name in ("trip_in", "trip_out", "aint_in", "aint_out")},
        **{f"emb_size_quad_{way}": 16 for way in ("in", "out")},
    }
    assert paper["direct_forces"] is (forces == "direct")
    assert json.loads(json.dumps(small)) == small


@pytest.mark.parametrize(("case", "atoms"), [(cases.CASES[0], [42]), (cases.CASES[2], [42] * 4)])
def test_both_sides_read_the_structures_with_their_tags(case: cases.Case, atoms: list[int], tmp_path: Path) -> None:
    case.write(tmp_path / "frames.extxyz")
    frames = ase.io.read(tmp_path / "frames.extxyz", index=":")
    assert [len(frame) for frame in frames] == atoms
    assert case.name.endswith(f"{len(atoms)} x {atoms[0]} atoms")
    assert np.array_equal(frames[0].get_tags(), cases.slab(case.side).get_tags())
    assert set(frames[0].get_tags()) == {0, 1, 2}
    assert frames[0].pbc.all()


def test_slabs_without_methanol() -> None:
    for count, side in scaling.SIDES.items():
        assert count == 4 * side**2
    atoms = cases.slab(3, adsorbate=False)
    assert len(atoms) == 36
    assert set(atoms.get_tags()) == {0, 1}


def test_every_target_is_measured() -> None:
    plans = {case.name: (case, {cases.MAIN_PLAN, *case.plans}) for case in cases.CASES}
    assert len(plans) == len(cases.CASES)
    for target in cases.TARGETS:
        case, known = plans[target.case]
        assert target.plan in known
        assert case.reference or target.speed is None


def test_a_case_from_start_to_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both sides are this library, in this process; one plan has an unknown option."""
    monkeypatch.setattr(compare, "Process", InThisProcess)
    monkeypatch.setattr(compare, "memory_limit", lambda: None)
    case = cases.Case("small", "training", 2, forces="gradient", changes=TOY)
    plans = {cases.MAIN_PLAN: {}, "wrong": {"no_such_option": 1}}
    found = compare.measure(case, sys.executable, plans, 2, SETTING)
    reference, here, wrong = found["entrants"]
    assert [one["plan"] for one in (reference, here, wrong)] == ["reference", "float32", "wrong"]
    assert "no_such_option" in wrong["failure"]
    assert reference["parameters"] == here["parameters"] > 0
    for one in (reference, here):
        assert "failure" not in one
        assert len(one["seconds"]) == 2
        assert one["megabytes"] >= 0
        assert 0 < one["error"] < 1e-4  # single precision is not double precision
    assert here["difference"] == 0
    assert here["gradient_difference"] < 1e-6
    assert found["setting"]["here"]["torch"] == found["setting"]["reference"]["torch"]

    other = {"another case": record(entrant("reference", 1, 1))}
    (tmp_path / "RESULTS.md").write_text(f"{results.BEGIN}\nA remark.\n{results.END}\n", encoding="utf-8")
    results.save({**other, case.name: found}, tmp_path)
    results.update_page(tmp_path)
    page = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert results.load(tmp_path)["another case"] == other["another case"]
    assert f"{results.BEGIN}\nA remark.\n{results.END}" in page
    assert f"| {case.name} | reference |" in page
    assert "| another case | reference | 1.000 |" in page
    assert "failed: TypeError" in page


def test_verdicts_of_targets() -> None:
    target = next(one for one in cases.TARGETS if one.speed == 6 and one.memory == 3)
    reference = entrant("reference", 6.6, 330, error=1e-6)
    assert verdict(target, reference, entrant("float32", 1, 100)) == (
        "6.6 times faster, 3.3 times less memory",
        "passed",
    )
    assert verdict(target, reference, entrant("float32", 1.2, 100))[1] == "missed"
    assert verdict(target, reference, entrant("float32", 1, 120))[1] == "missed"
    assert verdict(target, reference)[1] == "not measured"
    off = entrant("float32", 1, 100, difference=2e-5, error=2e-5)
    assert verdict(target, reference, off)[1] == "missed: outputs differ"
    rounded = reference | {"error": 1e-5}
    assert verdict(target, rounded, off)[1] == "passed"
    assert "**!**" in results.text_of({target.case: record(rounded, off)}, {}, "\n")
    dead = {"plan": "float32", "execution": {}, "seconds": [], "failure": "killed | by itself"}
    assert verdict(target, reference, dead)[1] == "missed: killed / by itself"
    limit = next(one for one in cases.TARGETS if one.limit)
    assert verdict(limit, entrant(limit.plan, 1, 5900)) == ("5.9 GB", "passed")
    assert verdict(limit, entrant(limit.plan, 1, 6000))[1] == "missed"


def test_differences_are_relative_to_the_greatest() -> None:
    these = {"energy": [10.0, -20.0], "forces": [[1.0, 0.0], [0.0, 4.0]]}
    assert compare.difference(these, {"energy": [10.0, -20.1], "forces": [[1.0, 0.0], [0.0, 4.0]]}) == (
        pytest.approx(0.1 / 20)
    )
    assert compare.difference(these, {"energy": [10.0, -20.0], "forces": [[1.0, 0.4], [0.0, 4.0]]}) == pytest.approx(
        0.1
    )
    assert compare.relative([1.0], [float("nan")]) == float("inf")
    assert compare.relative([1.0], [1.0, 2.0]) == float("inf")
    assert compare.relative([0.0], [0.0]) == 0
    assert compare.difference({"edges": {"main": 100}}, {"edges": {"main": 99}}) == pytest.approx(0.01)


def test_workers_that_die_or_print(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    answering = """
import json, sys, os
print("hello from an import")
for line in sys.stdin:
    do = json.loads(line)["do"]
    if do == "kill":
        os.kill(os.getpid(), 9)
    if do == "exit":
        sys.exit("a reason")
    print(json.dumps({"error": "no: \\nmore"} if do == "refuse" else {"did": do}), flush=True)
"""
    script.write_text(answering, encoding="utf-8")
    for do, message in (
        ("kill", "killed, probably because the memory was exhausted"),
        ("exit", "exit code 1: a reason"),
    ):
        with Process(sys.executable, str(script)) as process:
            assert process.ask("something") == {"did": "something"}
            with pytest.raises(WorkerError, match=r"^no: $"):
                process.ask("refuse")
            with pytest.raises(WorkerError, match=message):
                process.ask(do)
            with pytest.raises(WorkerError, match=message):
                process.ask("something")


def test_a_real_worker_reports_versions_and_refuses_unknown_requests() -> None:
    with Process(sys.executable, "worker_here.py") as process:
        assert process.ask("versions")["torch"] == torch.__version__
        with pytest.raises(WorkerError, match="expected a request `prepare` first"):
            process.ask("run")


def test_the_quadruplet_interaction_alone(tmp_path: Path) -> None:
    cases.write([cases.slab(2)], tmp_path / "frames.extxyz")
    request = {"task": "quadruplet", "file": str(tmp_path / "frames.extxyz"), "seed": 0}
    task = worker_here.make({**request, "arguments": cases.published_arguments("small", "direct", TOY)})
    run = task.run()
    assert run["seconds"] == pytest.approx(run["shared"] + run["message"])
    assert task.outputs()["edges of quad"] > 0


def test_scaling_tables_targets_and_plots(tmp_path: Path) -> None:
    def point(value: int, seconds: float, megabytes: float, plan: str = "default", **more: Any) -> dict[str, Any]:
        return {"value": value, "plan": plan, "seconds": [seconds], "megabytes": megabytes, **more}

    def quadruplets(value: int, seconds: float) -> dict[str, Any]:
        counts = {"edges of quad": 10 * value, "quadruplets through quad": 1000 * value}
        return point(value, seconds, 5.0, counts=counts, shared=[0.1], message=[0.1])

    failed = {"value": 1024, "plan": "default", "seconds": [], "failure": "killed"}
    found = {
        "atoms": {"points": [point(484, 0.484, 500), failed, point(10_000, 11, 7000, cases.BUDGET)]},
        "quad_neighbors": {"points": [quadruplets(8, 1.0), quadruplets(30, 3.5)]},
    }
    quad, many = scaling_tables.target_rows(found)
    assert quad[3:] == ("3.50 times the time for 3.75 times the edges", "passed")
    assert many[3:] == ("7.0 GB, 1.10 times", "passed")
    found["atoms"]["points"][2]["megabytes"] = 8000
    found["quad_neighbors"]["points"][1]["seconds"] = [3.8]
    assert [row[-1] for row in scaling_tables.target_rows(found)] == ["missed", "missed"]
    assert [row[-1] for row in scaling_tables.target_rows({})] == ["not measured", "not measured"]
    page = results.text_of({}, found, "\n")
    assert "| 1,024 | default | failed: killed |" in page
    assert "| 484 | default | 0.4840 | 1.00 | 500 |" in page
    scaling.plot(found, tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").stat().st_size > 1000


# -- the script for GPUs ----------------------------------------------------------------------------------------------


SECONDS = sum(section.seconds for section in gpu.SECTIONS)


class GpuWorkerInThisProcess(InThisProcess):
    """Replacement for the worker process of the script for GPUs."""

    def __init__(self, interpreter: str, script: str) -> None:
        assert (interpreter, script) == (sys.executable, gpu.HERE)
        self.worker = worker.Worker(worker_gpu.make, "gemnet_blocks")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> gpu.Settings:
    monkeypatch.setattr(gpu, "Process", GpuWorkerInThisProcess)
    monkeypatch.setattr(gpu, "LIMIT", 1e6)
    monkeypatch.setattr(gpu, "SECTIONS", [replace(section, seconds=1e6) for section in gpu.SECTIONS])
    return gpu.Settings("cpu", quick=True)


def test_the_gpu_script_checks_and_measures_on_the_cpu(quick: gpu.Settings) -> None:
    found = gpu.measured(quick, "Parity|Gradients|Batch")
    assert list(found) == ["Parity", "Gradients", "Batch sizes"]
    differences = {row["case"]: row["difference"] for row in (*found["Parity"], *found["Gradients"])}
    assert differences.keys() >= {"backbone_and_heads", "energy", "forces", "stress", "gradients of weights"}
    assert max(differences.values()) < 1e-9
    for row in found["Batch sizes"]:
        assert row["ms"] > 0
        assert row["launches"] > 100
    page = gpu.page({"setting": {"device": "cpu", "quick": True}, "sections": found})
    assert "from a CPU" in page
    assert "| gradients of weights | 0.0e+00 |" in page


def test_the_gpu_script_records_failures_and_goes_on(quick: gpu.Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(request: dict[str, Any]) -> worker.Task:
        raise RuntimeError("CUDA error: an illegal | memory access")

    monkeypatch.setattr(worker_gpu, "make", broken)
    found = gpu.measured(quick, "Parity|Batch")
    assert [row["error"] for rows in found.values() for row in rows] == [
        "RuntimeError: CUDA error: an illegal | memory access"
    ] * 3
    assert "an illegal / memory access |" in gpu.page(
        {"setting": {"device": "cuda", "quick": False}, "sections": found}
    )


def test_the_gpu_script_stops_at_the_time_limit(quick: gpu.Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "LIMIT", 0.0)
    (row,) = gpu.measured(quick, "Parity")["Parity"]
    assert row["error"] == "not measured: the time limit of the section is over"
    assert SECONDS <= 480


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_gpu_script_needs_a_cuda_device() -> None:
    with pytest.raises(SystemExit, match="no CUDA device was found"):
        gpu.main([])
