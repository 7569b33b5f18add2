"""Equivariant layers of e3nn as ordinary modules: linear maps, tensor products, harmonics and gates.

e3nn generates the code of its layers. Here it runs as plain PyTorch operations instead of TorchScript, so that models
can be copied, traced, moved to any device and differentiated twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.fx import GraphModule
from typing_extensions import override

from gemnet_blocks.layers.activations import Activation
from gemnet_blocks.layers.dense import Dense, linear
from gemnet_blocks.layers.irreps import irreps


@contextmanager
def _plain_code() -> Iterator[None]:
    """Let e3nn generate plain Python code inside; its own setting is restored afterwards."""
    import e3nn

    before = e3nn.get_optimization_defaults()["jit_mode"]
    e3nn.set_optimization_defaults(jit_mode="eager")
    try:
        yield
    finally:
        e3nn.set_optimization_defaults(jit_mode=before)


def _tidied(layer: Any) -> Any:
    """Remove unused operations from the generated code, and constants from the saved weights."""
    for module in layer.modules():
        module._non_persistent_buffers_set.update(module._buffers)
        if isinstance(module, GraphModule):
            module.graph.eliminate_dead_code()
            module.recompile()
    return layer


@final
class EquivariantLinear(nn.Module):
    """The equivariant linear map between irreps: one matrix for each pair of equal irreps, of variance 1/fan-in.

    Args:
        irreps_in: the irreps of the features.
        irreps_out: the irreps of the result; those that do not occur in the features become zero.
    """

    def __init__(self, irreps_in: str, irreps_out: str) -> None:
        from e3nn import o3

        super().__init__()
        with _plain_code():
            self.map: Any = _tidied(o3.Linear(irreps_in, irreps_out, internal_weights=False, shared_weights=True))
        # matrices in place of e3nn's single vector, so that optimizers know them from biases; e3nn divides by √fan-in
        self.weights = nn.ParameterList(nn.init.normal_(torch.empty(path.path_shape)) for path in self.map.instructions)

    def forward(self, x: Float[Tensor, "rows features_in"]) -> Float[Tensor, "rows features_out"]:
        found: Tensor = self.map(x, torch.cat([weight.flatten() for weight in self.weights]))
        return found


@final
class Harmonics(nn.Module):
    """Real spherical harmonics of directions, Y_lm(u) for l = 0, …, degree, each with |Y_l|² = 2l + 1.

    Args:
        degree: the largest degree.
    """

    def __init__(self, degree: int) -> None:
        from e3nn import o3

        super().__init__()
        self.irreps = str(o3.Irreps.spherical_harmonics(degree))
        with _plain_code():
            self.harmonics: Any = o3.SphericalHarmonics(self.irreps, normalize=False, normalization="component")

    def forward(self, direction: Float[Tensor, "edges 3"]) -> Float[Tensor, "edges components"]:
        found: Tensor = self.harmonics(direction)
        return found


@final
class TensorProduct(nn.Module):
    r"""The tensor product of features with harmonics, with a weight for each path and channel.

    $$z_{l_3 m_3}^c = \sum_{l_1 l_2} w_{l_1 l_2 l_3}^c \sum_{m_1 m_2} C_{l_1 m_1 l_2 m_2}^{l_3 m_3}\, x_{l_1 m_1}^c\,
    Y_{l_2 m_2}$$

    with Clebsch–Gordan coefficients C. Thomas et al., arXiv 1802.08219; NequIP, arXiv 2101.03164.

    Args:
        irreps_in: the irreps of the features x.
        harmonics: the irreps of the harmonics Y.
        kept: only results with these irreps are computed.

    Attributes:
        irreps_out: the irreps of the result.
        weight_count: the number of weights w.
    """

    def __init__(self, irreps_in: str, harmonics: str, kept: str) -> None:
        from e3nn import o3

        super().__init__()
        wanted, left_irreps = {irrep for _, irrep in irreps(kept)}, irreps(irreps_in)
        paths = [
            (left, right, o3.Irrep(product), count)
            for left, (count, irrep) in enumerate(left_irreps)
            for right, (_, harmonic) in enumerate(o3.Irreps(harmonics))
            for product in irrep * harmonic
            if product in wanted
        ]
        ordered = o3.Irreps([(count, product) for _, _, product, count in paths]).sort()
        instructions = [(left, right, ordered.p[path], "uvu", True) for path, (left, right, _, _) in enumerate(paths)]
        like = torch.empty(0)
        # in double precision on the CPU, whatever the type and device of the model
        with _plain_code(), torch.device("cpu"), default_type(torch.float64):
            self.product: Any = _tidied(
                o3.TensorProduct(
                    left_irreps, harmonics, ordered.irreps, instructions, shared_weights=False, internal_weights=False
                )
            )
        self.irreps_out = str(ordered.irreps.simplify())
        self.weight_count = int(self.product.weight_numel)
        self._exact = {name: buffer.numpy() for name, buffer in self.product.named_buffers()}
        self.to(like)

    def forward(
        self,
        x: Float[Tensor, "edges features"],
        harmonics: Float[Tensor, "edges components"],
        weights: Float[Tensor, "edges weights"],
    ) -> Float[Tensor, "edges products"]:
        """Compute the product of each edge."""
        found: Tensor = self.product(x, harmonics, weights)
        return found

    @override
    def _apply(self, fn: Any, recurse: bool = True) -> TensorProduct:
        """Round the coefficients from double precision again whenever the type of the model changes."""
        super()._apply(fn, recurse)
        for name, buffer in self.product.named_buffers():
            if not buffer.is_meta:
                buffer.copy_(torch.as_tensor(self._exact[name]))
        return self


@contextmanager
def default_type(dtype: torch.dtype) -> Iterator[None]:
    """Compute in another default floating-point type of torch inside."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@final
class Gate(nn.Module):
    """Multiply each irrep of the features by a number that depends on scalars and on the sizes of all irreps.

    y_i = σ(lin(Dense([s, |x_1|²/d_1, …, |x_n|²/d_n])))_i x_i, with the dimensions d_i of the irreps.

    Args:
        of: the irreps of the features x.
        scalar_size: the number of scalars s.
        activation: the activation of the dense layer.
    """

    irrep: Tensor
    dimension: Tensor

    def __init__(self, of: str, scalar_size: int, activation: Activation = "silu") -> None:
        super().__init__()
        dimensions = [irrep.dim for count, irrep in irreps(of) for _ in range(count)]
        owners = [owner for owner, dimension in enumerate(dimensions) for _ in range(dimension)]
        self.register_buffer("irrep", torch.tensor(owners), persistent=False)
        self.register_buffer("dimension", torch.tensor(dimensions, dtype=torch.get_default_dtype()), persistent=False)
        hidden = max(scalar_size, len(dimensions))
        self.dense = Dense(scalar_size + len(dimensions), hidden, activation)
        self.gates = linear(hidden, len(dimensions))

    def forward(
        self, x: Float[Tensor, "rows features"], scalars: Float[Tensor, "rows scalar_size"]
    ) -> Float[Tensor, "rows features"]:
        # squares, because lengths have no derivative at zero
        squares = x.new_zeros(x.shape[0], len(self.dimension)).index_add(1, self.irrep, x * x) / self.dimension
        gates = self.gates(self.dense(torch.cat([scalars, squares], dim=1))).sigmoid()
        return x * gates.index_select(1, self.irrep)


def unreachable(of: str, degree: int) -> list[str]:
    """List the irreps that repeated products of scalars with harmonics up to a degree never yield."""
    from e3nn import o3

    harmonics = [irrep for _, irrep in o3.Irreps.spherical_harmonics(degree)]
    wanted = {irrep for _, irrep in irreps(of)}
    found, new = {o3.Irrep("0e")}, {o3.Irrep("0e")}
    while new:
        new = {product for irrep in new for harmonic in harmonics for product in irrep * harmonic} & wanted - found
        found |= new
    return sorted(map(str, wanted - found))
