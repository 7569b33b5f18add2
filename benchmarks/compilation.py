"""Compare compiled models with eager ones: compilation time, times of steps in turns, and numbers of operations.

python benchmarks/compilation.py [--size small] [--forces direct] [--task training] [--blocks 4] [--repeats 10]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from cases import FORCES, ROOT, SIZES, slab
from torch.utils._python_dispatch import TorchDispatchMode

from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.spec import Execution, build, load_spec
from gemnet_blocks.structures import Structures


class Count(TorchDispatchMode):
    """Counts operations other than views, which run no kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += not func.is_view
        return func(*args, **(kwargs or {}))


def main() -> None:
    """Print one line for each model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=list(SIZES), default="small")
    parser.add_argument("--forces", choices=list(FORCES), default="direct")
    parser.add_argument("--task", choices=["forward", "training"], default="training")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    changes = {**SIZES[options.size], "heads.forces": FORCES[options.forces], "blocks.count": options.blocks}
    spec = load_spec(ROOT / "paper_configs/gemnet-oc.yaml", changes)
    models = {
        name: build(spec, seed=0, execution=Execution(compile=name == "compiled")) for name in ("eager", "compiled")
    }
    structures = Structures.from_ase([slab(3)] * 4, dtype=torch.float32)
    step = forward if options.task == "forward" else training
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(options.repeats + 1):
        for name, model in models.items():
            times[name].append(seconds(lambda model=model: step(model, structures)))
    with Count() as eager:
        step(models["eager"], structures)
    for name, found in times.items():
        print(f"{name}: first step {found[0]:.1f} s, then {1e3 * median(found[1:]):.0f} ms")
    print(
        f"eager operations: {eager.operations}; ratio {median(times['eager'][1:]) / median(times['compiled'][1:]):.2f}"
    )


def forward(model: GemNet, structures: Structures) -> None:
    """Predict."""
    with torch.no_grad():
        model(structures)


def training(model: GemNet, structures: Structures) -> None:
    """Compute the gradient of a loss."""
    model.zero_grad()
    prediction = model(structures)
    (prediction.energy.sum() + prediction.forces.square().sum()).backward()


def seconds(step: Callable[[], None]) -> float:
    """Measure the time of a step."""
    started = time.perf_counter()
    step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
