"""The command line: `gemnet-blocks summary`, `predict`, `estimate`, `profile` and `demo`."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from gemnet_blocks.errors import SpecError, StateError, StructureError
from gemnet_blocks.frames import read_frames, with_tag
from gemnet_blocks.terminal import console, print_costs, print_predictions, print_summary

app = typer.Typer(
    help="GemNet-OC as independent layers, put together by a declarative spec.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

SpecPath = Annotated[Path, typer.Argument(help="A spec file.", show_default=False)]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change the spec: path=value, such as interactions.quadruplet=null. Repeatable."),
]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the initial weights.")]
Weights = Annotated[
    Path | None,
    typer.Option(help="Weights of a published model (.pt with a state dictionary, read without running code)."),
]
DefaultTag = Annotated[
    int | None,
    typer.Option(min=0, max=2, help="Tag of atoms that have none: 0 below the surface, 1 surface, 2 adsorbate."),
]
StructuresPath = Annotated[Path, typer.Argument(help="Structures in any file that ASE reads.", show_default=False)]
Index = Annotated[str, typer.Option(help="Which frames of the file, as ASE writes slices.")]


class TaskName(str, Enum):
    """What a model is used for."""

    energy = "energy"
    predict = "predict"
    train = "train"


class AngularName(str, Enum):
    """How sums over triplets and quadruplets are computed."""

    auto = "auto"
    factorised = "factorised"
    explicit = "explicit"


TaskOption = Annotated[
    TaskName,
    typer.Option(
        "--task",
        help="energy: energies alone; predict: energies and forces; train: and the gradient of a loss to the weights.",
    ),
]
Angular = Annotated[AngularName, typer.Option("--angular", help="How sums over triplets and quadruplets are computed.")]


def main() -> None:
    """Run the command line; errors that a user can mend are one message instead of a traceback."""
    try:
        app()
    except (SpecError, StateError, StructureError, ImportError) as error:
        Console(stderr=True).print(f"[red]error:[/red] {_escape(str(error))}", soft_wrap=True)
        sys.exit(1)


@app.command()
def summary(spec: SpecPath, assignments: Assignments = None) -> None:
    """Print the model of a spec as a table: parameters of each layer, what it reads and writes."""
    print_summary(_build(spec, assignments, seed=0))


@app.command()
def predict(
    spec: SpecPath,
    structures: StructuresPath,
    assignments: Assignments = None,
    weights: Weights = None,
    seed: Seed = 0,
    index: Index = ":",
    default_tag: DefaultTag = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the structures with energies and forces here (extxyz).")
    ] = None,
) -> None:
    """Predict energies and forces, with counts of edges, triplets and quadruplets and seconds per part."""
    if output is not None:
        _check_writable(output)
    frames = _frames(structures, index, default_tag)
    model = _build(spec, assignments, seed)
    if weights is None:
        console.print(f"[yellow]initial weights (seed {seed}): energies and forces mean nothing[/yellow]")
    else:
        _load_weights(model, weights)
    predicted = print_predictions(model, frames)
    if output is not None:
        from ase.io import write

        write(output, predicted, format="extxyz")
        console.print(f"written: {output}")


@app.command()
def estimate(
    spec: SpecPath,
    structures: StructuresPath,
    assignments: Assignments = None,
    task: TaskOption = TaskName.predict,
    angular: Angular = AngularName.auto,
    index: Index = ":",
    default_tag: DefaultTag = None,
) -> None:
    """Find operations and memory of each part without computing them, for the structures as one batch."""
    batch = _batch(structures, index, default_tag)
    print_costs(_build(spec, assignments, seed=0, angular=angular).estimate(batch, task.value))


@app.command()
def profile(
    spec: SpecPath,
    structures: StructuresPath,
    assignments: Assignments = None,
    task: TaskOption = TaskName.predict,
    angular: Angular = AngularName.auto,
    index: Index = ":",
    default_tag: DefaultTag = None,
    repeats: Annotated[int, typer.Option(min=1, help="How many runs are timed; the fastest counts.")] = 3,
    plot: Annotated[Path | None, typer.Option(help="Draw seconds and memory as bars into this picture.")] = None,
) -> None:
    """Measure seconds, operations and memory of each part, for the structures as one batch."""
    from gemnet_blocks.profile_plot import plot_profile, require_matplotlib
    from gemnet_blocks.timing import profile as measure

    if plot is not None:
        require_matplotlib()
        _check_writable(plot)
    batch = _batch(structures, index, default_tag)
    measured = measure(_build(spec, assignments, seed=0, angular=angular), batch, task.value, repeats)
    print_costs(measured)
    if plot is not None:
        plot_profile(measured, plot)
        console.print(f"written: {plot}")


@app.command()
def demo(
    structures: Annotated[
        Path | None, typer.Option(help="Structures in any file that ASE reads, instead of a Pt(111) + methanol slab.")
    ] = None,
    specs: Annotated[
        Path | None, typer.Option(help="The folder of the published specs; by default the one that comes along.")
    ] = None,
) -> None:
    """Build GemNet-OC and a variant without quadruplets from spec files, and run both."""
    from gemnet_blocks.demo import run

    run(structures, specs)


def _build(spec: Path, assignments: list[str] | None, seed: int, angular: AngularName = AngularName.auto) -> Any:
    from gemnet_blocks.spec import build, load_spec
    from gemnet_blocks.spec.build import Execution
    from gemnet_blocks.spec.resolve import parse_assignment

    loaded = load_spec(spec, dict(map(parse_assignment, assignments or [])))
    return build(loaded, seed=seed, execution=Execution(angular=angular.value)).eval()


def _frames(structures: Path, index: str, default_tag: int | None) -> list[Any]:
    frames = read_frames(structures, index)
    return frames if default_tag is None else [with_tag(frame, default_tag) for frame in frames]


def _batch(structures: Path, index: str, default_tag: int | None) -> Any:
    from gemnet_blocks.structures import Structures

    return Structures.from_ase(_frames(structures, index, default_tag))


def _check_writable(path: Path) -> None:
    if path.is_dir() or not path.parent.is_dir():
        raise StructureError(f"{path}: cannot be written: give a file in a folder that exists")


def _load_weights(model: Any, path: Path) -> None:
    import torch

    from gemnet_blocks.checkpoints import load_fairchem_state

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader raises anything
        raise StateError(f"{path}: cannot be read safely as weights: {type(error).__name__}: {error}") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise StateError(f"{path}: holds no dictionary of weights by name")
    console.print(f"weights: {path}: {load_fairchem_state(model, state)}")


def _escape(text: str) -> str:
    return text.replace("[", r"\[")


if __name__ == "__main__":
    main()
