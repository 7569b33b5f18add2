"""The content of a report, derived from the results of a study and the predictions that its runs kept.

Equal results give equal reports.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gemnet_blocks.ablation.report.caveats import caveats
from gemnet_blocks.ablation.report.changes import change_in_words
from gemnet_blocks.ablation.report.chemiscope_file import CHEMISCOPE, CHEMISCOPE_NEEDED, chemiscope_files
from gemnet_blocks.ablation.report.costs import costs_table
from gemnet_blocks.ablation.report.csv_files import (
    curves_csv,
    differences_csv,
    elements_csv,
    errors_csv,
    figure_csv,
    parity_csv,
    runs_csv,
)
from gemnet_blocks.ablation.report.equal_budgets import equal_budgets_table
from gemnet_blocks.ablation.report.factor_section import QUESTION, factor_blocks, factor_findings
from gemnet_blocks.ablation.report.figure_data import curves_data, elements_data, pareto_data, parity_data
from gemnet_blocks.ablation.report.figures import (
    curve_metric,
    draw_curves,
    draw_elements,
    draw_parity,
)
from gemnet_blocks.ablation.report.formatting import (
    clean,
    clean_lines,
    on_paper,
    plain,
    quantity,
)
from gemnet_blocks.ablation.report.latex import to_latex
from gemnet_blocks.ablation.report.looks_section import QUESTION as LOOKS_QUESTION
from gemnet_blocks.ablation.report.looks_section import looks_blocks, looks_data
from gemnet_blocks.ablation.report.outliers import outliers
from gemnet_blocks.ablation.report.overview import overview
from gemnet_blocks.ablation.report.page import (
    FIGURES,
    Block,
    Bullets,
    Folded,
    Listing,
    Page,
    Paragraph,
    Picture,
    Section,
    Table,
    to_html,
    to_markdown,
)
from gemnet_blocks.ablation.report.pareto import draw_pareto, without_difference
from gemnet_blocks.ablation.report.sequential.study_looks import monitored
from gemnet_blocks.ablation.report.statistics import Comparison
from gemnet_blocks.ablation.report.tables import (
    changes_table,
    compare_study,
    differences_table,
    elements_table,
    environment_table,
    errors_overview,
    errors_table,
    metrics_of,
    numbered,
    ordered,
    sorted_runs,
    unfinished_table,
)
from gemnet_blocks.ablation.report.warm_section import WARM_QUESTION, warm_blocks
from gemnet_blocks.ablation.report.where_section import QUESTION as WHERE_QUESTION
from gemnet_blocks.ablation.report.where_section import (
    WHERE,
    StudyDifferences,
    where_blocks,
    where_files,
    where_pictures,
)
from gemnet_blocks.ablation.results import StudyResults
from gemnet_blocks.util.files import replacing

MANY = 6
"""With more variants, a factorial study begins with the effects of its factors, and what is about each is folded."""


def page(results: StudyResults) -> Page:
    """Compose the report of a study.

    Raises:
        ImportError: matplotlib or statsmodels is not installed.
        StateError: a file of predictions that a run kept is damaged.
    """
    return _page(results, StudyDifferences.of(results))


def _page(results: StudyResults, differences: StudyDifferences) -> Page:
    compared = compare_study(results)
    metric = quantity(results.primary_metric).label
    where, factors = where_blocks(differences), _factors(results)
    changes, different = _changes(results), _differences(results)
    effects = factor_findings(results) if len(compared) > MANY else ()
    if effects:  # tables of all combinations are longer than what they are about
        changes = (Folded(f"Changes of the {len(compared)} combinations", changes),)
        different = (Folded(f"Differences of the {len(compared)} combinations", different),)
    sections = (
        Section("Findings", overview(results, compared, effects)),
        *factors,
        Section("Changes", changes, question="What does each variant change?"),
        Section(
            "Differences",
            different,
            question=f"Is the difference of the {metric} from the base larger than chance explains?",
        ),
        *_looks(results, compared),
        *_warm_starts(results),
        Section("Errors", _errors(results), question="How good are the models, and for which atoms?"),
        *((Section("Where", where, question=WHERE_QUESTION),) if where else ()),
        Section("Costs", _costs(results), question="What does the accuracy cost?"),
        Section("Learning curves", _curves(results), question="Would more training change the order?"),
        Section("How to read this", (caveats(results, compared),)),
        Section("Unfinished runs", _unfinished(results)),
        Section("Environment and settings", _environment(results), folded=True),
    )
    return Page(clean(results.title) or "Ablation study", sections)


def _looks(results: StudyResults, compared: Sequence[Comparison]) -> tuple[Section, ...]:
    blocks = looks_blocks(results, compared)
    return (Section("Looks", blocks, question=LOOKS_QUESTION),) if blocks else ()


def _factors(results: StudyResults) -> tuple[Section, ...]:
    blocks = factor_blocks(results)
    return (Section("Factors", blocks, question=QUESTION),) if blocks else ()


def _warm_starts(results: StudyResults) -> tuple[Section, ...]:
    blocks = warm_blocks(results)
    return (Section("Warm starts", blocks, question=WARM_QUESTION),) if blocks else ()


def _changes(results: StudyResults) -> tuple[Block, ...]:
    names = zip(numbered(results, 200), ordered(results), strict=True)
    notes = {one.name: clean(one.note, 400) for one in results.variants}
    rows: tuple[tuple[str, ...], ...] = tuple(
        (index, shown, "" if name == results.base_name else change_in_words(results, name), notes.get(name, ""))
        for (index, shown), name in names
    )
    headings: tuple[str, ...] = ("#", "variant", "change", "note")
    if not any(note for *_, note in rows):
        headings, rows = headings[:-1], tuple(row[:-1] for row in rows)
    words = Table("Changes in words", headings, rows, words=len(headings))
    return (words, Folded("Every changed field of the specs", (changes_table(results),)))


def _differences(results: StudyResults) -> tuple[Block, ...]:
    primary, *others = metrics_of(results)
    if len(ordered(results)) < 2:
        return (Paragraph("No variants."),)
    blocks: list[Block] = [differences_table(results, primary)]
    if others:
        looked = monitored(results) is not None
        note = Paragraph(
            "Other metrics have no verdicts and no p-values: the looks are at the primary metric alone."
            if looked
            else "Other metrics have no verdicts: their p-values are corrected for the number of variants, but not for "
            "the number of metrics."
        )
        tables = (differences_table(results, metric) for metric in others)
        blocks.append(Folded(f"Differences in {_counted(len(others), 'other metric')}", (note, *tables)))
    return tuple(blocks)


def _errors(results: StudyResults) -> tuple[Block, ...]:
    metrics = metrics_of(results)
    blocks: list[Block] = [errors_overview(results)]
    flagged = [text for metric in metrics[:1] for text in outliers(results, metric)]
    if flagged:
        blocks.append(Bullets(tuple(f"⚑ {text}" for text in flagged)))
    runs = Folded("Errors of every run", tuple(errors_table(results, metric) for metric in metrics))
    return (*blocks, runs, *_parity(results), *_elements(results))


def _parity(results: StudyResults) -> tuple[Block, ...]:
    svg = draw_parity(results)
    if svg is None:
        return (Paragraph("The runs recorded no predictions, so that there are no parity plots."),)
    caption = (
        "Predictions against labels, for each variant those of the seed with the median error. All panels show the "
        "same structures, evenly spread over the evaluated set."
    )
    return (Picture("parity", caption, svg, parity_data(results)),)


def _elements(results: StudyResults) -> tuple[Block, ...]:
    table = elements_table(results)
    if table is None:
        return ()
    svg = draw_elements(results)
    if svg is None:
        return (table,)
    caption = (
        "Relative difference of the force MAE from the base for the atoms of each element, in %: means over complete "
        "pairs. The more intense the color, the larger the difference; positive is worse. These numbers have no tests."
    )
    return (Picture("elements", caption, svg, elements_data(results)), table)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _costs(results: StudyResults) -> tuple[Block, ...]:
    blocks: list[Block] = []
    svg = draw_pareto(results)
    if svg is not None:
        caption = (
            "Accuracy against cost. Points are variants with the numbers of the tables; bars: standard deviation of "
            "the error over the seeds, and spread of the cost. Filled points on the line form the Pareto front: no "
            "other variant is at least as good in both and better in one. Points with overlapping bars may differ "
            "by chance."
        )
        blocks.append(Picture("pareto", caption, svg, pareto_data(results)))
    if equal := without_difference(results):
        blocks.append(
            Paragraph(f"Not drawn, because the costs differ by no more than their noise: {'; '.join(equal)}.")
        )
    return (*blocks, costs_table(results))


FEW_POINTS = 10
"""Learning curves with fewer points hardly show whether training has converged."""


def _curves(results: StudyResults) -> tuple[Block, ...]:
    svg = draw_curves(results)
    name = curve_metric(results)
    if svg is None or name is None:
        return (Paragraph("No finished run has a learning curve."),)
    caption = (
        f"{quantity(name).heading} on the validation set. Thin: seeds; thick: their median; dashed: the median of the "
        "base. All panels have the same axes."
    )
    blocks: list[Block] = [Picture("learning_curves", caption, svg, curves_data(results, name))]
    points = min(len(run.curve) for run in results.done() if run.curve)
    if points < FEW_POINTS:
        blocks.append(
            Paragraph(
                f"⚠ Some curves have only {_counted(points, 'point')}, too few to show whether training has converged. "
                "Studies validate 20 times unless `training.training.validate_every` or `log.curve_points` says "
                "otherwise."
            )
        )
    table = equal_budgets_table(results, name)
    return (*blocks, table) if table is not None else tuple(blocks)


def _unfinished(results: StudyResults) -> tuple[Block, ...]:
    table = unfinished_table(results)
    if not table.rows:
        return (Paragraph("All runs are done."),)
    errors = [
        Listing(f"{clean(run.variant)}, seed {run.seed}", clean_lines(run.error))
        for run in sorted_runs(results)
        if run.status == "failed" and run.error is not None and "\n" in run.error.strip()
    ]
    return (table, *errors)


def _environment(results: StudyResults) -> tuple[Block, ...]:
    table = environment_table(results)
    blocks: list[Block] = [table if table.rows else Paragraph("The runs recorded no environment.")]
    if results.settings:
        rows = tuple((clean(str(key)), plain(value, 2000)) for key, value in results.settings.items())
        blocks.append(Table("Settings of the study", ("setting", "value"), rows, words=2))
    return tuple(blocks)


def _paper_tables(results: StudyResults) -> Iterator[Table]:
    """Yield the tables that a paper needs."""
    yield errors_overview(results)
    yield differences_table(results, results.primary_metric)
    yield costs_table(results)
    if (elements := elements_table(results)) is not None:
        yield elements


HTML, MARKDOWN, RUNS, DIFFERENCES = "report.html", "report.md", "runs.csv", "differences.csv"
ERRORS, ELEMENTS, CURVES, PARITY, LATEX = "errors.csv", "elements.csv", "curves.csv", "parity.csv", "tables.tex"
RESULTS = "results.json"
LOOKS = "looks.csv"
"""The files of a report, beside the folder of figures."""


def write_report(results: StudyResults, folder: str | os.PathLike[str]) -> Path:
    """Write the report of a study: one HTML page, Markdown with figures, CSV files, and tables in LaTeX.

    The report depends on the results, which it contains, and on the predictions that the runs kept. All files are
    composed before the first is written, each is replaced atomically, and other files in the folder are left alone.

    Args:
        results: results of the study, complete or not.
        folder: the destination, created if it does not exist.

    Returns:
        The path of the HTML page, which is self-contained.

    Raises:
        ImportError: matplotlib or statsmodels is not installed.
        OSError: the folder cannot be written.
    """
    target = Path(folder)
    contents = report_files(results)
    write_files(contents, target)
    return target / HTML


def write_files(contents: Mapping[str, str], folder: Path) -> None:
    """Write the files of a report by name, each atomically."""
    if WHERE in contents and CHEMISCOPE not in contents:
        warnings.warn(f"no file for chemiscope was written: {CHEMISCOPE_NEEDED}", stacklevel=3)
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        with replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")


def write_where(differences: StudyDifferences, folder: str | os.PathLike[str], title: str) -> Sequence[Path]:
    """Write the differences of groups and structures as CSV files, figures, and a file for chemiscope.

    Args:
        differences: the differences.
        folder: the destination, created if it does not exist.
        title: name of the comparison.

    Returns:
        The paths of the files.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the folder cannot be written.
    """
    contents = {
        **where_files(differences),
        **chemiscope_files(differences, title),
        **figure_files(where_pictures(differences)),
    }
    write_files(contents, Path(folder))
    return [Path(folder) / name for name in contents]


def figure_files(pictures: Iterable[Picture]) -> dict[str, str]:
    """Return the drawing and the data of each figure by the names of their files."""
    found = {}
    for one in pictures:
        found[f"{FIGURES}/{one.name}.svg"] = on_paper(one.svg)
        found[f"{FIGURES}/{one.name}.csv"] = figure_csv(one.data)
    return found


def report_files(results: StudyResults) -> Mapping[str, str]:
    """Compose the text of all files of a report, by name, with the HTML page last.

    Raises:
        ImportError: matplotlib or statsmodels is not installed.
    """
    differences = StudyDifferences.of(results)
    report = _page(results, differences)
    return {
        **figure_files(picture for section in report.sections for picture in section.pictures),
        RUNS: runs_csv(results),
        DIFFERENCES: differences_csv(results),
        ERRORS: errors_csv(results),
        ELEMENTS: elements_csv(results),
        CURVES: curves_csv(results),
        PARITY: parity_csv(results),
        **where_files(differences),
        **chemiscope_files(differences, results.title),
        **({LOOKS: figure_csv(looks_data(results))} if monitored(results) is not None else {}),
        LATEX: to_latex(_paper_tables(results)),
        RESULTS: _results_json(results),
        MARKDOWN: to_markdown(report),
        HTML: to_html(report),
    }


def _results_json(results: StudyResults) -> str:
    """Return the results as `StudyResults.load` reads them, by which the report can be verified later."""
    # the order of the runs, and how often those that are done were started, are left out of reports
    runs = tuple(replace(run, attempts=1) if run.status == "done" else run for run in sorted_runs(results))
    return json.dumps(replace(results, runs=runs).to_dict(), indent=1) + "\n"
