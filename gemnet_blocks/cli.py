"""The command line: `gemnet-blocks summary`, `predict` and `demo`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.console import Console
from rich.table import Table

from gemnet_blocks.errors import SpecError, StateError, StructureError

app = typer.Typer(
    help="GemNet-OC as independent layers, put together by a declarative spec.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = Console()
if not console.is_terminal:
    console = Console(width=150)  # files and pipes have no width of their own

SpecPath = Annotated[Path, typer.Argument(help="A spec file.", show_default=False)]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change the spec: path=value, such as interactions.quadruplet=null. Repeatable."),
]
Seed = Annotated[int, typer.Option(help="Seed of the initial weights.")]
Weights = Annotated[
    Path | None,
    typer.Option(help="Weights of a published model (.pt with a state dictionary, read without running code)."),
]
DefaultTag = Annotated[
    int | None, typer.Option(help="Tag of atoms that have none: 0 below the surface, 1 surface, 2 adsorbate.")
]


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
    structures: Annotated[Path, typer.Argument(help="Structures in any file that ASE reads.", show_default=False)],
    assignments: Assignments = None,
    weights: Weights = None,
    seed: Seed = 0,
    index: Annotated[str, typer.Option(help="Which frames of the file, as ASE writes slices.")] = ":",
    default_tag: DefaultTag = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the structures with energies and forces here (extxyz).")
    ] = None,
) -> None:
    """Predict energies and forces, with counts of edges, triplets and quadruplets and seconds per part."""
    frames = read_frames(structures, index)
    if default_tag is not None:
        frames = [with_tag(frame, default_tag) for frame in frames]
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
def demo(
    structures: Annotated[
        Path | None, typer.Option(help="Structures in any file that ASE reads, instead of a Pt(111) + methanol slab.")
    ] = None,
    specs: Annotated[Path, typer.Option(help="The folder of the published specs.")] = Path("paper_configs"),
) -> None:
    """Build GemNet-OC and a variant without quadruplets from spec files, and run both."""
    from gemnet_blocks.demo import run

    run(structures, specs)


def print_summary(model: Any) -> None:
    """Print the layers of a model."""
    from gemnet_blocks.summary import layers

    table = Table(box=SIMPLE_HEAD, header_style="bold")
    for column, right in (
        ("part", False),
        ("layer", False),
        ("kind", False),
        ("×", True),
        ("parameters", True),
        ("reads", False),
        ("writes", False),
    ):
        table.add_column(column, justify="right" if right else "left", no_wrap=right)
    part = None
    rows = layers(model)
    for row in rows:
        if part is not None and row.part != part:
            table.add_section()
        shown = row.part if row.part != part else ""
        part = row.part
        parameters = f"{row.parameters:,}" if row.parameters else ""
        table.add_row(shown, row.name, row.kind, str(row.count), parameters, row.reads, row.writes)
    table.add_section()
    table.add_row("total", "", "", "", f"{sum(row.parameters for row in rows):,}", "", "")
    console.print(table)


def print_predictions(model: Any, frames: list[Any]) -> list[Any]:
    """Predict frames one after another, print the results, and return frames that carry them."""
    from ase.calculators.singlepoint import SinglePointCalculator

    from gemnet_blocks.structures import Structures
    from gemnet_blocks.timing import timed_prediction

    results = Table(box=SIMPLE_HEAD, header_style="bold")
    for column in ("structure", "formula", "atoms", "energy", "mean |force|", "max |force|"):
        results.add_column(column, justify="left" if column == "formula" else "right")
    seconds: dict[str, float] = {}
    counts: dict[str, list[int]] = {}
    predicted = []
    for number, frame in enumerate(frames):
        timed = timed_prediction(model, Structures.from_ase(frame))
        for part, spent in timed.seconds.items():
            seconds[part] = seconds.get(part, 0.0) + spent
        for name, count in timed.counts.items():
            counts.setdefault(name, []).append(count)
        energy, forces = float(timed.prediction.energy[0]), timed.prediction.forces
        norms = ["–", "–"]
        if forces is not None and len(frame):
            norm = forces.norm(dim=-1)
            norms = [f"{float(norm.mean()):.4f}", f"{float(norm.max()):.4f}"]
        results.add_row(str(number), frame.get_chemical_formula(), str(len(frame)), f"{energy:.6f}", *norms)
        frame = frame.copy()
        values = {} if forces is None else {"forces": forces.double().cpu().numpy()}
        frame.calc = SinglePointCalculator(frame, energy=energy, **values)
        predicted.append(frame)
    console.print(results)
    total = {**seconds, "total": sum(seconds.values())}
    count_table = _two_columns("per structure", {name: _range(values) for name, values in counts.items()})
    time_table = _two_columns("seconds", {part: f"{spent:.3f}" for part, spent in total.items()})
    console.print(Columns([count_table, time_table], padding=(0, 4)))
    return predicted


def read_frames(path: Path, index: str = ":") -> list[Any]:
    """Structures from a file that ASE reads.

    Raises:
        StructureError: the file cannot be read or holds no structure.
    """
    from ase.io import read

    if not path.is_file():
        raise StructureError(f"{path}: there is no such file")
    try:
        frames = read(path, index=index)
    except Exception as error:  # ASE's readers raise anything
        raise StructureError(f"{path}: ASE cannot read it: {type(error).__name__}: {error}") from error
    frames = frames if isinstance(frames, list) else [frames]
    if not frames:
        raise StructureError(f"{path}: there is no structure at index {index}")
    return frames


def with_tag(frame: Any, tag: int) -> Any:
    """A copy in which atoms without tags have this one."""
    if frame.has("tags"):
        return frame
    frame = frame.copy()
    frame.set_tags([tag] * len(frame))
    return frame


def _build(spec: Path, assignments: list[str] | None, seed: int) -> Any:
    from gemnet_blocks.spec import build, load_spec
    from gemnet_blocks.spec.resolve import parse_assignment

    return build(load_spec(spec, dict(map(parse_assignment, assignments or []))), seed=seed).eval()


def _load_weights(model: Any, path: Path) -> None:
    import pickle

    import torch

    from gemnet_blocks.checkpoints import load_fairchem_state

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise StateError(f"{path}: cannot be read safely as weights: {error}") from error
    report = load_fairchem_state(model, state.get("state_dict", state))
    console.print(f"weights: {path}: {report}")


def _two_columns(label: str, values: dict[str, str]) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold")
    table.add_column("")
    table.add_column(label, justify="right")
    for name, value in values.items():
        table.add_row(name, value)
    return table


def _range(values: list[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _escape(text: str) -> str:
    return text.replace("[", r"\[")


if __name__ == "__main__":
    main()
