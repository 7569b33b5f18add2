"""The precision of products of matrices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

MatrixProducts = Literal["float32", "bfloat16"]
"""float32: as exact as the numbers. bfloat16: factors of products of single-precision matrices are rounded to 8 bits,
on NVIDIA GPUs to the 11 bits of TF32, their sums are not; several times as fast where the processor supports it."""


@contextmanager
def matrix_products(precision: MatrixProducts) -> Iterator[None]:
    """Compute products of matrices with that precision inside; elsewhere they stay what they are.

    Nothing is converted and weights stay as they are. Where the processor has no such products, nothing changes.
    """
    if precision == "float32":
        yield
        return
    backends: tuple[tuple[Any, str], ...] = (
        (torch.backends.mkldnn.matmul, "bf16"),  # type: ignore[attr-defined]
        (torch.backends.cuda.matmul, "tf32"),
    )
    before = [backend.fp32_precision for backend, _ in backends]
    try:
        for backend, name in backends:
            backend.fp32_precision = name
        yield
    finally:
        for (backend, _), name in zip(backends, before, strict=True):
            backend.fp32_precision = name
