from __future__ import annotations

import pytest
import torch
from helpers import KINDS, small_spec

from gemnet_blocks.precision import matrix_products
from gemnet_blocks.spec import build
from gemnet_blocks.spec.build import Execution


def precisions() -> list[str]:
    return [backend.fp32_precision for backend in (torch.backends.mkldnn.matmul, torch.backends.cuda.matmul)]


def test_the_precision_holds_inside_only() -> None:
    before = precisions()
    with matrix_products("bfloat16"):
        assert precisions() == ["bf16", "tf32"]
    assert precisions() == before
    with pytest.raises(RuntimeError), matrix_products("bfloat16"):
        raise RuntimeError
    assert precisions() == before
    with matrix_products("float32"):
        assert precisions() == before


def test_models_differ_by_rounding_alone() -> None:
    structures = KINDS["slab"]().to(dtype=torch.float32)
    full, rounded = (build(small_spec(), seed=0, execution=Execution(matmul=name)) for name in ("float32", "bfloat16"))
    energies = [model(structures).energy for model in (full, rounded)]
    torch.testing.assert_close(energies[0], energies[1], rtol=0.1, atol=0.02)
    assert all(torch.equal(a, b) for a, b in zip(full.parameters(), rounded.parameters(), strict=True))
