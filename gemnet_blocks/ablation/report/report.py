"""The report of a study as files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from gemnet_blocks.ablation.csv_files import differences_csv, runs_csv
from gemnet_blocks.ablation.drawing import on_paper
from gemnet_blocks.ablation.html import to_html
from gemnet_blocks.ablation.markdown import FIGURES, to_markdown
from gemnet_blocks.ablation.report.content import page
from gemnet_blocks.ablation.report.page import Picture
from gemnet_blocks.ablation.results import StudyResults
from gemnet_blocks.util.files import replacing

HTML, MARKDOWN, RUNS, DIFFERENCES = "report.html", "report.md", "runs.csv", "differences.csv"
"""The files of a report, beside its folder of figures."""


def write_report(results: StudyResults, folder: str | os.PathLike[str]) -> Path:
    """Write the report of a study: one HTML page, Markdown with its figures, and CSV files.

    Everything in it comes from the results: the same results make the same files. Nothing is written before all of it
    is made, and every file is replaced as a whole, the page last. Other files of the folder stay as they are.

    Args:
        results: of the study, complete or not.
        folder: where to; made if it does not exist.

    Returns:
        The HTML page, which needs none of the other files.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the folder cannot be written.
    """
    target = Path(folder)
    contents = report_files(results)
    (target / FIGURES).mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        with replacing(target / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    return target / HTML


def report_files(results: StudyResults) -> Mapping[str, str]:
    """The text of all files of a report by name, the page last.

    Raises:
        ImportError: matplotlib is not installed.
    """
    made = page(results)
    pictures = [block for section in made.sections for block in section.blocks if isinstance(block, Picture)]
    return {
        **{f"{FIGURES}/{one.name}.svg": on_paper(one.svg) for one in pictures},
        RUNS: runs_csv(results),
        DIFFERENCES: differences_csv(results),
        MARKDOWN: to_markdown(made),
        HTML: to_html(made),
    }
