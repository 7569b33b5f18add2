"""Study files: one error that lists every problem, with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from synthetic_learners import SyntheticLearner, small_spec

from gemnet_blocks.ablation import Study
from gemnet_blocks.ablation.study_file import read_study
from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec import load_spec
from gemnet_blocks.spec.document import dump

STUDY = """\
base: base.yaml
variants:
  no quadruplets: {interactions: {quadruplet: null}}
  dotted: {bases.circular.count: 2}
data: {files: [data.xyz], units: eV, energy: total, split: {type: random, validation: 2}, batch: {structures: 2}}
training:
  loss: {forces: {}}
  training: {ema: 0.9}
budget: {steps: 5}
"""


def written(folder: Path, text: str = STUDY) -> Path:
    (folder / "base.yaml").write_text(dump(small_spec().to_dict()))
    (folder / "study.yaml").write_text(text)
    return folder / "study.yaml"


def problems(folder: Path, text: str) -> str:
    path = written(folder, text)
    with pytest.raises(SpecError) as caught:
        Study.from_file(path, learner=SyntheticLearner()).check()
    return str(caught.value).replace(f"{folder}/", "")


def test_a_whole_study(tmp_path: Path) -> None:
    study = read_study(written(tmp_path), {"seeds": [3, 1], "base.sizes.edge": 9, "training.loss.forces.weight": 7})
    assert study.base.sizes.edge == 9
    assert study.options.seeds == (3, 1)
    assert study.config is not None
    assert study.config.model == study.base
    assert study.config.loss.forces is not None
    assert study.config.loss.forces.weight == 7
    assert study.config.training.ema == 0.9
    assert study.config.folder == tmp_path
    assert study.patches["dotted"].data == {"bases": {"circular": {"count": 2}}}


def test_a_number_of_seeds(tmp_path: Path) -> None:
    assert read_study(written(tmp_path)).options.seeds == (0, 1, 2, 3, 4, 5)
    assert read_study(written(tmp_path), {"seeds": 2}).options.seeds == (0, 1)


def test_a_base_in_the_file(tmp_path: Path) -> None:
    text = STUDY.replace("base: base.yaml", "base: {extends: base.yaml, sizes: {edge: 11}}")
    assert read_study(written(tmp_path, text)).base.sizes.edge == 11


def test_extending_a_study(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "more.yaml").write_text("extends: study.yaml\nvariants: {third: {sizes.edge: 5}}\nbudget: {steps: 7}")
    study = read_study(tmp_path / "more.yaml")
    assert list(study.patches) == ["no quadruplets", "dotted", "third"]
    assert study.options.budget.steps == 7


def test_another_kind_of_budget_takes_the_place_of_the_budget(tmp_path: Path) -> None:
    assert str(read_study(written(tmp_path), {"budget.minutes": 3}).options.budget) == "equal time: 3 minutes"
    (tmp_path / "more.yaml").write_text("extends: study.yaml\nbudget: {flops: 1e12}")
    assert read_study(tmp_path / "more.yaml").options.budget.flops == 1e12


def test_null_removes_a_variant(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "more.yaml").write_text("extends: study.yaml\nvariants: {dotted: null, third: {sizes.edge: 5}}")
    assert list(read_study(tmp_path / "more.yaml").patches) == ["no quadruplets", "third"]
    assert list(read_study(tmp_path / "study.yaml", {"variants.dotted": None}).patches) == ["no quadruplets"]
    with pytest.raises(SpecError, match=r"variants\.dottet: must be a mapping of fields, got null"):
        read_study(tmp_path / "study.yaml", {"variants.dottet": None})


def test_null_removes_a_factor(tmp_path: Path) -> None:
    factors = "factors: {quadruplet: [on, off], radial.count: [2, 3]}\nbudget:"
    written(tmp_path, STUDY.replace("budget:", factors.replace("radial.count", "bases.radial.count")))
    count = load_spec(tmp_path / "base.yaml").bases.radial.count  # type: ignore[union-attr]
    text = (tmp_path / "study.yaml").read_text().replace("[2, 3]", f"[{count}, {count + 1}]")
    (tmp_path / "study.yaml").write_text(text)
    (tmp_path / "more.yaml").write_text("extends: study.yaml\nfactors: {quadruplet: null}")
    assert list(read_study(tmp_path / "more.yaml").options.factors) == ["bases.radial.count"]
    assert list(read_study(tmp_path / "study.yaml", {"factors.quadruplet": None}).options.factors or ()) == [
        "bases.radial.count"
    ]


def test_changes_of_a_base_that_is_a_file_extend_it(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "more.yaml").write_text("extends: study.yaml\nbase: {sizes: {edge: 11}}\n")
    with pytest.raises(SpecError, match=r"more\.yaml:2: base: is incomplete .* begin it with `extends: .*base\.yaml`"):
        read_study(tmp_path / "more.yaml")
    (tmp_path / "more.yaml").write_text("extends: study.yaml\nbase: {extends: base.yaml, sizes: {edge: 11}}\n")
    assert read_study(tmp_path / "more.yaml").base.sizes.edge == 11


def test_changes_meet_dotted_paths(tmp_path: Path) -> None:
    study = read_study(written(tmp_path), {"variants.dotted.bases.circular.count": 1})
    assert study.patches["dotted"].data == {"bases": {"circular": {"count": 1}}}


def test_a_base_that_the_library_ships(tmp_path: Path) -> None:
    path = written(tmp_path, STUDY.replace("base: base.yaml", "base: symmetric"))
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "study.yaml").write_text("extends: ../study.yaml\n")
    assert read_study(path).base == read_study(tmp_path / "inner" / "study.yaml").base == load_spec("symmetric")


def test_earlier_names_of_sections_meet_todays_in_bases_and_variants(tmp_path: Path) -> None:
    base, variant = "{extends: base.yaml, read_out: {layers: 3}}", "{read_out.layers: 2, readout.network: 2}"
    text = STUDY.replace("base: base.yaml", f"base: {base}").replace(
        "{bases.circular.count: 2}", "{read_out.layers: 2}"
    )
    assert read_study(written(tmp_path, text)).patches["dotted"].data == {"readout": {"layers": 2}}
    (tmp_path / "more.yaml").write_text(
        "extends: study.yaml\nbase: {readout: {network: 3}}\nvariants: {dotted: {readout: {network: 2}}}\n"
    )
    study = read_study(tmp_path / "more.yaml", {"variants.dotted.read_out.after_atom": 2, "base.readout.after_atom": 3})
    assert study.patches["dotted"].data == {"readout": {"layers": 2, "network": 2, "after_atom": 2}}
    found = study.base.readout.model_dump()
    assert [found[name] for name in ("layers", "network", "after_atom")] == [3, 3, 3]
    message = (
        "study.yaml:4: variants.dotted: read_out: is the earlier name of 'readout', which is given too: remove one"
    )
    assert message in problems(tmp_path, STUDY.replace("{bases.circular.count: 2}", variant))


@pytest.mark.parametrize("base", ["base.yaml", "{extends: base.yaml, sizes: {edge: 11}}"])
def test_paths_of_specs_are_relative_to_the_file_that_says_them(tmp_path: Path, base: str) -> None:
    inner = tmp_path / "published" / "studies"
    inner.mkdir(parents=True)
    same = read_study(written(inner, STUDY.replace("base: base.yaml", f"base: {base}"))).base
    (tmp_path / "published" / "more.yaml").write_text("extends: studies/study.yaml")
    (tmp_path / "mine.yaml").write_text("extends: published/more.yaml\nseeds: 3")
    study = read_study(tmp_path / "mine.yaml")
    assert study.base == same
    assert study.config is not None
    assert study.config.folder == tmp_path


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("budget:", "bugdet:", "study.yaml:9: bugdet: unknown field; did you mean 'budget'?"),
        ("steps: 5", "steps: 5, minutes: 3", "study.yaml:9: budget: needs exactly one of steps, minutes and flops"),
        ("steps: 5", "steps: 0", "study.yaml:9: budget.steps: must be at least 1, got 0"),
        ("steps: 5", "step: 5", "study.yaml:9: budget.step: unknown field; did you mean 'steps'?"),
        ("units: eV", "units: parsec", "study.yaml:5: data.units: "),
        ("files: [data.xyz]", "file: [data.xyz]", "study.yaml:5: data.file: unknown field; did you mean 'files'?"),
        ("forces: {}", "force: {}", "study.yaml:7: training.loss.force: unknown field; did you mean 'forces'?"),
        ("ema: 0.9", "ema: 2", "study.yaml:8: training.training.ema: must be less than 1, got 2"),
        ("ema: 0.9", "steps: 3", "study.yaml:8: training.training.steps: is set by budget: remove it"),
        ("ema: 0.9", "seed: 3", "study.yaml:8: training.training.seed: is set by seeds: remove it"),
        ("loss:", "losses:", "study.yaml:7: training.losses: unknown field; did you mean 'loss'?"),
        ("  loss: {forces: {}}", "  model: {}", "study.yaml:7: training.model: is set by `base` of the study"),
        (
            "base: base.yaml",
            "base: bsae.yaml",
            "study.yaml:1: base: bsae.yaml does not exist; did you mean 'base.yaml'",
        ),
        ("base: base.yaml", "base: 3", "study.yaml:1: base: must be a spec or the path of one, got 3"),
        ("base: base.yaml", "", "base: is missing"),
        ("base: base.yaml", "extends: no.yaml", "study.yaml:1: extends: no.yaml does not exist"),
        ("base: base.yaml", "extends: study.yaml", "study.yaml extends this file in turn"),
        ("budget: {steps: 5}", "", "budget: is missing"),
        ("budget:", "seeds: [1, 1]\nbudget:", "study.yaml:9: seeds: must be different, got 1 twice"),
        ("budget:", "seeds: 0\nbudget:", "study.yaml:9: seeds: must be a list of seeds or a number of seeds"),
        ("budget:", "match: size\nbudget:", "study.yaml:9: match: must be one of parameters, flops"),
        ("budget:", "match: {tolerance: 3}\nbudget:", "study.yaml:9: match.tolerance: must be less than 1, got 3"),
        ("budget:", "primary: mae\nbudget:", "study.yaml:9: primary: must be 'energy_mae'"),
        ("  dotted:", "  base:", "'base' is the name of the base"),
        ("{bases.circular.count: 2}", "3", "study.yaml:4: variants.dotted: must be a mapping"),
        ("  dotted:", "  no quadruplets:", "study.yaml:4: variants.no quadruplets is written twice"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert STUDY.count(old) >= 1
    assert told in problems(tmp_path, STUDY.replace(old, new))


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = STUDY.replace("steps: 5", "steps: -5").replace("units: eV", "units: 3").replace("ema: 0.9", "emma: 0.9")
    told = problems(tmp_path, text.replace("base.yaml", "nothing.yaml"))
    for line in ("study.yaml:9: budget.steps", "study.yaml:5: data.units", "study.yaml:8: training.training.emma"):
        assert line in told
    assert "study.yaml:1: base: nothing.yaml does not exist" in told


def test_a_file_runs_no_code(tmp_path: Path) -> None:
    text = STUDY.replace("{bases.circular.count: 2}", "{interactions: {triplet: {type: 'os:system', down: 1, up: 1}}}")
    assert "variants.dotted" in problems(tmp_path, text)


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "base: *a", "variants: {x: !!python/object:os.system {}}", "a: [" * 3000]
)
def test_files_that_are_no_study(tmp_path: Path, text: str) -> None:
    assert "study.yaml" in problems(tmp_path, text)


def test_python_says_the_same(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"budget": {"steps": 1}, "learner": SyntheticLearner(), "folder": tmp_path}
    with pytest.raises(SpecError, match=r"^budget: needs exactly one"):
        Study(small_spec(), {"a": {"blocks.count": 2}}, **{**arguments, "budget": {}})
    with pytest.raises(SpecError, match=r"^data and training: are missing"):
        Study(small_spec(), {"a": {"blocks.count": 2}}, budget={"steps": 1}, folder=tmp_path).check()
    with pytest.raises(TypeError, match="no argument seed"):
        Study(small_spec(), {"a": {"blocks.count": 2}}, seed=3, **arguments)
