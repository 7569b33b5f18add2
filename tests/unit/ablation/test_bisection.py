"""Bisection of the changes between two specs, with errors that are planted in some of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from synthetic_learners import small_spec

from gemnet_blocks.ablation import Fit, Learner, Study, Task, bisect
from gemnet_blocks.ablation.bisection import RESULT, SpecChange, changes_between, delta_debugging
from gemnet_blocks.cli.bisect import _print
from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec import load_spec

CHANGES = {
    "blocks.count": 2,
    "bases.radial.count": 5,
    "bases.circular.count": 2,
    "interactions.atom_atom": None,
}
"""Changes of the base, none of which needs another."""


@dataclass(frozen=True)
class Planted(Learner):
    """A learner whose error is raised by a pair of changes, by one change, or by none."""

    effect: str = "pair"
    noise: float = 0.01

    needs_data: ClassVar[bool] = False

    def fit(self, task: Task, folder: Path) -> Fit:
        spec = task.spec.to_dict()
        small, few = spec["bases"]["circular"]["count"] == 2, "atom_atom" not in spec["interactions"]
        broken = {"pair": small and few, "one": few, "none": False}[self.effect]
        own = (-1) ** task.seed * (1 if task.variant == "base" else -1)  # no difference on average
        with (folder.parents[2] / "done").open("a") as file:
            file.write(f"{task.variant}/{task.seed}\n")
        return Fit({"forces_mae": 1 + 0.3 * task.seed + 0.2 * float(broken) + self.noise * own}, [], {})


def study(folder: Path, effect: str, **options: Any) -> Study:
    given = {"seeds": 6, "budget": {"steps": 1}, **options}
    return Study(small_spec(), {"unused": {"blocks.count": 3}}, folder=folder, learner=Planted(effect), **given)


@pytest.mark.parametrize(
    ("effect", "smallest"),
    [
        ("pair", {"bases.circular.count", "interactions.atom_atom"}),
        ("none", None),
    ],
)
def test_planted_changes_are_found(tmp_path: Path, effect: str, smallest: set[str] | None) -> None:
    told: list[Any] = []
    found = bisect(
        study(tmp_path, effect), small_spec().patch(CHANGES), executor="here", progress=False, tell=told.append
    )
    assert found.smallest is None if smallest is None else set(found.smallest) == smallest
    assert found.changes == CHANGES
    assert list(found.trials) == told
    assert json.loads((tmp_path / RESULT).read_text()) == found.to_dict()
    _print(found)
    if effect == "pair":
        alone = next(one for one in found.trials if one.outcome == "does not explain")
        assert abs(alone.share) < 0.2
        assert found.difference == pytest.approx(0.2, abs=0.02)
        assert found.p_value < 0.05
    done = (tmp_path / "done").read_text().splitlines()
    assert len(done) == len(set(done))
    assert not any(line.startswith("unused/") for line in done)
    # what was trained is not trained again
    again = bisect(study(tmp_path, effect), small_spec().patch(CHANGES), executor="here", progress=False)
    assert again == found
    assert (tmp_path / "done").read_text().splitlines() == done


def test_changes_that_need_others_are_tried_together(tmp_path: Path) -> None:
    base = small_spec()
    other = base.patch({"graphs.quad": None, "interactions.quadruplet": None, "interactions.atom_atom": None})
    found = bisect(study(tmp_path, "one"), other, executor="here", progress=False)
    assert found.smallest == ("interactions.atom_atom",)
    other = load_spec("gradient-forces")
    paths = [one.path for one in changes_between(load_spec("gemnet-oc"), other)]
    assert paths == ["heads.forces"]  # the section, since its type changes


@pytest.mark.parametrize(
    "needed", [lambda s: "c" in s, lambda s: {"a", "h"} <= s, lambda s: len(s) > 6, lambda s: {"b", "c", "d"} <= s]
)
def test_no_change_can_be_left_out(needed: Callable[[set[str]], bool]) -> None:
    tried: list[frozenset[str]] = []

    def try_all(sets: Any) -> list[Any]:
        tried.extend(frozenset(one.path for one in subset) for subset in sets)
        return ["explains" if needed({one.path for one in subset}) else "undecided" for subset in sets]

    found = delta_debugging([SpecChange(path, 1) for path in "abcdefgh"], try_all)
    paths = {one.path for one in found}
    assert needed(paths)
    assert not any(needed(paths - {one}) for one in paths)
    assert frozenset() not in tried


def test_what_cannot_be_bisected_is_refused(tmp_path: Path) -> None:
    base = small_spec()
    with pytest.raises(SpecError, match="the two specs are equal"):
        bisect(study(tmp_path, "one"), base)
    with pytest.raises(SpecError, match="at least 6 seeds, got 5"):
        bisect(study(tmp_path, "one", seeds=5), base.patch({"sizes.atom": 16}))
    with pytest.raises(ValueError, match="between 0 and 1"):
        bisect(study(tmp_path, "one"), base.patch({"sizes.atom": 16}), share=1.0)


def test_settings_come_from_a_study_file(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(
        "seeds: 7\nbudget: {steps: 3}\nbase: gemnet-oc\nvariants: {x: {blocks.count: 1}}\n"
    )
    found = Study.of_architecture(small_spec(), tmp_path / "settings.yaml", {"primary": "energy_mae"}, Planted("one"))
    assert found.base == small_spec()
    assert found.seeds == tuple(range(7))
    assert found.folder == tmp_path / "settings"
    assert found.document.options.primary == "energy_mae"
    (tmp_path / "settings.yaml").write_text("seeds: 7\nbudge: {steps: 3}\n")
    with pytest.raises(SpecError, match=r"settings\.yaml:2: budge: unknown field"):
        Study.of_architecture(small_spec(), tmp_path / "settings.yaml")
