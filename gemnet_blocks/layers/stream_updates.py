"""Updates of feature streams at the end of each block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, final

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from gemnet_blocks.layers.activations import Activation
from gemnet_blocks.layers.equivariant import EquivariantLinear, Gate
from gemnet_blocks.layers.irreps import Stream
from gemnet_blocks.layers.residual import factor_at_zero_of, last_weights_of, residuals
from gemnet_blocks.options import Options, Size


class StreamUpdate(nn.Module, ABC):
    """Base class of the updates of a feature stream, which map its rows one by one at the end of each block."""

    Options: ClassVar[type[Options]]

    @classmethod
    @abstractmethod
    def from_options(cls, options: Any, stream: Stream, scalar_size: int, activation: Activation) -> StreamUpdate:
        """Construct the update of one block.

        Args:
            options: an instance of `Options`.
            stream: the stream.
            scalar_size: the number of scalars that `forward` receives.
            activation: the activation of all layers.

        Raises:
            ValueError: the update does not fit the irreps of the stream.
        """

    def last_weights(self) -> Sequence[Tensor]:
        """Return the last weights of the change: while they are zero, the update multiplies by `factor_at_zero` alone.

        Training that starts from the weights of a model without this update sets them to zero.

        Raises:
            NotImplementedError: a custom update does not tell.
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not tell its last weights: implement the method last_weights"
        )

    @property
    def factor_at_zero(self) -> float:
        """The number by which the update multiplies the stream while its last weights are zero."""
        return 1.0

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "rows features"], scalars: Float[Tensor, "rows scalar_size"]
    ) -> Float[Tensor, "rows features"]:
        """Update the stream.

        Args:
            x: the stream after the messages of the block.
            scalars: the embeddings of the same rows: h of atoms, m of edges, or the mean of h over each structure.
        """


class NoUpdateOptions(Options):
    """Options of a stream that only messages change."""

    type: Literal["none"] = "none"
    """The kind of stream update."""


@final
class NoUpdate(StreamUpdate):
    """Leave the stream as the messages made it."""

    Options = NoUpdateOptions

    @classmethod
    @override
    def from_options(
        cls, options: NoUpdateOptions, stream: Stream, scalar_size: int, activation: Activation
    ) -> NoUpdate:
        return cls()

    @override
    def last_weights(self) -> Sequence[Tensor]:
        return ()

    @override
    def forward(self, x: Tensor, scalars: Tensor) -> Tensor:
        return x


class ResidualUpdateOptions(Options):
    """Options of residual layers on a stream of scalars."""

    type: Literal["residual"] = "residual"
    """The kind of stream update."""
    layers: Size = 1
    """The number of residual layers."""


@final
class ResidualUpdate(StreamUpdate):
    """Residual dense layers on scalars.

    Args:
        layers: the number of layers.
        size: the number of scalars.
        activation: the activation of the layers.
    """

    Options = ResidualUpdateOptions

    def __init__(self, layers: int, size: int, activation: Activation = "silu") -> None:
        super().__init__()
        self.layers = residuals(layers, size, activation)

    @classmethod
    @override
    def from_options(
        cls, options: ResidualUpdateOptions, stream: Stream, scalar_size: int, activation: Activation
    ) -> ResidualUpdate:
        if not stream.scalars:
            raise ValueError(
                f"residual layers need scalars such as 64x0e, but the stream has the irreps {stream.irreps}: choose "
                "the update gated"
            )
        return cls(options.layers, stream.size, activation)

    @override
    def last_weights(self) -> Sequence[Tensor]:
        return last_weights_of(self.layers)

    @property
    @override
    def factor_at_zero(self) -> float:
        return factor_at_zero_of(self.layers)

    @override
    def forward(self, x: Tensor, scalars: Tensor) -> Tensor:
        found: Tensor = self.layers(x)
        return found


class GatedUpdateOptions(Options):
    """Options of an equivariant update with gates."""

    type: Literal["gated"] = "gated"
    """The kind of stream update."""


@final
class GatedUpdate(StreamUpdate):
    """Equivariant update: x ← x + lin₂(gate(lin₁(x))), with one linear map for each kind of irrep.

    The gates depend on the scalars of the same atom, edge or structure and on the sizes of all irreps, see `Gate`.
    Weiler et al., arXiv 1807.02547.

    Args:
        irreps: the irreps of the stream.
        scalar_size: the number of scalars.
        activation: the activation of the layer that computes the gates.
    """

    Options = GatedUpdateOptions

    def __init__(self, irreps: str, scalar_size: int, activation: Activation = "silu") -> None:
        super().__init__()
        self.before = EquivariantLinear(irreps, irreps)
        self.gate = Gate(irreps, scalar_size, activation)
        self.after = EquivariantLinear(irreps, irreps)

    @classmethod
    @override
    def from_options(
        cls, options: GatedUpdateOptions, stream: Stream, scalar_size: int, activation: Activation
    ) -> GatedUpdate:
        return cls(stream.irreps, scalar_size, activation)

    @override
    def last_weights(self) -> Sequence[Tensor]:
        return list(self.after.weights)

    @override
    def forward(self, x: Tensor, scalars: Tensor) -> Tensor:
        update: Tensor = self.after(self.gate(self.before(x), scalars))
        return x + update
