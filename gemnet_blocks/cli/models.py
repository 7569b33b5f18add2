"""Commands for the model of a spec: `summary`, `predict`, `estimate` and `profile`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gemnet_blocks.cli.arguments import (
    AllowImports,
    Assignments,
    DefaultTag,
    ExecutionAssignments,
    Index,
    Seed,
    SpecPath,
    StructuresPath,
    TaskName,
    TaskOption,
    Weights,
    batch_of,
    build_model,
    check_trace,
    check_writable,
    frames_of,
    load_weights,
    warn_of_frames,
)
from gemnet_blocks.cli.tables import console, predictions, print_costs, print_summary, print_written
from gemnet_blocks.util.ase_io import output_format, write_frames


def summary(
    spec: SpecPath,
    assignments: Assignments = None,
    execution: ExecutionAssignments = None,
    allow_imports: AllowImports = False,
) -> None:
    """Print the layers of a model: their parameters, and the data that they read and write."""
    print_summary(build_model(spec, assignments, execution, seed=0, initial_values=False, allow_imports=allow_imports))


def predict(
    spec: SpecPath,
    structures: StructuresPath,
    assignments: Assignments = None,
    execution: ExecutionAssignments = None,
    weights: Weights = None,
    seed: Seed = 0,
    index: Index = ":",
    default_tag: DefaultTag = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Write the structures with energies and forces to this file, such as predicted.xyz."),
    ] = None,
    allow_imports: AllowImports = False,
) -> None:
    """Predict energies and forces, with counts of edges, triplets and quadruplets and seconds per part."""
    if output is not None:
        check_writable(output)
    frames = frames_of(structures, index, default_tag)
    if output is not None:
        output_format(output, several=len(frames) > 1, results=True)
    model = build_model(spec, assignments, execution, seed, weights is None, allow_imports)
    warn_of_frames(frames, structures, index, model.reads)
    if weights is None:
        console.print(f"initial weights (seed {seed}): energies and forces are meaningless", style="yellow")
    else:
        load_weights(model, weights)
    predicted = predictions(model, frames)
    if output is not None:
        write_frames(output, predicted.frames)
    predicted.print()
    if output is not None:
        print_written(output)


def estimate(
    spec: SpecPath,
    structures: StructuresPath,
    assignments: Assignments = None,
    execution: ExecutionAssignments = None,
    task: TaskOption = TaskName.predict,
    index: Index = ":",
    default_tag: DefaultTag = None,
    allow_imports: AllowImports = False,
) -> None:
    """Estimate operations and memory of each part, without a prediction, for the structures as one batch."""
    batch = batch_of(structures, index, default_tag)
    model = build_model(spec, assignments, execution, seed=0, initial_values=False, allow_imports=allow_imports)
    found = model.estimate(batch, task.value)
    print_costs(found)
    if model.memory_budget is not None:
        within = found.peak_bytes <= model.memory_budget
        then = "intermediate results are " + ("stored" if within else "recomputed instead of stored")
        console.print(f"{'within' if within else 'above'} the memory budget: {then}")


def profile(
    spec: SpecPath,
    structures: StructuresPath,
    assignments: Assignments = None,
    execution: ExecutionAssignments = None,
    task: TaskOption = TaskName.predict,
    index: Index = ":",
    default_tag: DefaultTag = None,
    repeats: Annotated[int, typer.Option(min=1, help="Number of timed predictions, of which the fastest counts.")] = 3,
    plot: Annotated[Path | None, typer.Option(help="Draw seconds and memory as bars to this picture.")] = None,
    trace: Annotated[
        Path | None,
        typer.Option(help="Write all operations of one run to this file, such as trace.json, for ui.perfetto.dev."),
    ] = None,
    allow_imports: AllowImports = False,
) -> None:
    """Measure seconds, operations, waits for the device and memory of each part, for the structures as one batch."""
    from gemnet_blocks.model.profiler import profile as measure
    from gemnet_blocks.plotting.picture import format_of, plot_profile, require_matplotlib

    if plot is not None:
        require_matplotlib()
        format_of(plot)
    if trace is not None:
        check_trace(trace)
    batch = batch_of(structures, index, default_tag)
    model = build_model(spec, assignments, execution, seed=0, allow_imports=allow_imports)
    measured = measure(model, batch, task.value, repeats, trace)
    if plot is not None:
        plot_profile(measured, plot)
    print_costs(measured)
    written = [path for path in (plot, trace) if path is not None]
    if written:
        print_written(*written)
