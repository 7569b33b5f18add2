"""The training configs of published models that the repository ships."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemnet_blocks.spec import load_spec
from gemnet_blocks.training import load_config

CONFIGS = Path(__file__).parents[2] / "paper_configs" / "training"
MODELS = {
    "gemnet-oc-is2re": ("gemnet-oc", {"heads.forces": None}),
    "gemnet-oc-oc20": ("gemnet-oc", {}),
    "gemnet-oc-oc20-2m": ("gemnet-oc", {}),
    "gemnet-oc-oc22": ("gemnet-oc-oc22", {}),
}


def test_every_config_is_tried() -> None:
    assert sorted(path.stem for path in CONFIGS.glob("*.yaml")) == sorted(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_configs_are_valid_and_train_the_published_model(name: str) -> None:
    config = load_config(CONFIGS / f"{name}.yaml")
    model, changes = MODELS[name]
    assert config.model.content_hash == load_spec(model, changes).content_hash
    assert config.output == f"runs/{name}"
    assert config.data.batch.structures == 16
    assert (config.training.clip, config.training.ema) == (10, 0.999)
