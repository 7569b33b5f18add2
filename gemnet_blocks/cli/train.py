"""The command `train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[Path, typer.Argument(help="A training config.", show_default=False)],
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change the config: path=value, such as training.steps=100. Repeatable."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The folder for all results, instead of the config's.", show_default=False)
    ] = None,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--new",
            help="--resume: there must be a checkpoint to go on from. --new: there must be none. "
            "By default a run goes on where its output folder has a checkpoint of the same config.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train a potential. Stopped by Ctrl-C or anything else, the same command goes on where it was."""
    from rich.markup import escape

    from gemnet_blocks.spec.resolve import parse_assignment
    from gemnet_blocks.terminal import console
    from gemnet_blocks.training import Interrupted, load_config
    from gemnet_blocks.training import train as run
    from gemnet_blocks.training.processes import Processes

    first = Processes.of_environment().rank == 0
    try:
        model = run(load_config(config, dict(map(parse_assignment, assignments or []))), output, resume)
    except Interrupted as stopped:
        if first:
            console.print(escape(str(stopped)), soft_wrap=True)
        raise typer.Exit(128 + stopped.signal) from None
    if first:
        console.print(f"written: {model}", soft_wrap=True)
