from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gemnet_blocks.training.logs import Display
from gemnet_blocks.util.progress_lines import ProgressLines

TRAINED = {"loss": 0.5, "learning_rate": 1e-3, "energy_mae_mev_per_atom": 20.0, "forces_mae_mev_per_angstrom": 300.0}
VALIDATED = {
    "validation_loss": 0.4,
    "validation_energy_mae_mev_per_atom": 12.5,
    "validation_forces_mae_mev_per_angstrom": 250.0,
}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_log_files_get_a_line_at_each_validation_with_units(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(lines=ProgressLines(every=60.0))
    display.show(0.1, 100, TRAINED, 9.0)
    assert capsys.readouterr().out == ""
    display.show(0.2, 1200, VALIDATED, 3723.0)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("step 1,200 (20.0%), 1:02:03, learning rate 0.001, loss 0.5, ")
    assert line.endswith("validation E MAE 12.5 meV/atom, validation F MAE 250 meV/Å")


def test_without_validation_lines_are_sparse(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    display = Display(lines=ProgressLines(every=60.0))
    for step in range(0, 200, 10):
        clock[0] = float(step)
        display.show(step / 200, step, TRAINED, float(step))
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["60", "120", "180"]


def test_notebooks_get_a_bar_instead_of_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = SimpleNamespace(progress=None)
    config: Any = SimpleNamespace(training=SimpleNamespace(log=log))
    for notebook in (True, False):
        monkeypatch.setattr("gemnet_blocks.training.logs.in_notebook", lambda here=notebook: here)
        with Display.opened(config, 0.0) as display:
            display.show(1.0, 10, {**TRAINED, **VALIDATED}, 1.0)
        captured = capsys.readouterr()
        assert ("100.0%" in captured.err) == notebook
        assert ("validation E MAE" in captured.out) != notebook


def test_terminals_get_no_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    Display(lines=ProgressLines()).show(1.0, 10, {**TRAINED, **VALIDATED}, 1.0)
    assert capsys.readouterr().out == ""
