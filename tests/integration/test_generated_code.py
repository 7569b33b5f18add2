"""Compiled models against eager ones, with generated code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

COMPARED = """
import sys
import torch
from helpers import molecule, slab, small_cell
from variants import spec_of
from gemnet_blocks.spec import Execution, build
from gemnet_blocks.structures import Structures

variant, dtype, tolerance = sys.argv[1], getattr(torch, sys.argv[2]), float(sys.argv[3])
removed = {f"interactions.{name}": None for name in sys.argv[4:]}
spec = spec_of(variant).patch({"blocks.count": 2, **removed})
models = [build(spec, seed=0, execution=Execution(compile=compile)).to(dtype) for compile in (False, True)]
kinds = ([molecule(6), slab()], [molecule(8, seed=1)], [small_cell(), slab(), molecule(5, seed=2)])
for atoms in (kinds * 14)[:40]:
    structures = Structures.from_ase(atoms)
    results = []
    for model in models:
        model.zero_grad()
        prediction = model(structures)
        values = [prediction.energy, prediction.forces, prediction.stress, *prediction.properties.values()]
        values = [value for value in values if value is not None]
        sum(value.square().sum() for value in values).backward()
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        with torch.no_grad():
            results.append([*values, *gradients, model(structures).energy])
    for found, expected in zip(*reversed(results), strict=True):
        error = (found - expected).abs().max() / expected.abs().max().clamp(min=1)
        assert error < tolerance, error
assert models[1].compilation.traced <= 2, models[1].compilation.traced
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "removed", "dtype", "tolerance"),
    [
        ("direct forces", (), "float32", 1e-5),
        # code for second derivatives of all five interactions takes more than half an hour
        ("gradient forces", ("quadruplet", "atom_edge", "edge_atom", "atom_atom"), "float64", 1e-10),
        ("streams", (), "float64", 1e-10),
    ],
)
def test_compiled_models_equal_eager_ones(
    variant: str, removed: tuple[str, ...], dtype: str, tolerance: float, tmp_path: Path
) -> None:
    if shutil.which("g++") is None:
        pytest.skip("compilation needs a C++ compiler")
    # in a process of its own: what checks the shapes in tests cannot be compiled
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "tests/unit/model")))
    surroundings = {
        **os.environ,
        "JAXTYPING_DISABLE": "1",
        "PYTHONPATH": paths,
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path),
    }
    command = [sys.executable, "-c", COMPARED, variant, dtype, str(tolerance), *removed]
    found = subprocess.run(command, check=True, env=surroundings, timeout=1800, stderr=subprocess.PIPE, text=True)
    assert f"code is kept in {tmp_path}" in found.stderr
    assert "compiled the model in" in found.stderr
