"""Published checkpoints as potentials."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import ROOT
from torch import Tensor
from typer import Typer
from typer.testing import CliRunner

from gemnet_blocks.checkpoints.checkpoint_file import Checkpoint, checkpoint_of, read_checkpoint
from gemnet_blocks.checkpoints.convert import convert_checkpoint, model_arguments, read_arguments
from gemnet_blocks.cli.convert import convert
from gemnet_blocks.errors import SpecError, StateError
from gemnet_blocks.potential import Potential
from gemnet_blocks.potential.model_file import load_potential
from gemnet_blocks.structures import Structures

FOLDER = ROOT / "tests" / "parity" / "checkpoints"
RECORDED = np.load(FOLDER / "predictions.npz")
OLDER, NEWER = FOLDER / "older.pt", FOLDER / "newer.pt"
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}


def structures() -> Structures:
    """What the published implementation predicted for."""
    numbers = torch.tensor(RECORDED["numbers"]).long()
    cells = torch.tensor(RECORDED["cells"])
    return Structures(
        positions=torch.tensor(RECORDED["positions"]),
        numbers=numbers,
        structure=torch.tensor(RECORDED["structure"]).long(),
        cells=cells,
        periodic=torch.ones(len(cells), 3, dtype=torch.bool),
        tags=torch.tensor(RECORDED["tags"]).long(),
        fixed=torch.zeros_like(numbers, dtype=torch.bool),
    )


def assert_predicts(potential: Potential, recorded: str, tolerance: float) -> None:
    with torch.no_grad():
        prediction = potential(structures())
    for name in ("energy", "forces"):
        expected = RECORDED[f"{recorded}/{name}"]
        np.testing.assert_allclose(getattr(prediction, name).numpy(), expected, tolerance, tolerance)


def content(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def converted(path: Path, **changes: Any) -> Potential:
    """A checkpoint with some sections replaced."""
    return convert_checkpoint(checkpoint_of(content(path) | changes), None, "adsorption").potential


# -- what is predicted ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("path", "ema", "recorded"),
    [(OLDER, False, "older"), (OLDER, True, "older_averaged"), (NEWER, False, "newer"), (NEWER, True, "newer")],
)
def test_a_converted_checkpoint_predicts_as_the_published_implementation(
    path: Path, ema: bool, recorded: str, dtype: torch.dtype
) -> None:
    conversion = convert_checkpoint(read_checkpoint(path), None, "adsorption", ema, dtype)
    assert conversion.keys.complete
    assert conversion.potential.dtype == dtype
    assert conversion.potential.meaning == "adsorption"
    assert_predicts(conversion.potential, recorded, TOLERANCE[dtype])


def test_cases_differ() -> None:
    """Averages are other weights than the last ones, so that the test above can tell them apart."""
    assert abs(RECORDED["older/energy"] - RECORDED["older_averaged/energy"]).min() > 0.1


def test_weights_keep_their_type() -> None:
    assert converted(OLDER).dtype == torch.float32
    state = {name: value.double() for name, value in content(OLDER)["state_dict"].items()}
    assert converted(OLDER, state_dict=state).dtype == torch.float64


def test_weights_alone_are_a_checkpoint_too() -> None:
    whole = content(OLDER)
    alone = checkpoint_of(whole["state_dict"])
    conversion = convert_checkpoint(alone, whole["config"]["model_attributes"], "adsorption", dtype=torch.float64)
    assert any("no normalizer of energies" in note for note in conversion.notes)
    prediction = conversion.potential(structures())
    expected = (RECORDED["older/energy"] + 0.75) / np.float32(2.0875)
    np.testing.assert_allclose(prediction.energy.detach().numpy(), expected, 1e-9, 1e-9)
    expected = RECORDED["older/forces"] / np.float32(2.8875)
    np.testing.assert_allclose(prediction.forces.detach().numpy(), expected, 1e-9, 1e-9)


def test_scale_factors_stored_apart() -> None:
    state = content(OLDER)["state_dict"]
    scales = {name.removeprefix("module.module."): float(x) for name, x in state.items() if "scale_factor" in name}
    weights = {name: value for name, value in state.items() if "scale_factor" not in name}
    assert_predicts(converted(OLDER, state_dict=weights, scale_dict=scales), "older", 1e-5)


def test_the_report_names_every_key() -> None:
    conversion = convert_checkpoint(read_checkpoint(NEWER), None, "adsorption")
    keys, state = conversion.keys, content(NEWER)["state_dict"]
    assert len(keys.loaded) + len(keys.ignored) == len(state)
    assert all(name.startswith("radial_basis_aeaint.") for name in keys.ignored)
    assert keys.ignored
    assert conversion.sections == ("best_val_metric",)
    older = convert_checkpoint(read_checkpoint(OLDER), None, "adsorption")
    assert set(older.sections) == {"optimizer", "scheduler", "val_metrics", "amp"}
    assert any("multiplied by 0.7229" in note for note in older.notes)
    assert older.potential.record == {
        "converted_from": "fairchem checkpoint",
        "moving_average": False,
        "epoch": 1.5,
        "step": 3000.0,
    }


# -- weights that do not fit ------------------------------------------------------------------------------------------


def test_missing_and_unexpected_keys_are_listed() -> None:
    state = content(OLDER)["state_dict"]
    gone = "module.module.out_energy.linear.weight"
    broken = {name: value for name, value in state.items() if name != gone} | {"surplus": torch.zeros(1)}
    with pytest.raises(StateError, match=r"1 missing: out_energy\.linear\.weight; 1 unexpected: surplus"):
        converted(OLDER, state_dict=broken)


def test_averages_that_do_not_fit() -> None:
    ema = content(OLDER)["ema"]
    shadows: list[Tensor] = ema["shadow_params"]
    for change, message in (
        ({"shadow_params": shadows[1:]}, "averaged weights, one per trained weight, found"),
        ({"shadow_params": shadows[::-1]}, "have another order"),
        ({"shadow_params": None}, "does not contain a list shadow_params"),
    ):
        with pytest.raises(StateError, match=message):
            convert_checkpoint(checkpoint_of(content(OLDER) | {"ema": ema | change}), None, "total", ema=True)
    with pytest.raises(StateError, match="does not contain a moving average"):
        convert_checkpoint(checkpoint_of(content(OLDER) | {"ema": None}), None, "total", ema=True)


# -- normalizers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("energy", "forces", "message"),
    [
        ({"mean": 0.0, "std": -1.0}, None, r"energy's std must be positive, got -1\.0"),
        ({"mean": float("nan"), "std": 1.0}, None, "mean must be finite, got nan"),
        ({"mean": torch.zeros(2), "std": 1.0}, None, "mean must be a single number"),
        ({"std": 1.0}, None, r"normalizer must contain mean and std \(or rmsd\), got std"),
        (None, {"mean": 0.5, "std": 1.0}, r"forces' mean must be 0, got 0\.5"),
    ],
)
def test_impossible_normalizers(energy: Any, forces: Any, message: str) -> None:
    usual = {"mean": torch.tensor(0.0), "std": torch.tensor(1.0)}
    with pytest.raises(StateError, match=message):
        converted(OLDER, normalizers={"target": energy or usual, "grad_target": forces or usual})


def test_both_names_of_one_target() -> None:
    normal = {"mean": torch.tensor(0.0), "std": torch.tensor(1.0)}
    with pytest.raises(StateError, match="target and energy, which are names of the same target"):
        converted(OLDER, normalizers={"target": normal, "energy": normal})


def test_gradient_forces_of_another_scale_are_refused() -> None:
    normalizers = content(NEWER)["normalizers"]
    normalizers["forces"]["rmsd"] = 2 * normalizers["forces"]["rmsd"]
    with pytest.raises(StateError, match="would not conserve energy"):
        converted(NEWER, normalizers=normalizers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weight: weight * torch.nan, "is NaN or infinite"),
        (lambda weight: weight.to(torch.complex64), "is complex"),
        (lambda weight: weight.to_sparse(), "is not a dense array"),
        (lambda weight: weight.to("meta"), "is not a dense array"),
        (lambda weight: weight.long(), "expected a floating-point type, found torch.int64"),
    ],
)
def test_weights_that_are_no_numbers(change: Callable[[torch.Tensor], torch.Tensor], message: str) -> None:
    state = content(OLDER)["state_dict"]
    name = next(name for name, value in state.items() if value.ndim == 2)
    with pytest.raises(StateError, match=message) as caught:
        converted(OLDER, state_dict={**state, name: change(state[name])})
    assert name.removeprefix("module.module.") in str(caught.value)


def test_scale_factors_that_are_no_numbers() -> None:
    state = content(OLDER)["state_dict"]
    weights = {name: value for name, value in state.items() if "scale_factor" not in name}
    with pytest.raises(StateError, match="scale_dict: one must be a single number"):
        converted(OLDER, state_dict=weights, scale_dict={"one": "large"})


@pytest.mark.parametrize("section", ["normalizers", "elementrefs", "ema", "scale_dict"])
def test_sections_of_another_form(section: str) -> None:
    with pytest.raises(StateError, match=f"expected a dictionary in the section {section}"):
        converted(OLDER, **{section: [1]})


# -- arguments --------------------------------------------------------------------------------------------------------


def arguments() -> dict[str, Any]:
    return content(OLDER)["config"]["model_attributes"]


@pytest.mark.parametrize(
    "config",
    [
        arguments(),
        {"name": "gemnet_oc", **arguments()},
        {"model": {"name": "gemnet_oc", **arguments()}, "optim": {"lr": 1e-3}},
        {"model": "gemnet_oc", "model_attributes": arguments()},
    ],
)
def test_arguments_are_found_in_every_form(config: dict[str, Any]) -> None:
    assert model_arguments(config) == arguments()


def test_arguments_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "model.yml"
    lines = [f"  {name}: {str(value).replace('True', 'true')}" for name, value in arguments().items()]
    path.write_text("model:\n  name: gemnet_oc\n" + "\n".join(lines).replace("False", "false"))
    conversion = convert_checkpoint(read_checkpoint(OLDER), read_arguments(path), "adsorption")
    assert_predicts(conversion.potential, "older", 1e-5)


def test_other_models_are_refused() -> None:
    with pytest.raises(SpecError, match="found the model 'schnet'"):
        model_arguments({"model": {"name": "schnet", "cutoff": 6.0}})
    with pytest.raises(SpecError, match="model: expected a mapping of arguments"):
        model_arguments({"model": 3})
    with pytest.raises(SpecError, match="does not contain a configuration: pass the model's keyword arguments"):
        convert_checkpoint(Checkpoint(content(OLDER)["state_dict"]), None, "total")


# -- files ------------------------------------------------------------------------------------------------------------


class Marker:
    """Something that is run when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_no_code_of_a_checkpoint_is_run_unless_it_is_trusted(tmp_path: Path) -> None:
    path, marker = tmp_path / "hostile.pt", tmp_path / "marker"
    torch.save(content(OLDER) | {"config": Marker(marker)}, path)
    with pytest.raises(StateError, match=r"hostile\.pt: cannot be read safely: .*--trust"):
        read_checkpoint(path)
    assert not marker.exists()
    read_checkpoint(path, trust=True)
    assert marker.exists()


def test_pickled_configs_are_read_where_they_are_trusted(tmp_path: Path) -> None:
    path = tmp_path / "pickled.pt"
    torch.save(content(OLDER) | {"arguments": Namespace(seed=0)}, path)
    with pytest.raises(
        StateError, match=r"pickled\.pt: cannot be read safely: it contains argparse\.Namespace, .*--trust"
    ):
        read_checkpoint(path)
    assert_predicts(convert_checkpoint(read_checkpoint(path, trust=True), None, "adsorption").potential, "older", 1e-5)


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no such file"):
        read_checkpoint(tmp_path / "missing.pt")
    with pytest.raises(StateError, match="is a folder"):
        read_checkpoint(tmp_path)
    path = tmp_path / "file.pt"
    for written, message in (
        ([1, 2], "expected a dictionary of weights or sections, found list"),
        ({}, "does not contain a dictionary of weights"),
        ({"state_dict": {"a": 1}}, "does not contain a dictionary of weights"),
    ):
        torch.save(written, path)
        with pytest.raises(StateError, match=message):
            read_checkpoint(path)
    for damaged in (OLDER.read_bytes()[:5000], b"junk" * 10):
        path.write_bytes(damaged)
        with pytest.raises(StateError, match="cannot be read safely: it is not a file of torch"):
            read_checkpoint(path)
    path.write_bytes(OLDER.read_bytes()[:5000])
    with pytest.raises(StateError, match="cannot be read safely"):
        read_checkpoint(path)


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_a_model_file_and_reports_every_key(tmp_path: Path) -> None:
    app = Typer()
    app.command()(convert)
    output = tmp_path / "model.safetensors"
    result = CliRunner().invoke(app, [str(NEWER), str(output), "--meaning", "total", "--all-keys"])
    assert result.exit_code == 0, result.output
    assert_predicts(load_potential(output), "newer", 1e-5)
    assert load_potential(output).meaning == "total"
    for text in ("keys loaded", "0 keys missing", "0 keys unexpected", "radial_basis_aeaint.", "out_energy.linear."):
        assert text in result.output


def test_scale_factors_of_a_file_of_their_own(tmp_path: Path) -> None:
    app = Typer()
    app.command()(convert)
    state = content(OLDER)["state_dict"]
    torch.save({name: float(x) for name, x in state.items() if "scale_factor" in name}, tmp_path / "scales.pt")
    apart = content(OLDER) | {"state_dict": {name: x for name, x in state.items() if "scale_factor" not in name}}
    torch.save({name: section for name, section in apart.items() if name != "arguments"}, tmp_path / "apart.pt")
    output = tmp_path / "model.safetensors"
    arguments = [str(output), "--meaning", "adsorption", "--scales", str(tmp_path / "scales.pt")]

    assert CliRunner().invoke(app, [str(tmp_path / "apart.pt"), *arguments]).exit_code == 0
    assert_predicts(load_potential(output), "older", 1e-5)
    result = CliRunner().invoke(app, [str(OLDER), *arguments])
    assert "already contains scale factors" in str(result.exception)


def test_the_meaning_of_energies_is_not_guessed(tmp_path: Path) -> None:
    app = Typer()
    app.command()(convert)
    output = tmp_path / "model.safetensors"
    result = CliRunner().invoke(app, [str(NEWER), str(output)])
    assert "energies: unknown" in result.output
    assert "--meaning" in result.output
    assert load_potential(output).meaning == "unknown"
