from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from data_files import crystals, opened, written
from safetensors.torch import save

from gemnet_blocks.data.batching import BatchOptions, BudgetSampler, loader
from gemnet_blocks.data.labelled import collate
from gemnet_blocks.data.neighbor_cache import edge_counts, edge_counts_for

COSTS = np.random.default_rng(0).integers(1, 9, 57)


def flat(batches: list[list[int]]) -> list[int]:
    return [index for batch in batches for index in batch]


@pytest.mark.parametrize("seed", [None, 3])
def test_batches_keep_to_the_budget_and_are_full(seed: int | None) -> None:
    batches = BudgetSampler(COSTS, 12, seed, even=False).batches(0)
    assert sorted(flat(batches)) == list(range(57))
    for batch, following in pairwise(batches):
        assert COSTS[batch].sum() <= 12 < COSTS[batch].sum() + COSTS[following[0]]
    assert (flat(batches) == list(range(57))) == (seed is None)


def test_an_epoch_is_a_function_of_seed_and_number() -> None:
    one, two = (BudgetSampler(COSTS, 12, seed=3) for _ in range(2))
    assert one.batches(4) == two.batches(4)
    assert one.batches(4) != one.batches(5)
    assert one.batches(4) != BudgetSampler(COSTS, 12, seed=4).batches(4)


def test_iteration_can_start_at_any_batch() -> None:
    sampler = BudgetSampler(COSTS, 12, seed=3)
    sampler.set_epoch(2)
    whole = list(sampler)
    for start in (0, 1, len(whole) - 1, len(whole)):
        sampler.set_epoch(2, start)
        assert list(sampler) == whole[start:]
        assert len(sampler) == len(whole) - start


def test_structures_beyond_the_budget_are_batches_by_themselves() -> None:
    assert BudgetSampler([3, 20, 3, 3], 6).batches(0) == [[0], [1], [2, 3]]


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("count", [48, 57, 5, 3])
def test_all_processes_together_see_the_batches_of_one(world: int, count: int) -> None:
    budget = 4
    ranks = [BudgetSampler([1] * count, budget, 7, rank, world).batches(1) for rank in range(world)]
    alone = BudgetSampler([1] * count, budget * world, 7).batches(1)
    assert [flat([rank[step] for rank in ranks]) for step in range(len(ranks[0]))] == alone
    assert len({len(rank) for rank in ranks}) == 1
    assert all(rank[step] for rank in ranks for step in range(len(alone)))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_have_equally_many_batches_of_a_budget_of_atoms(world: int) -> None:
    ranks = [BudgetSampler(COSTS, 12, 0, rank, world).batches(0) for rank in range(world)]
    assert len({len(rank) for rank in ranks}) == 1
    seen = flat([batch for rank in ranks for batch in rank])
    assert len(seen) == len(set(seen))
    assert COSTS[list(set(range(57)) - set(seen))].sum() <= 12 * world


def test_evaluation_leaves_nothing_out() -> None:
    ranks = [BudgetSampler([1] * 7, 2, None, rank, 3).batches(0) for rank in range(3)]
    assert ranks == [[[0, 1], [6]], [[2, 3]], [[4, 5]]]


@pytest.mark.parametrize(("budget", "rank", "world"), [(0, 0, 1), (1, 1, 1), (1, -1, 2), (1, 0, 0)])
def test_arguments_without_sense_are_errors(budget: int, rank: int, world: int) -> None:
    with pytest.raises(ValueError, match="expected a positive budget and a rank below"):
        BudgetSampler([1], budget, 0, rank, world)


def test_more_processes_than_structures_are_an_error() -> None:
    with pytest.raises(ValueError, match="2 structures cannot be shared by 3 processes"):
        BudgetSampler([1, 1], 1, 0, 0, 3)


def test_budgets_of_a_dataset(tmp_path: Path) -> None:
    written(tmp_path / "cu.xyz", crystals(6))
    data = opened(tmp_path, train=["cu.xyz"]).train
    assert BudgetSampler.of(data, BatchOptions(structures=4)).batches(0) == [[0, 1, 2, 3], [4, 5]]
    assert BudgetSampler.of(data, BatchOptions(atoms=12)).batches(0) == [[0, 1], [2, 3], [4, 5]]
    with pytest.warns(UserWarning, match=r"3 structures exceed .* 5 atoms .* cu.xyz, frame 1 with 8 atoms"):
        assert len(BudgetSampler.of(data, BatchOptions(atoms=5)).batches(0)) == 6
    with pytest.raises(ValueError, match="needs `edge_counts`"):
        BudgetSampler.of(data, BatchOptions(edges=5))


def test_edges_are_counted_and_kept(tmp_path: Path) -> None:
    from gemnet_blocks.spec import load_spec

    frames = crystals(5)
    written(tmp_path / "cu.xyz", frames)
    data = opened(tmp_path, train=["cu.xyz"]).train
    counts = edge_counts(data, 3.2, folder=tmp_path / "kept")
    assert counts.tolist() == [12 * len(atoms) for atoms in frames]  # fcc
    assert edge_counts(data, 3.2, max_neighbors=7).tolist() == [7 * len(atoms) for atoms in frames]
    assert (edge_counts(data, 3.2, periodic=False) < counts).all()
    (kept,) = (tmp_path / "kept").iterdir()
    before = kept.stat().st_mtime_ns
    assert (edge_counts(data, 3.2, folder=tmp_path / "kept") == counts).all()
    assert kept.stat().st_mtime_ns == before
    for content in (b"broken", save({"counts": torch.from_numpy(counts[:2])})):
        kept.write_bytes(content)
        assert (edge_counts(data, 3.2, folder=tmp_path / "kept") == counts).all()
    edge_counts(data, 3.3, folder=tmp_path / "kept")
    assert len(list((tmp_path / "kept").iterdir())) == 2
    spec = load_spec(Path(__file__).parents[3] / "paper_configs/symmetric.yaml").patch({"graphs.main.cutoff": 3.2})
    assert edge_counts_for(data, BatchOptions(atoms=3), spec) is None
    for_edges = edge_counts_for(data, BatchOptions(edges=150), spec)
    assert for_edges is not None
    assert BudgetSampler.of(data, BatchOptions(edges=150), edge_counts=for_edges).batches(0) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("workers", [0, 2])
def test_loading(tmp_path: Path, workers: int) -> None:
    written(tmp_path / "cu.xyz", crystals(6))
    data = opened(tmp_path, train=["cu.xyz"], labels=["energy", "forces", "stress"]).train
    sampler = BudgetSampler.of(data, BatchOptions(structures=4), seed=1)
    batches = loader(data, sampler, workers)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        loaded, expected = list(batches), [collate([data[i] for i in batch]) for batch in sampler.batches(epoch)]
        assert len(loaded) == len(expected) == 1
        for one, other in zip(loaded, expected, strict=True):
            assert torch.equal(one.frame, other.frame)
            assert torch.equal(one.forces, other.forces)  # type: ignore[arg-type]
            assert torch.equal(one.stress, other.stress)  # type: ignore[arg-type]
            assert torch.equal(one.structures.structure, other.structures.structure)
