"""Files that a command does not take are told by what they are, and wrong kinds of options by what there is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ablation_studies import study_file
from potentials import smooth_potential
from training_runs import CONFIG, write_structures
from typer.testing import CliRunner

from gemnet_blocks.ablation import Study
from gemnet_blocks.calculator import GemNetCalculator
from gemnet_blocks.cli import app
from gemnet_blocks.errors import SpecError, StateError, StructureError
from gemnet_blocks.potential.model_file import load_potential, save_potential
from gemnet_blocks.spec import build, load_spec
from gemnet_blocks.spec.document import dump, parse_document
from gemnet_blocks.training import load_config
from gemnet_blocks.training.starting import Source

READERS: dict[str, Callable[[Path], Any]] = {"spec": load_spec, "config": load_config, "study": Study.from_file}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("documents")
    study = study_file(folder)
    (folder / "train.yaml").write_text(CONFIG)
    save_potential(smooth_potential(), folder / "model.safetensors")
    (folder / "dangling.yaml").symlink_to("nowhere.yaml")
    (folder / "picture.yaml").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\xff")
    return {
        "spec": folder / "base.yaml",
        "config": folder / "train.yaml",
        "study": study,
        "model": folder / "model.safetensors",
        "dangling": folder / "dangling.yaml",
        "picture": folder / "picture.yaml",
    }


TOLD = {
    "spec": "is a spec, not .*gemnet-blocks summary",
    "config": "is a training config, not .*gemnet-blocks train",
    "study": "is a study, not .*gemnet-blocks ablate",
    "model": "expected a YAML file, but this is a binary file",
    "picture": "expected a YAML file, but this is a binary file",
    "dangling": "is a link to nowhere.yaml, which does not exist",
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("given", TOLD)
def test_files_of_another_kind(files: dict[str, Path], reader: str, given: str) -> None:
    if reader == given:
        READERS[reader](files[given])
        return
    with pytest.raises(SpecError, match=f"{files[given].name}: {TOLD[given]}") as caught:
        READERS[reader](files[given])
    assert "\n" not in str(caught.value)


def test_a_link_to_no_model_file(files: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=TOLD["dangling"]):
        load_potential(files["dangling"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"data.split.type": "rndom"},
            "split.type: must be one of 'group' or 'random', got 'rndom'; did you mean 'random'",
        ),
        ({"data.split": {"type": None}}, "split.type: must be one of 'group' or 'random'"),
        ({"schedule.type": "cosin"}, "'linear', 'plateau' or 'steps', got 'cosin'; did you mean 'cosine'"),
        ({"schedule.warmup": 3}, "schedule: needs a `type`, 'constant', 'cosine', "),
        (
            {"model.heads.forces.type": "gradiant"},
            "must be one of 'direct' or 'gradient', got 'gradiant'; did you mean",
        ),
    ],
)
def test_kinds_of_options_are_listed(files: dict[str, Path], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_config(files["config"], changes)
    assert message in str(caught.value)


@pytest.mark.parametrize("section", ["loss", "data", "training", "model"])
def test_a_missing_section_is_missing_in_the_file_whatever_is_patched(tmp_path: Path, section: str) -> None:
    data = {name: value for name, value in parse_document(CONFIG, "").data.items() if name != section}
    (tmp_path / "train.yaml").write_text(dump(data))
    for patches in (None, {"optimizer.learning_rate": 0.1}):
        with pytest.raises(SpecError, match=rf"train.yaml: {section}: is missing$"):
            load_config(tmp_path / "train.yaml", patches)


@pytest.mark.parametrize("name", ["bases.radial", "bases.envelope", "bases.circular", "bases.spherical", "readout"])
def test_unknown_parts_are_named_with_file_and_line_when_they_are_built(files: dict[str, Path], name: str) -> None:
    data = parse_document(files["spec"].read_text(), "").data
    section, _, field = name.partition(".")
    where = data[section] if field else data
    where[field or section] = {"type": "fancy"}
    path = files["spec"].with_name("fancy.yaml")
    path.write_text(dump(data))
    with pytest.raises(SpecError, match=rf"fancy.yaml:\d+: {name}.type: unknown .*; known: "):
        build(load_spec(path))


def test_types_of_numbers_by_name(files: dict[str, Path]) -> None:
    assert GemNetCalculator(files["model"], dtype="float32").potential.dtype == torch.float32
    for wrong in ("int64", "flot32", torch.int8, 64):
        with pytest.raises(ValueError, match="dtype: expected a floating-point type such as"):
            GemNetCalculator(files["model"], dtype=wrong)  # type: ignore[arg-type]


CALLS = {
    "evaluate base.yaml train.yaml": "base.yaml: expected a model file, but this is a spec: `gemnet-blocks summary`",
    "evaluate frames.xyz model.safetensors": "frames.xyz: expected a model file, but this is a file of structures",
    "evaluate run/checkpoint.ckpt train.yaml": "this is the checkpoint of a training run: .*run/best.safetensors",
    "evaluate run/weights.pt train.yaml": "this is a checkpoint: `gemnet-blocks convert`",
    "evaluate empty train.yaml": "empty: is a folder without best.safetensors and last.safetensors",
    "evaluate model.safetensors model.safetensors": "expected a training config or structures, .* is a model file",
    "evaluate model.safetensors run": "expected a training config or structures, .* is the folder of a training run",
    "relax train.yaml frames.xyz": "train.yaml: expected a model file, but this is a training config",
    "relax model.safetensors study.yaml": "study.yaml: expected structures, but this is a study",
    "predict frames.xyz base.yaml": "frames.xyz: expected a spec, but this is a file of structures",
    "predict base.yaml frames.xyz --weights model.safetensors": "expected a published checkpoint, .* is a model file",
    "estimate base.yaml run/checkpoint.ckpt": "expected structures, but this is the checkpoint of a training run",
    "convert model.safetensors out": "model.safetensors: expected a published checkpoint, but this is a model file",
    "convert run/checkpoint.ckpt out": "this is the checkpoint of a training run: name .*best.safetensors",
    "convert copied.ckpt out": "found one of a training run of gemnet_blocks",
    "convert scales.pt out": "scales.pt: expected weights by name, found single numbers, .*--scales",
    "convert scales.json out": "scales.json: expected a published checkpoint, .*--scales",
    "summary frames.xyz": "expected a spec, but this is a file of structures: .*`data` of a config",
    "train frames.xyz": "expected a training config, but this is a file of structures",
    "ablate frames.xyz": "expected a study, but this is a file of structures",
    "train nothing.yaml": "nothing.yaml: is empty: write a training config, or `extends: other.yaml`",
    "ablate nothing.yaml": "nothing.yaml: is empty: write a study, or `extends: other.yaml`",
    "train list.yaml": "must be a mapping of fields, such as `model:`",
    "summary loop.yaml": "loop.yaml: is a link to loop.yaml, which leads back to this link: link to the file itself$",
    "train loop.yaml": "loop.yaml: is a link to loop.yaml, which leads back",
    "predict base.yaml loop.yaml": "loop.yaml: is a link to loop.yaml, which leads back",
    "evaluate loop.yaml train.yaml": "loop.yaml: is a link to loop.yaml, which leads back",
}
"""Commands with a file of the wrong kind, and their errors."""


@pytest.fixture(scope="module")
def folder(files: dict[str, Path]) -> Path:
    """The files, with a run, checkpoints, structures and a link to itself beside them."""
    folder = files["config"].parent
    (folder / "run").mkdir()
    (folder / "empty").mkdir()
    save_potential(smooth_potential(), folder / "run/best.safetensors")
    weights = {"weight": torch.zeros(2)}
    torch.save(weights, folder / "run/weights.pt")
    for path in ("run/checkpoint.ckpt", "copied.ckpt"):
        torch.save({"state_dict": weights, "gemnet_blocks": {}}, folder / path)
    torch.save({"block.scale": torch.tensor(2.0), "other": 1.5}, folder / "scales.pt")
    (folder / "scales.json").write_text('{"block.scale": 2.0}')
    write_structures(folder / "frames.xyz", count=2)
    (folder / "nothing.yaml").write_text("")
    (folder / "list.yaml").write_text("- 1")
    (folder / "loop.yaml").symlink_to("loop.yaml")
    return folder


@pytest.mark.parametrize("call", CALLS)
def test_commands_name_the_kind_of_a_wrong_file(folder: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, call.split())
    assert isinstance(result.exception, (SpecError, StateError, StructureError)), result.output
    assert re.search(CALLS[call], str(result.exception)), str(result.exception)
    assert not (folder / "out").exists()


def test_training_starts_from_model_files_and_whole_checkpoints_only(folder: Path) -> None:
    for name, problem in (
        ("train.yaml", "this is a training config"),
        ("run/checkpoint.ckpt", "is not a complete checkpoint of a training run"),
        ("scales.pt", "is not a checkpoint of a training run"),
    ):
        config = load_config(folder / "train.yaml", {"training.start_from": name})
        source = Source.of(config)
        assert source is not None
        with pytest.raises(StateError, match=f"training.start_from: .*{name}: .*{problem}"):
            source.trained(config.model)


def test_the_folder_of_a_run_stands_for_its_best_model(folder: Path) -> None:
    assert load_potential(folder / "run").spec == load_potential(folder / "run/best.safetensors").spec
