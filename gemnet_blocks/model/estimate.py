"""Estimate the operations and memory of each part of a model without executing it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.func import functional_call

from gemnet_blocks.model.costs import Estimate, PartCost, Task
from gemnet_blocks.model.gemnet import GemNet, check_structures, outside_inference
from gemnet_blocks.model.ledger import BACKWARD, REST, MemoryLedger, Step, named_numbers, parts, weight_bytes
from gemnet_blocks.model.shape_tracing import CountedTopology, ShapeRecorder
from gemnet_blocks.structures import Structures


def estimate(model: GemNet, structures: Structures, task: Task = "predict") -> Estimate:
    """Estimate the cost of a model for one batch of structures.

    Graphs are built, so that the numbers of edges are exact; all other operations are executed with shapes alone.
    Intermediate results are stored, whatever the memory budget of the model.
    Listed quadruplets are counted, not listed.

    Args:
        model: the model.
        structures: one batch, on the device of the model.
        task: energy, predict or train.

    Raises:
        StructureError: a structure cannot be computed.
        ValueError: the task is unknown.
    """
    check_structures(structures)
    with torch.inference_mode(False):
        return _estimate(model, outside_inference(structures), task)


def _estimate(model: GemNet, structures: Structures, task: Task) -> Estimate:
    ledger = MemoryLedger()
    recorder = ShapeRecorder(ledger, structures.positions.device)
    graphs = CountedTopology(model.backbone.graphs, structures, recorder)
    step = Step(model, task, ledger, graphs)
    symbols = {name: recorder.symbol(value) for name, value in named_numbers(step).items()}
    symbolic = replace(
        structures, positions=recorder.symbol(structures.positions), cells=recorder.symbol(structures.cells)
    )
    with ledger.watching(step.model), recorder:
        functional_call(step, symbols, (symbolic,))
    return Estimate(
        task=task,
        counts=graphs.counts,
        parts=part_costs(ledger, step.model),
        peak_bytes=ledger.peak,
        weight_bytes=weight_bytes(model),
    )


def part_costs(ledger: MemoryLedger, model: GemNet) -> tuple[PartCost, ...]:
    """List the costs of the parts that a ledger has recorded, in the order of computation."""
    held = ledger.at_peak
    costs = (
        PartCost(name, ledger.flops.get(name, 0), ledger.peak_during.get(name, 0), held.get(name, 0))
        for name in (*parts(model), BACKWARD, REST)
    )
    return tuple(cost for cost in costs if cost.peak_bytes or cost.flops)
