"""Precision of matrix products, which is chosen when a model is built."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import Self, override

from gemnet_blocks.util.derivatives import transforms_are_active

MatrixProducts = Literal["float32", "bfloat16"]
"""float32: products in the type of the matrices. bfloat16: factors in float32 are rounded to 8 significant bits, which
processors with bfloat16 units (AMX, AVX512-BF16, tensor cores) multiply several times faster."""


class Products(ABC):
    """Matrix products of the layers and sums of one model, which do not depend on global settings."""

    name: MatrixProducts

    @abstractmethod
    def product(self, a: Float[Tensor, "*batch m k"], b: Float[Tensor, "*batch k n"]) -> Float[Tensor, "*batch m n"]:
        """Multiply two matrices, or two batches of matrices."""

    @abstractmethod
    def subtracted(
        self, total: Float[Tensor, "batch m n"], a: Float[Tensor, "batch m k"], b: Float[Tensor, "batch k n"]
    ) -> Float[Tensor, "batch m n"]:
        """Subtract the products of two batches of matrices from `total`."""

    @abstractmethod
    def linear(self, x: Float[Tensor, "*rows in"], weight: Float[Tensor, "out in"]) -> Float[Tensor, "*rows out"]:
        """Apply the linear map W x to each row."""


@final
class PlainProducts(Products):
    """Matrix products in the type of the matrices, or of autocast."""

    name: MatrixProducts = "float32"

    def product(self, a: Float[Tensor, "*batch m k"], b: Float[Tensor, "*batch k n"]) -> Float[Tensor, "*batch m n"]:
        return a @ b

    def subtracted(
        self, total: Float[Tensor, "batch m n"], a: Float[Tensor, "batch m k"], b: Float[Tensor, "batch k n"]
    ) -> Float[Tensor, "batch m n"]:
        return torch.baddbmm(total, a, b, alpha=-1)

    def linear(self, x: Float[Tensor, "*rows in"], weight: Float[Tensor, "out in"]) -> Float[Tensor, "*rows out"]:
        return functional.linear(x, weight)


PLAIN = PlainProducts()
"""The default matrix products of layers and sums."""


@final
class BFloat16Products(Products):
    """Products of float32 matrices with factors rounded to bfloat16 and sums in float32.

    Derivatives are products of the same kind. Matrices of other types, and those under autocast, are not rounded. On a
    CPU without bfloat16 units, the rounded factors are multiplied in float32.
    """

    name: MatrixProducts = "bfloat16"

    def product(self, a: Float[Tensor, "*batch m k"], b: Float[Tensor, "*batch k n"]) -> Float[Tensor, "*batch m n"]:
        if _is_rounded(a, b):
            return _rounded_product(a, b)
        return a @ b

    def subtracted(
        self, total: Float[Tensor, "batch m n"], a: Float[Tensor, "batch m k"], b: Float[Tensor, "batch k n"]
    ) -> Float[Tensor, "batch m n"]:
        return total - self.product(a, b)

    def linear(self, x: Float[Tensor, "*rows in"], weight: Float[Tensor, "out in"]) -> Float[Tensor, "*rows out"]:
        if _is_rounded(x, weight):
            return _rounded_product(x.reshape(-1, x.shape[-1]), weight.t()).view(*x.shape[:-1], len(weight))
        return functional.linear(x, weight)


def products(name: MatrixProducts) -> Products:
    """Return the matrix products with a name."""
    return BFloat16Products() if name == "bfloat16" else PLAIN


def multiply_with(model: nn.Module, products: Products) -> None:
    """Set the matrix products of all layers of a model, which are those with an attribute `products`."""
    for layer in model.modules():
        if isinstance(getattr(layer, "products", None), Products):
            layer.products = products  # type: ignore[assignment]


@contextmanager
def without_autocast(device: torch.device) -> Iterator[None]:
    """Disable autocast inside the block."""
    if not torch.is_autocast_enabled(device.type):
        yield
        return
    with torch.autocast(device.type, enabled=False):
        yield


def as_under_autocast(matrix: Tensor) -> Tensor:
    """Convert a matrix to the type in which autocast would multiply it."""
    kind = matrix.device.type
    if matrix.dtype != torch.float32 or not torch.is_autocast_enabled(kind):
        return matrix
    return matrix.to(torch.get_autocast_dtype(kind))


def at_least_single(dtype: torch.dtype) -> torch.dtype:
    """Return the wider one of a type and float32, which is the type of distances, angles and basis functions.

    The range and the precision of float16 do not suffice: 1/(s² + ε²)^{3/2} of nearly collinear atoms overflows.
    """
    return torch.promote_types(dtype, torch.float32)


class SinglePrecisionModule(nn.Module):
    """Base class of modules whose parameters stay in float32 when their model is converted to a narrower type.

    With centers and frequencies in half precision, neighboring basis functions would hardly differ.
    """

    @override
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def wide(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            if not moved.is_floating_point() or moved.dtype == at_least_single(moved.dtype):
                return moved
            return tensor.to(moved.device, at_least_single(tensor.dtype))

        super()._apply(wide, recurse)
        return self


def _is_rounded(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype == torch.float32 and not torch.is_autocast_enabled(a.device.type)


def _rounded_product(a: Tensor, b: Tensor) -> Tensor:
    if torch.compiler.is_compiling() or transforms_are_active():
        return _product(a, b)
    result: Tensor = _RoundedProduct.apply(a, b)
    return result


class _RoundedProduct(torch.autograd.Function):
    """Product of rounded factors, whose derivatives are products of rounded factors too."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return _product(a, b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = ctx.saved_tensors
        to_a = _rounded_product(grad, b.mT) if ctx.needs_input_grad[0] else None
        to_b = _rounded_product(a.mT, grad) if ctx.needs_input_grad[1] else None
        return to_a, to_b


def _product(a: Tensor, b: Tensor) -> Tensor:
    a, b = a.bfloat16(), b.bfloat16()
    if a.device.type != "cpu" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
        return (a @ b).float()
    return a.float() @ b.float()  # exact products of rounded factors are faster than emulated bfloat16
