"""The command `bisect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemnet_blocks.cli.arguments import AllowImports
from gemnet_blocks.cli.completion import spec_names, study_names
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

if TYPE_CHECKING:
    from gemnet_blocks.ablation.bisection import Bisection, Trial


def bisect(
    base: Annotated[
        Path,
        typer.Argument(help="A spec: a file or a shipped name.", show_default=False, autocompletion=spec_names),
    ],
    other: Annotated[
        Path,
        typer.Argument(
            help="The spec whose error differs: a file or a shipped name.",
            show_default=False,
            autocompletion=spec_names,
        ),
    ],
    study: Annotated[
        Path,
        typer.Option(
            help="A study with the data, the training, the budget and at least 6 seeds; its base and variants are not "
            "used.",
            show_default=False,
            autocompletion=study_names,
        ),
    ],
    assignments: StudyAssignments = None,
    share: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="The share of the difference that has to be explained.")
    ] = 0.5,
    output: StudyOutput = None,
    processes: Processes = None,
    executor: ExecutorOption = ExecutorChoice.local,
    cluster: ClusterParameters = None,
    allow_imports: AllowImports = False,
) -> None:
    """Find the smallest set of changes between two specs that explains the difference of their errors.

    If interrupted, run the same command again: completed runs are not repeated. The exit code is 1 if the errors do not
    differ.
    """
    announce(f"bisecting the changes from {base} to {other}")
    from gemnet_blocks.ablation.bisection import RESULT
    from gemnet_blocks.ablation.bisection import bisect as run
    from gemnet_blocks.ablation.study import Study
    from gemnet_blocks.spec.resolve import load_spec, parse_assignment

    specs = [load_spec(path, allow_imports=allow_imports) for path in (base, other)]
    changes = dict(map(parse_assignment, assignments or []))
    settings = Study.of_architecture(specs[0], study, changes, folder=output)
    parameters = dict(map(parse_assignment, cluster or []))
    chosen: dict[str, Any] = {"executor": executor.value, "processes": processes, "cluster": parameters}
    with told_how_to_resume():
        found = run(settings, specs[1], share=share, tell=_tell, **chosen)
    _print(found)
    print_written(settings.folder / RESULT)
    if found.smallest is None:
        raise typer.Exit(1)


def _tell(trial: Trial) -> None:
    share = "" if trial.share is None else f" ({trial.share:.0%} of the difference, p = {trial.p_value:.2g})"
    console.print(f"{trial.outcome}{share}: {', '.join(trial.changes)}", highlight=False)


def _print(found: Bisection) -> None:
    from gemnet_blocks.spec.document import shown

    difference = f"the difference in {found.metric} is {found.difference:+.4g} (p = {found.p_value:.2g})"
    if found.smallest is None:
        console.print(f"{difference}: the seeds do not show that the two specs differ", style="yellow", highlight=False)
        return
    count = f"{len(found.smallest)} of {len(found.changes)} changes"
    console.print(f"{difference}; the smallest set that explains it has {count}:", highlight=False)
    for path in found.smallest:
        console.print(f"  {path}: {shown(found.changes[path])}", highlight=False)
