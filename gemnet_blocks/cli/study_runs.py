"""Options of the commands that do the runs of studies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from gemnet_blocks.cli.console import console


class ExecutorChoice(str, Enum):
    """Where runs are executed."""

    local = "local"
    here = "here"
    slurm = "slurm"


StudyAssignments = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change the study: path=value, such as seeds=8. Repeatable."),
]
StudyOutput = Annotated[
    Path | None,
    typer.Option(help="The folder of all results, instead of the folder in the study.", show_default=False),
]
Processes = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of simultaneous runs, which share the cores; by default chosen for the machine.",
        show_default=False,
    ),
]
ExecutorOption = Annotated[
    ExecutorChoice,
    typer.Option(help="local: processes on this machine. here: this process. slurm: jobs on a cluster."),
]
ClusterParameters = Annotated[
    list[str] | None,
    typer.Option(help="Slurm option: name=value, such as slurm_partition=gpu. Repeatable."),
]


@contextmanager
def told_how_to_resume() -> Iterator[None]:
    """Exit with a message if the runs inside are interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        console.print("stopped; completed runs are saved: run the same command again to resume")
        raise typer.Exit(130) from None
