"""Fit the scale factors of an untrained model, so that they keep the variance of its activations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, get_args

import torch
from jaxtyping import Int
from torch import Tensor, nn

from gemnet_blocks.graph.topology import Topology
from gemnet_blocks.interactions.interaction import InteractionGeometry
from gemnet_blocks.interactions.message import Contraction
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.model.block import Block
from gemnet_blocks.model.geometry_encoder import GeometryEncoder
from gemnet_blocks.structures import Structures


class GatheredRows:
    """Counts how often the sums of a model gather each row of their values, once per triplet or quadruplet.

    Args:
        model: any module; the contractions of all its blocks are found.
    """

    def __init__(self, model: nn.Module) -> None:
        encoders = [part for part in model.modules() if isinstance(part, GeometryEncoder)]
        blocks = [part for part in model.modules() if isinstance(part, Block)]
        self._encoder = encoders[0] if encoders else None
        self._topology: Topology | None = None
        self._interaction = {
            part.scale: name
            for block in blocks
            for name, interaction in block.interactions.items()
            for part in interaction.modules()
            if isinstance(part, Contraction)
        }

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Remember the topology of the last forward pass, for `counts`."""
        if self._encoder is None:
            yield
            return

        def note(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            self._topology = arguments[1]

        handle = self._encoder.register_forward_pre_hook(note)
        try:
            yield
        finally:
            handle.remove()
            self._topology = None

    def counts(self, scale: ScaleFactor, row_count: int) -> Int[Tensor, " rows"] | None:
        """Count how often each row of the reference of a scale factor is gathered; None if rows are not gathered."""
        name = self._interaction.get(scale)
        if name is None or self._encoder is None or self._topology is None:
            return None
        shared = self._encoder.interactions[name]
        assert isinstance(shared, InteractionGeometry)
        rows = shared.gathered(self._topology)
        return None if rows is None else torch.bincount(rows, minlength=row_count)


Rows = Literal["distinct", "gathered"]
"""The rows of summed values whose variance a scale factor keeps: every edge or atom once; or once per triplet,
quadruplet or neighbor that it is summed over, as in published models, which changes factors by up to 26 %."""


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
        refit: also fit factors that are fitted already.
        rows: the rows of summed values whose variance is kept: `distinct`, every edge or atom once; or `gathered`, once
            per triplet, quadruplet or neighbor that it is summed over, batches weighted by their rows, which gives the
            factors of the published implementation.

    Returns:
        The value of every scale factor that was used, by name; 0 if it stays unfitted.

    Raises:
        ValueError: the rows are neither `distinct` nor `gathered`.
    """
    if rows not in get_args(Rows):
        raise ValueError(f"fit_scales: rows must be one of {', '.join(get_args(Rows))}, got {rows!r}")
    gathered = GatheredRows(model) if rows == "gathered" else None
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
    """Ends a forward pass after the factor that is being fitted."""


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
    """Compute the variance over samples with these counts, averaged over features; 0 for fewer than two samples."""
    samples = len(x) if counts is None else int(counts.sum())
    if samples < 2 or not x.numel():
        return 0.0
    x = x.detach().reshape(len(x), -1)
    if counts is None:
        return float(x.var(dim=0).mean())
    x, weight = x.double(), counts[:, None].double()
    mean = (weight * x).sum(dim=0) / samples
    return float((weight * (x - mean).square()).sum(dim=0).mean() / (samples - 1))
