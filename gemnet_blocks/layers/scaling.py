"""Scale factors: numbers fitted once to an untrained model, which keep the variance of its activations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal, final, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gemnet_blocks.layers.dense import Linear
from gemnet_blocks.structures import Structures

if TYPE_CHECKING:
    from gemnet_blocks.model.gathered_rows import GatheredRows

Rows = Literal["distinct", "gathered"]
"""The rows of summed values whose variance a scale factor keeps: every edge or atom once; or once per triplet,
quadruplet or neighbor that it is summed over, as in published models, which changes factors by up to 26 %."""


@final
class ScaleFactor(nn.Module):
    """Multiply by a fitted number; by one as long as it is not fitted.

    The number is stored with the weights, as a parameter without gradient; zero means that it was not fitted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.zeros(()), requires_grad=False)
        self._observe: Callable[[Tensor, Tensor | None], None] | None = None

    @property
    def fitted(self) -> bool:
        """Whether the number was fitted."""
        return bool(self.factor != 0)

    def forward(
        self, x: Float[Tensor, "*shape"], reference: Float[Tensor, "*other_shape"] | None = None
    ) -> Float[Tensor, "*shape"]:
        """`x` times the factor.

        Args:
            x: anything; its first axis counts samples.
            reference: what x should vary as much as; None: variance 1. Read when the factor is being fitted.
        """
        if self._observe is not None:
            self._observe(x, reference)
        return x * self._multiplier

    def of_linear(
        self,
        layer: nn.Linear,
        x: Float[Tensor, "*rows in"],
        reference: Float[Tensor, "*other_shape"] | None = None,
    ) -> Float[Tensor, "*rows out"]:
        """`layer(x)` times the factor, in one step unless somebody looks on.

        Args:
            layer: without bias.
            x: what the layer maps.
            reference: what `layer(x)` should vary as much as; None: variance 1.
        """
        if self._watched:
            result: Tensor = self(layer(x), reference)
            return result
        mapped = layer.products.linear if isinstance(layer, Linear) else nn.functional.linear
        return mapped(x, layer.weight * self._multiplier)

    def of_product(
        self, x: Float[Tensor, "rows features"], layer: nn.Linear, weights: Float[Tensor, "rows in"]
    ) -> Float[Tensor, "rows features"]:
        """`x * layer(weights)` times the factor, which is fitted to keep the variance of `x`.

        Args:
            x: features.
            layer: without bias.
            weights: what the layer maps.
        """
        if self._watched:
            result: Tensor = self(x * layer(weights), x)
            return result
        return x * self.of_linear(layer, weights)

    @property
    def _multiplier(self) -> Float[Tensor, ""]:
        """The factor, or one as long as it is zero; found without waiting for the device."""
        return self.factor + (self.factor == 0)

    @property
    def _watched(self) -> bool:
        """Whether somebody needs to see what is multiplied."""
        return self._observe is not None or bool(self._forward_hooks or self._forward_pre_hooks)


def fit_scales(
    model: nn.Module, batches: Iterable[Structures], refit: bool = False, rows: Rows = "distinct"
) -> dict[str, float]:
    """Fit the scale factors of an untrained model, in the order in which its forward pass meets them.

    Each factor becomes √(mean variance of its reference / mean variance of its input) over all batches, where the
    variance is over samples, averaged over features. A factor is fitted with all earlier ones in place, so there is
    one pass over the batches per factor. A factor whose input does not vary stays unfitted.

    Args:
        model: any module with scale factors that takes structures.
        batches: a few batches of typical structures.
        refit: fit again what is fitted already, instead of leaving it.
        rows: the rows of summed values whose variance is kept: `distinct`, every edge or atom once; or `gathered`, once
            per triplet, quadruplet or neighbor that it is summed over, batches weighted by their rows, which gives the
            factors of the published implementation.

    Returns:
        The name of every scale factor met and its value; 0 where it stays unfitted.

    Raises:
        ValueError: the rows are neither `distinct` nor `gathered`.
    """
    if rows not in get_args(Rows):
        raise ValueError(f"fit_scales: rows must be one of {', '.join(get_args(Rows))}, got {rows!r}")
    gathered = None
    if rows == "gathered":
        from gemnet_blocks.model.gathered_rows import GatheredRows

        gathered = GatheredRows(model)
    names = {module: name for name, module in model.named_modules() if isinstance(module, ScaleFactor)}
    batches = list(batches)
    order = _order_of_use(model, batches, list(names))
    with torch.no_grad():
        if refit:
            for scale in order:
                scale.factor.zero_()
        for scale in order:
            if not scale.fitted:
                scale.factor.fill_(_fit(model, batches, scale, gathered))
    return {names[scale]: float(scale.factor) for scale in order}


def _order_of_use(model: nn.Module, batches: list[Structures], scales: list[ScaleFactor]) -> list[ScaleFactor]:
    met: dict[ScaleFactor, None] = {}

    def note(scale: nn.Module, _: object) -> None:
        assert isinstance(scale, ScaleFactor)
        met[scale] = None

    handles = [scale.register_forward_pre_hook(note) for scale in scales]
    try:
        with torch.no_grad():
            for batch in batches[:1]:
                model(batch)
    finally:
        for handle in handles:
            handle.remove()
    return list(met)


class _EnoughError(Exception):
    """Raised to leave a forward pass once the factor that is being fitted was met."""


def _fit(model: nn.Module, batches: list[Structures], scale: ScaleFactor, gathered: GatheredRows | None) -> float:
    inputs = references = 0.0

    def observe(x: Tensor, reference: Tensor | None) -> None:
        nonlocal inputs, references
        weight = 1 if gathered is None else len(x)
        counts = None if gathered is None or reference is None else gathered.counts(scale, len(reference))
        inputs += weight * _variance(x)
        references += weight * (1.0 if reference is None else _variance(reference, counts))
        raise _EnoughError

    scale._observe = observe
    try:
        with nullcontext() if gathered is None else gathered.watching():
            for batch in batches:
                try:
                    model(batch)
                except _EnoughError:
                    continue
    finally:
        scale._observe = None
    return (references / inputs) ** 0.5 if inputs > 0 and references > 0 else 0.0


def _variance(x: Tensor, counts: Int[Tensor, " samples"] | None = None) -> float:
    """The variance over samples, each as often as counted, averaged over features; zero of fewer than two samples."""
    samples = len(x) if counts is None else int(counts.sum())
    if samples < 2 or not x.numel():
        return 0.0
    x = x.detach().reshape(len(x), -1)
    if counts is None:
        return float(x.var(dim=0).mean())
    x, weight = x.double(), counts[:, None].double()
    mean = (weight * x).sum(dim=0) / samples
    return float((weight * (x - mean).square()).sum(dim=0).mean() / (samples - 1))
