"""What the README shows works as it is shown."""

import re
from pathlib import Path

from gemnet_blocks.spec import load_spec

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_specs_are_valid(tmp_path: Path):
    base, ablation = blocks("yaml")
    (tmp_path / "paper_configs").symlink_to(ROOT / "paper_configs")
    (tmp_path / "mine.yaml").write_text(base)
    (tmp_path / "mine-without-quadruplets.yaml").write_text(ablation)
    spec = load_spec(tmp_path / "mine.yaml")
    without = load_spec(tmp_path / "mine-without-quadruplets.yaml")
    assert spec.sizes.edge == 64
    assert spec.patch({"interactions.quadruplet": None}) == without


def test_the_python_examples_run(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    for example in (*blocks("python")[:2], blocks("python")[-1]):
        exec(compile(example, "README.md", "exec"), {})
    assert "tensor(" in capsys.readouterr().out


def test_the_table_names_what_is_there():
    names = re.findall(r"^\| `([^`]+)`", README, re.MULTILINE)
    assert len(names) > 8
    for name in names:
        assert (ROOT / name).exists(), name
