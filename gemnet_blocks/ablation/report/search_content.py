"""The report of a search, derived from its results alone: equal results give equal reports."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from gemnet_blocks.ablation.report.content import HTML, MARKDOWN, figure_files, write_files
from gemnet_blocks.ablation.report.csv_files import safe, to_csv
from gemnet_blocks.ablation.report.formatting import NONE, clean, number, plain, quantity
from gemnet_blocks.ablation.report.page import (
    Block,
    Bullets,
    Facts,
    Folded,
    Page,
    Paragraph,
    Picture,
    Section,
    Table,
    to_html,
    to_markdown,
)
from gemnet_blocks.ablation.report.search_figures import (
    axis_of,
    draw_front,
    draw_history,
    draw_importances,
    draw_slices,
    front_data,
    history_data,
    importances_data,
    slices_data,
)
from gemnet_blocks.ablation.search_results import Outcome, SearchResults, SearchTrial


def write_search_report(results: SearchResults, folder: str | os.PathLike[str]) -> Path:
    """Write the report of a search: one HTML page, Markdown with figures, and CSV files.

    Args:
        results: results of the search, complete or not.
        folder: the destination, created if it does not exist.

    Returns:
        The path of the HTML page, which is self-contained.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the folder cannot be written.
    """
    write_files(search_files(results), Path(folder))
    return Path(folder) / HTML


def search_files(results: SearchResults) -> Mapping[str, str]:
    """Compose the text of all files of the report, by name, with the HTML page last.

    Raises:
        ImportError: matplotlib is not installed.
    """
    report = search_page(results)
    return {
        **figure_files(picture for section in report.sections for picture in section.pictures),
        "trials.csv": trials_csv(results),
        "validations.csv": validations_csv(results),
        MARKDOWN: to_markdown(report),
        HTML: to_html(report),
    }


def search_page(results: SearchResults) -> Page:
    """Compose the report of a search.

    Raises:
        ImportError: matplotlib is not installed.
    """
    sections = (
        Section("Result", _result(results), question="Which values are best?"),
        Section("History", _history(results), question="Would more trials help?"),
        Section("Fields", _fields(results), question="Which fields matter, and which values are good?"),
        Section("Trials", (_trials_table(results),)),
        Section("Trials without a result", _without_result(results)),
        Section("How to read this", (_caveats(results),)),
        Section("Settings", (_settings(results),), folded=True),
    )
    return Page(clean(results.title) or "Search", sections)


def trials_csv(results: SearchResults) -> str:
    """Return CSV with one row for each trial: outcome, values of the fields, objectives, test errors, costs, reason."""
    paths, trials = list(results.space), results.trials
    metrics = sorted({name for one in trials for name in one.metrics})
    costs = sorted({name for one in trials for name in one.cost})
    headings = ["trial", "outcome", *map(safe, paths), *(f"objective_{name}" for name in results.objectives)]
    rows = [
        [
            *(one.number, one.outcome, *(_plain(one.parameters.get(path)) for path in paths)),
            *(one.values or [None] * len(results.objectives)),
            *(one.metrics.get(name) for name in metrics),
            *(one.cost.get(name) for name in costs),
            safe(clean(one.reason, 400)),
        ]
        for one in trials
    ]
    return to_csv([*headings, *metrics, *costs, "reason"], rows)


def validations_csv(results: SearchResults) -> str:
    """Return CSV with the first objective at each validation of each trial, if trials may be pruned."""
    rows = [[one.number, step, value] for one in results.trials for step, value in enumerate(one.validations, start=1)]
    return to_csv(["trial", "validation", results.objectives[0]], rows)


def _result(results: SearchResults) -> tuple[Block, ...]:
    counts = Counter(one.outcome for one in results.trials)
    facts = [
        ("minimized", "; ".join(axis_of(results, index).heading for index in range(len(results.objectives)))),
        ("trials", f"{len(results.trials)} of {results.planned}: {_counts(counts)}"),
        ("sampler", results.sampler),
        ("early stopping", results.pruning),
        ("trials at once", f"{results.parallel}; each knows the results of those before"),
        ("seeds", ", ".join(map(str, results.seeds))),
        ("budget", clean(results.budget, 400)),
        ("data", clean("; ".join(results.data.splitlines()), 800)),
    ]
    shown = Facts(tuple((name, value) for name, value in facts if value))
    if not results.best:
        return (Paragraph("No trial is done."), shown)
    svg = draw_front(results)
    caption = (
        "The trials that are done. Filled points on the line form the Pareto front: no other trial is at least as good "
        "in both and better in one. Their numbers are those of the tables."
    )
    picture = () if svg is None else (Picture("pareto", caption, svg, front_data(results)),)
    return (_best_table(results), *picture, shown)


def _counts(counts: Mapping[Outcome, int]) -> str:
    order: tuple[Outcome, ...] = ("done", "pruned", "invalid", "failed")
    return ", ".join(f"{counts[one]} {one}" for one in order if counts.get(one))


def _best_table(results: SearchResults) -> Table:
    first = next((one for one in results.of("done") if one.number == 0), None)
    best = results.best
    columns = [*best, *([first] if first is not None and first not in best else [])]
    named = {trial.number: f"trial {trial.number}" for trial in columns}
    rows = [(path, *(_shown(one.parameters.get(path)) for one in columns)) for path in results.space]
    for index in range(len(results.objectives)):
        axis = axis_of(results, index)
        rows.append((axis.heading, *(axis.show(one.values[index]) for one in columns)))
    tested = [name for name in best[0].metrics if all(name in one.metrics for one in columns)]
    rows += [
        (f"evaluated {quantity(name).heading}", *(quantity(name).show(one.metrics[name]) for one in columns))
        for name in tested
    ]
    caption = "The best trial" if len(results.objectives) == 1 else "The Pareto front"
    if first is not None and first not in best:
        caption += ", and trial 0 for comparison"
    return Table(caption, ("", *named.values()), tuple(rows), words=1)


def _history(results: SearchResults) -> tuple[Block, ...]:
    svg = draw_history(results)
    if svg is None:
        return (Paragraph("No trial is done."),)
    crosses = " Crosses: trials that were stopped early, at their last validation." if results.of("pruned") else ""
    caption = f"The trials in order. Points: trials; line: the lowest so far.{crosses}"
    return (Picture("history", caption, svg, history_data(results)),)


def _fields(results: SearchResults) -> tuple[Block, ...]:
    blocks: list[Block] = []
    if (bars := draw_importances(results)) is not None:
        caption = (
            f"Importance of each field for a good {axis_of(results).label} among the trials that are done, as "
            "PED-ANOVA estimates it (Watanabe, Bansal and Hutter, IJCAI 2023); the sum is 100 %."
        )
        blocks.append(Picture("importances", caption, bars, importances_data(results)))
    if (slices := draw_slices(results)) is not None:
        caption = "Each point is a trial. A sampler that prefers good values tries them more often."
        blocks.append(Picture("slices", caption, slices, slices_data(results)))
    rows = tuple((clean(path), clean(words, 400)) for path, words in results.space.items())
    return (*blocks, Table("Searched values", ("field", "values"), rows, words=2))


def _trials_table(results: SearchResults) -> Block:
    axes = [axis_of(results, index) for index in range(len(results.objectives))]

    def row(one: SearchTrial) -> tuple[str, ...]:
        values = [axis.show(value) for axis, value in zip(axes, one.values, strict=False)] or [NONE] * len(axes)
        return (str(one.number), one.outcome, *(_shown(one.parameters.get(path)) for path in results.space), *values)

    headings = ("trial", "outcome", *map(clean, results.space), *(axis.heading for axis in axes))
    table = Table("All trials", headings, tuple(map(row, results.trials)), words=2 + len(results.space))
    return Folded(f"{len(results.trials)} trials", (table,)) if len(results.trials) > 20 else table


def _without_result(results: SearchResults) -> tuple[Block, ...]:
    found = [one for one in results.trials if one.outcome in ("invalid", "failed")]
    if not found:
        return (Paragraph("None: all trials could be built and trained."),)
    numbers: dict[tuple[str, str], list[str]] = {}
    for one in found:
        numbers.setdefault((one.outcome, clean(one.reason, 300)), []).append(str(one.number))
    rows = tuple((*key, clean(", ".join(these), 60), str(len(these))) for key, these in numbers.items())
    return (Table("Reasons", ("outcome", "reason", "trials", "number"), rows, words=3),)


def _caveats(results: SearchResults) -> Bullets:
    items = [
        "The best error of many trials is too low by chance, as the same validation set chose the values. Compare the "
        "best trial with the base in a study with at least six seeds before you conclude that it is better.",
        f"Each trial has {len(results.seeds)} seed{'' if len(results.seeds) == 1 else 's'}: differences between trials "
        "that are smaller than those between seeds have no meaning.",
    ]
    if results.of("pruned"):
        items.append("Values that start slowly may have been stopped early.")
    return Bullets(tuple(items))


def _settings(results: SearchResults) -> Table:
    rows = tuple((clean(str(key)), plain(value, 2000)) for key, value in results.settings.items())
    return Table("Settings of the study", ("setting", "value"), rows, words=2)


def _shown(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return plain(value, 80)
    return str(value) if isinstance(value, int) else number(value, 3)


def _plain(value: object) -> object:
    return safe(clean(value, 400)) if isinstance(value, str) else value
