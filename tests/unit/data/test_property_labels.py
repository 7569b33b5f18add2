"""Labels of further properties: their formats, keys, shapes and errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from data_files import options

from gemnet_blocks.data.labelled import LabelledStructures, collate
from gemnet_blocks.data.opening import open_data
from gemnet_blocks.errors import SpecError, StructureError
from gemnet_blocks.structures import PropertyKind

KINDS = {
    "dipole": PropertyKind("structure", "vector"),
    "gap": PropertyKind("structure", "scalar"),
    "charges": PropertyKind("atom", "scalar"),
    "pull": PropertyKind("atom", "vector"),
    "alpha": PropertyKind("structure", "tensor"),
}


def labels_of(index: int, atoms: int) -> dict[str, Any]:
    random = np.random.default_rng(index)
    alpha = random.normal(size=(3, 3))
    return {
        "dipole": random.normal(size=3),
        "gap": float(index),
        "charges": random.normal(size=atoms),
        "pull": random.normal(size=(atoms, 3)),
        "alpha": alpha + alpha.T,
    }


def frames() -> list[Atoms]:
    """Chains of 1 to 3 atoms, with dipoles and charges where ASE has them and the rest in `info` and `arrays`."""
    many = []
    for index in range(3):
        atoms = Atoms(f"H{index + 1}", positions=[[1.1 * i, 0.2 * index, 0] for i in range(index + 1)])
        found = labels_of(index, len(atoms))
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0, dipole=found["dipole"], charges=found["charges"])
        atoms.info |= {"gap": found["gap"], "alpha": found["alpha"]}
        atoms.arrays["pull"] = found["pull"]
        many.append(atoms)
    return many


def write_npz(path: Path) -> None:
    many = [labels_of(index, 2) for index in range(3)]
    stacked = {name: np.stack([one[name] for one in many]) for name in KINDS}
    np.savez(path, R=np.random.default_rng(0).normal(size=(3, 2, 3)), z=[1, 8], E=np.zeros(3), **stacked)


def write_database(path: Path) -> None:
    from ase.db import connect

    with connect(path) as database:
        for atoms in frames():
            data = {"alpha": atoms.info["alpha"], "pull": atoms.arrays["pull"]}
            database.write(atoms, gap=atoms.info["gap"], data=data)


def opened(path: Path, **changes: Any) -> list[LabelledStructures]:
    data = open_data(
        options(files=[path.name], labels=["energy", *KINDS], **changes), path.parent, properties=KINDS
    ).train
    return [data[index] for index in range(len(data))]


WRITERS: dict[str, Callable[[Path], None]] = {
    "a.xyz": lambda path: write(path, frames()),
    "a.npz": write_npz,
    "a.db": write_database,
}


@pytest.mark.parametrize("name", ["a.xyz", "a.npz", "a.db"])
def test_formats(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    items = opened(tmp_path / name)
    assert len(items) == 3
    for index, item in enumerate(items):
        assert item.properties.keys() == KINDS.keys()
        for key, value in labels_of(index, item.structures.atom_count).items():
            kind = KINDS[key]
            expected = torch.as_tensor(value).double().reshape(-1 if kind.per == "atom" else 1, *kind.size)
            torch.testing.assert_close(item.properties[key], expected, rtol=1e-6, atol=1e-7)


def test_batches_join_move_and_convert_them(tmp_path: Path) -> None:
    WRITERS["a.xyz"](tmp_path / "a.xyz")
    items = opened(tmp_path / "a.xyz")
    batch = collate(items)
    assert {name: tuple(value.shape) for name, value in batch.properties.items()} == {
        "dipole": (3, 3),
        "gap": (3,),
        "charges": (6,),
        "pull": (6, 3),
        "alpha": (3, 3, 3),
    }
    assert torch.equal(batch.properties["pull"][1:3], items[1].properties["pull"])
    assert batch.to(dtype=torch.float32).properties["gap"].dtype == torch.float32


def test_other_keys(tmp_path: Path) -> None:
    many = frames()
    for atoms in many:
        atoms.info["REF_gap"] = 2 * atoms.info.pop("gap")
    write(tmp_path / "a.xyz", many)
    items = opened(tmp_path / "a.xyz", keys={"gap": "REF_gap"})
    assert [float(item.properties["gap"]) for item in items] == [0, 2, 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda atoms: atoms.info.pop("gap"), "a.xyz, frame 1: has no gap \\(key 'gap'; found .*pull"),
        (lambda atoms: atoms.info.update(gap=np.nan), "a.xyz, frame 1: gap is NaN or infinite: correct or remove"),
        (lambda atoms: atoms.info.update(gap="wide"), "a.xyz, frame 1: gap: expected numbers, found 'wide'"),
        (lambda atoms: atoms.info.update(gap=[1.0, 2.0]), "a.xyz, frame 1: gap: expected the shape a single number"),
        (lambda atoms: atoms.info.update(alpha=np.ones(6)), "frame 1: alpha: expected the shape 3 × 3, found 6"),
        (lambda atoms: atoms.arrays.update(pull=np.full((2, 3), np.inf)), "frame 1: pull of atom 0 is NaN or infinite"),
    ],
)
def test_wrong_labels_are_named_by_file_frame_and_key(
    change: Callable[[Atoms], Any], message: str, tmp_path: Path
) -> None:
    many = frames()
    change(many[1])
    write(tmp_path / "a.xyz", many)
    with pytest.raises(StructureError, match=message):
        opened(tmp_path / "a.xyz")


def test_labels_need_a_head(tmp_path: Path) -> None:
    WRITERS["a.xyz"](tmp_path / "a.xyz")
    for changes, message in (
        ({"labels": ["energy", "dipol"]}, "data.labels.1: must be 'energy', .*'dipole'.*, got 'dipol'; did you mean"),
        ({"labels": ["energy"], "keys": {"spin_gap": "g"}}, "data.keys.spin_gap: unknown field; "),
    ):
        with pytest.raises(SpecError, match=message):
            open_data(options(files=["a.xyz"], **changes), tmp_path, properties=KINDS)
    with pytest.raises(SpecError, match="a further label needs a head of its name in the model"):
        open_data(options(files=["a.xyz"], labels=["dipole"]), tmp_path)


def test_labels_enter_the_hash_of_the_data(tmp_path: Path) -> None:
    hashes = set()
    for shift in (0.0, 1.0):
        many = frames()
        many[0].info["gap"] += shift
        write(tmp_path / "a.xyz", many)
        for labels in (["energy"], ["energy", "gap"]):
            hashes.add(open_data(options(files=["a.xyz"], labels=labels), tmp_path, properties=KINDS).digest)
    assert len(hashes) == 3
