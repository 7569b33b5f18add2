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
    for example in blocks("python")[:2]:
        exec(compile(example, "README.md", "exec"), {})
    assert "tensor(" in capsys.readouterr().out


def test_the_table_has_the_recorded_measurements(monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_extensions"))
    from landing import ratios

    rows = re.findall(r"^\| [^|]+ \| ([\d.]+) \| ([\d.]+) \|$", README, re.MULTILINE)
    recorded = ratios(ROOT / "benchmarks").values()
    assert rows == [(f"{faster:.2g}", f"{smaller:.2g}") for faster, smaller in recorded]


def test_files_that_are_linked_exist():
    names = [name for name in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in name]
    assert len(names) > 8
    for name in names:
        assert (ROOT / name).exists(), name


def test_the_first_screen_is_short():
    """The picture, the installation and the result come before any other text, without badges."""
    head = README.split("\n## ")[0]
    assert "architecture.svg" in head
    assert len(head.splitlines()) < 40
    assert len(README.splitlines()) < 140
    assert "img.shields.io" not in README
