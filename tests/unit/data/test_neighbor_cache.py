from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from data_files import crystals, molecules, opened, options, written
from helpers import small_model, small_spec

from gemnet_blocks.data.batching import BudgetSampler, loader
from gemnet_blocks.data.cache_files import load_arrays, save_arrays
from gemnet_blocks.data.labelled import collate
from gemnet_blocks.data.neighbor_cache import CachedPairs, PairSearch, with_kept_pairs
from gemnet_blocks.data.opening import DataSplits
from gemnet_blocks.errors import SpecError
from gemnet_blocks.graph.pairs import Neighbors

MODELS: dict[str, dict[str, Any]] = {
    "capped": {},
    "smooth": {"neighbors__ties": "smooth"},
    "inclusive": {"neighbors__ties": "inclusive"},
    "several searches": {"graphs__main__within": None, "graphs__quad__within": None},
    "isolated": {"neighbors__periodic": False},
}


@pytest.fixture(params=["crystals", "molecules"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> DataSplits:
    written(tmp_path / "a.xyz", {"crystals": crystals, "molecules": molecules}[request.param](4))
    return opened(tmp_path, train=["a.xyz"])


@pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS)
def test_predictions_with_kept_pairs_are_the_same(data: DataSplits, tmp_path: Path, changes: dict[str, Any]) -> None:
    model = small_model(**changes)
    cached = CachedPairs(data.train, model.trunk.graphs, tmp_path / "kept")
    for _ in range(2):  # found by a search; read from files
        batch = collate([cached[index] for index in range(4)])
        assert batch.pairs is not None
        kept, anew = model(batch.structures, given=Neighbors(batch.pairs)), model(batch.structures)
        assert torch.equal(kept.energy, anew.energy)
        assert torch.equal(kept.forces, anew.forces)


def test_a_search_is_made_once(data: DataSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = small_spec()
    first = CachedPairs(data.train, spec, tmp_path)[1].pairs
    monkeypatch.setattr(PairSearch, "__call__", lambda *_: pytest.fail("searched again"))
    second = CachedPairs(data.train, spec, tmp_path)[1].pairs
    assert first is not None
    assert second is not None
    for name in ("source", "target", "shift", "distance"):
        assert torch.equal(getattr(first, name), getattr(second, name))
        assert getattr(first, name).dtype == getattr(second, name).dtype


def test_names_depend_on_all_settings_of_a_search() -> None:
    name = PairSearch.of(small_spec()).name
    assert PairSearch.of(small_model().trunk.graphs).name == name
    assert PairSearch.of(small_spec(graphs__main__cutoff=3.0, graphs__main__max_neighbors=2)).name == name
    assert PairSearch.of(small_spec(graphs__atom__cutoff=4.1)).name != name
    assert PairSearch.of(small_spec(neighbors__periodic=False)).name != name


def test_broken_files_are_written_again(data: DataSplits, tmp_path: Path) -> None:
    cached = CachedPairs(data.train, small_spec(), tmp_path / "kept")
    first = cached[0].pairs
    (path,) = (tmp_path / "kept").rglob("*.safetensors")
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    flipped = whole[: header + 5] + bytes([whole[header + 5] ^ 1]) + whole[header + 6 :]
    other_type = whole.replace(b'"F64"', b'"I64"')
    without_checksum = whole.replace(b'"checksum"', b'"ckecksum"')
    zeros = whole[:header] + bytes(len(whole) - header)
    broken = (b"", b"\x80\x04broken", bytes(len(whole)), whole[:-8], zeros, flipped, other_type, without_checksum)
    for content in broken:
        path.write_bytes(content)
        again = cached[0].pairs
        assert torch.equal(first.distance, again.distance)  # type: ignore[union-attr]
        assert torch.equal(first.source, again.source)  # type: ignore[union-attr]
        assert path.read_bytes() == whole
    assert not list((tmp_path / "kept").rglob("*.part"))


def test_worker_processes_fill_it(data: DataSplits, tmp_path: Path) -> None:
    cached = CachedPairs(data.train, small_spec(), tmp_path / "kept")
    batches = list(loader(cached, BudgetSampler([1] * 4, 2), workers=2))
    assert all(batch.pairs is not None for batch in batches)
    assert len(list((tmp_path / "kept").rglob("*.safetensors"))) == 4


def test_options_say_where_it_is(data: DataSplits, tmp_path: Path) -> None:
    spec = small_spec()
    assert with_kept_pairs(data, options(train=["a.xyz"]), tmp_path, spec) is data
    kept = with_kept_pairs(data, options(train=["a.xyz"], cache="kept"), tmp_path, spec)
    assert kept.train[0].pairs is not None
    assert kept.validation is None
    assert (tmp_path / "kept").is_dir()
    assert kept.train.groups("file") == data.train.groups("file")
    assert kept.train.atom_counts.tolist() == data.train.atom_counts.tolist()
    assert kept.train.labels == data.train.labels


def test_files_are_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "a.safetensors"
    assert load_arrays(path) is None
    with monkeypatch.context() as patched:
        patched.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(SpecError, match=r"a.safetensors: cannot be written \(disk full\).*data.cache"):
            save_arrays(path, {"x": torch.ones(2)})
    assert list(path.parent.iterdir()) == []
    save_arrays(path, {"x": torch.ones(2)})
    found = load_arrays(path)
    assert found is not None
    assert torch.equal(found["x"], torch.ones(2))


def test_paths_other_than_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"cannot be read .*remove it, or choose another folder as data.cache"):
        load_arrays(tmp_path)
