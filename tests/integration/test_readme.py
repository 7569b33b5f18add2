"""What the README shows works as it is shown."""

import re
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from gemnet_blocks.spec import load_spec
from gemnet_blocks.training import load_config, train

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_specs_are_valid(tmp_path: Path):
    base, ablation, _ = blocks("yaml")
    (tmp_path / "paper_configs").symlink_to(ROOT / "paper_configs")
    (tmp_path / "mine.yaml").write_text(base)
    (tmp_path / "mine-without-quadruplets.yaml").write_text(ablation)
    spec = load_spec(tmp_path / "mine.yaml")
    without = load_spec(tmp_path / "mine-without-quadruplets.yaml")
    assert spec.sizes.edge == 64
    assert spec.patch({"interactions.quadruplet": None}) == without


@pytest.mark.docs
def test_the_training_config_trains_a_calculator(tmp_path: Path, monkeypatch):
    config = tmp_path / "train.yaml"
    config.write_text(blocks("yaml")[2].replace("paper_configs", str(ROOT / "paper_configs")))
    monkeypatch.chdir(tmp_path)
    frames = [bulk("Cu", cubic=True) for _ in range(160)]
    generator = np.random.default_rng(0)
    for frame in frames:
        frame.positions += generator.normal(scale=0.05, size=(4, 3))
        frame.calc = EMT()
        frame.get_forces()
    write(tmp_path / "frames.extxyz", frames)
    small = {"model.sizes": {"atom": 8, "edge": 8}, "training": {"steps": 2, "log": {"progress": False}}}
    train(load_config(config, small))
    atoms = frames[0].copy()
    example = next(one for one in blocks("python") if "GemNetCalculator" in one)
    exec(compile(example, "README.md", "exec"), {"atoms": atoms})
    assert np.isfinite(atoms.get_potential_energy())


def test_the_python_examples_run(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    shown = blocks("python")
    for example in (*shown[:2], next(one for one in shown if "CounterExample" in one)):
        exec(compile(example, "README.md", "exec"), {})
    assert "tensor(" in capsys.readouterr().out


def test_the_table_names_existing_files():
    names = re.findall(r"^\| `([^`]+)`", README, re.MULTILINE)
    assert len(names) > 8
    for name in names:
        assert (ROOT / name).exists(), name
