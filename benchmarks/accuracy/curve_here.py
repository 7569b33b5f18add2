"""Worker for the learning curve of this library. `benchmarks/worker.py` describes the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ase.io
import torch
from curve import Curve
from torch import Tensor
from worker import Task, serve

from gemnet_blocks import Structures
from gemnet_blocks.checkpoints import load_fairchem_state
from gemnet_blocks.spec import build
from gemnet_blocks.spec.published import from_published

TYPES = {"float32": torch.float32, "float64": torch.float64}


def make(request: dict[str, Any]) -> Task:
    """Build the model, load its initial weights, and create the task."""
    dtype = TYPES[request["dtype"]]
    model = build(from_published(request["arguments"]), seed=0)
    load_fairchem_state(model, torch.load(request["weights"], weights_only=True))
    model.to(dtype)
    frames = ase.io.read(request["file"], index=":")

    def data(chosen: Sequence[int]) -> Structures:
        # positions are always rounded to single precision, because the reference computes in it
        structures = Structures.from_ase([frames[index] for index in chosen], dtype=torch.float32)
        return structures.to(dtype=dtype)

    def predict(structures: Structures) -> tuple[Tensor, Tensor]:
        found = model(structures)
        assert found.forces is not None
        return found.energy, found.forces

    return Curve(model, data, predict, request)


if __name__ == "__main__":
    serve(make, "gemnet_blocks")
