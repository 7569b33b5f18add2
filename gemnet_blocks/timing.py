"""Seconds spent in each part of a model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from gemnet_blocks.graph.edge_sets import Graphs
from gemnet_blocks.model import GemNet
from gemnet_blocks.structures import Prediction, Structures

REST = "heads and the rest"


@dataclass(frozen=True, slots=True, eq=False)
class TimedPrediction:
    """A prediction and what it took.

    Attributes:
        prediction: energies and forces.
        counts: edges, triplets and quadruplets.
        seconds: of each part; together the time of the whole.
    """

    prediction: Prediction
    counts: dict[str, int]
    seconds: dict[str, float]


def timed_prediction(model: GemNet, structures: Structures) -> TimedPrediction:
    """Predict without gradients to the weights, and measure each part.

    The backward pass of gradient forces counts among the rest.

    Raises:
        StructureError: a structure cannot be computed.
    """
    trunk = model.trunk
    parts: dict[str, list[nn.Module]] = {
        "graphs": [trunk.graphs],
        "bases and projections": [trunk.geometry],
        "embeddings": [trunk.atom_embedding, trunk.edge_embedding],
        "blocks": list(trunk.blocks),
        "output blocks": list(trunk.output_blocks),
        "read-out": [model.read_out],
    }
    seconds = dict.fromkeys(parts, 0.0)
    seen: list[Graphs] = []

    def keep(_module: nn.Module, _arguments: object, graphs: Graphs) -> None:
        seen.append(graphs)

    handle = trunk.graphs.register_forward_hook(keep)
    try:
        with torch.no_grad(), _watched(parts, seconds, structures.positions.device):
            start = _now(structures.positions.device)
            prediction = model(structures)
            total = _now(structures.positions.device) - start
    finally:
        handle.remove()
    return TimedPrediction(prediction, seen[0].counts(), seconds | {REST: total - sum(seconds.values())})


@contextmanager
def _watched(parts: dict[str, list[nn.Module]], seconds: dict[str, float], device: torch.device) -> Iterator[None]:
    handles = []
    for name, modules in parts.items():
        started: list[float] = []

        def begin(_module: nn.Module, _arguments: object, started: list[float] = started) -> None:
            started.append(_now(device))

        def end(
            _module: nn.Module, _arguments: object, _result: object, name: str = name, started: list[float] = started
        ) -> None:
            seconds[name] += _now(device) - started.pop()

        for module in modules:
            handles += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
