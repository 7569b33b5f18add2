"""The faults that `make mutations` injects fit the code."""

from __future__ import annotations

import pytest
import yaml
from helpers import ROOT

FAULTS = yaml.safe_load((ROOT / "tests/mutations.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("fault", FAULTS, ids=[fault["what"] for fault in FAULTS])
def test_the_code_to_replace_occurs_once(fault: dict[str, str]) -> None:
    code = (ROOT / "gemnet_blocks" / fault["file"]).read_text(encoding="utf-8")
    assert code.count(fault["old"]) == 1
    assert fault["new"] != fault["old"]
