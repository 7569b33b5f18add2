"""The record of the structures that a model was trained and validated on."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from data_files import crystals, labelled, opened, written
from potentials import smooth_potential

from gemnet_blocks.data.leakage import structure_keys
from gemnet_blocks.data.trained_frames import TrainedFrames
from gemnet_blocks.errors import StructureError
from gemnet_blocks.evaluation.evaluate import evaluate
from gemnet_blocks.potential import Potential
from gemnet_blocks.potential.model_file import load_potential, save_potential
from gemnet_blocks.structures import Structures


def first_key(structures: Structures) -> bytes:
    return next(structure_keys(structures))


def test_a_structure_is_recognized_in_another_order_and_precision() -> None:
    random = np.random.default_rng(0)
    for index in range(200):
        atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True) if index == 0 else Atoms("CuNaCl9" * 3)
        if index:
            atoms.positions = random.uniform(-15, 15, atoms.positions.shape)
            atoms.set_cell(10 * np.eye(3) + random.normal(size=(3, 3)))
            atoms.pbc = index % 2
        key = first_key(Structures.from_ase(atoms))
        shuffled = Structures.from_ase(atoms[random.permutation(len(atoms))])
        assert first_key(shuffled) == key
        rough = replace(shuffled, positions=shuffled.positions.float().double(), cells=shuffled.cells.float().double())
        assert key in set(structure_keys(rough))


def test_other_structures_have_other_keys() -> None:
    atoms = bulk("Cu", cubic=True)
    moved, strained, open_, other = atoms.copy(), atoms.copy(), atoms.copy(), atoms.copy()
    moved.positions[1, 2] += 0.002
    strained.set_cell(1.001 * atoms.cell[:])
    open_.pbc = False
    other.numbers[0] = 79
    keys = {first_key(Structures.from_ase(one)) for one in (atoms, moved, strained, open_, other)}
    assert len(keys) == 5


def recorded(folder: Path) -> TrainedFrames:
    """Of crystals 0 to 3, trained on, and 4 and 5, validated on."""
    frames = crystals(8)
    written(folder / "train.xyz", frames[:4])
    written(folder / "validation.xyz", frames[4:6])
    written(folder / "new.xyz", frames[6:])
    written(folder / "mixed.xyz", [frames[6], frames[4], frames[1], frames[7], frames[2]])
    return TrainedFrames.of(opened(folder, train=["train.xyz"], validation=["validation.xyz"]).summaries)


def test_overlap_is_counted_by_part(tmp_path: Path) -> None:
    record = recorded(tmp_path)
    assert str(record.overlap(opened(tmp_path, files=["mixed.xyz"]).train)) == (
        "2 of 5 evaluated structures were trained on, 1 validated on (the first is mixed.xyz, frame 1)"
    )
    assert record.overlap(opened(tmp_path, files=["new.xyz"]).train).first is None


def test_structures_are_counted_however_they_are_written(tmp_path: Path) -> None:
    record = recorded(tmp_path)
    seen, new = crystals(8)[1], crystals(8)[6]
    rewritten = []
    for atoms in (seen, new):
        atoms.positions += [3.1, 0, -2]
        atoms.wrap()
        atoms.positions = np.round(atoms.positions, 4)
        atoms.rotate(90, "z", rotate_cell=True)
        rewritten.append(labelled(atoms))
    written(tmp_path / "rewritten.xyz", rewritten)
    overlap = record.overlap(opened(tmp_path, files=["rewritten.xyz"]).train)
    assert (overlap.trained_on, overlap.first) == (1, "rewritten.xyz, frame 0")
    assert "rounded to 0.0001 Å, but not if" in overlap.limits


def test_records_of_earlier_releases_are_read_and_added_to(tmp_path: Path) -> None:
    later = recorded(tmp_path)
    keys = b"".join(first_key(Structures.from_ase(atoms))[:8] for atoms in crystals(8)[6:7])
    text = {"version": 1, "complete": True, "train": base64.b64encode(keys).decode(), "validation": ""}
    earlier = TrainedFrames.from_text(json.dumps(text))
    assert earlier is not None
    both = TrainedFrames.from_text(later.and_of_source(earlier).to_text())
    assert both is not None
    for record, trained_on in ((earlier, 1), (both, 3)):
        overlap = record.overlap(opened(tmp_path, files=["mixed.xyz"]).train)
        assert (overlap.trained_on, overlap.complete) == (trained_on, True)
        assert "same positions only" in overlap.limits
    assert TrainedFrames.from_text(json.dumps({**text, "version": 3})) is None


def test_a_copied_model_file_knows_its_structures(tmp_path: Path) -> None:
    record, known = recorded(tmp_path), smooth_potential()
    potential = Potential(known.model, known.spec, known.references, known.record, record)
    save_potential(potential, tmp_path / "model.safetensors")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "model.safetensors").rename(tmp_path / "elsewhere/copy.safetensors")
    loaded = load_potential(tmp_path / "elsewhere/copy.safetensors")
    assert loaded.frames is not None
    np.testing.assert_array_equal(loaded.frames.train, record.train)
    save_potential(loaded, tmp_path / "again.safetensors")
    assert load_potential(tmp_path / "again.safetensors").frames is not None


def test_evaluation_refuses_structures_that_were_trained_on(tmp_path: Path) -> None:
    record, known = recorded(tmp_path), smooth_potential()
    potential = Potential(known.model, known.spec, known.references, known.record, record)
    mixed, validation, new = (opened(tmp_path, files=[f"{name}.xyz"]).train for name in ("mixed", "validation", "new"))
    with pytest.raises(StructureError, match=r"2 of 5 .* trained on, 1 validated on .*--allow-overlap"):
        evaluate(potential, mixed)
    with pytest.raises(StructureError, match="2 of 5"):
        evaluate(potential, mixed, allow_overlap="validation")
    with pytest.raises(StructureError, match=r"0 of 2 .* 2 validated on"):
        evaluate(potential, validation)
    assert evaluate(potential, validation, allow_overlap="validation").overlap.validated_on == 2
    assert evaluate(potential, mixed, allow_overlap=True).to_dict()["overlap"]["trained_on"] == 2
    assert evaluate(potential, new).overlap.trained_on == 0
    assert evaluate(known, mixed).overlap is None


def test_a_model_trained_further_remembers_the_structures_of_its_source(tmp_path: Path) -> None:
    first = recorded(tmp_path)
    second = TrainedFrames.of(opened(tmp_path, train=["new.xyz"], validation=["validation.xyz"]).summaries)
    both = second.and_of_source(first)
    overlap = both.overlap(opened(tmp_path, files=["mixed.xyz"]).train)
    assert (overlap.trained_on, overlap.validated_on, overlap.complete) == (4, 1, True)
    assert not second.and_of_source(None).complete


def test_fingerprints_are_computed_when_they_are_first_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compute(structures: Structures) -> np.ndarray:
        computed.append(len(structures))
        return np.zeros(len(structures), np.uint64)

    computed: list[int] = []
    monkeypatch.setattr("gemnet_blocks.data.leakage.fingerprints", compute)
    written(tmp_path / "a.xyz", crystals(3))
    summaries = opened(tmp_path, train=["a.xyz"]).summaries
    assert computed == []
    assert len(TrainedFrames.of(summaries).train) == len(summaries["train"].fingerprints) == 3
    assert computed == [3]


def test_repeated_structures_are_counted(tmp_path: Path) -> None:
    frames = crystals(3)
    written(tmp_path / "a.xyz", frames)
    with pytest.warns(UserWarning, match="listed twice"):
        report = opened(tmp_path, train=["a.xyz", "a.xyz"]).report
    assert "6 structures" in report
    assert "3 structures repeat others of this part" in report


def test_a_sample_says_at_least(tmp_path: Path) -> None:
    record = replace(recorded(tmp_path), complete=False)
    assert str(record.overlap(opened(tmp_path, files=["mixed.xyz"]).train)).startswith("at least 2 of 5")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"train": "?", "validation": ""}', '{"train": "YWI=", "validation": ""}']
)
def test_a_broken_record_is_one_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (of json, base64 and numpy)
        TrainedFrames.from_text(text.replace('{"train"', '{"version": 1, "train"'))
