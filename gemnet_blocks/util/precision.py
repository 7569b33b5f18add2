"""The precision that matrices are multiplied in, chosen when a model is built."""

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
"""float32: products as exact as their type. bfloat16: single-precision factors are rounded to 8 significant bits, which
processors with bfloat16 units (AMX, AVX512-BF16, tensor cores) multiply several times as fast."""


class Products(ABC):
    """How the layers and sums of one model multiply matrices; settings of the process stay as they are."""

    name: MatrixProducts

    @abstractmethod
    def product(self, a: Float[Tensor, "*batch m k"], b: Float[Tensor, "*batch k n"]) -> Float[Tensor, "*batch m n"]:
        """The matrix product of two matrices, or of equally many pairs of them."""

    @abstractmethod
    def subtracted(
        self, total: Float[Tensor, "batch m n"], a: Float[Tensor, "batch m k"], b: Float[Tensor, "batch k n"]
    ) -> Float[Tensor, "batch m n"]:
        """`total` minus the products of pairs of matrices."""

    @abstractmethod
    def linear(self, x: Float[Tensor, "*rows in"], weight: Float[Tensor, "out in"]) -> Float[Tensor, "*rows out"]:
        """The linear map W x of each row."""


@final
class PlainProducts(Products):
    """Products in the type of the matrices, or in that of autocast."""

    name: MatrixProducts = "float32"

    def product(self, a: Float[Tensor, "*batch m k"], b: Float[Tensor, "*batch k n"]) -> Float[Tensor, "*batch m n"]:
        """The matrix product of two matrices, or of equally many pairs of them."""
        return a @ b

    def subtracted(
        self, total: Float[Tensor, "batch m n"], a: Float[Tensor, "batch m k"], b: Float[Tensor, "batch k n"]
    ) -> Float[Tensor, "batch m n"]:
        """`total` minus the products of pairs of matrices."""
        return torch.baddbmm(total, a, b, alpha=-1)

    def linear(self, x: Float[Tensor, "*rows in"], weight: Float[Tensor, "out in"]) -> Float[Tensor, "*rows out"]:
        """The linear map W x of each row."""
        return functional.linear(x, weight)


PLAIN = PlainProducts()
"""The products of layers and sums that choose no others."""


@final
class BFloat16Products(Products):
    """Products of single-precision matrices with factors rounded to bfloat16 and sums in float32.

    All derivatives are products of the same kind. Matrices of other types, and those under autocast, are multiplied
    as they are. On a CPU without bfloat16 units, the rounded factors are multiplied in float32.
    """

    name: MatrixProducts = "bfloat16"

    def product(self, a: Float[Tensor, "*batch m k"], b: Float[Tensor, "*batch k n"]) -> Float[Tensor, "*batch m n"]:
        """The matrix product of two matrices, or of equally many pairs of them."""
        if _is_rounded(a, b):
            return _rounded_product(a, b)
        return a @ b

    def subtracted(
        self, total: Float[Tensor, "batch m n"], a: Float[Tensor, "batch m k"], b: Float[Tensor, "batch k n"]
    ) -> Float[Tensor, "batch m n"]:
        """`total` minus the products of pairs of matrices."""
        return total - self.product(a, b)

    def linear(self, x: Float[Tensor, "*rows in"], weight: Float[Tensor, "out in"]) -> Float[Tensor, "*rows out"]:
        """The linear map W x of each row."""
        if _is_rounded(x, weight):
            return _rounded_product(x.reshape(-1, x.shape[-1]), weight.t()).view(*x.shape[:-1], len(weight))
        return functional.linear(x, weight)


def products(name: MatrixProducts) -> Products:
    """The products of that name."""
    return BFloat16Products() if name == "bfloat16" else PLAIN


def multiply_with(model: nn.Module, products: Products) -> None:
    """Have all layers of a model multiply matrices so: those with an attribute `products`."""
    for layer in model.modules():
        if isinstance(getattr(layer, "products", None), Products):
            layer.products = products  # type: ignore[assignment]


@contextmanager
def without_autocast(device: torch.device) -> Iterator[None]:
    """Compute in the types of the tensors inside, whatever autocast says outside."""
    if not torch.is_autocast_enabled(device.type):
        yield
        return
    with torch.autocast(device.type, enabled=False):
        yield


def as_under_autocast(matrix: Tensor) -> Tensor:
    """The matrix in the type in which autocast multiplies it, or as it is."""
    kind = matrix.device.type
    if matrix.dtype != torch.float32 or not torch.is_autocast_enabled(kind):
        return matrix
    return matrix.to(torch.get_autocast_dtype(kind))


def at_least_single(dtype: torch.dtype) -> torch.dtype:
    """float32, or that type if it is wider: the type of distances, angles and their functions.

    float16 has neither the range nor the digits for them: 1/(s² + ε²)^{3/2} of nearly straight chains overflows.
    """
    return torch.promote_types(dtype, torch.float32)


class SinglePrecisionModule(nn.Module):
    """A module whose numbers stay in float32 or wider when its model is converted to a narrower type.

    The base of bases: with centers and frequencies in half precision, neighboring functions would hardly differ.
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
    """The product of rounded factors; its derivatives are products with rounded factors too."""

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
    return a.float() @ b.float()  # exact products of rounded factors, faster than emulated bfloat16
