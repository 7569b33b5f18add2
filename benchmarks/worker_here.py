"""Worker that measures this library. `worker.py` describes the protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import ase.io
import torch
from torch import Tensor, nn
from worker import Prediction, Task, Training, serve, timed

from gemnet_blocks import Structures
from gemnet_blocks.checkpoints import fairchem_state, load_fairchem_state
from gemnet_blocks.model.block import Block
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.spec import build
from gemnet_blocks.spec.build import Execution
from gemnet_blocks.spec.published import from_published

TYPES = {"float32": torch.float32, "float64": torch.float64}


class GraphBuilding(Task):
    """Building all graphs and index lists of the structures."""

    def __init__(self, model: GemNet, structures: Structures) -> None:
        self.model, self.structures, self.graphs = model.eval(), structures, model.backbone.graphs

    @torch.no_grad()
    def run(self) -> dict[str, Any]:
        """Build the graphs once."""
        return {"seconds": timed(lambda: self.graphs(self.structures, self.structures.positions.dtype))}

    @torch.no_grad()
    def outputs(self) -> dict[str, Any]:
        """Return the number of edges of each edge set."""
        topology = self.graphs(self.structures, self.structures.positions.dtype)
        return {"edges": {name: edges.count for name, edges in topology.edges.items()}}


class QuadrupletAlone(Task):
    """Quadruplet interaction without the rest of the model: its shared geometry, and its message in one block.

    Both parts are called again with the inputs that they receive in a prediction.
    """

    def __init__(self, model: GemNet, structures: Structures) -> None:
        self.model, self.structures = model.eval(), structures
        self.shared = _Recorded(model.backbone.geometry.interactions["quadruplet"])
        self.message = _Recorded(cast(Block, model.backbone.blocks[0]).interactions["quadruplet"])
        self.counts: dict[str, int] = {}
        handle = model.backbone.graphs.register_forward_hook(self._count)
        with torch.no_grad():
            model(structures)
        for one in (handle, self.shared.handle, self.message.handle):
            one.remove()

    @torch.no_grad()
    def run(self) -> dict[str, Any]:
        """Run both parts once."""
        shared, message = timed(self.shared), timed(self.message)
        return {"seconds": shared + message, "shared": shared, "message": message}

    def outputs(self) -> dict[str, Any]:
        """Return the numbers of edges, triplets and quadruplets."""
        return self.counts

    def _count(self, _module: nn.Module, _arguments: object, graphs: Any) -> None:
        self.counts = graphs.counts()


class _Recorded:
    """Module that can be called again with the arguments of its last call."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.given: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
        self.handle = module.register_forward_pre_hook(self._keep, with_kwargs=True)

    def _keep(self, _module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.given = (arguments, named)

    def __call__(self) -> Any:
        return self.module(*self.given[0], **self.given[1])


def make(request: dict[str, Any]) -> Task:
    """Build the model, load or save its weights, and create the task."""
    execution = Execution(**request.get("execution", {}))
    model = build(from_published(request["arguments"]), execution=execution, seed=request["seed"])
    if request.get("load"):
        load_fairchem_state(model, torch.load(request["load"], weights_only=True))
    if request.get("save"):
        torch.save(fairchem_state(model), request["save"])
    # positions are always rounded to single precision, because the reference computes in it
    structures = Structures.from_ase(ase.io.read(request["file"], index=":"), dtype=torch.float32)
    dtype = TYPES[request.get("dtype", "float32")]
    device = request.get("device", "cpu")
    model, structures = model.to(device, dtype), structures.to(device, dtype)

    def predict(structures: Structures) -> tuple[Tensor, Tensor]:
        found = model(structures)
        assert found.forces is not None
        return found.energy, found.forces

    alone: dict[str, Callable[[GemNet, Structures], Task]] = {"graphs": GraphBuilding, "quadruplet": QuadrupletAlone}
    if request["task"] in alone:
        return alone[request["task"]](model, structures)
    whole = {"forward": Prediction[Structures], "training": Training[Structures]}[request["task"]]
    return whole(model, lambda: structures, predict)


if __name__ == "__main__":
    serve(make, "gemnet_blocks")
