"""What every notebook shows is there and fit to be seen. `make test-docs` runs them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/<])/[\w.-]+/[\w.-]+|\b[A-Z]:\\+\w|file://")
ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)


def read(path: Path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(output) -> list[str]:
    """All text of an output."""
    if output.output_type == "stream":
        return [output.text]
    return [text for kind, text in output.get("data", {}).items() if kind.startswith("text/")]


def test_there_are_notebooks():
    assert NOTEBOOKS
    assert all(code_cells(read(path)) for path in NOTEBOOKS)


@each_notebook
def test_committed_outputs(path):
    notebook = read(path)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1)), "run the notebook from top to bottom and save it"
    kinds = {kind for cell in code_cells(notebook) for output in cell.outputs for kind in output.get("data", {})}
    assert kinds & {"image/png", "image/svg+xml"}, "a notebook answers its question by a figure"
    assert_presentable(notebook)


def assert_presentable(notebook) -> None:
    """No errors, warnings, paths of a machine or addresses in memory."""
    for cell in code_cells(notebook):
        for output in cell.outputs:
            assert output.output_type != "error", output.get("evalue")
            assert output.get("name") != "stderr", output.text
            for text in shown(output):
                assert not ABSOLUTE_PATH.search(text), text
                assert not ADDRESS.search(text), text


@each_notebook
@pytest.mark.parametrize("arguments", [("format", "--check"), ("check",)], ids=" ".join)
def test_formatted(path, arguments):
    pytest.importorskip("ruff")
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments, str(path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
