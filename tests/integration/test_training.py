"""Training on small data with a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import read, write
from training_runs import CONFIG, config, rows, write_structures
from typer.testing import CliRunner, Result

from gemnet_blocks.cli import app
from gemnet_blocks.errors import SpecError, StateError, StructureError
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.potential.model_file import load_potential, save_potential
from gemnet_blocks.spec.document import dump
from gemnet_blocks.structures import Structures
from gemnet_blocks.training import load_config, train
from gemnet_blocks.training.checkpoints import read_checkpoint
from gemnet_blocks.training.data_stream import open_parts
from gemnet_blocks.training.module import PotentialModule
from gemnet_blocks.training.setup import initial_potential

BRIEF: dict[str, Any] = {"steps": 3, "checkpoint": {"steps": None}, "log": {"every": 1}}


def test_the_loss_falls_and_the_log_says_so_in_its_units(tmp_path: Path) -> None:
    settings = config(tmp_path, loss={"stress": {"weight": 1}}, training={"steps": 60})
    path = train(settings, tmp_path / "run")
    log = rows(tmp_path / "run")
    validated = [float(row["validation_loss"]) for row in log if row["validation_loss"]]
    assert validated[-1] < 0.5 * validated[0]
    last = [row for row in log if row["validation_loss"]][-1]
    potential = load_potential(tmp_path / "run" / "last.safetensors", dtype=torch.float64)
    held_out = read_checkpoint(tmp_path / "run" / "checkpoint.ckpt")
    assert held_out["gemnet_blocks"]["state"]["finished"]

    from gemnet_blocks.data.opening import open_data

    validation = open_data(settings.data, settings.folder).validation
    energies, forces, stresses = [], [], []
    for index in range(len(validation)):
        item = validation[index]
        prediction = potential(item.structures, stress=True)
        energies.append((prediction.energy - item.energy).abs().detach().numpy() / item.structures.atom_count)
        forces.append((prediction.forces - item.forces).abs().detach().numpy().ravel())
        stresses.append((prediction.stress - item.stress).abs().detach().numpy().ravel())
    for name, errors in (
        ("validation_energy_mae_mev_per_atom", energies),
        ("validation_forces_mae_mev_per_angstrom", forces),
        ("validation_stress_mae_mev_per_cubic_angstrom", stresses),
    ):
        assert float(last[name]) == pytest.approx(1000 * np.concatenate(errors).mean(), rel=1e-3), name
    assert path == tmp_path / "run" / "best.safetensors"


def test_the_record_says_how_the_model_came_about(tmp_path: Path) -> None:
    settings = config(tmp_path, training=BRIEF)
    record = load_potential(train(settings, tmp_path / "run")).record
    assert record["config"] == json.loads(json.dumps(settings.to_dict()))
    assert record["versions"]["torch"] == torch.__version__
    assert record["step"] == 3
    assert record["best_validation"]["loss"] > 0


def test_the_mean_of_the_weights_follows_its_equation(tmp_path: Path) -> None:
    """The same run, stopped after 1, 2 and 3 steps without a mean, gives the weights to average."""
    schedule = {"type": "constant"}
    steps = []
    for count in (0, 1, 2, 3):
        one = {**BRIEF, "steps": max(count, 1), "ema": None}
        extra = {"optimizer": {"learning_rate": 1e-30}} if count == 0 else {}
        train(config(tmp_path, training=one, schedule=schedule, **extra), tmp_path / f"{count}")
        steps.append(load_potential(tmp_path / f"{count}" / "last.safetensors").state_dict())
    train(config(tmp_path, training={**BRIEF, "ema": 0.25}, schedule=schedule), tmp_path / "mean")
    mean = load_potential(tmp_path / "mean" / "last.safetensors").state_dict()
    for name, value in mean.items():
        expected = steps[0][name]
        for step, kept in ((1, 2 / 11), (2, 0.25), (3, 0.25)):
            expected = kept * expected + (1 - kept) * steps[step][name]
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)


def test_gradients_are_clipped_to_a_norm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    norms = []
    step = torch.optim.AdamW.step

    def watched(self: Any, closure: Any = None) -> Any:
        def seen() -> Any:
            loss = closure()
            weights = [weight for group in self.param_groups for weight in group["params"]]
            norms.append(float(torch.stack([w.grad.norm() for w in weights if w.grad is not None]).norm()))
            return loss

        return step(self, seen)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    train(config(tmp_path, training={**BRIEF, "clip": 1e-3}), tmp_path / "run")
    assert norms == pytest.approx([1e-3] * 3, rel=1e-4)
    assert all(float(row["gradient_norm"]) > 1e-2 for row in rows(tmp_path / "run"))


def test_learning_rates_follow_the_schedule(tmp_path: Path) -> None:
    training = {**BRIEF, "steps": 4}
    schedule = {"type": "linear", "warmup": 2, "final": 0.0}
    train(config(tmp_path, training=training, schedule=schedule), tmp_path / "run")
    rates = [float(row["learning_rate"]) for row in rows(tmp_path / "run")]
    assert rates == pytest.approx([0.01 * factor for factor in (0.5, 0.75, 0.5, 0.25)])


def test_weights_of_losses_follow_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = []
    step = PotentialModule.training_step

    def stepped(self: PotentialModule, placed: Any, batch_idx: int) -> Any:
        weights.append([term.weight_at(self.fraction) for term in self.loss.terms])
        return step(self, placed, batch_idx)

    monkeypatch.setattr(PotentialModule, "training_step", stepped)
    loss = {"energy": {"weight": 16, "first_weight": 1}, "forces": {"weight": 2}}
    train(config(tmp_path, training={**BRIEF, "steps": 4}, loss=loss), tmp_path / "run")
    assert weights == [[1, 2], [2, 2], [4, 2], [8, 2]]


def test_plateaus_are_of_the_chosen_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = iter({"loss": 1.0 / step, "energy_mae": 1.0, "forces_mae": 1.0 + step} for step in range(1, 9))
    monkeypatch.setattr("gemnet_blocks.training.callback.validate", lambda *_: next(results))
    training = {**BRIEF, "steps": 4, "validate_every": {"steps": 1}}
    for metric, reductions in (("loss", [0, 0, 0, 0]), ("forces_mae", [0, 0, 1, 2])):
        schedule = {"type": "plateau", "metric": metric, "rate": 0.5, "patience": 0}
        train(config(tmp_path, training=training, schedule=schedule), tmp_path / metric)
        rates = [float(row["learning_rate"]) for row in rows(tmp_path / metric)]
        assert rates == pytest.approx([0.01 * 0.5**count for count in reductions])


@pytest.mark.parametrize("forces", ["direct", "gradient"])
def test_a_given_mean_and_scale_are_those_of_the_model_file(tmp_path: Path, forces: str) -> None:
    references = {"per_element": "none", "mean": -0.755, "scale": 2.887}
    changes = {"references": references, "model": {"heads": {"forces": {"type": forces}}}}
    train(config(tmp_path, training=BRIEF, **changes), tmp_path / "run")
    assert train(config(tmp_path, training=BRIEF, **changes), tmp_path / "run").name == "best.safetensors"

    potential = load_potential(tmp_path / "run" / "best.safetensors")
    structures = Structures.from_ase([read(tmp_path / "structures.xyz", "0"), read(tmp_path / "structures.xyz", "3")])
    energies, plain = potential(structures), potential.model(structures)
    torch.testing.assert_close(energies.energy, plain.energy.double() * 2.887 - 0.755)
    torch.testing.assert_close(energies.forces, plain.forces * 2.887)


def test_points_of_learning_curves_leave_a_run_as_it_is(tmp_path: Path) -> None:
    changes = {"steps": 6, "validate_every": {"steps": 4}, "checkpoint": {"steps": None}}
    for name, points in (("without", 0), ("with", 3)):
        log = {"every": 1, "curve_points": points}
        train(config(tmp_path, training={**changes, "log": log}), tmp_path / name)
    assert rows(tmp_path / "with") == rows(tmp_path / "without")
    states = [read_checkpoint(tmp_path / name / "checkpoint.ckpt") for name in ("with", "without")]
    found, before = (one["gemnet_blocks"]["state"] for one in states)
    assert [one["step"] for one in found["validations"]] == [one["step"] for one in before["validations"]] == [4, 6]
    assert [one["step"] for one in found["curve"]] == [2]  # the others are validations of the run
    assert found["curve"][0].keys() == found["validations"][0].keys()
    for name, value in load_potential(tmp_path / "without" / "best.safetensors").state_dict().items():
        assert torch.equal(load_potential(tmp_path / "with" / "best.safetensors").state_dict()[name], value), name


def test_epochs_are_a_budget(tmp_path: Path) -> None:
    training = {**BRIEF, "steps": None, "epochs": 2, "validate_every": {"steps": None, "epochs": 1}}
    train(config(tmp_path, training=training), tmp_path / "run")
    log = rows(tmp_path / "run")
    assert [row["epoch"] for row in log if row["validation_loss"]] == ["1", "2"]
    assert len(log) == 12  # 24 structures, 4 at a time


@pytest.mark.parametrize("clock", ["wall", "processor"])
def test_minutes_are_a_budget(tmp_path: Path, clock: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"wall": "process_time", "processor": "monotonic"}[clock]
    monkeypatch.setattr(f"time.{other}", lambda: 0.0)
    training = {**BRIEF, "steps": None, "minutes": 0.01, "clock": clock, "validate_every": {"steps": 1000}}
    train(config(tmp_path, training=training), tmp_path / "run")
    state = read_checkpoint(tmp_path / "run" / "checkpoint.ckpt")["gemnet_blocks"]["state"]
    assert 0.6 <= state["seconds"] < 5


def test_training_stops_early(tmp_path: Path) -> None:
    training = {
        **BRIEF,
        "steps": 1000,
        "validate_every": {"steps": 2},
        "stop_early": {"patience": 1, "least_gain": 1e9},
    }
    train(config(tmp_path, training=training), tmp_path / "run")
    assert rows(tmp_path / "run")[-1]["step"] == "6"  # the first gains on infinity, two do not


@pytest.mark.filterwarnings("error")
def test_half_precision(tmp_path: Path) -> None:
    settings = config(tmp_path, training={**BRIEF, "steps": 10, "precision": "bf16-mixed", "deterministic": False})
    train(settings, tmp_path / "run")
    losses = [float(row["loss"]) for row in rows(tmp_path / "run")]
    assert losses[-1] < losses[0]


def test_half_precision_of_gpus_takes_an_optimizer_that_leaves_the_scale_alone(tmp_path: Path) -> None:
    settings = config(tmp_path, training={"precision": "16-mixed"})
    potential = initial_potential(settings, open_parts(settings), None)
    module = PotentialModule(potential, settings, settings.loss.loss(1.0), settings.loss.errors(frozenset()))
    assert not module.configure_optimizers().defaults["fused"]


def test_a_loss_that_is_no_number_stops_training_and_saves_the_batch(tmp_path: Path) -> None:
    training = {**BRIEF, "steps": 50, "clip": None, "checkpoint": {"steps": 1}}
    settings = config(tmp_path, training=training, optimizer={"learning_rate": 1e30}, schedule={"type": "constant"})
    with pytest.raises(StateError, match=r"step \d+: the (loss|gradient) is (nan|inf).*not-finite-0\.extxyz") as caught:
        train(settings, tmp_path / "run")
    step = int(str(caught.value).split("step ")[1].split(":")[0])
    assert f"The last good state, of step {step - 1}, is in" in str(caught.value)
    frames = read(tmp_path / "run" / "not-finite-0.extxyz", ":")
    source = read(tmp_path / "structures.xyz", ":")
    assert len(frames) == 4
    assert f"({'; '.join(frame.info['place'] for frame in frames)})" in str(caught.value)
    for frame in frames:
        original = source[frame.info["frame"]]
        assert frame.info["place"] == f"structures.xyz, frame {frame.info['frame']}"
        np.testing.assert_allclose(
            frame.get_forces(apply_constraint=False), original.get_forces(apply_constraint=False), atol=1e-6
        )
        assert frame.get_potential_energy() == pytest.approx(original.get_potential_energy())
        np.testing.assert_allclose(frame.get_stress(), original.get_stress(), atol=1e-6)


def test_unfitted_scale_factors_are_refused_unless_allowed(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"scale factors are not fitted .*set scales: \{batches: 8\}, or set training"):
        train(config(tmp_path, training=BRIEF, scales=None), tmp_path / "run")
    train(config(tmp_path, training={**BRIEF, "allow_unfitted": True}, scales=None), tmp_path / "run")


def test_scale_factors_are_fitted_and_kept(tmp_path: Path) -> None:
    potential = load_potential(train(config(tmp_path, training=BRIEF), tmp_path / "run"))
    factors = [one for one in potential.modules() if isinstance(one, ScaleFactor)]
    assert factors
    assert all(one.fitted for one in factors)


EARLY = {"metric": "energy_mae", "patience": 1}


@pytest.mark.parametrize(
    ("patches", "told"),
    [
        ({"model.heads.forces": None}, "loss.forces: the model has no forces"),
        (
            {"model.heads.forces": {"type": "direct"}, "loss.stress": {}},
            "loss.stress: only models with gradient forces",
        ),
        ({"training.precision": "16-mixed"}, "16-mixed is for GPUs"),
        pytest.param(
            {"training.device": "cuda"},
            "training.device: torch finds no CUDA device",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
        ),
        ({"model.neighbors.periodic": False, "loss.stress": {}}, "loss.stress: the model ignores periodicity"),
        (
            {"data.labels": ["forces"], "loss.energy": None, "training.stop_early": EARLY},
            "stop_early.metric: data.labels has only forces",
        ),
        (
            {"data.labels": ["forces"], "loss.energy": None, "schedule": {"type": "plateau", "metric": "energy_mae"}},
            "schedule.metric: data.labels has only forces",
        ),
        (
            {"schedule": {"type": "plateau", "metric": "stress_mae"}},
            "schedule.metric: stresses are validated only if loss.stress is given",
        ),
        ({"data.labels": ["energy"]}, "loss.forces: data.labels has only energy"),
        ({"data.files": ["absent.xyz"]}, "absent.xyz: there is no such file"),
        ({"data.split": None, "training.stop_early": {"patience": 1}}, "stop_early: needs a validation set"),
        ({"data.split": None, "schedule": {"type": "plateau"}}, "plateau needs a validation set"),
    ],
)
def test_contradictions_are_errors_before_training(tmp_path: Path, patches: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        train(config(tmp_path, **patches), tmp_path / "run")
    assert not (tmp_path / "run" / "log.csv").exists()


def test_elements_only_in_validation_are_an_error_before_training(tmp_path: Path) -> None:
    other = bulk("Ni")
    other.calc = EMT()
    other.calc = SinglePointCalculator(other, energy=other.get_potential_energy(), forces=other.get_forces())
    write(tmp_path / "nickel.xyz", [other])
    data = {"split": None, "validation": ["nickel.xyz"], "labels": ["energy", "forces"], "batch": {"structures": 4}}
    changes: dict[str, Any] = {"data": data, "training": BRIEF}
    with pytest.raises(SpecError, match=r"the validation set contains Ni, whose .* give references.unseen"):
        train(config(tmp_path, **changes), tmp_path / "run")
    assert not (tmp_path / "run" / "log.csv").exists()
    train(config(tmp_path, **changes, references={"unseen": -1.0}), tmp_path / "run")


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ({"elements": 29}, "has an atomic number above 29, the last element of this model"),
        ({"graphs": {"main": {"tags": [1, 2]}}}, "has no tags, by which this model selects edges"),
    ],
)
def test_unsuitable_frames_are_an_error_before_training(tmp_path: Path, model: dict[str, Any], told: str) -> None:
    one = config(tmp_path, training=BRIEF, model=model)
    frames = read(tmp_path / "structures.xyz", ":")
    for atoms in frames:
        atoms.set_tags([1] * len(atoms))
    if "elements" in model:
        frames[21].symbols[0] = "Zn"
    else:
        del frames[21].arrays["tags"]
    write(tmp_path / "structures.xyz", frames)

    with pytest.raises(StructureError, match=f"structures.xyz, frame 21: {told}"):
        train(one, tmp_path / "run")
    assert not (tmp_path / "run" / "log.csv").exists()


def test_a_loss_on_free_atoms_needs_some(tmp_path: Path) -> None:
    one = config(tmp_path, training=BRIEF, loss={"forces": {"atoms": "free"}})
    frames = read(tmp_path / "structures.xyz", ":")
    for atoms in frames:
        atoms.set_constraint(FixAtoms(range(len(atoms))))
    write(tmp_path / "structures.xyz", frames)

    with pytest.raises(SpecError, match=r"loss.forces.atoms: none of \d+ atoms of the train set is free"):
        train(one, tmp_path / "run")


def test_structures_without_stress_are_an_error_before_training(tmp_path: Path) -> None:
    one = config(tmp_path, training=BRIEF, data={"periodicity": "mixed"}, loss={"stress": {}})
    frames = read(tmp_path / "structures.xyz", ":")
    for number in (4, 20):
        frames[number].pbc = [True, True, False]
    write(tmp_path / "structures.xyz", frames)

    with pytest.raises(SpecError, match=r"loss.stress: structures.xyz, frame (4|20) is not periodic in all directions"):
        train(one, tmp_path / "run")
    assert not (tmp_path / "run" / "log.csv").exists()


def test_an_unwritable_cache_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError, match=r"data.cache: .*file cannot be written to"):
        train(config(tmp_path, training=BRIEF, data={"cache": "file"}), tmp_path / "run")


def test_a_run_from_scratch_moves_the_models_of_the_run_before_aside(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(config(tmp_path, training=BRIEF), folder)
    best = (folder / "best.safetensors").read_bytes()
    (folder / "checkpoint.ckpt").unlink()

    with pytest.warns(UserWarning, match=r"best\.safetensors, last\.safetensors, log\.csv, config\.yaml.*earlier-1"):
        train(config(tmp_path, training=BRIEF, data={"split": None}), folder)

    assert (folder / "earlier-1" / "best.safetensors").read_bytes() == best
    assert not (folder / "best.safetensors").exists()
    assert load_potential(folder / "last.safetensors").record["validations"] == 0


def test_an_unwritable_output_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError, match=r"output: .* cannot be written to"):
        train(config(tmp_path, training=BRIEF), tmp_path / "file" / "run")
    with pytest.raises(SpecError, match="output: is missing"):
        train(config(tmp_path, training=BRIEF, output=None))


def test_randomness_outside_is_left_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    train(config(tmp_path, training=BRIEF), tmp_path / "run")
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.are_deterministic_algorithms_enabled()


def test_without_validation_the_last_model_is_the_result(tmp_path: Path) -> None:
    path = train(config(tmp_path, training=BRIEF, data={"split": None}), tmp_path / "run")
    assert path == tmp_path / "run" / "last.safetensors"
    atoms = read(tmp_path / "structures.xyz", "0")
    assert load_potential(path)(Structures.from_ase(atoms)).energy.isfinite().all()


def test_evaluation_with_another_split_counts_the_training_structures(tmp_path: Path) -> None:
    """The split of another seed, or the file itself, tests on structures that were trained on."""
    run = {"steps": 1, "validate_every": {"steps": 1}}
    split = {"type": "random", "train": 16, "validation": 6, "test": 8}
    trained = config(tmp_path, training=run, **{"data.split": {**split, "seed": 0}})
    model = str(train(trained))
    paths = {}
    for seed in (0, 1):
        paths[seed] = str(tmp_path / f"seed{seed}.yaml")
        Path(paths[seed]).write_text(dump(config(tmp_path, **{"data.split": {**split, "seed": seed}}).to_dict()))

    def evaluated(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["evaluate", model, *arguments])

    assert "0 of 8 evaluated structures were trained on, 0 validated on" in evaluated(paths[0]).output
    order, other = (np.random.default_rng(seed).permutation(30) for seed in (0, 1))
    tested = set(other[22:].tolist())
    counts = [len(tested & set(part.tolist())) for part in (order[:16], order[16:22])]
    said = f"{counts[0]} of 8 evaluated structures were trained on, {counts[1]} validated on"
    assert said in str(evaluated(paths[1]).exception)
    assert said in evaluated(paths[1], "--allow-overlap").output
    assert "16 of 16 evaluated structures were trained on" in evaluated(paths[0], "--split", "train").output
    assert "0 of 6 evaluated structures were trained on, 6" in evaluated(paths[0], "--split", "validation").output
    file = [str(tmp_path / "structures.xyz"), "--units", "eV", "--energy", "total"]
    assert "16 of 30 evaluated structures were trained on, 6 validated on" in str(evaluated(*file).exception)
    potential = load_potential(model)
    potential.frames = None
    save_potential(potential, tmp_path / "old.safetensors")
    old = CliRunner().invoke(app, ["evaluate", str(tmp_path / "old.safetensors"), paths[1]])
    assert "has no record of its training structures" in old.output


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("validation: 6", "validation: 1000", r"train.yaml:\d+: data.split: 24 \+ 1000 \+ 0 structures are asked for"),
        ("type: random, train: 24", "type: group, key: fomula", r"train.yaml:\d+: data.split.key: .*mean 'formula'"),
        (
            "type: random, train: 24",
            "type: group, key: formula, pattern: X",
            r"train.yaml:\d+: data.split.pattern: structures.xyz, frame 0: .* does not match",
        ),
        (
            "train: 24, validation: 6",
            "test: 30",
            r"train.yaml:\d+: data.split: no structure is left to train on",
        ),
        ("units: eV", "units: eV\n  format: extxyzz", r"train.yaml:\d+: data.format: .*did you mean 'extxyz'"),
        (
            "scales:",
            "references: {per_element: {Ni: 1}}\nscales:",
            r"train.yaml:\d+: references.per_element: expected energies of all",
        ),
        (
            "scales:",
            "references: {per_element: {Xx: 1}}\nscales:",
            r"train.yaml:\d+: references.per_element.Xx: expected the symbol of an element",
        ),
        ("loss: {", "loss: {stress: {}, ", r"train.yaml:\d+: loss.stress: data.labels has only energy, forces"),
        (
            "scales:",
            "schedule: {type: plateau, metric: stress_mae}\nscales:",
            r"train.yaml:\d+: schedule.metric: stresses are validated only",
        ),
        ("steps: 40", "steps: 40\n  start_from: none", r"train.yaml:\d+: training.start_from: expected a model file"),
        ("steps: 40", "steps: 40\n  start_from: train.yaml", r"train.yaml:\d+: training.start_from: .*training config"),
    ],
)
def test_errors_found_after_reading_name_file_line_and_entry(tmp_path: Path, old: str, new: str, message: str) -> None:
    write_structures(tmp_path / "structures.xyz")
    (tmp_path / "train.yaml").write_text(CONFIG.replace(old, new).replace("labels: [energy, forces, stress]", ""))
    with pytest.raises((SpecError, StateError, StructureError), match=message):
        train(load_config(tmp_path / "train.yaml"))
