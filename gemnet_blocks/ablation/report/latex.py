"""Tables of a report for papers: LaTeX with booktabs."""

from __future__ import annotations

from collections.abc import Iterable

from gemnet_blocks.ablation.report.page import Table
from gemnet_blocks.util.latex import escaped


def to_latex(tables: Iterable[Table]) -> str:
    """Render tables as LaTeX; the document needs `\\usepackage{booktabs}`.

    Columns of words are aligned to the left and columns of numbers to the right.
    """
    head = "% Tables of an ablation study. The preamble needs \\usepackage{booktabs}.\n"
    return head + "".join(f"\n{_table(table)}" for table in tables)


def _table(table: Table) -> str:
    alignments = "".join("l" if column < table.words else "r" for column in range(len(table.headings)))
    rows = [_row(row) for row in table.rows]
    note = f"  {escaped(table.note)}\n" if table.note else ""
    return (
        "\\begin{table}\n"
        "  \\centering\n"
        f"  \\caption{{{escaped(table.caption)}.}}\n"
        f"  \\begin{{tabular}}{{{alignments}}}\n"
        "    \\toprule\n"
        f"{_row(table.headings)}"
        "    \\midrule\n"
        f"{''.join(rows)}"
        "    \\bottomrule\n"
        "  \\end{tabular}\n"
        f"{note}"
        "\\end{table}\n"
    )


def _row(cells: Iterable[str]) -> str:
    return f"    {' & '.join(map(escaped, cells))} \\\\\n"
