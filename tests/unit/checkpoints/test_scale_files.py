from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import small_spec
from torch import nn

from gemnet_blocks import GemNetOC
from gemnet_blocks.checkpoints import fairchem_state, load_scales, read_scale_file
from gemnet_blocks.errors import StateError
from gemnet_blocks.spec import build
from gemnet_blocks.spec.published import to_published


def model(**changes: Any) -> nn.Module:
    return build(small_spec(**changes), seed=0)


def factors(module: nn.Module) -> dict[str, float]:
    """The scale factors of a model by published name, without the last part."""
    state = fairchem_state(module)
    return {name.removesuffix(".scale_factor"): float(value) for name, value in state.items() if "scale_factor" in name}


def some_factors(module: nn.Module) -> dict[str, float]:
    return {name: 1 + index / 8 for index, name in enumerate(factors(module))}


def as_tensors(values: dict[str, float], path: Path) -> Path:
    torch.save({name: torch.tensor(value) for name, value in values.items()}, path.with_suffix(".pt"))
    return path.with_suffix(".pt")


def as_numbers(values: dict[str, float], path: Path) -> Path:
    torch.save(values, path.with_suffix(".pt"))
    return path.with_suffix(".pt")


def as_json(values: dict[str, float], path: Path) -> Path:
    path.with_suffix(".json").write_text(json.dumps(values))
    return path.with_suffix(".json")


def as_state(values: dict[str, float], path: Path) -> Any:
    return {f"{name}.scale_factor": torch.tensor([value]) for name, value in values.items()}


FORMS: list[Callable[[dict[str, float], Path], Any]] = [
    as_tensors,
    as_numbers,
    as_json,
    as_state,
    lambda values, path: values,
    lambda values, path: str(as_json(values, path)),
]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_sets_every_factor(form: Callable[[dict[str, float], Path], Any], tmp_path: Path) -> None:
    one = model()
    values = some_factors(one)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_scales(one, form(values, tmp_path / "scales"))
    assert factors(one) == values


def test_the_facade_reads_its_scale_file(tmp_path: Path) -> None:
    arguments = to_published(small_spec(graphs__atom__max_neighbors=20))
    values = some_factors(GemNetOC(**arguments))
    assert factors(GemNetOC(**arguments, scale_file=as_json(values, tmp_path / "scales"))) == values
    assert factors(GemNetOC(**arguments, scale_file=values)) == values
    assert set(factors(GemNetOC(**arguments)).values()) == {0}


def test_missing_factors_are_listed_and_nothing_is_changed() -> None:
    one = model()
    values = some_factors(one)
    for name in ("out_blocks.0.scale_sum", "int_blocks.1.trip_interaction.scale_rbf"):
        del values[name]
    with pytest.raises(StateError, match="lacks 2 factors") as caught:
        load_scales(one, values)
    assert str(caught.value).endswith(": int_blocks.1.trip_interaction.scale_rbf, out_blocks.0.scale_sum")
    assert set(factors(one).values()) == {0}


def test_factors_without_a_place_are_warned_of() -> None:
    one = model()
    values = some_factors(one)
    with pytest.warns(UserWarning, match=r"ignored 1 scale factors that the model does not have: int_blocks\.7\.scale"):
        load_scales(one, {**values, "int_blocks.7.scale": 1.0})
    assert factors(one) == values


@pytest.mark.parametrize(
    "name", ["cbf_basis_tint.radial_basis", "cbf_basis_aeint.radial_basis", "sbf_basis_qint.radial_basis"]
)
def test_any_name_of_a_shared_factor_is_enough(name: str) -> None:
    """Files hold each factor once, under the name that published models happen to list first."""
    one = model(bases__scale=True)
    aliases = {f"{basis}.radial_basis.scale_rbf" for basis in ("cbf_basis_tint", "cbf_basis_aeint", "sbf_basis_qint")}
    values = {key: 1.5 for key in factors(one) if key not in aliases} | {f"{name}.scale_rbf": 2.5}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_scales(one, values)
    assert {key: value for key, value in factors(one).items() if value == 2.5}.keys() == aliases


def test_the_unused_basis_is_no_stranger() -> None:
    one = model(bases__scale=True, interactions__atom_edge=None)
    values = some_factors(one)
    assert "radial_basis_aeaint.scale_rbf" in values
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_scales(one, values)


def test_suffixes_are_optional() -> None:
    assert read_scale_file({"a.scale_factor": 2, "b": torch.tensor(3.0)}) == {"a": 2.0, "b": 3.0}


@pytest.mark.parametrize("value", ["two", None, [1.0, 2.0], torch.ones(2)])
def test_text_in_place_of_numbers_is_refused(value: Any) -> None:
    with pytest.raises(StateError, match="scale factors: a must be a single number"):
        read_scale_file({"a": value})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_must_be_finite(value: float) -> None:
    with pytest.raises(StateError, match="must be finite"):
        read_scale_file({"a": value})


class Harmful:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(self.path),)

    def __init__(self, path: Path) -> None:
        self.path = str(path)


@pytest.mark.parametrize("plain", [True, False], ids=["pickle", "torch"])
def test_files_run_no_code(tmp_path: Path, plain: bool) -> None:
    trace, file = tmp_path / "trace", tmp_path / "scales.pt"
    content = {"a": Harmful(trace)}
    if plain:
        file.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, file)
    with pytest.raises(StateError, match="cannot be read"):
        read_scale_file(file)
    assert not trace.exists()
    torch.load(file, weights_only=False) if not plain else pickle.loads(file.read_bytes())
    assert trace.exists()  # it would have


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("scales.json", "{", "cannot be read"),
        ("scales.json", "[1, 2]", "expected numbers by name, found list"),
        ("scales.json", '{"a": "b"}', "scale factors: a must be a single number"),
        ("scales.pt", "nonsense", "cannot be read"),
        ("scales.txt", "{}", "ends in .pt or .json"),
    ],
)
def test_wrong_files_are_one_clear_error(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(StateError, match=message):
        load_scales(model(), path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be read"):
        read_scale_file(tmp_path / "absent.json")
