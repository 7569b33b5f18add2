"""Compare compiled models with eager ones: compilation time, times of steps in turns, differences, operations.

    python benchmarks/compilation.py [--size small] [--forces direct] [--task training] [--blocks 4] [--steps 10]
    python benchmarks/compilation.py --config benchmarks/accuracy/configs/ethanol-950-30.yaml --data FOLDER

With `--config`, model, batches and loss are those of a training config, and every batch is another one; otherwise, the
model is GemNet-OC and the batch four slabs. Steps are measured in processor time on CPUs.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import torch
from cases import FORCES, ROOT, SIZES, slab
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gemnet_blocks.spec import Execution, build, load_spec
from gemnet_blocks.structures import Prediction, Structures

Step = Callable[[Any], Sequence[Tensor]]
"""Computes the results for a batch: predictions, or a loss and its gradients."""


class Count(TorchDispatchMode):
    """Counts operations other than views, which run no kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += not func.is_view
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """A model with its batches.

    Attributes:
        model: the model with the weights.
        predict: computes predictions for a batch.
        loss: computes the loss from predictions and their batch.
        batches: the batches.
    """

    model: nn.Module
    predict: Callable[[Any], Prediction]
    loss: Callable[[Prediction, Any], Tensor]
    batches: Sequence[Any]

    def forward(self, batch: Any) -> Sequence[Tensor]:
        """Predict energies and forces."""
        with torch.no_grad():
            prediction = self.predict(batch)
        assert prediction.forces is not None
        return [prediction.energy, prediction.forces]

    def training(self, batch: Any) -> Sequence[Tensor]:
        """Compute the loss and the gradients of the weights."""
        self.model.zero_grad()
        loss = self.loss(self.predict(batch), batch)
        loss.backward()
        return [loss.detach(), *(weight.grad.clone() for weight in self.model.parameters() if weight.grad is not None)]


def of_slabs(options: argparse.Namespace, compiled: bool) -> Workload:
    """Return GemNet-OC with a batch of slabs, and a loss without labels."""
    changes = {**SIZES[options.size], "heads.forces": FORCES[options.forces], "blocks.count": options.blocks}
    spec = load_spec(ROOT / "paper_configs/gemnet-oc.yaml", changes)
    model = build(spec, seed=0, execution=Execution(compile=compiled))

    def loss(prediction: Prediction, batch: Structures) -> Tensor:
        assert prediction.forces is not None
        return prediction.energy.sum() + prediction.forces.square().sum()

    return Workload(model, model, loss, [Structures.from_ase([slab(3)] * 4, dtype=torch.float32)])


def of_config(options: argparse.Namespace, compiled: bool) -> Workload:
    """Return the model, the loss and the first batches of a training config."""
    from gemnet_blocks.training import load_config
    from gemnet_blocks.training.run import Run

    patches = {"training.minutes": None, "training.steps": 10**6, "training.execution.compile": compiled}
    config = load_config(options.config, patches).in_folder(options.data)
    run = Run.prepared(config, Path(tempfile.mkdtemp()), False)
    module = run.module

    def loss(prediction: Prediction, batch: Any) -> Tensor:
        return module.loss.value(module.loss.totals(prediction, batch))

    batches = [item.batch for item in islice(run.stream, options.steps + 1)]
    return Workload(module.potential.model, module.predict, loss, batches)


def main() -> None:
    """Print one line for each model, and their differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(SIZES), default="small")
    parser.add_argument("--forces", choices=list(FORCES), default="direct")
    parser.add_argument("--task", choices=["forward", "training"], default="training")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--steps", type=int, default=10, help="number of measured steps")
    parser.add_argument("--config", type=Path, help="training config")
    parser.add_argument("--data", type=Path, default=Path(), help="data folder of the config")
    options = parser.parse_args()
    prepared = of_slabs if options.config is None else of_config
    times: dict[str, list[float]] = {"eager": [], "compiled": []}
    cases = {name: prepared(options, name == "compiled") for name in times}
    steps: dict[str, Step] = {name: getattr(case, options.task) for name, case in cases.items()}
    batches = cases["eager"].batches
    first, before, started = batches[0], os.times(), time.perf_counter()
    steps["compiled"](first)
    after = os.times()
    used = after.user + after.system - before.user - before.system
    others = after.children_user + after.children_system - before.children_user - before.children_system
    print(
        f"first compiled step: {time.perf_counter() - started:.0f} s; processor time {used:.0f} s in this process and "
        f"{others:.0f} s in the C++ compiler",
        flush=True,
    )
    worst = 0.0
    for batch in islice(cycle(batches), options.steps + 1):
        found = {}
        for name, step in steps.items():
            began = seconds()
            found[name] = step(batch)
            times[name].append(seconds() - began)
        for one, other in zip(found["compiled"], found["eager"], strict=True):
            worst = max(worst, float((one - other).abs().max() / other.abs().max().clamp(min=1e-3)))
    eager, compiled = (median(times[name][1:]) for name in times)
    with Count() as count:
        steps["eager"](first)
    print(
        f"eager {1e3 * eager:.0f} ms, {count.operations} operations; compiled {1e3 * compiled:.0f} ms; "
        f"ratio {eager / compiled:.2f}; largest relative difference {worst:.1e}"
    )


def seconds() -> float:
    """Return the time: of this process on CPUs, on the clock with a GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


if __name__ == "__main__":
    main()
