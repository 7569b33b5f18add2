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
    check_writable,
    frames_of,
    load_weights,
    warn_of_frames,
)
from gemnet_blocks.cli.console import console, print_written


def summary(
    spec: SpecPath,
    assignments: Assignments = None,
    execution: ExecutionAssignments = None,
    allow_imports: AllowImports = False,
) -> None:
    """Print the layers of a model: their parameters, and the data that they read and write."""
    from gemnet_blocks.cli.tables import print_summary

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
    from gemnet_blocks.cli.tables import predictions
    from gemnet_blocks.util.ase_io import output_format, write_frames

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
    from gemnet_blocks.cli.tables import print_costs

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
    allow_imports: AllowImports = False,
) -> None:
    """Measure seconds, operations and memory of each part, for the structures as one batch."""
    from gemnet_blocks.cli.tables import print_costs
    from gemnet_blocks.model.profiler import profile as measure
    from gemnet_blocks.plotting.picture import format_of, plot_profile, require_matplotlib

    if plot is not None:
        require_matplotlib()
        format_of(plot)
    batch = batch_of(structures, index, default_tag)
    measured = measure(
        build_model(spec, assignments, execution, seed=0, allow_imports=allow_imports), batch, task.value, repeats
    )
    if plot is not None:
        plot_profile(measured, plot)
    print_costs(measured)
    if plot is not None:
        print_written(plot)
