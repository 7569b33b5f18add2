"""Runs of a user's own parts are known by their code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from synthetic_learners import small_spec

from gemnet_blocks.ablation.runs.run_key import code_hash, own_parts, run_key
from gemnet_blocks.spec import Spec
from gemnet_blocks.spec.document import dump

SOURCE = '''
from typing import Literal
import torch
from gemnet_blocks.basis.circular import CircularBasis, LegendreOptions

SCALE = 2.0
KINDS = 3

def scaled(values):
    """Larger."""
    return SCALE * values

class OwnOptions(LegendreOptions):
    type: Literal["own"] = "own"

class Own(CircularBasis):
    Options = OwnOptions

    @classmethod
    def from_options(cls, options):
        return cls(options.count)

    def forward(self, cos_angle):
        assert self.count in {1, 2, 3} or "a" in {"a", "b", "c"}
        return torch.stack([self._power(scaled(cos_angle), power) for power in range(self.count)], dim=-1)

    @staticmethod
    def _power(value, power):
        return value**power
'''


def part(source: str = SOURCE, module: str = "my_parts") -> type:
    """The class that a cell of a notebook or a module makes."""
    names: dict[str, Any] = {"__name__": module}
    exec(compile(source, "cell", "exec", dont_inherit=True), names)
    own: type = names["Own"]
    return own


def spec(own: type) -> Spec:
    patched = small_spec().to_dict()
    patched["bases"]["circular"] = {"type": "own", "count": 2}
    return Spec.from_yaml(dump(patched), extra={"own": own, "unused": part(SOURCE.replace('"own"', '"unused"'))})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("value**power", "value**power + 1"),
        ("SCALE = 2.0", "SCALE = 3.0"),
        ("SCALE * values", "SCALE + values"),
        ("range(self.count)", "range(0, self.count)"),
        ("    Options = OwnOptions\n", "    Options = OwnOptions\n    shift = 1\n"),
    ],
)
def test_what_a_part_computes_counts(old: str, new: str) -> None:
    assert old in SOURCE
    changed = part(SOURCE.replace(old, new))
    assert code_hash(changed) != code_hash(part())
    assert run_key(spec(changed), None, {}, 0, {}) != run_key(spec(part()), None, {}, 0, {})


@pytest.mark.parametrize(
    "source",
    [SOURCE, "# a comment\n\n" + SOURCE, SOURCE.replace("KINDS = 3", "KINDS = 4"), SOURCE + "\ndef other(): pass\n"],
    ids=["the same", "lines", "what is not used", "another function"],
)
def test_nothing_else_does(source: str) -> None:
    assert code_hash(part(source)) == code_hash(part())
    assert run_key(spec(part(source)), None, {}, 0, {}) == run_key(spec(part()), None, {}, 0, {})


def test_only_own_parts_that_are_used_count() -> None:
    assert own_parts(small_spec()) == {}
    assert list(own_parts(spec(part()))) == ["own"]


def test_it_is_the_same_in_every_process(tmp_path: Path) -> None:
    """Also where sets are in another order: that of another seed of hashes than this process has."""
    (tmp_path / "my_parts.py").write_text(SOURCE)
    script = (
        "from gemnet_blocks.ablation.runs.run_key import code_hash; from my_parts import Own; print(code_hash(Own))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": f"{tmp_path}:{':'.join(sys.path)}", "PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == code_hash(part())
