"""The lists of files behind one message in the documentation: complete, short, with the right numbers of lines."""

from __future__ import annotations

import re

import pytest
from helpers import ROOT

LISTS = {"Triplet": (8, 900), "Quadruplet": (10, 1600)}
"""The greatest numbers of files and lines."""


@pytest.mark.parametrize("interaction", LISTS)
def test_one_message_is_read_in_few_files(interaction: str) -> None:
    page = (ROOT / "docs/reading.md").read_text(encoding="utf-8")
    section = page.split(f"## {interaction} interaction")[1].split("\n## ")[0]
    listed = {file: int(count) for file, count in re.findall(r"^\| `(.+)` \| (\d+) \|", section, re.MULTILINE)}
    counted = {file: len((ROOT / "gemnet_blocks" / file).read_text(encoding="utf-8").splitlines()) for file in listed}
    assert listed == counted
    total = re.search(r"^\| together \| (\d+) \|", section, re.MULTILINE)
    assert total is not None
    assert int(total[1]) == sum(listed.values())
    most_files, most_lines = LISTS[interaction]
    assert len(listed) <= most_files
    assert sum(listed.values()) < most_lines
