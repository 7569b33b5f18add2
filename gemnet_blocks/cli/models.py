"""Commands for the model of a spec: `summary`, `predict`, `estimate` and `profile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gemnet_blocks.cli.arguments import (
    AllowImports,
    Assignments,
    DefaultTag,
    ExecutionAssignments,
    Index,
    Seed,
    SpecPath,
    Split,
    StructuresPath,
    TaskName,
    TaskOption,
    Weights,
    batch_of,
    build_model,
    check_trace,
    check_writable,
    execution_of,
    frames_of,
    is_config,
    load_weights,
    part_of_config,
    warn_of_frames,
)
from gemnet_blocks.cli.completion import spec_names
from gemnet_blocks.cli.console import console, print_written
from gemnet_blocks.errors import SpecError

if TYPE_CHECKING:
    from ase import Atoms

    from gemnet_blocks.model.gemnet import GemNet
    from gemnet_blocks.potential.ensemble import Ensemble
    from gemnet_blocks.potential.potential import Potential


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
    spec: Annotated[
        Path,
        typer.Argument(
            help="A spec file, the name of a shipped spec, or - for standard input; or a trained model: a model file "
            "(.safetensors) or the folder of a training run.",
            show_default=False,
            autocompletion=spec_names,
        ),
    ],
    structures: Annotated[
        Path,
        typer.Argument(
            help="Structures in any format of training data, a pattern such as 'runs/*.xyz', or - for extended XYZ "
            "from standard input; or a training config, of whose data one part is predicted.",
            show_default=False,
        ),
    ],
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
    format: Annotated[
        str | None,
        typer.Option(help="ASE's name of the format of the structures; by default found from name and content."),
    ] = None,
    length: Annotated[str, typer.Option(help="Unit of length of the structures: Å, nm or Bohr.")] = "Å",
    split: Annotated[
        Split | None, typer.Option(help="The part of a training config's data; by default the test part.")
    ] = None,
    allow_imports: AllowImports = False,
) -> None:
    """Predict energies and forces, with counts of edges, triplets and quadruplets and seconds per part."""
    from gemnet_blocks.cli.tables import predictions
    from gemnet_blocks.util.ase_io import output_format, write_frames

    if output is not None:
        check_writable(output)
    _check_structure_options(structures, split, format, length)
    # structures of a config are read by the options of the model, and others before the model is built
    frames = None if is_config(structures) else frames_of(structures, index, default_tag, format, length)
    if output is not None:
        output_format(output, several=frames is None or len(frames) > 1, results=True)
    model, core = _predictor(spec, assignments, execution, weights, seed, allow_imports)
    if frames is None:
        frames = _frames_of_config(structures, split or Split.test, core, index, default_tag, allow_imports)
    warn_of_frames(frames, structures, index, core.reads)
    predicted = predictions(core, frames, model)
    if output is not None:
        write_frames(output, predicted.frames)
    predicted.print()
    if output is not None:
        print_written(output)


def _check_structure_options(structures: Path, split: Split | None, format: str | None, length: str) -> None:
    """Refuse options that do not fit the kind of the argument for structures."""
    if is_config(structures):
        if format is not None or length != "Å":
            raise SpecError(f"{structures}: --format and --length are for structures: `data` of the config has both")
    elif split is not None:
        raise SpecError(f"{structures}: --split is only for training configs: choose structures with --index")


def _predictor(
    spec: Path,
    assignments: list[str] | None,
    execution: list[str] | None,
    weights: Path | None,
    seed: int,
    allow_imports: bool,
) -> tuple[GemNet | Potential | Ensemble, GemNet]:
    """Build the model of a spec, or read a trained potential; also return the model of the potential.

    Raises:
        SpecError: an option does not apply to trained models.
    """
    from gemnet_blocks.util.file_kinds import models_of_run

    if spec.suffix != ".safetensors" and not models_of_run(spec):
        model = build_model(spec, assignments, execution, seed, weights is None, allow_imports)
        if weights is None:
            console.print(f"initial weights (seed {seed}): energies and forces are meaningless", style="yellow")
        else:
            load_weights(model, weights)
        return model, model
    from gemnet_blocks.potential.ensemble_file import load_potential_or_ensemble

    if assignments or weights is not None:
        option = "--set" if assignments else "--weights"
        raise SpecError(f"{spec}: {option} is only for specs: a trained model has its own spec and weights")
    potential = load_potential_or_ensemble(spec, execution_of(execution), allow_imports=allow_imports).eval()
    console.print(f"energies: {potential.meaning}, in eV")
    return potential, potential.model


def _frames_of_config(
    path: Path, split: Split, model: GemNet, index: str, default_tag: int | None, allow_imports: bool
) -> list[Atoms]:
    """The structures of one part of the data of a training config."""
    from gemnet_blocks.data.opening import chosen_frames
    from gemnet_blocks.structures import to_ase
    from gemnet_blocks.util.ase_io import with_tag

    dataset, _ = part_of_config(path, split, allow_imports, model)
    chosen = chosen_frames(range(len(dataset)), index, path)
    frames = [atoms for number in chosen for atoms in to_ase(dataset[number].structures)]
    return frames if default_tag is None else [with_tag(frame, default_tag) for frame in frames]


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
    trace: Annotated[
        Path | None,
        typer.Option(help="Write all operations of one run to this file, such as trace.json, for ui.perfetto.dev."),
    ] = None,
    allow_imports: AllowImports = False,
) -> None:
    """Measure seconds, operations, waits for the device and memory of each part, for the structures as one batch."""
    from gemnet_blocks.cli.tables import print_costs
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
