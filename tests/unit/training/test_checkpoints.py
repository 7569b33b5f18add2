from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from gemnet_blocks.errors import SpecError, StateError
from gemnet_blocks.spec.catalog import Catalog
from gemnet_blocks.testing.strategies import small_spec
from gemnet_blocks.training.checkpoint_io import SafeCheckpointIO
from gemnet_blocks.training.checkpoints import KEY, check_same, config_of, read_checkpoint
from gemnet_blocks.training.data_stream import StreamPosition
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.training.state import Means, RunState


class Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return (exec, ("raise SystemExit",))


def test_checkpoints_read_as_written_and_replace_the_one_before(tmp_path: Path) -> None:
    files = SafeCheckpointIO()
    for value in (1.0, 2.0):
        files.save_checkpoint({KEY: {"step": 3}, "weight": torch.tensor(value)}, tmp_path / "a.ckpt")
    found = files.load_checkpoint(tmp_path / "a.ckpt", weights_only=False)
    assert found == {KEY: {"step": 3}, "weight": torch.tensor(2.0)}
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    files = SafeCheckpointIO()
    files.save_checkpoint({KEY: {}}, tmp_path / "a.ckpt")
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        files.save_checkpoint({KEY: {}, "bad": lambda: None}, tmp_path / "a.ckpt")
    assert read_checkpoint(tmp_path / "a.ckpt") == {KEY: {}}
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


def test_code_in_checkpoints_is_not_run(tmp_path: Path) -> None:
    torch.save({KEY: Harmful()}, tmp_path / "a.ckpt")
    with pytest.raises(StateError, match="is not a checkpoint, or is damaged"):
        SafeCheckpointIO().load_checkpoint(tmp_path / "a.ckpt", weights_only=False)


def test_other_files_are_no_checkpoints(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(1)}, tmp_path / "a.ckpt")
    with pytest.raises(StateError, match="not a checkpoint of a training run"):
        read_checkpoint(tmp_path / "a.ckpt")


def test_every_difference_is_named_but_for_those_that_change_nothing() -> None:
    before = {"output": "a", "data": {"workers": 0, "files": ["x"]}, "training": {"log": {"every": 1}, "clip": 10.0}}
    same = {"output": "b", "data": {"workers": 4, "files": ["x"]}, "training": {"log": {"every": 2}, "clip": 10.0}}
    check_same(Path("a.ckpt"), before, same)
    other = {**same, "data": {"files": ["y"]}, "training": {"clip": None}}
    with pytest.raises(SpecError, match=r"data\.files was \[x\], is \[y\]; training\.clip was 10\.0, is null"):
        check_same(Path("a.ckpt"), before, other)


def test_states_resume(tmp_path: Path) -> None:
    state = RunState(step=7, place=StreamPosition(2, 3, 5), best_loss=0.5, means=Means(2, 1.5, [0.1], [3.0]))
    state.validations.append({"loss": 0.5})
    torch.save(state.to_dict(), tmp_path / "state")
    assert RunState.from_dict(torch.load(tmp_path / "state", weights_only=True)) == state


def test_places_follow_one_another() -> None:
    assert StreamPosition(0, 3, 5).next == StreamPosition(0, 4, 5)
    assert StreamPosition(0, 4, 5).next == StreamPosition(1, 0, 1)
    assert StreamPosition(1, 1, 4).epochs_done == 1.5


def test_configs_in_checkpoints_of_earlier_versions_are_read() -> None:
    config = TrainingConfig.model_validate(
        {
            "model": small_spec(),
            "data": {
                "files": ["a.xyz"],
                "units": "eV",
                "energy": "total",
                "split": {"type": "random", "validation": 1},
                "batch": {"structures": 1},
            },
            "loss": {"forces": {}},
            "schedule": {"type": "plateau", "rate": 0.3},
            "training": {"steps": 3, "execution": {"angular": {"triplet": "factorized"}}},
        }
    )
    saved = config.to_dict()
    saved["model"]["read_out"] = saved["model"].pop("readout")  # renamed since
    saved["training"]["execution"]["angular"]["triplet"] = "factorised"
    for section, field in (("training", "clip"), ("references", "mean"), ("schedule", "patience")):  # added since
        del saved[section][field]
    assert config_of(Path("a.ckpt"), saved, Catalog()) == config
    with pytest.raises(StateError, match=r"a\.ckpt: the training config in this checkpoint cannot be read: .*unknown"):
        config_of(Path("a.ckpt"), {**saved, "model": {**saved["model"], "unknown": 1}}, Catalog())


def test_the_state_of_a_callback_that_could_not_be_read_again_is_refused(tmp_path: Path) -> None:
    good = {KEY: {}, "callbacks": {"Mean": {"values": [1, None, torch.ones(2)], "names": ("a",)}}}
    SafeCheckpointIO().save_checkpoint(good, tmp_path / "a.ckpt")
    assert read_checkpoint(tmp_path / "a.ckpt")["callbacks"]["Mean"]["names"] == ("a",)
    with pytest.raises(StateError, match=r"callbacks: expected tensors.* in the state of Mean, found set: change"):
        SafeCheckpointIO().save_checkpoint({KEY: {}, "callbacks": {"Mean": {"seen": {1}}}}, tmp_path / "a.ckpt")
