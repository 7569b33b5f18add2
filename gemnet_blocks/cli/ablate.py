"""The command `ablate`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from gemnet_blocks.cli.arguments import AllowImports
from gemnet_blocks.cli.completion import study_names
from gemnet_blocks.cli.console import announce, console, print_written


class ExecutorChoice(str, Enum):
    """Where runs are executed."""

    local = "local"
    here = "here"
    slurm = "slurm"


def ablate(
    study: Annotated[
        Path,
        typer.Argument(
            help="A study: a file, a shipped name such as studies/neighbors, or - for standard input.",
            show_default=False,
            autocompletion=study_names,
        ),
    ],
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change the study: path=value, such as seeds=8. Repeatable."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="The folder of all results, instead of the folder in the file.", show_default=False),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of simultaneous runs, which share the cores; by default chosen for the machine.",
            show_default=False,
        ),
    ] = None,
    executor: Annotated[
        ExecutorChoice,
        typer.Option(help="local: processes on this machine. here: this process. slurm: jobs on a cluster."),
    ] = ExecutorChoice.local,
    cluster: Annotated[
        list[str] | None,
        typer.Option(help="Slurm option: name=value, such as slurm_partition=gpu. Repeatable."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check everything and list the runs without training.")
    ] = False,
    report_only: Annotated[bool, typer.Option("--report-only", help="Report completed runs without training.")] = False,
    allow_imports: AllowImports = False,
) -> None:
    """Run an ablation study or a search and report it. If interrupted, run the same command again to resume.

    The exit code is 1 if runs failed; in a search, if no trial is done.
    """
    announce(f"study {study}: {_doing(check, report_only)}")
    from gemnet_blocks.ablation import Study
    from gemnet_blocks.cli.searches import list_search, run_search
    from gemnet_blocks.cli.tables import print_differences
    from gemnet_blocks.plotting.picture import require_matplotlib
    from gemnet_blocks.spec.resolve import parse_assignment

    changes = dict(map(parse_assignment, assignments or []))
    ablation = Study.from_file(study, changes, folder=output, allow_imports=allow_imports)
    searches = ablation.document.options.search is not None
    if check:
        (list_search if searches else _list)(ablation)
        return
    require_matplotlib()  # before anything is trained
    failed = 0
    parameters = dict(map(parse_assignment, cluster or []))
    try:
        if searches:
            run_search(ablation, executor.value, processes, parameters, report_only)
            return
        if not report_only:
            failed = len(ablation.run(executor.value, processes, cluster=parameters).failed())
    except KeyboardInterrupt:
        console.print("stopped; completed runs are saved: run the same command again to resume")
        raise typer.Exit(130) from None
    print_differences(ablation.results())
    page = ablation.report()
    if failed:
        total = len(ablation.results().runs)
        console.print(Text(f"{failed} of {total} runs failed", "red"), "; the report gives the reasons", sep="")
    print_written(page)
    if failed:
        raise typer.Exit(1)


def _doing(check: bool, report_only: bool) -> str:
    if check:
        return "checking all variants without training"
    return "reporting completed runs" if report_only else "checking all variants, then training them"


def _list(ablation: object) -> None:
    """Print the variants of a study and their completed runs."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from gemnet_blocks.ablation import Study
    from gemnet_blocks.spec.document import shown

    assert isinstance(ablation, Study)
    plan, results = ablation.check(), ablation.results()
    table = Table(box=SIMPLE_HEAD)
    for column in ("variant", "differs in", "done"):
        table.add_column(column)
    for one in plan.variants:
        runs = results.runs_of(one.name)
        done = sum(run.status == "done" for run in runs)
        changes = "\n".join(f"{change.path} = {shown(change.value)}" for change in one.differences)
        table.add_row(one.name, changes, f"{done} of {len(runs)}")
    console.print(table)
