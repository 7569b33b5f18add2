"""Names with brackets, colons and foreign letters are printed as they are, on terminals of any encoding."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from potentials import crystal, smooth_potential
from rich.table import Table
from typer.testing import CliRunner

from gemnet_blocks import cli
from gemnet_blocks.ablation.options import BASE
from gemnet_blocks.ablation.results import RunResult
from gemnet_blocks.ablation.runs.scheduler import Progress
from gemnet_blocks.cli.tables import console
from gemnet_blocks.potential.model_file import save_potential

CONFIGS = Path(__file__).parents[2] / "paper_configs"
SMALL = ("sizes.atom=8", "sizes.edge=12", "blocks.count=1", "bases.radial.count=8")
GROUPS = ("[bold]step", "[/x]", ":smile:", "$x_1$", "µ-Å", "_name\\")
LABELLED = ("--units", "eV", "--energy", "total", "--labels", "energy,forces", "--group", "name")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file and structures of several groups, with brackets in the names of both."""
    folder = tmp_path_factory.mktemp("printed")
    save_potential(smooth_potential(), folder / "[m].safetensors")
    frames = []
    for name in GROUPS:
        atoms = crystal()
        atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((len(atoms), 3)))
        atoms.info["name"] = name
        frames.append(atoms)
    ase.io.write(folder / "[s].traj", frames)
    return folder


def command(name: str, folder: Path, output: Path) -> list[str]:
    """A command that writes `output`."""
    model, structures = folder / "[m].safetensors", folder / "[s].traj"
    changes = [argument for one in SMALL for argument in ("--set", one)]
    arguments = {
        "evaluate": [model, structures, *LABELLED, "--output", output],
        "relax": [model, structures, "--steps", 1, "--output", output],
        "predict": [CONFIGS / "triplets-only.yaml", structures, *changes, "--index", "0", "--output", output],
    }[name]
    return [name, *map(str, arguments)]


OUTPUTS = {"evaluate": "out[red]", "relax": "[b]é.xyz", "predict": "[b]é.xyz"}


@pytest.mark.parametrize("name", OUTPUTS)
def test_names_are_printed_as_they_are(name: str, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / OUTPUTS[name]
    result = CliRunner().invoke(cli.app, command(name, folder, output))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert f"written: {output}" in result.output
    if name == "evaluate":
        assert all(group in result.output for group in GROUPS)


def test_a_terminal_without_greek_letters_costs_no_results(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    monkeypatch.setattr(sys, "argv", ["gemnet-blocks", *command("evaluate", folder, tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    sys.stdout.flush()
    assert not ended.value.code
    assert "total energy" in written.getvalue().decode("ascii")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert set(summary["groups"]) == set(GROUPS)
    with (tmp_path / "out" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        assert [row["group"] for row in csv.DictReader(file)] == list(GROUPS)


@pytest.mark.parametrize("name", OUTPUTS)
def test_files_are_written_before_results_are_printed(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / OUTPUTS[name]

    def broken(shown: object, *_: object, **__: object) -> None:
        if isinstance(shown, Table):
            raise ValueError("nothing can be printed")

    monkeypatch.setattr(console, "print", broken)
    with pytest.raises(ValueError, match="nothing can be printed"):
        CliRunner().invoke(cli.app, command(name, folder, output), catch_exceptions=False)
    assert output.exists()


def test_errors_and_usage_show_brackets(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in (["summary", "[/x] :smile:.yaml"], ["summary", "--[/x]"], ["draw", "a.yaml", "--what", "[/x]"]):
        monkeypatch.setattr(sys, "argv", ["gemnet-blocks", *arguments])
        with pytest.raises(SystemExit):
            cli.main()
        assert arguments[-1] in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_progress_of_a_study_is_shown_on_any_terminal(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    with Progress([], "[/title]", "forces_mae") as progress:
        progress.update({"[/x] Ω, seed 0": RunResult(BASE, 0, "", "failed", error="[red]no Ω")})
    sys.stdout.flush()
    assert "[/x] ?, seed 0: failed: [red]no ?" in written.getvalue().decode(encoding)
