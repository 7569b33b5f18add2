"""Worker for the learning curve of the published implementation. Run it with the interpreter of that implementation.

Requires fairchem-core 1.10.0. `benchmarks/worker.py` describes the protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ase.io
import torch
from curve import Curve
from fairchem.core.datasets import data_list_collater
from fairchem.core.models.gemnet_oc.gemnet_oc import GemNetOC
from fairchem.core.preprocessing import AtomsToGraphs
from torch import Tensor
from worker import Task, serve


def make(request: dict[str, Any]) -> Task:
    """Build the model, load its initial weights, and create the task."""
    model = GemNetOC(**request["arguments"])
    model.load_state_dict(torch.load(request["weights"], weights_only=True))
    convert = AtomsToGraphs(r_energy=False, r_forces=False, r_distances=False, r_edges=False).convert
    graphs = [convert(atoms) for atoms in ase.io.read(request["file"], index=":")]

    def data(chosen: Sequence[int]) -> Any:
        return data_list_collater([graphs[index].clone() for index in chosen], otf_graph=True)

    def predict(batch: Any) -> tuple[Tensor, Tensor]:
        found = model(batch)
        return found["energy"].flatten(), found["forces"]

    return Curve(model, data, predict, request)


if __name__ == "__main__":
    serve(make, "fairchem-core")
