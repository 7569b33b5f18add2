"""The results of a study in notebooks: a data frame, and the findings with figures as HTML."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gemnet_blocks.ablation.report import content
from gemnet_blocks.ablation.report.page import to_html
from gemnet_blocks.ablation.report.tables import compare_study
from gemnet_blocks.ablation.results import StudyResults
from gemnet_blocks.util.html import block, listing, page

if TYPE_CHECKING:
    from pandas import DataFrame

SHOWN = ("Findings", "Differences", "Factors", "Where", "Costs", "Learning curves", "Unfinished runs")
"""The sections of the report that notebooks show."""


def html(results: StudyResults) -> str:
    """Show the findings, differences, costs and learning curves of a study."""
    try:
        report = content.page(results)
    except ImportError as error:
        return block(repr(results), listing(str(error)))
    sections = tuple(section for section in report.sections if section.title in SHOWN)
    return block("", page(to_html(replace(report, sections=sections)), "40em"))


def table(results: StudyResults, metric: str | None = None) -> DataFrame:
    """Tabulate the comparison of every variant with the base; see `StudyResults.table`."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("tables need the package pandas: pip install 'gemnet_blocks[notebook]'") from error
    rows = [
        {
            "variant": one.variant,
            "verdict": one.verdict,
            "base": one.base_mean,
            "mean": one.variant_mean,
            "difference": one.mean,
            "low": one.interval.low if one.interval else None,
            "high": one.interval.high if one.interval else None,
            "relative": one.relative,
            "p": one.p_value,
            "corrected p": one.corrected,
            "pairs": len(one.seeds),
            "planned": one.planned,
        }
        for one in compare_study(results, metric)
    ]
    columns = ("variant", "verdict", "base", "mean", "difference", "low", "high", "relative", "p", "corrected p")
    frame = pd.DataFrame(rows, columns=[*columns, "pairs", "planned"]).set_index("variant")
    frame.attrs["metric"] = metric or results.primary_metric
    return frame
