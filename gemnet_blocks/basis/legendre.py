"""Legendre polynomials of all degrees with few operations, for values and derivatives of any order."""

from __future__ import annotations

import math
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from gemnet_blocks.basis.closed import closed_functions
from gemnet_blocks.util.precision import SinglePrecisionModule


@final
class LegendrePolynomials(SinglePrecisionModule):
    r"""The normalized polynomials $\sqrt{(2l+1)/4\pi}\, P_l(z)$ of degrees 0 to L - 1.

    Args:
        count: L ≥ 1.
    """

    _norms: Tensor
    _derivatives: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        # (l+1) P_(l+1) = (2l+1) z P_l - l P_(l-1) becomes Q_(l+1) = Q_(l-1) + a_(l+1) z Q_l, a single operation, for
        # P_l = c_l Q_l with c_(l+1) = -l/(l+1) c_(l-1)
        c = [1.0, 1.0]
        for degree in range(2, self.count):
            c.append((1 - degree) / degree * c[-2])
        self._factors = [(2 * degree - 1) / degree * c[degree - 1] / c[degree] for degree in range(2, self.count)]
        # in NumPy, since each operation of torch takes a hundred times as long on the meta device
        degrees = np.arange(self.count, dtype=np.float64)
        norms = np.sqrt((2 * degrees + 1) / (4 * math.pi))
        self.register_buffer("_norms", torch.tensor(norms * c[: self.count]), persistent=False)
        # P'_l is the sum of (2k+1) P_k over k = l-1, l-3, …
        contained = np.tril((degrees[:, None] - degrees) % 2 == 1)
        derivatives = contained * (2 * degrees + 1) * norms[:, None] / norms
        self.register_buffer("_derivatives", torch.tensor(derivatives[None]), persistent=False)

    @override
    def forward(self, z: Float[Tensor, "*shape"]) -> Float[Tensor, "count *shape"]:
        """Evaluate the polynomials."""
        return closed_functions(self._in_place, self._out_of_place, self._derivatives.to(z.dtype), z)

    def _in_place(self, z: Float[Tensor, "*shape"]) -> Float[Tensor, "count *shape"]:
        values = z.new_empty(self.count, *z.shape)
        values[0].fill_(1)
        if self.count > 1:
            values[1].copy_(z)
        for degree, factor in enumerate(self._factors, start=2):
            torch.addcmul(values[degree - 2], z, values[degree - 1], value=factor, out=values[degree])
        return values.mul_(self._norms.to(z.dtype).view(-1, *[1] * z.ndim))

    def _out_of_place(self, z: Float[Tensor, "*shape"]) -> Float[Tensor, "count *shape"]:
        values = [torch.ones_like(z), z]
        for factor in self._factors:
            values.append(torch.addcmul(values[-2], z, values[-1], value=factor))
        return torch.stack(values[: self.count]) * self._norms.to(z.dtype).view(-1, *[1] * z.ndim)
