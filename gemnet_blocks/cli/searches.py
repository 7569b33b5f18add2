"""Searches, which the command `ablate` runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from gemnet_blocks.ablation.search import BEST, search
from gemnet_blocks.ablation.search_results import SearchResults, SearchTrial
from gemnet_blocks.ablation.search_trials import space_of
from gemnet_blocks.ablation.study import ExecutorName, Study
from gemnet_blocks.cli.console import console, print_written


def list_search(study: Study) -> None:
    """Check a search without training, and print its fields with their values."""
    study.check()
    table = Table("field", "values", box=SIMPLE_HEAD)
    for path, one in space_of(study.document).items():
        table.add_row(path, one.in_words())
    console.print(table)


def run_search(
    study: Study, executor: ExecutorName, processes: int | None, cluster: Mapping[str, Any], report_only: bool
) -> None:
    """Run a search, unless it is only reported, and write its report."""
    results = None
    if not report_only:
        results = search(study, executor=executor, processes=processes, cluster=cluster, tell=_tell)
        _print_best(results)
    print_written(study.report())
    if results is None:
        return
    if not results.best:
        console.print("no trial is done; the report gives the reasons", style="red")
        raise typer.Exit(1)
    print_written(study.folder / BEST)


def _tell(trial: SearchTrial) -> None:
    values = ", ".join(f"{path} = {_text(value)}" for path, value in trial.parameters.items())
    found = ", ".join(f"{value:.4g}" for value in trial.values)
    ending = f" ({found or trial.reason})" if found or trial.reason else ""
    console.print(f"trial {trial.number} {trial.outcome}{ending}: {values}", soft_wrap=True, highlight=False)


def _print_best(results: SearchResults) -> None:
    table = Table("trial", *results.space, *results.objectives, box=SIMPLE_HEAD)
    for one in results.best:
        parameters = (_text(one.parameters[path]) for path in results.space)
        table.add_row(str(one.number), *parameters, *(f"{value:.4g}" for value in one.values))
    console.print(table)


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
