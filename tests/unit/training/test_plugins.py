"""Loggers and callbacks in configs: how they are written, what is refused, and where."""

from __future__ import annotations

from typing import Any

import pytest

from gemnet_blocks.errors import SpecError
from gemnet_blocks.training import parse_config
from gemnet_blocks.training.setup import check_config

CONFIG = """
model: symmetric
data: {files: [x.xyz], units: eV, energy: total, batch: {structures: 1}}
loss: {energy: {}}
training: {steps: 1}
"""


def read(more: str, **options: Any) -> Any:
    return parse_config(CONFIG + more, **options)


def test_loggers_are_names_or_mappings() -> None:
    config = read("loggers: [csv, {type: tensorboard, save_dir: all}, {csv: {flush_logs_every_n_steps: 7}}]")
    assert [one.type for one in config.loggers] == ["csv", "tensorboard", "csv"]
    assert config.loggers[1].arguments == {"save_dir": "all"}
    assert config.loggers[2].arguments == {"flush_logs_every_n_steps": 7}
    assert read("").loggers == ()
    check_config(config)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("loggers: [wandbb]", r"config:6: loggers\.0\.?.*: unknown logger 'wandbb'; did you mean 'wandb'\?"),
        ("loggers: [{type: my:Logger}]", r"config:6: loggers\.0\.type: my:Logger would import code from the module my"),
        ("callbacks: [{path: my}]", r"config:6: callbacks\.0\.path: must be an import path"),
        ("callbacks: [{path: my:Callback}]", r"config:6: callbacks\.0\.path: my:Callback would import code"),
        ("callbacks: [my:Callback]", r"config:6: callbacks\.0: must be a mapping of fields"),
    ],
)
def test_refused_loggers_and_callbacks_have_a_place(more: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as told:
        read(more)
    assert "\n" not in str(told.value)


def test_missing_packages_are_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemnet_blocks.training.plugins.find_spec", lambda name: None)
    with pytest.raises(
        SpecError, match=r"config:6: loggers\.1: mlflow needs the package mlflow.*gemnet_blocks\[loggers\]"
    ):
        read("loggers: [csv, mlflow]")


def test_unknown_options_are_found_before_training() -> None:
    with pytest.raises(SpecError, match=r"loggers\.0: csv does not take the options: got an unexpected.*'wrong'"):
        check_config(read("loggers: [{type: csv, wrong: 1}]"))
