"""Parts of a user's own that files name by import path: commands import them only where they are allowed to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ablation_studies import study_file
from training_runs import CONFIG
from typer.testing import CliRunner

from gemnet_blocks import cli
from gemnet_blocks.ablation import Study, StudyResults
from gemnet_blocks.ablation.runs.jobs import Work
from gemnet_blocks.calculator import GemNetCalculator
from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec import load_spec
from gemnet_blocks.spec.document import dump, parse_document

MODULE = "my_near_blocks"
NAME = f"{MODULE}:Near"
SOURCE = '''
from pathlib import Path
import torch
from gemnet_blocks.layers.dense import linear
from gemnet_blocks.interactions.interaction import Interaction, InteractionGeometry, InteractionOptions

Path(__file__).with_suffix(".ran").touch()

class NearOptions(InteractionOptions):
    type: str
    hidden: int = 3

class NearGeometry(InteractionGeometry):
    radial_on = ("main",)

    def forward(self, graphs, radial):
        return graphs.edge_sets["main"], radial.radial["main"]

class Near(Interaction):
    """h_a ← Σ_{b→a} W₂ tanh(W₁ rad(d_ba))."""

    Options, writes, reads = NearOptions, "atoms", "distances"

    def __init__(self, atom_size, hidden, radial_count):
        super().__init__()
        self.gate, self.up = linear(radial_count, hidden), linear(hidden, atom_size)

    @classmethod
    def shared_geometry(cls, options, context):
        return NearGeometry()

    @classmethod
    def from_options(cls, options, context):
        return cls(context.sizes.atom, options.hidden, context.radial_count)

    def forward(self, embeddings, geometry):
        edges, radial = geometry
        message = torch.tanh(self.gate(radial))
        return self.up(message.new_zeros(edges.atom_count, message.shape[1]).index_add(0, edges.target, message))
'''
VARIANTS = f"\n  with near: {{interactions.near: {{type: '{NAME}'}}}}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module beside a spec, a training config and a study that name its interaction, and their data."""
    folder = tmp_path_factory.mktemp("own")
    study = study_file(folder, VARIANTS, steps=2)
    study.write_text(study.read_text().replace("seeds: 2", "seeds: 1"))
    config = parse_document(CONFIG, "config").data
    config["model"]["interactions"]["near"] = {"type": NAME}
    (folder / "train.yaml").write_text(dump(config | {"training": {**config["training"], "steps": 2, "ema": None}}))
    (folder / "spec.yaml").write_text(dump(config["model"]))
    (folder / f"{MODULE}.py").write_text(SOURCE)
    return folder


@pytest.fixture(autouse=True)
def _fresh(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Python as each command finds it: the module is neither imported nor on the path."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop(MODULE, None)
    (folder / f"{MODULE}.ran").unlink(missing_ok=True)
    yield
    sys.modules.pop(MODULE, None)


def call(*arguments: object) -> str:
    result = CliRunner().invoke(cli.app, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_study_file_ablates_a_custom_interaction(folder: Path) -> None:
    arguments = ("ablate", folder / "study.yaml", "--executor", "here")
    with pytest.raises(
        SpecError, match=rf"study.yaml:\d+: variants.with near: .*{NAME} would import .*--allow-imports"
    ):
        call(*arguments)
    assert not (folder / f"{MODULE}.ran").exists()
    assert "written: " in call(*arguments, "--allow-imports")
    results = StudyResults.load(folder / "study" / "results.json")
    assert results.complete
    parameters = {run.variant: run.cost["parameters"] for run in results.runs}
    assert parameters["with near"] - parameters["base"] == 3 * (6 + 8)
    # what is done is found again with the same permission, and only with it
    assert "1 of 1" in call("ablate", folder / "study.yaml", "--check", "--allow-imports")
    with pytest.raises(SpecError, match="would import code"):
        call("ablate", folder / "study.yaml", "--report-only")


def test_processes_of_a_study_have_its_permission_and_find_its_module(folder: Path) -> None:
    study = Study.from_file(folder / "study.yaml", allow_imports=True)
    study.check()
    work = Work.of(study._learner, study._study.base.catalog)
    assert "--allow-imports" in work.arguments(folder, "token")
    assert str(folder) in sys.path


def test_a_model_with_a_custom_component_is_trained_and_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)  # beside which the model file is not
    model, config, structures = folder / "run/best.safetensors", folder / "train.yaml", folder / "structures.xyz"
    commands = (
        ("train", config),
        ("summary", folder / "spec.yaml"),
        ("evaluate", model, config, "--split", "validation"),
        ("relax", model, structures, "--steps", 0, "--index", "0", "--output", tmp_path / "relaxed.xyz"),
    )
    for command in commands:
        sys.modules.pop(MODULE, None)
        (folder / f"{MODULE}.ran").unlink(missing_ok=True)
        with pytest.raises(SpecError, match="would import code"):
            call(*command)
        assert not (folder / f"{MODULE}.ran").exists()
        result = CliRunner().invoke(cli.app, [*map(str, command), "--allow-imports"])
        assert result.exception is None or isinstance(result.exception, SystemExit), (command, result.exception)
        assert (folder / f"{MODULE}.ran").exists()
    near = sys.modules[MODULE].Near
    assert GemNetCalculator(model, extra={NAME: near}).potential.model.trunk is not None


def test_a_module_that_is_not_there_is_said_where_to_put(folder: Path) -> None:
    with pytest.raises(SpecError, match=r"near.type: .*No module named 'absent'.*beside the file"):
        call("summary", folder / "spec.yaml", "--set", "interactions.near.type=absent:Near", "--allow-imports")


def test_modules_beside_a_file_replace_no_installed_ones(folder: Path) -> None:
    before = list(sys.path)
    load_spec(folder / "spec.yaml", allow_imports=True)
    assert sys.path[: len(before)] == before
    assert str(folder) in sys.path[len(before) :]
