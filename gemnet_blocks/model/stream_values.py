"""Values of atoms from a feature stream: scalars, vectors and tensors by an equivariant linear map."""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemnet_blocks.layers.activations import Activation
from gemnet_blocks.layers.equivariant import EquivariantLinear, Gate
from gemnet_blocks.layers.initialization import OutputInitialization
from gemnet_blocks.layers.irreps import Stream, irreps
from gemnet_blocks.model.readout import BackboneOutput
from gemnet_blocks.structures import PropertyShape

IRREPS: dict[PropertyShape, str] = {"scalar": "1x0e", "vector": "1x1o", "tensor": "1x0e+1x2e"}
"""The irreps of a value of each shape."""


@final
class StreamValues(nn.Module):
    """A value of each atom from a stream x, p_a = lin(gate(h_a, x_a)).

    The equivariant linear map leads to a scalar, to a vector, or to a scalar t and five components q of a symmetric
    matrix without trace, p_a = t·1 + Q with vᵀQv = Σ_m q_m Y_2m(v).

    Args:
        stream: the stream, on atoms.
        shape: the shape of the value.
        atom_size: features of atom embeddings.
        activation: the activation of the gate.
        initialization: initial weights of the linear map.

    Raises:
        ValueError: the stream is not on atoms, or lacks irreps of this shape.
    """

    def __init__(
        self,
        stream: Stream,
        shape: PropertyShape,
        atom_size: int,
        activation: Activation,
        initialization: OutputInitialization,
    ) -> None:
        super().__init__()
        needed = IRREPS[shape].rpartition("x")[2]
        if stream.on != "atoms" or not any(str(irrep) == needed for _, irrep in irreps(stream.irreps)):
            raise ValueError(
                f"reads: a {shape} needs a stream on atoms with irreps such as 16x{needed}, but the stream "
                f"{stream.name!r} on {stream.on} has the irreps {stream.irreps}: read another stream"
            )
        self.stream, self.shape = stream.name, shape
        self.gate = Gate(stream.irreps, atom_size, activation)
        self.last = EquivariantLinear(stream.irreps, IRREPS[shape])
        if initialization == "zeros":
            for weight in self.last.parameters():
                nn.init.zeros_(weight)

    def forward(self, features: BackboneOutput) -> Float[Tensor, "atoms *shape"]:
        x = features.embeddings.streams[self.stream]
        values: Tensor = self.last(self.gate(x, features.embeddings.atoms))
        if self.shape == "scalar":
            return values[:, 0]
        return values if self.shape == "vector" else _matrix(values)


def _matrix(values: Float[Tensor, "rows 6"]) -> Float[Tensor, "rows 3 3"]:
    """Combine a trace and the components of degree 2, in e3nn's order: xz, xy, y² - (x² + z²)/2, yz, (z² - x²)/2."""
    t, xz, xy, yy, yz, difference = values.unbind(1)
    half = math.sqrt(3) / 2
    entries = [
        *(t - yy / 2 - half * difference, half * xy, half * xz),
        *(half * xy, t + yy, half * yz),
        *(half * xz, half * yz, t - yy / 2 + half * difference),
    ]
    return torch.stack(entries, dim=1).unflatten(1, (3, 3))
