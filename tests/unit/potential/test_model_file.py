"""Model files: everything that a potential is, in one file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ase import Atoms
from helpers import molecule, slab, small_cell, small_model, small_spec
from potentials import REFERENCES, crystals, smooth_potential, smooth_spec
from safetensors.torch import load_file, save_file
from test_potential import assert_identical

from gemnet_blocks.basis.radial import SphericalBessel
from gemnet_blocks.errors import SpecError, StateError
from gemnet_blocks.potential import Potential
from gemnet_blocks.potential.model_file import load_potential, save_potential
from gemnet_blocks.potential.references import References
from gemnet_blocks.spec import Execution, build
from gemnet_blocks.structures import Structures
from gemnet_blocks.util.files import checksum

FRAMES = [molecule(5), small_cell(), slab(), Atoms("H", positions=[[0, 0, 0]])]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A model file."""
    path = tmp_path / "model.safetensors"
    save_potential(smooth_potential(torch.float32), path)
    return path


def metadata(path: Path) -> dict[str, str]:
    size = int.from_bytes(path.read_bytes()[:8], "little")
    return json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]


def rewrite(path: Path, change: Callable[[dict[str, str], dict[str, Any]], None]) -> None:
    """Change texts and weights of a file as somebody would who knows the format, checksum included."""
    texts, weights = metadata(path), load_file(path)
    change(texts, weights)
    texts.pop("checksum", None)
    save_file(weights, path, texts | {"checksum": checksum(weights, texts)})


# -- there and back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("radial", ["gaussian", "bernstein", "spherical_bessel"])
def test_a_potential_predicts_the_same_to_the_last_bit_after_loading(
    tmp_path: Path, dtype: torch.dtype, radial: str
) -> None:
    potential = smooth_potential(torch.float32, bases__radial={"type": radial}).to(dtype)
    path, structures = tmp_path / "model.safetensors", Structures.from_ase(crystals())
    before = torch.random.get_rng_state()
    save_potential(potential, path)
    loaded = load_potential(path)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert_identical(loaded(structures, stress=True), potential(structures, stress=True))
    assert (loaded.spec, loaded.references, loaded.record) == (potential.spec, potential.references, potential.record)
    assert loaded.dtype == dtype
    assert [weight.requires_grad for weight in loaded.parameters()] == [
        weight.requires_grad for weight in potential.parameters()
    ]
    again = tmp_path / "again.safetensors"
    save_potential(loaded, again)
    assert metadata(again) == metadata(path)  # the checksum of all weights among them


def test_published_specs_with_direct_forces(tmp_path: Path) -> None:
    potential = Potential(small_model(), small_spec(), REFERENCES, {"energy MAE": float("nan")})
    save_potential(potential, tmp_path / "model")
    structures = Structures.from_ase(FRAMES)
    assert_identical(load_potential(tmp_path / "model")(structures), potential(structures))


def test_awkward_numbers_and_texts_survive(tmp_path: Path) -> None:
    references = References({1: 0.1 + 0.2, 118: -1e300}, 5e-324, "atomisation", -1 / 3)
    record = {"lösung": ["Å", None, 1e-320, 2**70], "steps": {"1": True}}
    potential = Potential(smooth_potential().model, smooth_spec(), references, record)
    save_potential(potential, tmp_path / "model.safetensors")
    loaded = load_potential(tmp_path / "model.safetensors")
    assert loaded.references == references
    assert loaded.record == record


def test_type_and_execution_are_chosen_when_loading(saved: Path) -> None:
    structures = Structures.from_ase(FRAMES)
    wide = load_potential(saved, Execution(angular="explicit"), torch.float64, "cpu")
    assert {weight.dtype for weight in wide.parameters()} == {torch.float64}
    narrow = load_potential(saved)
    torch.testing.assert_close(wide(structures).energy, narrow(structures).energy, rtol=1e-7, atol=1e-4)
    # weights are widened, not made anew
    weights = dict(narrow.named_parameters())
    assert all(torch.equal(weight, weights[name].double()) for name, weight in wide.named_parameters())


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_devices_that_are_not_there(saved: Path, device: str) -> None:
    with pytest.raises(StateError, match=f"the device {device} is not available"):
        load_potential(saved, device=device)


def test_the_texts_say_what_the_numbers_mean(saved: Path) -> None:
    texts = metadata(saved)
    assert texts["meaning"] == "total"
    assert json.loads(texts["units"]) == {"energy": "eV", "length": "Å"}
    assert json.loads(texts["spec"]) == smooth_spec().to_dict()
    assert json.loads(texts["record"]) == {"seed": 0}


def test_the_file_does_not_change_loaded_weights(saved: Path) -> None:
    potential, structures = load_potential(saved), Structures.from_ase(FRAMES)
    expected = potential(structures)
    saved.write_bytes(b"\0" * saved.stat().st_size)
    assert_identical(potential(structures), expected)


def test_an_existing_file_is_replaced_as_a_whole(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def half(weights: object, path: Path, texts: object) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.torch.save_file", half)
    with pytest.raises(KeyboardInterrupt):
        save_potential(smooth_potential(), saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


# -- own parts --------------------------------------------------------------------------------------------------------


class OwnRadial(SphericalBessel):
    """A part that is not in the catalog."""

    class Options(SphericalBessel.Options):  # type: ignore[name-defined]
        """Its options."""

        type: str


def own_potential() -> Potential:
    spec = smooth_spec().patch({"bases.radial": {"type": "own", "count": 5}})
    return Potential(build(spec, extra={"own": OwnRadial}, seed=0), spec, REFERENCES)


def test_own_parts_are_passed_in(tmp_path: Path) -> None:
    path, potential = tmp_path / "model.safetensors", own_potential()
    save_potential(potential, path)
    with pytest.raises(SpecError, match=r"bases\.radial\.type: unknown radial basis 'own'"):
        load_potential(path)
    structures = Structures.from_ase(FRAMES)
    assert_identical(load_potential(path, extra={"own": OwnRadial})(structures), potential(structures))


def test_nothing_is_imported_unless_told_so(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved.parent
    (folder / "hostile_module.py").write_text("raise SystemExit('code of the file was run')")
    monkeypatch.syspath_prepend(str(folder))

    def import_something(texts: dict[str, str], _: object) -> None:
        spec = json.loads(texts["spec"])
        spec["interactions"]["triplet"]["type"] = "hostile_module:Triplet"
        texts["spec"] = json.dumps(spec)

    rewrite(saved, import_something)
    with pytest.raises(SpecError, match="would import code"):
        load_potential(saved)
    with pytest.raises(SystemExit):
        load_potential(saved, allow_imports=True)


# -- what is refused --------------------------------------------------------------------------------------------------


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no such file"):
        load_potential(tmp_path / "missing.safetensors")
    with pytest.raises(StateError, match="is a folder"):
        load_potential(tmp_path)
    other = tmp_path / "other.safetensors"
    for content in (b"", b"not at all", b"\xff" * 100, json.dumps({"a": 1}).encode()):
        other.write_bytes(content)
        with pytest.raises(StateError, match=r"other\.safetensors: expected a model file, but this is"):
            load_potential(other)
    for texts in (None, {"format": "pt"}):
        save_file({"weight": torch.zeros(2)}, other, texts)
        with pytest.raises(StateError, match="not a model file: write one with save_potential"):
            load_potential(other)
    torch.save({"state_dict": {}}, other)
    with pytest.raises(StateError, match="expected a model file, but this is a checkpoint"):
        load_potential(other)


def test_files_cut_short_anywhere(saved: Path) -> None:
    content = saved.read_bytes()
    for length in (1, 8, 500, len(content) // 2, len(content) - 1):
        saved.write_bytes(content[:length])
        with pytest.raises(StateError, match="damaged"):
            load_potential(saved)


def test_a_single_changed_bit_is_noticed(saved: Path) -> None:
    content = saved.read_bytes()
    texts = content.index(b"-1027.125")
    for place in (texts + 1, len(content) // 2, len(content) - 1):
        changed = bytearray(content)
        changed[place] ^= 1
        saved.write_bytes(changed)
        with pytest.raises(StateError, match="damaged"):
            load_potential(saved)


@pytest.mark.parametrize("version", ["2", "99999999999999999999", "-1", "0", "1.5", "", "²"])
def test_other_versions(saved: Path, version: str) -> None:
    rewrite(saved, lambda texts, _: texts.update(format_version=version))
    with pytest.raises(StateError, match=r"format version .* upgrade gemnet_blocks"):
        load_potential(saved)


def test_weights_that_do_not_fit(saved: Path) -> None:
    def change(_: object, weights: dict[str, Any]) -> None:
        weights["surplus"] = torch.zeros(1)
        del weights["trunk.atom_embedding.table.weight"]
        weights["trunk.edge_embedding.dense.linear.weight"] = torch.zeros(3, 4)
        weights["read_out.atoms.last.linear.weight"] = weights["read_out.atoms.last.linear.weight"].long()

    rewrite(saved, change)
    with pytest.raises(StateError) as caught:
        load_potential(saved)
    for part in (
        "trunk.atom_embedding.table.weight is missing",
        "surplus is not part of the model",
        "found torch.float32 (3, 4)",
        "found torch.int64",
    ):
        assert part in str(caught.value)


def test_weights_that_are_no_numbers(saved: Path) -> None:
    def change(_: object, weights: dict[str, Any]) -> None:
        weights["trunk.edge_embedding.dense.linear.weight"][1, 2] = torch.nan

    rewrite(saved, change)
    with pytest.raises(StateError, match=r"weights are NaN or infinite \(trunk.edge_embedding.dense.linear.weight\)"):
        load_potential(saved)


@pytest.mark.parametrize("size", [10**5, 10**12])
def test_specs_of_more_memory_than_there_is(saved: Path, size: int) -> None:
    def change(texts: dict[str, str], _: object) -> None:
        spec = json.loads(texts["spec"])
        spec["sizes"]["edge"] = size
        texts["spec"] = json.dumps(spec)

    rewrite(saved, change)
    with pytest.raises((StateError, SpecError), match=r": the weights do not fit (the spec|in memory)"):
        load_potential(saved)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("spec", "{", "cannot read its spec"),
        ("spec", "[" * 100_000, "cannot read its spec"),
        ("spec", "[]", "its spec is not a mapping"),
        ("references", "{}", "per_element"),
        ("references", '{"per_element": {}, "scale": NaN, "meaning": "total"}', "scale must be"),
        ("references", '{"per_element": {"Xx": 1}, "scale": 1, "meaning": "total"}', "symbol of an element"),
        ("references", '{"per_element": {}, "scale": 1, "meaning": "guess"}', "meaning must be"),
        ("references", '{"per_element": {}, "scale": 1, "meaning": "total", "energy_unit": "Ha"}', "units"),
        ("record", "3", "its record is not a mapping"),
        ("units", '{"energy": "kcal/mol", "length": "nm"}', "found kcal/mol and nm"),
        ("units", '{"energy": "eV"}', "found eV and None"),
    ],
)
def test_texts_that_say_nothing(saved: Path, name: str, text: str, message: str) -> None:
    rewrite(saved, lambda texts, _: texts.update({name: text}))
    with pytest.raises(StateError, match=message):
        load_potential(saved)


def test_specs_that_are_none(saved: Path) -> None:
    def change(texts: dict[str, str], _: object) -> None:
        texts["spec"] = json.dumps(json.loads(texts["spec"]) | {"sizes": {"atom": "large"}})

    rewrite(saved, change)
    with pytest.raises(SpecError, match=r"model\.safetensors: spec: sizes\.atom"):
        load_potential(saved)


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be written"):
        save_potential(smooth_potential(), tmp_path / "missing" / "model.safetensors")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StateError, match="cannot be written"):
        save_potential(smooth_potential(), tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
