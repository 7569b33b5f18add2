"""The command `train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from gemnet_blocks.cli.arguments import AllowImports
from gemnet_blocks.cli.completion import config_names
from gemnet_blocks.cli.console import announce, console, print_written


def train(
    config: Annotated[
        Path,
        typer.Argument(
            help="A training config: a file, a shipped name such as recipes/molecule, or - for standard input.",
            show_default=False,
            autocompletion=config_names,
        ),
    ],
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change the config: path=value, such as training.steps=100. Repeatable."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="The folder of all results, instead of the folder in the config.", show_default=False),
    ] = None,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--new",
            help="--resume: a checkpoint must exist. --new: no checkpoint may exist. By default a run resumes if its "
            "output folder has a checkpoint of the same config.",
            show_default=False,
        ),
    ] = None,
    allow_imports: AllowImports = False,
) -> None:
    """Train a potential. If interrupted, run the same command again to resume."""
    announce(f"training {config}: reading the data, then fitting references and scale factors")
    from gemnet_blocks.spec.resolve import parse_assignment
    from gemnet_blocks.training import Interrupted, load_config
    from gemnet_blocks.training import train as run
    from gemnet_blocks.training.distributed import Processes
    from gemnet_blocks.util.allocator import return_freed_memory

    first = Processes.of_environment().rank == 0
    try:
        changes = dict(map(parse_assignment, assignments or []))
        loaded = load_config(config, changes, allow_imports=allow_imports)
        if loaded.training.execution.memory_budget is not None:
            return_freed_memory()
        model = run(loaded, output, resume)
    except Interrupted as stopped:
        if first:
            console.print(str(stopped), soft_wrap=True)
        raise typer.Exit(128 + stopped.signal) from None
    if first:
        console.print(_closing_table(model))
        print_written(model)


def _closing_table(model: Path) -> Table:
    """The validation errors of the best model, and duration and files of the run."""
    from gemnet_blocks.potential.model_file import read_model_file
    from gemnet_blocks.training.logs import with_units
    from gemnet_blocks.util.progress_lines import clock

    record = read_model_file(model.with_name("last.safetensors")).documents["record"]  # of the whole run
    table = Table("result", "value", box=SIMPLE_HEAD, title=f"{model.stem} model", title_justify="left")
    best = record["best_validation"] or {"step": record["step"]}
    table.add_row("step", f"{best['step']:,} of {record['step']:,}")
    for name, value in with_units(best).items():
        table.add_row(f"validation {name}", value)
    table.add_row("time", clock(record["seconds"]))
    table.add_row("folder", str(model.parent))
    table.add_row("files", ", ".join(sorted(path.name for path in model.parent.iterdir())))
    return table
