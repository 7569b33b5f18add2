"""The command `ablate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from gemnet_blocks.cli.arguments import AllowImports
from gemnet_blocks.cli.completion import study_names
from gemnet_blocks.cli.console import announce, console, print_written
from gemnet_blocks.cli.study_runs import (
    ClusterParameters,
    ExecutorChoice,
    ExecutorOption,
    Processes,
    StudyAssignments,
    StudyOutput,
    told_how_to_resume,
)
from gemnet_blocks.errors import SpecError


def ablate(
    study: Annotated[
        Path,
        typer.Argument(
            help="A study: a file, a shipped name such as studies/neighbors, or - for standard input. With --verify: "
            "the folder of a report or of its study.",
            show_default=False,
            autocompletion=study_names,
        ),
    ],
    assignments: StudyAssignments = None,
    output: StudyOutput = None,
    processes: Processes = None,
    executor: ExecutorOption = ExecutorChoice.local,
    cluster: ClusterParameters = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check everything and list the runs without training.")
    ] = False,
    report_only: Annotated[bool, typer.Option("--report-only", help="Report completed runs without training.")] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Verify a report (--verify study/report): compose it again from its results, and do a sample of its "
            "runs again in a temporary folder.",
        ),
    ] = False,
    sample: Annotated[int, typer.Option(min=0, help="With --verify: number of runs that are done again.")] = 2,
    seed: Annotated[
        int | None, typer.Option(min=0, help="With --verify: seed of the sample.", show_default="random")
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(min=0.0, help="With --verify: relative tolerance of runs from other machines or versions."),
    ] = 0.05,
    allow_imports: AllowImports = False,
) -> None:
    """Run an ablation study or a search and report it. If interrupted, run the same command again to resume.

    The exit code is 1 if runs failed, if no trial of a search is done, or if a report that is verified differs from its
    results or its repeated runs.
    """
    if verify:
        if check or report_only or assignments or output is not None:
            raise SpecError("--verify: reads a finished report: remove --check, --report-only, --set and --output")
        _verify(study, sample, seed, tolerance, allow_imports)
        return
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
    with told_how_to_resume():
        if searches:
            run_search(ablation, executor.value, processes, parameters, report_only)
            return
        if not report_only:
            failed = len(ablation.run(executor.value, processes, cluster=parameters).failed())
    print_differences(ablation.results())
    page = ablation.report()
    if failed:
        total = len(ablation.results().runs)
        console.print(Text(f"{failed} of {total} runs failed", "red"), "; the report gives the reasons", sep="")
    print_written(page)
    if failed:
        raise typer.Exit(1)


MOST_SHOWN = 20
"""The number of mismatches that are printed."""


def _verify(path: Path, sample: int, seed: int | None, tolerance: float, allow_imports: bool) -> None:
    """Verify a report and print everything that differs."""
    announce(f"report {path}: composing it again, then repeating {sample} of its runs")
    from gemnet_blocks.ablation.verification import verify

    def tell(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    try:
        found = verify(path, sample, seed, tolerance, allow_imports=allow_imports, tell=tell)
    except KeyboardInterrupt:
        console.print("stopped; nothing was changed")
        raise typer.Exit(130) from None
    for note in found.notes:
        tell(f"note: {note}")
    for one in found.mismatches[:MOST_SHOWN]:
        console.print(Text(str(one), "red"), soft_wrap=True)
    if (rest := len(found.mismatches) - MOST_SHOWN) > 0:
        tell(f"and {rest} more")
    tell(
        "the report is verified" if found.passed else f"{len(found.mismatches)} mismatches: the report is not verified"
    )
    if not found.passed:
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
    from gemnet_blocks.ablation.report.sequential.words import plan_in_words
    from gemnet_blocks.spec.document import shown

    assert isinstance(ablation, Study)
    plan, results = ablation.check(), ablation.results()
    sequential = ablation.document.options.sequential
    most = "" if sequential is None else f"at most {sequential.at_most}"
    table = Table(box=SIMPLE_HEAD)
    for column in ("variant", "differs in", "done"):
        table.add_column(column)
    for one in plan.variants:
        runs = results.runs_of(one.name)
        done = sum(run.status == "done" for run in runs)
        changes = "\n".join(f"{change.path} = {shown(change.value)}" for change in one.differences)
        table.add_row(one.name, changes, f"{done} of {most or len(runs)}")
    console.print(table)
    if sequential is not None:
        console.print(plan_in_words(sequential, len(plan.variants) - 1), highlight=False)
