"""Searches with errors that are planted in some of the values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from synthetic_learners import small_spec

from gemnet_blocks.ablation import Fit, Learner, SearchResults, SearchTrial, Study, Task, search
from gemnet_blocks.ablation.search import BEST, RESULT
from gemnet_blocks.ablation.search_trials import runs_of, space_of, validations
from gemnet_blocks.cli.searches import list_search, run_search
from gemnet_blocks.errors import SpecError

pytest.importorskip("optuna", reason="searches need optuna")

SPACE: Mapping[str, Any] = {"sizes.edge": {"log": [4, 64]}, "interactions.atom_atom": ["on", "off"]}


@dataclass(frozen=True)
class Bowl(Learner):
    """A learner with the lowest error for 16 edge features without atom-atom interactions.

    Every fit adds a line to the file `done` of the study. After the number of fits in a file `stop`, it is interrupted.

    Attributes:
        fail: the number of edge features with which runs fail.
    """

    fail: int = 0

    needs_data: ClassVar[bool] = False

    def fit(self, task: Task, folder: Path) -> Fit:
        done = fits(folder.parents[2])
        stop = folder.parents[2] / "stop"
        if stop.exists() and len(done) >= int(stop.read_text()):
            raise KeyboardInterrupt
        spec = task.spec.to_dict()
        edge = spec["sizes"]["edge"]
        if edge == self.fail:
            raise ValueError("cannot be learned")
        error = 1 + abs(math.log2(edge / 16)) + ("atom_atom" in spec["interactions"]) + 0.01 * task.seed
        (folder.parents[2] / "done").write_text("\n".join([*done, f"{edge} {task.seed}"]))
        curve = [{"step": float(step), "loss": 1 / step, "forces_mae": error * (1 + 1 / step)} for step in (1, 2, 3)]
        return Fit({"forces_mae": error}, curve, {"parameters": float(edge)})


def fits(folder: Path) -> list[str]:
    return (folder / "done").read_text().splitlines() if (folder / "done").exists() else []


def study(folder: Path, learner: Learner | None = None, **options: Any) -> Study:
    given = {"search": SPACE, "trials": 12, "budget": {"steps": 1}, "seeds": 1, **options}
    return Study(small_spec(), {}, folder=folder, learner=learner or Bowl(), **given)


def run(found: Study, **options: Any) -> SearchResults:
    return search(found, executor="here", progress=False, **options)


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_planted_values_are_found(tmp_path: Path, sampler: str) -> None:
    told: list[Any] = []
    found = run(study(tmp_path, sampler=sampler), tell=told.append)
    assert found.complete
    assert list(found.trials) == told
    assert found.trials[0].parameters == {"sizes.edge": 8, "interactions.atom_atom": "on"}  # the base
    (best,) = found.best
    assert best.parameters["interactions.atom_atom"] == "off"
    assert 8 < best.parameters["sizes.edge"] < 32
    edge = best.parameters["sizes.edge"]
    assert best.values == (pytest.approx((1 + abs(math.log2(edge / 16))) * 4 / 3),)  # of the lowest loss
    assert sum(found.importances.values()) == pytest.approx(1)
    assert SearchResults.load(tmp_path / RESULT) == found


def test_a_grid_has_all_combinations(tmp_path: Path) -> None:
    space = {"sizes.edge": {"range": [8, 17], "step": 8}, "interactions.atom_atom": ["on", "off"]}
    found = run(study(tmp_path, search=space, trials=None, sampler="grid", seeds=2))
    values = [tuple(one.parameters.values()) for one in found.trials]
    assert values == [(8, "on"), (8, "off"), (16, "on"), (16, "off")]
    assert fits(tmp_path) == [f"{edge} {seed}" for edge, _ in values for seed in (0, 1)]
    assert found.best[0].values == (pytest.approx(1.005 * 4 / 3),)  # the mean over the seeds
    with pytest.raises(SpecError, match=r"search\.sizes\.edge: a grid needs choices or a step"):
        run(study(tmp_path / "log", trials=3, sampler="grid"))


def stop_here(trial: SearchTrial) -> None:
    raise RuntimeError("told")


def test_an_interrupted_search_ends_with_the_same_report(tmp_path: Path) -> None:
    options = {"trials": 8, "parallel": 3, "pruning": {"type": "successive_halving", "reduction": 2}}
    whole, parts = study(tmp_path / "whole", **options), study(tmp_path / "parts", **options)
    expected = run(whole)
    (tmp_path / "parts").mkdir()
    for count in (0, 4):
        (tmp_path / "parts" / "stop").write_text(str(count))
        with pytest.raises(KeyboardInterrupt):
            run(parts)
    known = SearchResults.load(tmp_path / "parts" / RESULT).trials
    with pytest.raises(RuntimeError, match="told"):  # the results so far survive an interruption of their repetition
        run(parts, tell=stop_here)
    assert SearchResults.load(tmp_path / "parts" / RESULT).trials == known
    (tmp_path / "parts" / "stop").unlink()
    assert run(parts) == expected
    assert fits(tmp_path / "parts") == fits(tmp_path / "whole")  # no run is repeated
    pages = [one.report().parent for one in (whole, parts)]
    names = sorted(path.relative_to(pages[0]) for path in pages[0].rglob("*.*"))
    assert {"report.html", "report.md", "trials.csv", "history.csv", "history.svg", "slices.csv"} <= {
        n.name for n in names
    }
    assert all((pages[0] / name).read_bytes() == (pages[1] / name).read_bytes() for name in names)
    assert expected.of("pruned")


def test_pruned_trials_are_worse_than_earlier_ones(tmp_path: Path) -> None:
    found = run(study(tmp_path, pruning={"type": "median", "startup": 2}))
    pruned = found.of("pruned")
    assert pruned
    for one in pruned:
        step = len(one.validations)
        before = sorted(other.validations[step - 1] for other in found.of("done") if other.number < one.number)
        assert step < 3
        assert one.validations[-1] > before[(len(before) - 1) // 2]
        assert not one.values


def test_values_that_make_no_model_are_counted_with_the_reason(tmp_path: Path) -> None:
    space = {"graphs.quad": ["on", "off"], "interactions.quadruplet": ["on", "off"], "sizes.edge": [8, 16]}
    found = run(study(tmp_path, Bowl(fail=16), search=space, trials=None, sampler="grid", retries=0))
    for one in found.trials:
        without_graph = one.parameters["graphs.quad"] == "off" and one.parameters["interactions.quadruplet"] == "on"
        expected = "invalid" if without_graph else "failed" if one.parameters["sizes.edge"] == "16" else "done"
        assert one.outcome == expected
        assert ("quad" in one.reason) == without_graph
    assert {one.reason for one in found.of("failed")} == {"ValueError: cannot be learned"}
    text = (study(tmp_path, search=space, sampler="grid", trials=None).report().parent / "report.md").read_text()
    assert "8 of 8: 3 done, 2 invalid, 3 failed" in text


def test_several_objectives_have_a_pareto_front(tmp_path: Path) -> None:
    metric = ["forces_mae", "parameters"]
    found = run(study(tmp_path, metric=metric, trials=10))
    front = [one.values for one in found.best]
    assert len(front) > 1
    assert front == sorted(front)
    assert sorted(front, key=lambda one: one[1]) == front[::-1]
    assert {path.name for path in (tmp_path / BEST).iterdir()} == {f"trial-{one.number}" for one in found.best}
    page = study(tmp_path, metric=metric).report()
    assert (page.parent / "figures" / "pareto.svg").exists()


def test_the_space_is_read_in_all_spellings(tmp_path: Path) -> None:
    nested = {"sizes": {"edge": {"log": [4, 64]}}, "interactions": {"atom_atom": {"choice": ["on", "off"]}}}
    one, other = (space_of(study(tmp_path, search=space).document) for space in (SPACE, nested))
    assert one == other
    (tmp_path / "file.yaml").write_text(
        "base: symmetric\nbudget: {steps: 1}\ntrials: 3\nsearch:\n  sizes.edge: {log: [4, 64]}\n"
        "  blocks.count: [1, 2]\n  bases.radial: {choice: [{type: gaussian}, {type: spherical_bessel}]}\n"
    )
    changes = {"search.sizes.edge": {"range": [8, 16]}, "search.blocks.count": None}
    found = space_of(Study.from_file(tmp_path / "file.yaml", changes, Bowl()).document)
    assert {path: one.in_words() for path, one in found.items()} == {
        "sizes.edge": "integers from 8 to 16",
        "bases.radial": 'one of {"type": "gaussian"}, {"type": "spherical_bessel"}',
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"search": {"sizes.edg": [1, 2]}}, r"search\.sizes\.edg: unknown field; did you mean 'edge'\?"),
        ({"search": {"sizes.edge": {"log": [8]}}}, r"search\.sizes\.edge: log must have a lower and an upper number"),
        ({"search": {"sizes.edge": {"log": [0, 8]}}}, "log needs positive bounds"),
        ({"search": {"sizes.edge": {"range": [8, 4]}}}, "lower bound must be below the upper one"),
        ({"search": {"sizes.edge": {"log": [1, 8], "step": 2}}}, "only a range has a step"),
        ({"search": {"sizes.edge": 8}}, r"must be \{choice: \[a, b\]\}, .* got 8"),
        ({"search": {"interactions.none": ["on", "off"]}}, "on and off are for parts of the base"),
        ({"search": {"training.learning_rate": [1.0e-3]}}, "the study has no sections data and training"),
        ({"search": {}}, "search: must have at least one field"),
        ({"trials": None}, "needs the number of `trials`"),
        ({"sampler": "tpee"}, "did you mean 'tpe'"),
        ({"metric": "force"}, r"metric: must be .* got 'force'"),
        ({"metric": ["forces_mae", "loss"], "pruning": "median"}, "pruning needs an error as the single metric"),
        ({"match": "parameters"}, "a search has no match"),
        ({"search": None}, "give changes of a variant, factors, or a search"),
    ],
)
def test_wrong_searches_are_refused(tmp_path: Path, options: Mapping[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        study(tmp_path, **options)


def test_validations_are_read_from_the_logs_of_runs_that_have_not_ended(tmp_path: Path) -> None:
    found = study(tmp_path, seeds=2)
    runs = runs_of(found.document, found.learner, tmp_path, "trial 0", {})
    texts = ("1,0.5,100\n2,,\n3,0.4,80\n", "1,0.5,300\n3,0.4,90")  # a row may be half-written
    for one, text in zip(runs, texts, strict=True):
        one.folder.path.mkdir(parents=True)
        heading = "step,validation_loss,validation_forces_mae_mev_per_angstrom\n"
        (one.folder.path / "log.csv").write_text(heading + text)
    assert validations("forces_mae", runs, [None, None]) == (pytest.approx(0.2),)  # eV/Å, at those both have reached
    assert validations("loss", runs[:1], [None]) == (0.5, 0.4)


def test_the_command_tells_trials_and_best_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = {"sizes.edge": [8, 16]}
    options = {"search": space, "trials": None, "sampler": "grid"}
    list_search(study(tmp_path, **options))
    assert "one of 8, 16" in capsys.readouterr().out
    run_search(study(tmp_path, **options), "here", None, {}, report_only=False)
    told = capsys.readouterr().out
    assert "trial 0 done (4): sizes.edge = 8" in told
    assert f"written: {tmp_path / 'report' / 'report.html'}" in told
    run_search(study(tmp_path, **options), "here", None, {}, report_only=True)
    assert len(fits(tmp_path)) == 2


def test_a_search_is_not_run_as_a_study(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"call gemnet_blocks\.ablation\.search"):
        study(tmp_path).run()
    with pytest.raises(SpecError, match=r"search\.json: expected results of a search"):
        study(tmp_path).report()
