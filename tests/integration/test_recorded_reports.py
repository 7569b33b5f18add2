"""Recorded reports of studies follow from their results."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import ROOT

from gemnet_blocks.ablation import verify

RECORDED = sorted(path.parent for path in (ROOT / "benchmarks/ablation").glob("*/*/results.json"))


@pytest.mark.slow
@pytest.mark.parametrize("folder", RECORDED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_they_are_verified(folder: Path) -> None:
    found = verify(folder, sample=0)
    assert found.passed, found.mismatches
    assert found.files > 10
