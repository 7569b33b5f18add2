"""The training configs of published models, and the recipes, that the repository ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import add_adsorbate, bulk, fcc111, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import write

from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec import load_spec
from gemnet_blocks.training import load_config, parse_config, train

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


RECIPES = sorted(path.stem for path in (CONFIGS.parent / "recipes").glob("*.yaml"))
DATA = "data: {files: [frames.xyz], units: eV, energy: total, split: {type: random, validation: 2}}"


def test_recipes_need_only_data() -> None:
    assert RECIPES == ["crystal", "molecule", "slab"]
    for name in RECIPES:
        with pytest.raises(SpecError, match=r"recipes/\w+.yaml:\d+: data: needs units"):
            load_config(f"recipes/{name}")
        patches = {"data.files": ["frames.xyz"], "data.units": "eV", "data.energy": "total"}
        assert load_config(f"recipes/{name}", patches).folder == Path()


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_train_on_extended_xyz(name: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    slab = fcc111("Cu", (2, 2, 2), vacuum=6)
    add_adsorbate(slab, molecule("CO"), 1.8)
    slab.set_constraint(FixAtoms(range(4)))
    start = {"crystal": bulk("Si", cubic=True), "molecule": molecule("CH3CH2OH"), "slab": slab}[name]
    frames = []
    for _ in range(6):
        atoms = start.copy()
        atoms.positions += 0.05 * random.normal(size=(len(atoms), 3))
        forces = random.normal(size=(len(atoms), 3))
        atoms.calc = SinglePointCalculator(atoms, energy=float(random.normal()), forces=forces)
        frames.append(atoms)
    write(tmp_path / "frames.xyz", frames)
    text = f"extends: recipes/{name}\n{DATA}\ntraining: {{steps: 2, device: cpu, log: {{tensorboard: false}}}}"
    config = parse_config(text, tmp_path)
    assert config.training.minutes is None
    assert train(config, tmp_path / "run").name == "best.safetensors"
