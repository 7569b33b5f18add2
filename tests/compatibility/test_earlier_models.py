"""Model files, state dictionaries, seeded weights and pickled structures of earlier versions."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from model_cases import CHECKPOINTS, EXTRA
from recording import (
    VERSIONS,
    assert_close,
    assert_same_predictions,
    predictions,
    read_json,
    read_structures,
    summaries,
    user_module,
)
from safetensors.torch import load_file

from gemnet_blocks import Structures
from gemnet_blocks.calculator import GemNetCalculator
from gemnet_blocks.checkpoints.checkpoint_file import read_checkpoint
from gemnet_blocks.checkpoints.convert import convert_checkpoint
from gemnet_blocks.potential import Potential, References
from gemnet_blocks.potential.model_file import load_potential, save_potential
from gemnet_blocks.spec import Spec, build, load_spec

TOLERANCE = {"torch.float64": 1e-10, "torch.float32": 1e-5}
CHECKPOINT_FILES = Path(__file__).parents[1] / "parity" / "checkpoints"

MODELS = [(version, name) for version in VERSIONS for name in read_json(version / "predictions.json")]
SEEDED = [(version, name) for version in VERSIONS for name in read_json(version / "weights.json")]


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def version(request: pytest.FixtureRequest) -> Path:
    """The folder of each version in turn."""
    return request.param


@pytest.fixture
def extra(version: Path) -> Iterator[dict[str, type]]:
    """The parts that a user wrote for that version."""
    with user_module(version / "user_parts.py") as user:
        yield {name: getattr(user, kind) for name, kind in EXTRA.items()}


def assert_predicts(potential: Potential, version: Path, recorded: dict[str, Any]) -> None:
    structures = read_structures(version)
    for name, before in recorded["predictions"].items():
        assert_same_predictions(predictions(potential, structures[name]), before, TOLERANCE[recorded["dtype"]])


def read_spec(version: Path, name: str, extra: dict[str, type]) -> Spec:
    return load_spec(version / "specs" / f"{name}.yaml", extra=extra, allow_imports=True)


@pytest.mark.parametrize(("version", "name"), MODELS)
def test_model_files_predict_what_they_did(version: Path, name: str, extra: dict[str, type]) -> None:
    recorded = read_json(version / "predictions.json")[name]
    potential = load_potential(version / "models" / f"{name}.safetensors", extra=extra, allow_imports=True)
    assert str(potential.dtype) == recorded["dtype"]
    assert potential.references == References.from_dict(recorded["references"])
    assert len(recorded["predictions"]) == 2 or name in CHECKPOINTS
    assert_predicts(potential, version, recorded)


@pytest.mark.parametrize("name", ["own-parts", "converted-newer"])
def test_model_files_can_be_saved_again(version: Path, name: str, extra: dict[str, type], tmp_path: Path) -> None:
    old = load_potential(version / "models" / f"{name}.safetensors", extra=extra)
    save_potential(old, tmp_path / "again.safetensors")
    again = load_potential(tmp_path / "again.safetensors", extra=extra)
    assert again.record == old.record
    assert again.spec == old.spec
    assert_predicts(again, version, read_json(version / "predictions.json")[name])


def test_a_model_file_runs_in_ase(version: Path) -> None:
    recorded = read_json(version / "predictions.json")["all-interactions"]["predictions"]["periodic"]
    atoms = read_structures(version)["periodic"]
    atoms.calc = GemNetCalculator(version / "models" / "all-interactions.safetensors")
    assert_close(atoms.get_potential_energy(), recorded["energy"][0], 1e-9)
    assert_close(atoms.get_forces(), recorded["forces"], 1e-9)
    assert_close(atoms.get_stress(voigt=False), recorded["stress"][0], 1e-9)


@pytest.mark.parametrize(("version", "name"), SEEDED)
def test_a_seed_gives_the_same_initial_weights(version: Path, name: str, extra: dict[str, type]) -> None:
    recorded = read_json(version / "weights.json")[name]
    shapes, numbers = zip(*summaries(build(read_spec(version, name, extra), seed=0)), strict=True)
    before = sorted((shape, number) for shape, number, trained in recorded.values() if trained)
    assert [list(shape) for shape in shapes] == [shape for shape, _ in before]
    assert_close(numbers, [number for _, number in before], 1e-4)


@pytest.mark.parametrize("name", ["all-interactions", "own-parts"])
def test_state_dictionaries_load(version: Path, name: str, extra: dict[str, type]) -> None:
    stored = load_file(version / "models" / f"{name}.safetensors")
    state = {key: stored[key] for key in read_json(version / "weights.json")[name]}
    spec = read_spec(version, name, extra)
    model = build(spec, seed=1).double()
    model.load_state_dict(state)
    recorded = read_json(version / "predictions.json")[name]
    potential = Potential(model, spec, References.from_dict(recorded["references"])).eval()
    structures = read_structures(version)
    for kind, before in recorded["predictions"].items():
        # constants of bases were in float32 when the file was written, and are exact here
        assert_same_predictions(predictions(potential, structures[kind]), before, 1e-5)


@pytest.mark.parametrize("name", ["converted-older-ema", "converted-gemnet-t"])
def test_published_checkpoints_convert_to_the_same_potential(version: Path, name: str) -> None:
    case = CHECKPOINTS[name]
    converted = convert_checkpoint(read_checkpoint(CHECKPOINT_FILES / case.file), None, case.meaning, case.ema)
    recorded = read_json(version / "predictions.json")[name]
    assert converted.potential.references == References.from_dict(recorded["references"])
    assert_predicts(converted.potential, version, recorded)


def test_pickled_structures_are_read(version: Path) -> None:
    pickled = pickle.loads((version / "structures.pickle").read_bytes())
    assert_equal(pickled, Structures.from_ase(list(read_structures(version).values())))


def test_models_and_structures_can_be_copied_and_pickled(version: Path) -> None:
    potential = load_potential(version / "models" / "direct-forces.safetensors")
    recorded = read_json(version / "predictions.json")["direct-forces"]
    for again in (copy.deepcopy(potential), pickle.loads(pickle.dumps(potential))):
        assert_predicts(again, version, recorded)
    structures = Structures.from_ase(list(read_structures(version).values()))
    for same in (copy.deepcopy(structures), pickle.loads(pickle.dumps(structures))):
        assert_equal(same, structures)


def assert_equal(one: Structures, other: Structures) -> None:
    for name in ("positions", "numbers", "structure", "cells", "periodic", "tags", "fixed"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
