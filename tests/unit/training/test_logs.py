from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from helpers import file_size_limit

from gemnet_blocks.training.logs import TrainingLog


def test_columns_without_numbers_stay_empty(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path, ["loss", "validation_loss"], 0, tensorboard=False)
    log.write(10, {"loss": 0.5})
    log.write(20, {"validation_loss": 0.25})
    log.close()
    assert (tmp_path / "log.csv").read_text() == "step,loss,validation_loss\n10,0.5,\n20,,0.25\n"


def test_going_on_drops_later_rows_and_torn_ones(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path, ["loss"], 0, tensorboard=False)
    for step in (10, 20, 30):
        log.write(step, {"loss": step})
    log.close()
    with (tmp_path / "log.csv").open("a") as file:
        file.write("4")
    log = TrainingLog(tmp_path, ["loss"], 20, tensorboard=False)
    log.write(30, {"loss": 3.5})
    log.close()
    assert (tmp_path / "log.csv").read_text() == "step,loss\n10,10\n20,20\n30,3.5\n"


def test_a_new_run_starts_a_new_log(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("step,other\n10,1\n")
    TrainingLog(tmp_path, ["loss"], 0, tensorboard=False).close()
    assert (tmp_path / "log.csv").read_text() == "step,loss\n"


def test_tensorboard_gets_the_same_numbers_and_none_twice(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for start, steps in ((0, (10, 20, 30)), (20, (30, 40))):
        log = TrainingLog(tmp_path, ["loss"], start, tensorboard=True)
        for step in steps:
            log.write(step, {"loss": step / 2})
        log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(one.step, one.value) for one in events.Scalars("loss")] == [(10, 5), (20, 10), (30, 15), (40, 20)]


@pytest.mark.parametrize("tensorboard", [False, True])
def test_a_full_disk_is_one_line_and_leaves_whole_rows(
    tmp_path: Path, tensorboard: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    log = TrainingLog(tmp_path, ["loss"], 0, tensorboard)
    with file_size_limit(200):
        with pytest.raises(OSError, match=f"File too large: '{tmp_path}") as told:  # noqa: PT012
            for step in range(1, 100):
                log.write(step, {"loss": step})
            log.secure()
        with suppress(OSError):
            log.close()
    assert "\n" not in str(told.value)
    assert (tmp_path / "log.csv").read_text().endswith("\n")
    assert "Traceback" not in capfd.readouterr().err
