"""Files that a command does not take are told by what they are, and wrong kinds of options by what there is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ablation_studies import study_file
from potentials import smooth_potential
from training_runs import CONFIG

from gemnet_blocks.ablation import Study
from gemnet_blocks.calculator import GemNetCalculator
from gemnet_blocks.errors import SpecError
from gemnet_blocks.potential.model_file import load_potential, save_potential
from gemnet_blocks.spec import build, load_spec
from gemnet_blocks.spec.document import dump, parse_document
from gemnet_blocks.training import load_config

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
    "model": "is a binary file and no YAML",
    "picture": "is a binary file and no YAML",
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
        ({"model.heads.forces.type": "gradiant"}, "must be 'direct' or 'gradient', got 'gradiant'; did you mean"),
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


@pytest.mark.parametrize("name", ["bases.radial", "bases.envelope", "bases.circular", "bases.spherical", "read_out"])
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
