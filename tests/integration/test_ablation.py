"""Studies with real training of a few steps."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ablation_studies import OwnCircular, study_file
from typer.testing import CliRunner, Result

from gemnet_blocks.ablation import Study, StudyResults, TrainingLearner, verify
from gemnet_blocks.errors import SpecError
from gemnet_blocks.evaluation import KeptPredictions
from gemnet_blocks.potential import Potential, References, load_potential, save_potential
from gemnet_blocks.spec import build, load_spec
from gemnet_blocks.training.data_stream import BatchLoader, open_parts
from gemnet_blocks.training.distributed import Processes
from gemnet_blocks.training.setup import initial_potential

MEASURED = {
    "parameters",
    "matmul_flops_inference",
    "matmul_flops_training",
    "training_seconds",
    "steps",
    "inference_seconds",
    "inference_spread",
    "peak_memory_bytes",
    "edges",
    "triplets",
    "quadruplets",
    "symmetry_error",
    "symmetry_error_energy",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study file, and beside it the folder `study` of the finished study."""
    folder = tmp_path_factory.mktemp("ablation")
    Study.from_file(study_file(folder)).run("here", progress=False)
    return folder


@pytest.fixture(scope="module")
def results(folder: Path) -> StudyResults:
    return StudyResults.load(folder / "study" / "results.json")


def test_everything_is_measured(results: StudyResults) -> None:
    assert results.complete
    for run in results.runs:
        assert set(run.cost) == MEASURED
        assert all(
            run.cost[name] > 0
            for name in MEASURED
            - {"quadruplets", "triplets", "inference_spread", "symmetry_error", "symmetry_error_energy"}
        )
        assert run.cost["steps"] == 8
        assert run.cost["symmetry_error"] < 1e-10
        assert [one["step"] for one in run.curve] == [4, 8]
        assert run.curve[-1]["forces_mae"] == pytest.approx(min(one["forces_mae"] for one in run.curve), rel=0.2)
        assert {"forces_mae", "energy_mae_per_atom", "forces_rmse"} <= set(run.metrics)
        assert run.environment["evaluated_on"] == "validation"
        assert "not measured" not in run.environment
        assert set(run.elements) == {"Cu"}
        assert run.elements["Cu"]["forces_mae"] == pytest.approx(run.metrics["forces_mae"])
        assert run.baseline.keys() >= {"forces_mae", "energy_mae_per_atom"}
        assert len(run.parity["energy"].label) == 6
    base, without = results.run("base", 0), results.run("no triplets", 0)
    assert base is not None
    assert without is not None
    assert base.cost["triplets"] > 0 == without.cost["triplets"]
    assert base.cost["matmul_flops_training"] > without.cost["matmul_flops_training"]
    assert base.cost["edges"] == without.cost["edges"]


def test_the_saved_model_is_the_evaluated_one(folder: Path, results: StudyResults) -> None:
    plan = Study.from_file(folder / "study.yaml").check()
    path = plan.runs[0].folder.path
    potential = load_potential(path / "best.safetensors")
    assert potential.spec.content_hash == results.variants[0].spec_hash
    validated = [one["forces_mae"] for one in results.runs[0].curve]
    assert results.runs[0].metrics["forces_mae"] == pytest.approx(validated[-1], rel=1e-4)


def test_the_same_seed_sees_the_same_data_and_starts_from_the_same_weights(folder: Path) -> None:
    plan = Study.from_file(folder / "study.yaml").check()
    by_seed: dict[int, list[list[list[int]]]] = {}
    weights: dict[int, list[dict[str, torch.Tensor]]] = {}
    for run in plan.runs:
        config = run.task.training
        data = open_parts(config)
        sampler = BatchLoader(data.train, config, Processes())._sampler(config.training.seed, Processes())
        by_seed.setdefault(run.task.seed, []).append([*sampler.batches(0), *sampler.batches(1)])
        model = initial_potential(config, data, None).model
        weights.setdefault(run.task.seed, []).append(dict(model.named_parameters()))
    for orders in by_seed.values():
        assert orders == [orders[0]] * 2
    assert by_seed[0][0] != by_seed[1][0]
    for base, *others in weights.values():
        for other in others:
            shared = [name for name in base if name in other and base[name].shape == other[name].shape]
            assert len(shared) > 10
            assert all(torch.equal(base[name], other[name]) for name in shared)
    name = next(name for name in weights[0][0] if "atom_embedding" in name)
    assert not torch.equal(weights[0][0][name], weights[1][0][name])


def test_finished_runs_are_not_trained_again(
    folder: Path, results: StudyResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemnet_blocks.training.train", None)
    assert Study.from_file(folder / "study.yaml").run("here", progress=False) == results


@pytest.mark.slow
def test_equal_flops(folder: Path, tmp_path: Path) -> None:
    """A cheaper variant takes more steps; products of matrices in all are nearly equal, and no more than allowed."""
    budget = 2.2e7
    study = Study.from_file(folder / "study.yaml", {"budget": {"steps": None, "flops": budget}}, folder=tmp_path)
    steps = {run.task.variant: run.task.training.training.steps for run in study.check().runs}
    assert steps["no triplets"] > steps["base"] >= 5
    from gemnet_blocks.ablation.training_learner import TrainingLearner

    for run in study.check().runs[:2]:
        each = TrainingLearner().training_flops(run.task, open_parts(run.task.training))
        assert budget - each < each * (run.task.training.training.steps or 0) <= budget
    with pytest.raises(SpecError, match=r"budget\.flops: a training step of 'base' takes"):
        Study.from_file(folder / "study.yaml", {"budget": {"steps": None, "flops": 1.0}}, folder=tmp_path).check()


def test_costs_of_a_training_step_for_controls(folder: Path) -> None:
    runs = Study.from_file(folder / "study.yaml").check().runs
    task = runs[0].task
    wider = replace(task, spec=task.spec.patch({"sizes.edge": 32}))
    learner, data = TrainingLearner(repeats=1), open_parts(task.training)

    assert learner.training_memory(task, data) < learner.training_memory(wider, data)
    assert 0 < learner.training_seconds(task, data) < 60


def test_equal_time(folder: Path, tmp_path: Path) -> None:
    changes = {
        "budget": {"steps": None, "minutes": 0.005},
        "seeds": 1,
        "variants": {"no triplets": {"blocks.count": 2}},
    }
    results = Study.from_file(folder / "study.yaml", changes, folder=tmp_path).run("here", progress=False)
    assert results.complete
    assert all(0.3 <= run.cost["training_seconds"] < 3 for run in results.runs)


def test_a_test_set_and_execution(folder: Path, tmp_path: Path) -> None:
    """Explicit and factorised sums are the same model: equal errors but for rounding."""
    changes = {
        "seeds": 1,
        "data.split": {"type": "random", "train": 20, "validation": 5, "test": 5, "seed": 0},
        "variants": {"no triplets": {"execution.angular": "explicit"}},
        "training.training.precision": "64",
    }
    text = (
        (folder / "study.yaml").read_text().replace("no triplets: {interactions: {triplet: null}}", "no triplets: {}")
    )
    (folder / "execution.yaml").write_text(text)
    results = Study.from_file(folder / "execution.yaml", changes, folder=tmp_path).run("here", progress=False)
    base, explicit = (results.run(name, 0) for name in ("base", "no triplets"))
    assert base is not None
    assert explicit is not None
    assert base.environment["evaluated_on"] == "test"
    assert base.metrics["forces_mae"] == pytest.approx(explicit.metrics["forces_mae"], rel=1e-9)
    assert base.key != explicit.key


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data.files": ["nothing.xyz"]}, "data: nothing.xyz: there is no such file"),
        ({"data.split.validation": 100}, "data.split"),
        ({"data.split": None}, "has neither a test set nor"),
        ({"base.elements": 20}, "an atomic number above 20"),
        (
            {"variants": {"bare": {"heads.forces": None}}},
            "variants.bare: training.loss.forces: the model has no forces",
        ),
        (
            {"data.batch": {"structures": None, "edges": 50}, "variants": {"wide": {"graphs.main.cutoff": 4.0}}},
            "data.batch.edges: 'wide' would get other batches than the base",
        ),
        (
            {"base.heads.forces": None, "training.loss.forces": None},
            "base: primary: forces_mae is not available: choose from energy_mae, energy_rmse, energy_mae_per_atom, ",
        ),
        (
            {"training.loss.forces": None, "variants": {"bare": {"heads.forces": None}}},
            "variants.bare: primary: forces_mae is not available",
        ),
        ({"primary": "stress_mae"}, "base: primary: stress_mae is not available"),
        ({"match": {"parameters": "sizes.egde"}}, "match.parameters: must be a width of the base, such as sizes.edge"),
        ({"training.training.execution.search": "fast"}, "training.training.execution.search"),
    ],
    ids=str,
)
def test_mistakes_are_errors_before_training(folder: Path, tmp_path: Path, changes, told: str) -> None:
    with pytest.raises(SpecError, match=told.replace(".", r"\.")):
        Study.from_file(folder / "study.yaml", changes, folder=tmp_path).run("here", progress=False)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("old", "new", "told", "key"),
    [
        ("  - forces\n", "", r"base: training\.loss\.forces: data\.labels has only energy", "forces"),
        (
            "{interactions: {triplet: null}}",
            "{heads.forces: null}",
            r"variants\.no triplets: training\.loss\.forces: ",
            "forces",
        ),
        ("train: 24", "train: 240", r"data\.split", "split"),
        ("- structures.xyz", "- nothing.xyz", r"data: nothing\.xyz: there is no such file", "data"),
        ("budget:", "primary: stress_mae\nbudget:", r"base: primary: stress_mae is not available", "primary"),
        ("budget: {steps: 8}", "budget: {flops: 1}", r"budget\.flops: a training step of 'base' takes", "flops"),
        ("device: cpu", "device: cpu\n    start_from: absent", r"base: training\.training\.start_from: ", "start_from"),
        ("budget:", "match: {parameters: sizes.egde}\nbudget:", r"match\.parameters: must be a width", "match"),
    ],
)
def test_errors_that_are_found_after_reading_name_file_and_line(
    tmp_path: Path, old: str, new: str, told: str, key: str
) -> None:
    path = study_file(tmp_path)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(SpecError) as caught:
        Study.from_file(path, folder=tmp_path / "out").check()
    found = re.match(rf"{re.escape(str(path))}:(\d+): {told}", str(caught.value))
    assert found, caught.value
    assert key in path.read_text().splitlines()[int(found[1]) - 1]


def test_a_mistake_in_all_variants_is_one_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        Study.from_file(folder / "study.yaml", {"data.labels": ["energy"]}, folder=tmp_path).check()
    first, second = str(caught.value).splitlines()
    assert re.search(r"study\.yaml:\d+: base: training\.loss\.forces: data\.labels has only energy", first)
    assert "base: primary: forces_mae is not available" in second


def test_packages_and_devices_that_are_missing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    study = Study.from_file(folder / "study.yaml", {"training.training.device": "cuda"}, folder=tmp_path)
    study.check()  # another machine may have one
    with pytest.raises(SpecError, match=r"^patch: training\.training\.device: torch finds no CUDA device here"):
        study.run("here", progress=False)
    monkeypatch.setitem(sys.modules, "lightning", None)
    with pytest.raises(ImportError, match="train"):
        Study.from_file(folder / "study.yaml", folder=tmp_path).run("here", progress=False)
    assert not (tmp_path / "runs").exists()


def test_data_that_change_are_seen(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.xyz"
    data.write_text((folder / "structures.xyz").read_text())
    study = Study.from_file(folder / "study.yaml", {"data.files": [str(data)]}, folder=tmp_path / "out")
    plan = study.check()
    assert study.check() is plan
    data.write_text(re.sub(r"energy=(\S+)", r"energy=1\1", data.read_text(), count=1))
    assert {run.task.key for run in study.check().runs}.isdisjoint(run.task.key for run in plan.runs)


@pytest.mark.slow
def test_killed_training_resumes_with_the_same_results(folder: Path, tmp_path: Path) -> None:
    study = study_file(tmp_path, steps=40)
    whole = Study.from_file(study, {"seeds": 1}, folder=tmp_path / "whole").run("here", progress=False)
    script = (
        "import sys; from gemnet_blocks.ablation import Study; "
        "Study.from_file('study.yaml', {'seeds': 1}, folder='killed').run('local', processes=2)"
    )
    one = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 100
    while not list(tmp_path.glob("killed/runs/*/*/checkpoint.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.01)
    worker = list(tmp_path.glob("killed/runs/*/*/claim.json"))
    one.send_signal(signal.SIGKILL)
    one.wait()
    assert worker
    again = Study.from_file(study, {"seeds": 1}, folder=tmp_path / "killed").run("local", processes=2, progress=False)
    assert again.complete
    for before, after in zip(whole.runs, again.runs, strict=True):
        assert before.key == after.key
        assert before.metrics == after.metrics
        assert [one["forces_mae"] for one in before.curve] == [one["forces_mae"] for one in after.curve]


def test_the_command(folder: Path, tmp_path: Path, results: StudyResults) -> None:
    import typer

    from gemnet_blocks.cli.ablate import ablate

    app = typer.Typer()
    app.command()(ablate)
    listed = CliRunner().invoke(app, [str(folder / "study.yaml"), "--check"])
    assert listed.exit_code == 0, listed.output
    assert "interactions.triplet = null" in listed.output
    assert "2 of 2" in listed.output
    told = CliRunner().invoke(app, [str(folder / "study.yaml"), "--report-only", "--set", "title=Of triplets"])
    assert told.exit_code == 0, told.output
    assert re.search(
        r"Differences from the base: forces MAE.*\n(.*\n)*.*no triplets +inconclusive .* 2 of 2", told.output
    )
    report = (folder / "study" / "report" / "report.html").read_text()
    assert "Of triplets" in report
    assert re.search(r"train: 24 structures[^<]*; validation: 6 structures", report)
    failing = [str(folder / "study.yaml"), "--executor", "here", "--output", str(tmp_path)]
    failing += [f"--set={change}" for change in ("seeds=1", "retries=0")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gemnet_blocks.training.train", None)
        told = CliRunner().invoke(app, failing)
    assert told.exit_code == 1, told.output
    assert "2 of 2 runs failed" in told.output
    assert (tmp_path / "report" / "report.html").is_file()


def test_runs_that_are_done_again_are_equal_bit_for_bit(folder: Path, results: StudyResults, tmp_path: Path) -> None:
    """A run of the finished study, with its predictions, from its report alone."""
    Study.from_file(folder / "study.yaml").report()
    found = verify(folder / "study" / "report", sample=1, seed=0)
    assert found.passed, found.mismatches
    (rerun,) = found.reruns
    assert not rerun.reason
    assert found.runs == 4
    record = next((folder / "study/runs").glob(f"*/{rerun.seed}-{results.run(rerun.variant, rerun.seed).key[:16]}"))
    copy = shutil.copytree(folder / "study", tmp_path / "study")
    kept = KeptPredictions.load(record / "predictions.npz")
    forces = kept.of_atoms["forces_predicted"].copy()
    forces[5, 1] += 1e-6
    changed = replace(kept, of_atoms={**kept.of_atoms, "forces_predicted": forces})
    changed.save(copy / record.relative_to(folder / "study") / "predictions.npz")
    found = verify(copy, sample=1, seed=0)
    assert "predictions.forces_predicted[16]" in {one.what for one in found.mismatches}
    away = (folder / "structures.xyz").rename(tmp_path / "structures.xyz")
    try:
        with pytest.raises(
            SpecError, match=r"expected the files that the run read, .*structures\.xyz.* or give --sample 0"
        ):
            verify(copy, sample=1, seed=0)
    finally:
        away.rename(folder / "structures.xyz")


def test_where_variants_differ(folder: Path, results: StudyResults, tmp_path: Path) -> None:
    """A study, and two of its models on other structures; errors of all atoms average to the recorded error."""
    found = results.where("no triplets")
    assert found.base.mean(axis=1) == pytest.approx(list(results.values("base").values()), rel=1e-6)
    told = command("where", str(folder / "study"), "--by", "element", "--output", str(tmp_path / "out"))
    assert told.exit_code == 0, told.output
    assert "Difference of the forces MAE (meV/Å) by element" in told.output
    assert "Difference of the energy MAE per atom (meV) by element" not in told.output
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert written >= {"where.csv", "where_structures.csv", "figures/where_1.svg", "figures/where_1.csv"}
    runs = [str(next((folder / "study/runs").glob(f"{name}/0-*"))) for name in ("base", "no-triplets*")]
    data = (str(folder / "structures.xyz"), "--units", "eV", "--energy", "total")
    models = command("where", *runs, *data, "--by", "composition", "--free-atoms")
    assert models.exit_code == 0, models.output
    assert re.search(r"Cu4 +\d+ +\d+ ", models.output)
    config = command(
        "where", *runs, str(next((folder / "study/runs").glob("base/0-*/config.yaml"))), "--split", "validation"
    )
    assert config.exit_code == 0, config.output
    for arguments, message in (
        ([str(folder)], "expected the folder of a study with results.json, or a model followed by another model and"),
        ([str(folder / "study"), "--variant", "deeper"], "--variant deeper: expected one of no triplets"),
        ([str(folder / "study"), "--by", "tag"], "--by: the structures cannot be grouped by tag"),
        (runs, "give the data for which the two models are compared"),
        ([*runs, *data, "--variant", "x"], "--variant is only for studies"),
        ([*runs, *data, "--split", "test"], "--split is only for training configs"),
    ):
        wrong = command("where", *arguments)
        assert isinstance(wrong.exception, SpecError), wrong.output
        assert message in str(wrong.exception)


def command(*arguments: str) -> Result:
    from gemnet_blocks.cli import app

    return CliRunner().invoke(app, arguments)


@pytest.mark.slow
def test_own_parts_are_ablated(folder: Path, tmp_path: Path) -> None:
    """A class that is passed in, in worker processes as well, which import it."""
    given = Study.from_file(folder / "study.yaml").check().runs[0].task
    config = given.training.to_dict()
    training = {key: config[key] for key in ("scales", "loss")} | {"training": {"device": "cpu"}}
    spec = load_spec(folder / "base.yaml", extra={"own": OwnCircular})
    data = {**config["data"], "files": [str(folder / "structures.xyz")]}
    study = Study(
        spec,
        {"own": {"bases.circular": {"type": "own", "count": 2}}},
        1,
        data=data,
        training=training,
        budget={"steps": 2},
        folder=tmp_path,
    )
    results = study.run("local", processes=2, progress=False)
    assert results.complete, results.failed()
    assert results.values("own") != results.values("base")
    assert any(one.path == "bases.circular.type" and one.value == "own" for one in results.variants[1].differences)


def test_costs_that_cannot_be_measured_are_missing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Estimates follow shapes; a part of one's own may look at values."""

    def estimate(*_: object) -> None:
        raise RuntimeError("this part looks at values")

    monkeypatch.setattr("gemnet_blocks.model.gemnet.GemNet.estimate", estimate)
    study = Study.from_file(folder / "study.yaml", {"seeds": 1, "budget.steps": 1}, folder=tmp_path)
    run = study.run("here", progress=False).runs[0]
    assert run.status == "done"
    estimated = {"matmul_flops_inference", "matmul_flops_training", "peak_memory_bytes"}
    assert MEASURED - set(run.cost) == {*estimated, "edges", "triplets", "quadruplets"}
    assert run.environment["not measured"].startswith("inference: RuntimeError: this part looks at values; training")
    with pytest.raises(
        SpecError, match=r"budget\.flops: the FLOPs of a training step of 'base' are unknown \(RuntimeError: this"
    ):
        Study.from_file(folder / "study.yaml", {"budget.flops": 1e9}, folder=tmp_path).check()


def test_a_variant_that_the_weights_to_start_from_do_not_fit_is_refused_by_the_check(tmp_path: Path) -> None:
    path = study_file(tmp_path, "\n  wider: {sizes.edge: 12}\n  far: {graphs.main.cutoff: 3.6}\n")
    spec = load_spec(tmp_path / "base.yaml")
    save_potential(
        Potential(build(spec, seed=0), spec, References({29: 0.0}, 1.0, "total")), tmp_path / "start.safetensors"
    )
    start = {"training.training.start_from": "start.safetensors"}
    with pytest.raises(SpecError) as caught:
        Study.from_file(path, start).check()
    (line,) = str(caught.value).splitlines()
    assert "variants.wider: training.training.start_from: the weights of " in line
    assert line.endswith("from which it differs in sizes.edge")
    Study.from_file(path, {**start, "variants.wider": None}).check()
    with pytest.raises(SpecError, match=r"base: training\.training\.start_from: expected a model file"):
        Study.from_file(path, {"training.training.start_from": "absent.safetensors"}).check()
