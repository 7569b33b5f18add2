"""Studies from Python values, as notebooks give them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_learners import SyntheticLearner, small_spec

from gemnet_blocks.ablation import Study, StudyResults
from gemnet_blocks.ablation.options import BudgetOptions
from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec.document import dump

DEEPER = {"deeper": {"blocks.count": 2}}
DATA: dict[str, Any] = {"files": ["data.xyz"], "units": "eV", "energy": "total", "batch": {"structures": 2}}


def study(folder: Path, base: Any = None, patches: Any = DEEPER, **options: Any) -> Study:
    given: dict[str, Any] = {"seeds": 2, "budget": {"steps": 5}, "learner": SyntheticLearner(), **options}
    return Study(small_spec() if base is None else base, patches, folder=folder, **given)


def test_a_base_as_a_spec_a_path_and_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "base.yaml"
    path.write_text(dump(small_spec().to_dict()))
    keys = study(tmp_path).check().runs[1].task.key
    for base in (path, str(path), small_spec().to_dict(), {"extends": str(path)}):
        assert study(tmp_path, base).check().runs[1].task.key == keys
    wider = study(tmp_path, {"extends": path, "sizes.edge": np.int64(11)}).check()
    assert wider.runs[0].task.spec.sizes.edge == 11


@pytest.mark.parametrize(
    "seeds", [[3, 1], (3, 1), np.array([3, 1]), range(3, 0, -2), [np.int64(3), 1]], ids=lambda one: type(one).__name__
)
def test_seeds_in_all_forms(tmp_path: Path, seeds: Any) -> None:
    assert {run.task.seed for run in study(tmp_path, seeds=seeds).check().runs} == {1, 3}


def test_a_number_of_seeds_of_numpy(tmp_path: Path) -> None:
    assert len(study(tmp_path, seeds=np.int64(3)).check().runs) == 6


def test_paths_options_dotted_paths_and_numbers_of_numpy(tmp_path: Path) -> None:
    made = study(
        tmp_path,
        patches={"deeper": {"blocks": {"count": np.int64(2)}, "bases.circular.count": 2}},
        budget=BudgetOptions(steps=7),
        data={**DATA, "files": [tmp_path / "data.xyz"], "split.validation": 2, "split.type": "random"},
        training={"loss": {"forces": {}}, "optimizer.learning_rate": np.float64(0.5), "training.ema": 0.9},
    )
    config = made.check().runs[0].task.training
    assert config.data.files == (str(tmp_path / "data.xyz"),)
    assert config.data.split is not None
    assert config.data.split.validation == 2
    assert (config.optimizer.learning_rate, config.training.ema, config.training.steps) == (0.5, 0.9, 7)
    results = made.run("here", progress=False)
    assert StudyResults.load(tmp_path / "results.json") == results
    assert results.settings["variants"]["deeper"] == {"blocks": {"count": 2}, "bases": {"circular": {"count": 2}}}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"budget": None}, "budget: is missing: give the training budget of each variant, such as {steps: 1000}"),
        ({"budget": 100}, "budget: must be a mapping of fields, got 100"),
        ({"base": 3}, "base: must be a spec or the path of one, got 3"),
        ({"base": "nothing.yaml"}, "base: nothing.yaml does not exist"),
        (
            {"base": {**small_spec().to_dict(), "sizes.egde": 3}},
            "base: sizes.egde: unknown field; did you mean 'edge'?",
        ),
        ({"patches": [{"blocks.count": 2}]}, "variants: must be a mapping of fields, got [{blocks.count: 2}]"),
        ({"patches": {}}, "variants: must have at least 1 of them, got {}"),
        ({"patches": {"x": "blocks.count=2"}}, "variants.x: must be a mapping of fields, got 'blocks.count=2'"),
        ({"patches": {"x": {"blocks.count": object}}}, "variants.x.blocks.count: must be a number, text, list or"),
        ({"patches": {"x": {"blocks.count": 2, "blocks": {"count": 3}}}}, "variants.x.blocks.count: is changed twice"),
        ({"seeds": "6"}, "seeds: must be a list of seeds or a number of seeds from 1 to 10000, got '6'"),
        ({"seeds": 2.5}, "seeds: must be a list of seeds or a number of seeds from 1 to 10000, got 2.5"),
        ({"seeds": []}, "seeds: must have at least 1 of them, got []"),
        ({"seeds": [-1]}, "seeds.0: must be at least 0, got -1"),
    ],
    ids=str,
)
def test_what_is_wrong_is_one_error_of_one_line(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError) as caught:
        study(tmp_path, **changes)
    assert str(caught.value).startswith(told)
    assert len(str(caught.value).splitlines()) == 1


def test_whole_specs_are_no_patches(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"^variants\.wide: must contain only the changes.*got a whole spec$"):
        study(tmp_path, patches={"wide": small_spec(**{"sizes.edge": 9})})


def test_a_learner_is_an_object(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="learner must be a Learner"):
        study(tmp_path, learner=SyntheticLearner)
