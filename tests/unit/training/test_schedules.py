from __future__ import annotations

import pytest
from pydantic import ValidationError

from gemnet_blocks.training.optimizer import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    Plateau,
    PlateauWatch,
    Steps,
)


def test_warmup_rises_linearly_to_the_full_rate() -> None:
    schedule = Constant(warmup=4)
    assert [schedule.factor(step, 0.0) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]


def test_cosine_falls_over_the_budget_whatever_its_unit() -> None:
    schedule = Cosine(final=0.1)
    assert [schedule.factor(0, fraction) for fraction in (0, 0.5, 1)] == pytest.approx([1, 0.55, 0.1])


def test_linear() -> None:
    assert [Linear(final=0.2).factor(9, fraction) for fraction in (0, 0.5, 1)] == pytest.approx([1, 0.6, 0.2])


def test_exponential() -> None:
    schedule = Exponential(rate=0.5, every=100)
    assert [schedule.factor(step, 0) for step in (0, 50, 200)] == pytest.approx([1, 0.5**0.5, 0.25])


def test_steps() -> None:
    schedule = Steps(rate=0.1, milestones=[10, 20])
    assert [schedule.factor(step, 0) for step in (9, 10, 20)] == pytest.approx([1, 0.1, 0.01])


def test_plateau_reduces_after_its_patience_and_counts_again() -> None:
    schedule = Plateau(rate=0.5, patience=1, least_gain=0.1, least=0.2)
    watch = PlateauWatch(schedule)
    seen = []
    for loss in (1.0, 0.95, 0.94, 0.5, 0.5, 0.5, 0.49, 0.48, 0.47, 0.46):
        watch.observe(loss)
        seen.append(watch.reductions)
    assert seen == [0, 0, 1, 1, 1, 2, 2, 3, 3, 4]
    assert [schedule.factor(0, 0, count) for count in (0, 1, 2, 3)] == [1, 0.5, 0.25, 0.2]


def test_plateau_resumes_from_its_saved_state() -> None:
    watch, other = PlateauWatch(Plateau(patience=2)), PlateauWatch(Plateau(patience=2))
    for loss in (1.0, 1.0, 1.0):
        watch.observe(loss)
    other.load_state_dict(watch.state_dict())
    watch.observe(1.0)
    other.observe(1.0)
    assert other.state_dict() == watch.state_dict()
    assert other.reductions == 1


def test_factors_outside_of_reason_are_refused() -> None:
    with pytest.raises(ValidationError):
        Cosine(final=2.0)
