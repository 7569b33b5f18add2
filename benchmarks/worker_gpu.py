"""Worker that checks and times this library on a device. `worker.py` describes the protocol.

Besides the tasks of `worker_here.py`, it has `parity`, `gradients` and `calculator`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import ase.io
import torch
import worker_here
from ase import Atoms
from compare import relative
from worker import Task, serve, timed

from gemnet_blocks.calculator import GemNetCalculator
from gemnet_blocks.potential import Potential, References
from gemnet_blocks.spec import Execution, build
from gemnet_blocks.spec.published import from_published
from gemnet_blocks.structures import Prediction, Structures

FIXTURES = Path(__file__).parents[1] / "tests/parity"


class Parity(Task):
    """Comparison of energies and forces with those that the published implementations gave, in float64.

    Args:
        device: the device of the computation.
        most: the number of recorded cases that are compared; None: all.
    """

    def __init__(self, device: str, most: int | None) -> None:
        self.model, self.device, self.most = torch.nn.Identity(), device, most

    def run(self) -> dict[str, Any]:
        """Compare all cases."""
        return {"seconds": timed(self.outputs)}

    def outputs(self) -> dict[str, Any]:
        """Return the largest difference of each case, relative to the largest value."""
        sys.path.insert(0, str(FIXTURES))
        import test_fixtures

        differences: dict[str, float] = {}
        for path in sorted(test_fixtures.FOLDER.glob("*.npz"))[: self.most]:
            recorded = test_fixtures.load(path)
            if "given/edge_index" in recorded.arrays:
                continue  # only published classes accept given graphs
            model = build(from_published(recorded.arguments))
            test_fixtures.loaded(model, recorded.everything(), torch.float64)
            structures = Structures.from_batch(recorded.batch(torch.float64)).to(self.device)
            found = _arrays(model.to(self.device)(structures))
            differences[recorded.name] = max(
                relative(recorded.arrays[name], value) for name, value in found.items() if name in recorded.arrays
            )
        return {"differences": differences}


class Gradients(Task):
    """Comparison of forces, stresses and gradients of the weights on a device with those on the CPU, in float64.

    Args:
        request: the arguments of a model with gradient forces, a seed, and a file with structures.
        device: the device of the computation.
    """

    def __init__(self, request: dict[str, Any], device: str) -> None:
        self.model = build(from_published(request["arguments"]), seed=request["seed"]).double()
        self.structures = Structures.from_ase(ase.io.read(request["file"], index=":"))
        self.device = device

    def run(self) -> dict[str, Any]:
        """Compute everything on the device once."""
        return {"seconds": timed(lambda: self._all(self.device))}

    def outputs(self) -> dict[str, Any]:
        """Return the largest difference of each quantity, relative to the largest value."""
        found = self._all(self.device)
        return {"differences": {name: relative(value, found[name]) for name, value in self._all("cpu").items()}}

    def _all(self, device: str) -> dict[str, Any]:
        model = self.model.to(device)
        model.zero_grad()
        predicted = model(self.structures.to(device), stress=True)
        found = _arrays(predicted)
        (predicted.energy.sum() + predicted.forces.square().sum()).backward()
        gradients = [one.grad.flatten() for one in model.parameters() if one.grad is not None]
        return found | {"gradients of weights": torch.cat(gradients).tolist()}


class Steps(Task):
    """Steps of a calculator: a small random displacement of all atoms, then energy, forces and stress.

    Args:
        request: the arguments of a model, a seed, a file with one structure, and the options of `Execution`.
        device: the device of the computation.
    """

    def __init__(self, request: dict[str, Any], device: str) -> None:
        spec = from_published(request["arguments"])
        model = build(spec, seed=request["seed"], execution=Execution(**request.get("execution", {})))
        self.atoms = cast(Atoms, ase.io.read(request["file"]))
        elements = dict.fromkeys(map(int, self.atoms.numbers), 0.0)
        self.model = Potential(model, spec, References(elements, scale=1.0, meaning="total")).to(device).eval()
        self.atoms.calc = GemNetCalculator(self.model)
        self.step = 0

    def run(self) -> dict[str, Any]:
        """Perform one step."""
        self.atoms.rattle(0.01, seed=self.step)
        self.step += 1
        return {"seconds": timed(self.atoms.get_forces)}

    def outputs(self) -> dict[str, Any]:
        """Return energy and forces."""
        return {"energy": self.atoms.get_potential_energy(), "forces": self.atoms.get_forces().tolist()}


def _arrays(prediction: Prediction) -> dict[str, Any]:
    values = {"energy": prediction.energy, "forces": prediction.forces, "stress": prediction.stress}
    return {name: value.detach().tolist() for name, value in values.items() if value is not None}


def make(request: dict[str, Any]) -> Task:
    """Create the task."""
    device = request["device"]
    if request["task"] == "parity":
        return Parity(device, request.get("most"))
    if request["task"] == "gradients":
        return Gradients(request, device)
    return Steps(request, device) if request["task"] == "calculator" else worker_here.make(request)


if __name__ == "__main__":
    serve(make, "gemnet_blocks")
