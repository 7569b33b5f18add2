"""Worker that measures the published implementation. Run it with the Python interpreter of that implementation.

Requires fairchem-core 1.10.0. `worker.py` describes the protocol.
"""

from __future__ import annotations

import inspect
from typing import Any

import ase.io
import torch
from fairchem.core.datasets import data_list_collater
from fairchem.core.models.gemnet_oc.gemnet_oc import GemNetOC
from fairchem.core.preprocessing import AtomsToGraphs
from torch import Tensor
from worker import Prediction, Task, Training, serve, timed

EDGE_SETS = {"main_graph": "main", "a2a_graph": "atom", "a2ee2a_graph": "atom_edge", "qint_graph": "quad"}
"""Names of edge sets in this library by the names of the published implementation."""


class Batches:
    """Create new batches of the same structures, because the published model modifies its input.

    Args:
        file: path of the file with the structures.
        device: the device of the batches.
    """

    def __init__(self, file: str, device: str) -> None:
        self.device = device
        convert = AtomsToGraphs(r_energy=False, r_forces=False, r_distances=False, r_edges=False).convert
        self.graphs = [convert(atoms) for atoms in ase.io.read(file, index=":")]

    def __call__(self) -> Any:
        """Create a new batch."""
        return data_list_collater([graph.clone() for graph in self.graphs], otf_graph=True).to(self.device)


class GraphBuilding(Task):
    """Building all graphs and index lists of a batch."""

    def __init__(self, model: Any, data: Batches) -> None:
        self.model, self.data = model.eval(), data
        self.build, self.read = model.get_graphs_and_indices, model.get_bases

    @torch.no_grad()
    def run(self) -> dict[str, Any]:
        """Build the graphs once."""
        batch = self.data()
        return {"seconds": timed(lambda: self.build(batch))}

    @torch.no_grad()
    def outputs(self) -> dict[str, Any]:
        """Return the number of edges of each edge set."""
        # the graphs are returned in the order of the parameters of `get_bases`
        names = list(inspect.signature(self.read).parameters)
        found = dict(zip(names, self.build(self.data()), strict=False))
        return {"edges": {ours: found[theirs]["edge_index"].shape[1] for theirs, ours in EDGE_SETS.items()}}


def make(request: dict[str, Any]) -> Task:
    """Build the model, save its weights, and create the task."""
    torch.manual_seed(request["seed"])
    device = request.get("device", "cpu")
    model = GemNetOC(**request["arguments"]).to(device)
    if request.get("save"):
        torch.save(model.state_dict(), request["save"])
    data = Batches(request["file"], device)

    def predict(batch: Any) -> tuple[Tensor, Tensor]:
        found = model(batch)
        return found["energy"], found["forces"]

    if request["task"] == "graphs":
        return GraphBuilding(model, data)
    return {"forward": Prediction, "training": Training}[request["task"]](model, data, predict)


if __name__ == "__main__":
    serve(make, "fairchem-core")
