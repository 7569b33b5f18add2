"""LMDBs written in the formats of several versions of PyTorch Geometric."""

from __future__ import annotations

import os
import pickle
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_files import geometric_classes, opened
from numpy.testing import assert_allclose

from gemnet_blocks.data.batching import BudgetSampler, loader
from gemnet_blocks.errors import StructureError
from gemnet_blocks.potential import load_potential
from gemnet_blocks.training import load_config, train
from gemnet_blocks.util.shipped import shipped_folder

lmdb = pytest.importorskip("lmdb")


def values(index: int) -> dict[str, Any]:
    """One frame of S2EF as OC20's LMDBs have it."""
    generator = torch.Generator().manual_seed(index)
    atoms = 3 + index % 2
    return {
        "edge_index": torch.zeros(2, 5, dtype=torch.long),
        "y": -1.5 - index,
        "pos": torch.rand(atoms, 3, generator=generator) * 4,
        "cell": torch.eye(3)[None] * 5,
        "atomic_numbers": torch.tensor([29.0, 8, 1, 1][:atoms]),
        "natoms": atoms,
        "cell_offsets": torch.zeros(5, 3),
        "force": torch.rand(atoms, 3, generator=generator),
        "fixed": torch.tensor([1.0, 0, 0, 0][:atoms]),
        "tags": torch.tensor([0, 1, 2, 2][:atoms]),
        "sid": 100 + index // 2,
        "fid": index,
        "total_frames": 74,
    }


def old(found: Mapping[str, Any], classes: Mapping[str, type]) -> Any:
    """Before PyTorch Geometric 2: attributes of the object itself, those without value None."""
    data = classes["Data"]()
    data.__dict__.update({"x": None, "edge_attr": None, "normal": None, "face": None, **found})
    return data


def new(found: Mapping[str, Any], classes: Mapping[str, type]) -> Any:
    """PyTorch Geometric 2: a store that also knows the object that it belongs to."""
    data, store = classes["Data"](), classes["GlobalStorage"]()
    store.__dict__.update({"_mapping": dict(found), "_parent": data})
    data.__dict__["_store"] = store
    return data


def newer(found: Mapping[str, Any], classes: Mapping[str, type]) -> Any:
    """PyTorch Geometric 2.3: classes of attributes, too."""
    data = new(found, classes)
    data.__dict__.update(_edge_attr_cls=classes["DataEdgeAttr"], _tensor_attr_cls=classes["DataTensorAttr"])
    return data


FORMS: dict[str, Callable[..., Any]] = {"old": old, "new": new, "newer": newer, "dict": lambda found, _: dict(found)}


def write(path: Path, contents: list[bytes], length: Any = None) -> None:
    """An LMDB as a single file, its entries numbered."""
    environment = lmdb.open(str(path), subdir=False, map_size=2**24)
    with environment.begin(write=True) as transaction:
        for index, content in enumerate(contents):
            transaction.put(str(index).encode(), content)
        if length is not False:
            transaction.put(b"length", pickle.dumps(len(contents) if length is None else length))
    environment.close()


def pickled(form: str = "new", count: int = 4, protocol: int = 2, **changes: Any) -> list[bytes]:
    with geometric_classes() as classes:
        return [
            pickle.dumps(FORMS[form]({**values(index), **changes}, classes), protocol=protocol)
            for index in range(count)
        ]


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("form", list(FORMS))
def test_all_forms_are_read(tmp_path: Path, form: str, protocol: int) -> None:
    write(tmp_path / "a.lmdb", pickled(form, protocol=protocol))
    data = opened(tmp_path, train=["a.lmdb"], energy="adsorption").train
    assert data.streamed
    assert len(data) == 4
    assert data.atom_counts.tolist() == [3, 4, 3, 4]
    for index in range(4):
        item, expected = data[index], values(index)
        assert item.energy.tolist() == [expected["y"]]  # type: ignore[union-attr]
        assert_allclose(item.forces, expected["force"])
        assert_allclose(item.structures.positions, expected["pos"])
        assert_allclose(item.structures.cells, expected["cell"])
        assert item.structures.periodic.all()
        assert item.structures.numbers.tolist() == expected["atomic_numbers"].tolist()
        assert item.structures.tags.tolist() == expected["tags"].tolist()
        assert item.structures.fixed.tolist() == expected["fixed"].bool().tolist()
    assert data.groups("sid") == ["100", "100", "101", "101"]


def test_compressed_frames_are_read(tmp_path: Path) -> None:
    write(tmp_path / "a.lmdb", [zlib.compress(content) for content in pickled()])
    assert opened(tmp_path, train=["a.lmdb"]).train[3].energy.tolist() == [-4.5]  # type: ignore[union-attr]


def test_other_names_and_periodicity_are_read(tmp_path: Path) -> None:
    changes = {"energy": torch.tensor([7.0]), "forces": torch.zeros(3, 3), "pbc": torch.tensor([[True, True, False]])}
    write(tmp_path / "a.lmdb", pickled(count=1, **changes))
    item = opened(tmp_path, train=["a.lmdb"]).train[0]
    assert item.energy.tolist() == [7.0]  # type: ignore[union-attr]
    assert (item.forces == 0).all()  # type: ignore[union-attr]
    assert item.structures.periodic.tolist() == [[True, True, False]]
    other = opened(tmp_path, train=["a.lmdb"], keys={"energy": "y", "forces": "force"}).train[0]
    assert other.energy.tolist() == [-1.5]  # type: ignore[union-attr]


def test_a_file_that_does_not_say_its_length_is_counted(tmp_path: Path) -> None:
    write(tmp_path / "a.lmdb", pickled(count=12), length=False)
    data = opened(tmp_path, train=["a.lmdb"]).train
    assert [float(data[index].energy) for index in range(12)] == [-1.5 - index for index in range(12)]  # type: ignore[arg-type]


def test_a_length_may_be_a_tensor_of_any_kind(tmp_path: Path) -> None:
    write(tmp_path / "a.lmdb", pickled(), length=np.int64(3))
    assert len(opened(tmp_path, train=["a.lmdb"]).train) == 3


def test_a_folder_is_one_dataset(tmp_path: Path) -> None:
    folder = tmp_path / "s2ef"
    folder.mkdir()
    for part in range(3):
        write(folder / f"data.000{part}.lmdb", pickled(count=2))
    (folder / "data.0000.lmdb-lock").write_bytes(b"")
    data = opened(tmp_path, train=["s2ef"]).train
    assert len(data) == 6
    assert data.place(3) == "s2ef/data.0001.lmdb, frame 1"


def test_worker_processes_read_it_too(tmp_path: Path) -> None:
    write(tmp_path / "a.lmdb", pickled(count=8))
    data = opened(tmp_path, train=["a.lmdb"]).train
    batches = loader(data, BudgetSampler([1] * 8, 3), workers=2)
    for _ in range(2):
        assert [batch.frame.tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    again = pickle.loads(pickle.dumps(data))
    assert float(again[5].energy) == -6.5
    assert float(opened(tmp_path, train=["a.lmdb"]).train[5].energy) == -6.5  # type: ignore[arg-type]


class Call:
    """Pickles as a call of os.system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def test_files_that_run_code_are_refused(tmp_path: Path) -> None:
    mark = tmp_path / "was_here"
    write(tmp_path / "a.lmdb", [*pickled(count=1), pickle.dumps({**values(1), "more": Call(mark)})])
    with pytest.raises(StructureError, match=r"a.lmdb, frame 1: is refused: it names posix.system"):
        opened(tmp_path, train=["a.lmdb"])
    write(tmp_path / "b.lmdb", pickled(count=1), length=Call(mark))
    with pytest.raises(StructureError, match=r"b.lmdb: its length is refused: it names posix.system"):
        opened(tmp_path, train=["b.lmdb"])
    write(tmp_path / "c.lmdb", [zlib.compress(pickle.dumps(Call(mark)))])
    with pytest.raises(StructureError, match=r"c.lmdb, frame 0: is refused"):
        opened(tmp_path, train=["c.lmdb"])
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"pos": torch.zeros(2, 3)}), "expected a frame of Open Catalyst with atomic_numbers"),
        (pickle.dumps([1, 2]), "expected a data object of Open Catalyst, found list"),
        (b"x but not zlib", "cannot be decompressed"),
        (pickle.dumps({**values(0), "force": torch.zeros(2, 3)}), "forces: expected the shape 3 × 3, found 2 × 3"),
        (pickle.dumps({key: value for key, value in values(0).items() if key != "y"}), "has no energy"),
    ],
)
def test_wrong_frames_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    write(tmp_path / "a.lmdb", [*pickled(count=1), content])
    with pytest.raises(StructureError, match=f"a.lmdb, frame 1: .*{message}"):
        opened(tmp_path, train=["a.lmdb"])


def test_a_length_that_is_more_than_there_is(tmp_path: Path) -> None:
    write(tmp_path / "a.lmdb", pickled(count=2), length=10**15)
    with pytest.raises(StructureError, match=r"a.lmdb: states 10+ frames, but has at most 2: copy it"):
        opened(tmp_path, train=["a.lmdb"])


def test_frames_that_unpack_to_much_more_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemnet_blocks.data.databases._MAX_BYTES", 10**5)
    write(tmp_path / "a.lmdb", [zlib.compress(bytes(10**6))])
    with pytest.raises(StructureError, match=r"a.lmdb, frame 0: is refused: it unpacks to more than 100000 bytes"):
        opened(tmp_path, train=["a.lmdb"])


def test_missing_frames_are_named(tmp_path: Path) -> None:
    write(tmp_path / "a.lmdb", pickled(count=2), length=3)
    with pytest.raises(StructureError, match=r"a.lmdb, frame 2: there is no entry 2"):
        opened(tmp_path, train=["a.lmdb"])


@pytest.mark.parametrize("part", [0.5, 0.1])
def test_half_a_file_is_refused(part: float, tmp_path: Path) -> None:
    write(tmp_path / "a.lmdb", pickled(count=12))
    content = (tmp_path / "a.lmdb").read_bytes()
    (tmp_path / "half.lmdb").write_bytes(content[: int(part * len(content))])
    with pytest.raises(StructureError, match=r"half.lmdb: (has \d+ of its \d+ bytes|is not an LMDB)"):
        opened(tmp_path, train=["half.lmdb"])


def test_relaxed_energies_of_is2re(tmp_path: Path) -> None:
    changes = {"y": None, "force": None, "y_init": -1.0, "y_relaxed": -2.5, "pos_relaxed": torch.zeros(3, 3)}
    write(tmp_path / "a.lmdb", pickled(count=1, **changes))
    item = opened(tmp_path, train=["a.lmdb"], labels=["energy"], keys={"energy": "y_relaxed"}).train[0]
    assert item.energy.tolist() == [-2.5]  # type: ignore[union-attr]
    assert item.forces is None


def test_the_shipped_config_of_is2re_trains_at_toy_size(tmp_path: Path) -> None:
    for part in ("train", "val_id", "val_ood_both"):
        folder = tmp_path / "is2re" / "all" / part
        folder.mkdir(parents=True)
        write(folder / "data.lmdb", pickled(count=2, y_relaxed=-2.5))
    toy: dict[str, Any] = {f"model.sizes.{name}": 8 for name in ("atom", "edge", "circular", "spherical")}
    toy |= {f"model.bases.{name}.count": 3 for name in ("radial", "circular", "spherical")}
    toy |= {"model.blocks.count": 1, "data.workers": 0, "data.leakage": "ignore", "training.epochs": 1}
    shipped = load_config(shipped_folder() / "training" / "gemnet-oc-is2re.yaml", toy)
    potential = load_potential(train(shipped.in_folder(tmp_path), tmp_path / "run"))
    assert potential.references.offset == pytest.approx(-1.5259, abs=1e-4)
    assert potential.model.forces is None
