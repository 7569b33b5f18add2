"""Real data sets as they are meant to be opened, and what a model says of their batches."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import small_model, small_spec

from gemnet_blocks.data.batching import BudgetSampler, loader
from gemnet_blocks.data.neighbor_cache import edge_counts_for
from gemnet_blocks.data.opening import DataSplits, open_data
from gemnet_blocks.data.options import DataOptions

REAL = Path(os.environ.get("GEMNET_BLOCKS_DATA", Path(__file__).parents[3] / "shared" / "data"))

SETS: dict[str, dict[str, Any]] = {
    "rmd17": {
        "files": ["rmd17/rmd17_ethanol_train_01.npz"],
        "test": ["rmd17/rmd17_ethanol_test_01.npz"],
        "units": {"energy": "kcal/mol", "length": "Å"},
        "split": {"type": "random", "train": 950, "validation": 50},
        "batch": {"structures": 5},
    },
    "acac": {
        "files": ["acac/train_300K.xyz"],
        "test": ["acac/test_MD_300K.xyz"],
        "split": {"type": "random", "validation": 0.1},
        "batch": {"atoms": 60},
    },
    "mlearn": {
        "files": ["mlearn/Cu_test.xyz"],
        "labels": ["energy", "forces", "stress"],
        "keys": {"stress": "virial_stress_kbar"},
        "stress": {"unit": "kbar", "sign": "compressive", "order": "xx yy zz xy xz yz"},
        "split": {"type": "random", "validation": 5},
        "leakage": "drop",
        "batch": {"edges": 4000},
    },
    "cu3x": {
        "files": ["cu3x/cu3x_clean_a.extxyz", "cu3x/cu3x_clean_b.extxyz"],
        "labels": ["energy", "forces", "stress"],
        "split": {"type": "group", "key": "name", "pattern": "([^_]+)_", "validation": 1, "test": 0.2},
        "batch": {"atoms": 150},
    },
}
COUNTS = {"rmd17": (950, 50, 1000), "acac": (450, 50, 650), "mlearn": (26, 5, 0), "cu3x": (430, 28, 122)}


def opened(name: str) -> tuple[DataOptions, DataSplits]:
    if not (REAL / name).exists():
        pytest.skip(f"needs the real data {name} in {REAL}: set GEMNET_BLOCKS_DATA")
    options = DataOptions.model_validate({"units": "eV", "energy": "total", **SETS[name]})
    return options, open_data(options, REAL)


@pytest.mark.parametrize("name", SETS)
def test_real_data_is_opened_split_and_loaded(name: str) -> None:
    options, data = opened(name)
    assert tuple(0 if part is None else len(part) for part in (data.train, data.validation, data.test)) == COUNTS[name]
    model = small_model(torch.float32)
    counts = edge_counts_for(data.train, options.batch, small_spec())
    sampler = BudgetSampler.of(data.train, options.batch, seed=0, edge_counts=counts)
    batch = next(iter(loader(data.train, sampler))).to(dtype=torch.float32)
    prediction = model(batch.structures)
    assert prediction.energy.shape == batch.energy.shape  # type: ignore[union-attr]
    assert prediction.forces.shape == batch.forces.shape  # type: ignore[union-attr]
    assert batch.energy.dtype == torch.float64  # type: ignore[union-attr]
    assert (batch.stress is not None) == ("stress" in options.labels)
