"""The field `version` of specs, training configs and studies, and the names of earlier versions."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_specs import SMALL, small_spec

from gemnet_blocks.ablation.study_file import read_study
from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec import Spec, load_spec
from gemnet_blocks.training import load_config

TRAINING = """\
data: {files: [a.xyz], units: eV, energy: total, batch: {structures: 1}}
loss: {energy: {}}
training: {steps: 1}
"""
STUDY = "budget: {steps: 1}\nvariants: {more: {elements: 90}}\n"


def inside(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())


def spec_of(path: Path) -> Any:
    return load_spec(path)


def model_of(path: Path) -> Any:
    return load_config(path).model


def base_of(path: Path) -> Any:
    return read_study(path).base


DOCUMENTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "spec": (spec_of, SMALL),
    "training config": (model_of, f"model:\n{inside(SMALL)}{TRAINING}"),
    "study": (base_of, f"base:\n{inside(SMALL)}{STUDY}"),
}


@pytest.fixture(params=list(DOCUMENTS))
def document(request: pytest.FixtureRequest) -> tuple[Callable[[Path], Any], str]:
    return DOCUMENTS[request.param]


def write(folder: Path, text: str) -> Path:
    path = folder / "document.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("version", ["", "version: 1\n", "version: 2\n"])
def test_documents_of_all_versions_are_read(
    document: tuple[Callable[[Path], Any], str], version: str, tmp_path: Path
) -> None:
    read, text = document
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spec = read(write(tmp_path, version + text))
    assert spec.content_hash == small_spec().content_hash


@pytest.mark.parametrize("version", ["3", "0", "true", "'2'", "2.0", "null", "[1]"])
def test_unknown_versions_are_refused(
    document: tuple[Callable[[Path], Any], str], version: str, tmp_path: Path
) -> None:
    read, text = document
    with pytest.raises(SpecError, match=r"document\.yaml:1: version: expected a version from 1 to 2, got .*: upgrade"):
        read(write(tmp_path, f"version: {version}\n{text}"))


def test_a_version_may_stand_in_the_model_of_a_training_config(tmp_path: Path) -> None:
    assert model_of(write(tmp_path, f"model:\n  version: 2\n{inside(SMALL)}{TRAINING}")) == small_spec()
    with pytest.raises(SpecError, match=r"document\.yaml:2: version: expected a version from 1 to 2, got 7"):
        model_of(write(tmp_path, f"model:\n  version: 7\n{inside(SMALL)}{TRAINING}"))


def test_earlier_names_are_read_with_a_warning_that_names_the_line(
    document: tuple[Callable[[Path], Any], str], tmp_path: Path
) -> None:
    read, text = document
    path = write(tmp_path, text.replace("readout:", "read_out:"))
    with pytest.warns(
        UserWarning, match=r"document\.yaml:\d+: read_out is the earlier name of readout, and is read as such"
    ) as caught:
        assert read(path).content_hash == small_spec().content_hash
    assert len(caught) == 1


def test_written_documents_have_the_version() -> None:
    text = small_spec().to_yaml()
    assert text.startswith("version: 2\n")
    assert Spec.from_yaml(text) == small_spec()
    assert "version" not in small_spec().to_dict()
