from __future__ import annotations

import csv
import io
import json
import math
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib
import pytest
from markdown_it import MarkdownIt
from synthetic_studies import failed_run, full_study, study_of

from gemnet_blocks.ablation.report import figures, pareto
from gemnet_blocks.ablation.report import formatting as drawing
from gemnet_blocks.ablation.report.changes import change_in_words, in_words
from gemnet_blocks.ablation.report.content import page, report_files, write_report
from gemnet_blocks.ablation.report.costs import costs_table
from gemnet_blocks.ablation.report.equal_budgets import equal_budgets, equal_budgets_table
from gemnet_blocks.ablation.report.figures import curve_metric, draw_curves
from gemnet_blocks.ablation.report.formatting import clean, number, quantity, scaled
from gemnet_blocks.ablation.report.outliers import outliers
from gemnet_blocks.ablation.report.page import Table, to_markdown
from gemnet_blocks.ablation.report.pareto import Point, front
from gemnet_blocks.ablation.report.tables import (
    changes_table,
    compare_study,
    differences_table,
    elements_table,
    environment_table,
    errors_overview,
    errors_table,
    unfinished_table,
)
from gemnet_blocks.ablation.results import Difference, Parity, RunResult, StudyResults, Variant

NAMES = ("no quadruplets", "bessel basis", "no atom–atom interaction", "last")
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></svg><b>bold",
    "![picture](http://example.org/x.png) [link](javascript:alert(1)) <http://example.org>",
    "a | b `c` $x_$ \\ *d* _e_ # f",
    "=HYPERLINK(A1)",
    "zero\x00 bell\x07 escape\x1b[31m turned\u202etxet half\ud800 line\nfeed",
    "| --- |\n\n# Heading\n- item",
    "_underscore first",
    "x" * 3000,
    "漢字 🧪 Ω",
    "",
)
VOID = {"meta", "br", "img", "hr", "link", "input"}


class Elements(HTMLParser):
    """The elements of a page, each closed where it must be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def study() -> StudyResults:
    return full_study(NAMES, failures=3)


@pytest.fixture(scope="module")
def files(study) -> dict[str, str]:
    return dict(report_files(study))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty figures, for tests of what reports say: most of the time of a report is that of its figures."""
    for module in (figures, pareto):
        monkeypatch.setattr(module, "drawn", lambda draw, height: "<?xml?><svg></svg>")


def column(table: Table, heading: str) -> list[str]:
    return [row[table.headings.index(heading)] for row in table.rows]


def test_the_files_of_a_report(study, files, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    written = write_report(study, tmp_path)

    assert written == tmp_path / "report.html"
    found = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert found.pop("notes.txt") == "mine"
    assert found == files
    assert set(found) == {
        *("report.html", "report.md", "tables.tex", "results.json"),
        *(f"{name}.csv" for name in ("runs", "differences", "errors", "elements", "curves", "parity")),
        *(
            f"figures/{name}.{kind}"
            for name in ("differences", "parity", "elements", "pareto", "learning_curves")
            for kind in ("svg", "csv")
        ),
    }


def test_the_same_results_make_the_same_report(study, files, tmp_path):
    shuffled = list(study.runs)
    random.Random(0).shuffle(shuffled)
    study.save(tmp_path / "results.json")

    assert dict(report_files(replace(study, runs=tuple(shuffled)))) == files
    assert dict(report_files(StudyResults.load(tmp_path / "results.json"))) == files


def test_how_often_finished_runs_were_started_does_not_show(study, files):
    again = tuple(replace(run, attempts=5) if run.status == "done" else run for run in study.runs)

    assert dict(report_files(replace(study, runs=again))) == files


def test_a_users_own_plot_settings_change_nothing_and_stay(study, files):
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "none"}):
        assert report_files(study)["report.html"] == files["report.html"]
        assert matplotlib.rcParams["font.size"] == 30


def test_the_page_needs_nothing_else(files):
    elements = Elements(files["report.html"]).seen

    assert not {"script", "link", "iframe", "object", "embed", "img", "base"} & {tag for tag, _ in elements}
    links = [
        value for _, attributes in elements for name, value in attributes.items() if "href" in name or name == "src"
    ]
    assert links
    assert all(link.startswith("#") for link in links)
    assert not re.search(r"https?:|@import|url\((?!#)", files["report.html"])
    names = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(names) == len(set(names))
    for link in links:
        assert link[1:] in names


@pytest.mark.usefixtures("undrawn")
def test_long_facts_have_a_row_of_their_own(study):
    def wide(data: str) -> int:
        elements = Elements(report_files(replace(study, data=data))["report.html"]).seen
        return sum(attributes.get("class") == "wide" for _, attributes in elements)

    assert (wide("few frames"), wide("many frames; " * 20)) == (0, 1)


def test_figures_take_the_pages_colors(files):
    drawings = files["report.html"].split("<svg")[1:]

    assert len(drawings) == 5
    for one in drawings:
        body = one.split("</svg>")[0]
        assert "var(--ink)" in body
        assert not set(re.findall(r"#[0-9a-f]{6}\b", body)) & set(drawing.VARIABLES)


def test_every_part_is_in_the_page_and_in_markdown(study, files):
    page_text = Elements(files["report.html"]).text
    for expected in (
        *("What the interactions bring on Cu₃X slabs", "2,000 steps of 8 structures", *NAMES),
        *("37 of 40 done, 3 failed", "interactions.quadruplet", "parameters", "matmul FLOPs, training step (G)"),
        *("inference time (ms)", "peak memory (MB)", "edges", "triplets", "quadruplets", "symmetry error"),
        *(
            "Peak memory: of a training step, estimated",
            "Times were measured on the machine",
            "2.13.0+cpu",
            "TrainingError: step 1,234: the loss is not finite",
            "learning_rate",
            "p (Holm)",
        ),
    ):
        assert expected in page_text
        plain = files["report.md"].replace("\\", "")
        assert expected in plain


def test_verdicts_of_a_study(study):
    table = differences_table(study, "forces_mae")

    assert column(table, "verdict") == ["worse", "better", "no difference shown", "inconclusive"]
    assert column(table, "pairs") == ["8 of 8", "8 of 8", "8 of 8", "5 of 8"]
    assert column(table, "p (Holm)")[3] == "–"
    one = compare_study(study)[0]
    assert float(column(table, "difference")[0]) == pytest.approx(1e3 * one.mean, abs=0.005)
    assert column(table, "relative")[0] == f"+{100 * one.relative:.1f} %"


def test_other_metrics_have_no_verdict(study):
    table = differences_table(study, "forces_cosine")

    assert "verdict" not in table.headings
    assert table.note.endswith("negative is worse.")


def test_errors_of_every_run(study):
    table = errors_table(study, "forces_mae")

    assert [len(row) for row in table.rows] == [6 + 8] * 5
    assert table.rows[4][6:9] == ("failed",) * 3
    assert float(table.rows[0][6]) == pytest.approx(1e3 * study.run("base", 0).metrics["forces_mae"], rel=1e-3)


def test_values_that_are_not_finite_are_said():
    study = study_of({"base": [1.0, math.nan, math.inf], "other": [2.0, 3.0, 4.0]})

    assert errors_table(study, "forces_mae").rows[0][2:] == (
        "1,000",
        "1,000",
        "–",
        "1 of 3",
        "1,000",
        "not a number",
        "∞",
    )
    assert compare_study(study)[0].missing == 2
    assert "Pairs are missing (other: 2 of 3)" in report_files(study)["report.html"]


def test_costs_are_medians_with_multiples_of_the_base(study):
    table = costs_table(study)

    assert column(table, "parameters")[:2] == ["234,567", "220,493 (0.94×)"]
    assert re.fullmatch(r"21\.\d ± 0\.40 \[2\d\.\d … 2\d\.\d\]", column(table, "inference time (ms)")[0])
    assert re.fullmatch(r"3\.\d\d \[3\.\d\d … 3\.\d\d\] \(0\.9\d×\)", column(table, "training time (min)")[1])
    assert "×" not in column(table, "symmetry error")[1]


def test_what_was_not_measured_is_left_out():
    study = full_study()
    bare = tuple(
        replace(
            run, cost={"edges": 3.0} if run.variant == "base" else {}, curve=(), baseline={}, elements={}, parity={}
        )
        for run in study.runs
    )
    made = page(replace(study, runs=bare))

    table = costs_table(replace(study, runs=bare))
    assert table.headings == ("#", "variant", "edges")
    assert column(table, "edges") == ["3.00", "–"]
    assert {one.name for part in made.sections for one in part.blocks if hasattr(one, "svg")} == {"differences"}


def test_environments_that_differ_are_told_apart(study):
    runs = list(study.runs)
    runs[0] = replace(runs[0], environment={"versions": {"torch": "2.4"}, "threads": 2})
    rows = dict(environment_table(replace(study, runs=tuple(runs))).rows)

    assert rows["versions.torch"] == "2.4 (1 runs); 2.13.0+cpu (36 runs)"
    assert rows["threads"] == "2 (1 runs); 1 (36 runs)"


def test_changes_and_controls():
    changes = (Difference("sizes.atom", 64, 32), Difference("interactions.x", None, {"a": [1]}))
    variants = (Variant("base"), Variant("small", differences=changes), Variant("c", control_of="small", note="wider"))
    table = changes_table(StudyResults("base", variants, ()))

    assert [row[:6] for row in table.rows] == [
        ("0", "base", "–", "–", "–", "base"),
        ("1", "small", "sizes.atom", "64", "32", ""),
        ("1", "″", "interactions.x", "–", '{"a": [1]}', ""),
        ("2", "c", "nothing", "–", "–", "control of small; wider"),
    ]


@pytest.mark.usefixtures("undrawn")
def test_unfinished_runs_with_their_errors(study, files):
    extra = (
        RunResult("last", 9, "k", "missing"),
        RunResult("last", 8, "k", "running"),
        RunResult("last", 7, "k", "failed"),
    )
    table = unfinished_table(replace(study, runs=study.runs + extra))

    assert column(table, "status") == ["failed"] * 4 + ["running", "missing"]
    assert column(table, "error")[2:4] == ["TrainingError: step 1,234: the loss is not finite", "–"]
    assert "&lt;script&gt;alert(1)" in files["report.html"]
    assert "All runs are done." in report_files(full_study())["report.html"]


def hostile_study() -> StudyResults:
    """Every text of a study hostile."""
    study = full_study(HOSTILE, seeds=6, failures=1)
    evil = "".join(HOSTILE[:4])
    variants = tuple(
        replace(one, differences=(Difference(evil, {evil: evil}, evil),), note=evil, spec_hash=evil)
        for one in study.variants
    )
    runs = [
        replace(
            run,
            key=evil,
            metrics={**run.metrics, evil: 1.0},
            environment={evil: evil, "more": {evil: [evil]}},
            curve=tuple({**point, evil: 1.0} for point in run.curve),
            elements={evil: {"atoms": 1.0, "forces_mae": 1.0, "zero_forces_mae": 1.0}},
            parity={name: Parity((0.0, 1.0), (0.0, 1.0)) for name in (evil, "forces")},
        )
        for run in study.runs
    ]
    runs.append(replace(failed_run(HOSTILE[0], 5), error=f"{evil}\n```\n{evil}\x00\n" * 200))
    settings = {evil: evil, "nested": {evil: [evil]}}
    return replace(study, variants=variants, runs=tuple(runs), title=evil, budget=evil, data=evil, settings=settings)


@pytest.fixture(scope="module")
def hostile() -> dict[str, str]:
    return dict(report_files(hostile_study()))


def test_hostile_text_is_only_text_in_the_page(hostile):
    elements = Elements(hostile["report.html"])

    assert {tag for tag, _ in elements.seen} <= set(TAGS)
    assert not [name for _, attributes in elements.seen for name in attributes if name.startswith("on")]
    for name in HOSTILE[:5]:
        assert name in elements.text
    assert "\\u0000" in elements.text
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e\ud800]", hostile["report.html"])


TAGS = (
    *("html", "head", "meta", "title", "style", "body", "header", "p", "h1", "h2", "h3", "nav", "a", "main", "section"),
    *("dl", "div", "dt", "dd", "ol", "ul", "li", "span", "table", "thead", "tbody", "tr", "th", "td", "figure"),
    *("figcaption", "details", "summary", "pre", "svg", "g", "path", "defs", "use", "clippath", "rect"),
)


@pytest.mark.usefixtures("undrawn")
def test_results_in_notebooks(study):
    """A data frame of the numbers behind the findings, and a page that begins with them; hostile text is only text."""
    pytest.importorskip("pandas")
    frame = study.table()
    compared = compare_study(study)
    assert list(frame.index) == [one.variant for one in compared]
    assert list(frame["verdict"]) == [one.verdict for one in compared]
    assert list(frame["difference"]) == [one.mean for one in compared]
    assert list(study.table("energy_mae").columns) == list(frame.columns)
    results = hostile_study()
    outside = Elements(results._repr_html_())
    (inside,) = [attributes["srcdoc"] for name, attributes in outside.seen if name == "iframe"]
    assert "Findings" in inside
    assert not {"script", "img"} & {name for name, _ in (*outside.seen, *Elements(inside).seen)}
    assert len(repr(results)) < 100


def test_hostile_text_is_only_text_in_markdown(hostile):
    rendered = MarkdownIt("commonmark", {"linkify": False}).enable("table").render(hostile["report.md"])
    elements = Elements(rendered)

    allowed = {
        "h1",
        "h2",
        "p",
        "ul",
        "li",
        "strong",
        "em",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "img",
        "pre",
        "code",
    }
    assert {tag for tag, _ in elements.seen} <= allowed
    images = [attributes["src"] for tag, attributes in elements.seen if tag == "img"]
    assert images
    assert all(re.fullmatch(r"figures/\w+\.svg", image) for image in images)
    assert HOSTILE[4].replace("\\", "") in elements.text.replace("\\", "")
    titles = [tag for tag, _ in elements.seen if tag in ("h1", "h2")]
    assert len(titles) == 1 + 9


def test_markdown_tables_are_whole(files, hostile):
    for text in (files["report.md"], hostile["report.md"]):
        rendered = Elements(MarkdownIt("commonmark").enable("table").render(text))
        bars = [line for line in text.splitlines() if line.startswith("|")]
        rows = [tag for tag, _ in rendered.seen if tag == "tr"]
        tables = [tag for tag, _ in rendered.seen if tag == "table"]
        assert len(rows) == len(bars) - len(tables)


def test_hostile_text_is_only_text_in_csv(hostile):
    for name in (name for name in hostile if name.endswith(".csv")):
        header, *rows = csv.reader(io.StringIO(hostile[name]))
        assert {len(row) for row in rows} == {len(header)}
        words = [cell for row in (header, *rows) for cell in row if not is_number(cell)]
        assert not [cell for cell in words if cell.startswith(("=", "+", "-", "@"))]
    assert "'=HYPERLINK(A1)" in hostile["runs.csv"]


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_runs_as_csv(study, files):
    rows = list(csv.DictReader(io.StringIO(files["runs.csv"])))

    assert [(row["variant"], int(row["seed"])) for row in rows[:2]] == [("base", 0), ("base", 1)]
    assert len(rows) == 40
    first = study.run("base", 0)
    assert float(rows[0]["forces_mae"]) == first.metrics["forces_mae"]
    assert float(rows[0]["training_seconds"]) == first.cost["training_seconds"]
    failed = next(row for row in rows if row["status"] == "failed")
    assert (failed["forces_mae"], failed["error"].splitlines()[0][:13]) == ("", "TrainingError")


def test_differences_as_csv(study, files):
    rows = list(csv.DictReader(io.StringIO(files["differences.csv"])))

    assert len(rows) == 4 * 3
    one = compare_study(study)[0]
    assert rows[0]["variant"] == "no quadruplets"
    assert float(rows[0]["difference"]) == one.mean
    assert (float(rows[0]["low"]), float(rows[0]["p_holm"])) == (one.interval.low, one.corrected)
    assert (rows[0]["verdict"], rows[3]["verdict"], rows[4]["verdict"]) == ("worse", "inconclusive", "")
    assert (rows[3]["p"], rows[3]["pairs"]) == ("", "5")


@pytest.mark.parametrize(
    "study",
    [
        StudyResults("base", (), ()),
        StudyResults("base", (Variant("base"),), ()),
        study_of({"base": [None] * 3, "other": [None] * 3}),
        study_of({"base": [0.0] * 6, "other": [0.0] * 6}),
        study_of({"base": [-1e300, 1e-300, math.inf], "other": [1e300, 1.0, 2.0]}),
        full_study(seeds=1),
        replace(full_study(), primary_metric="unheard_of"),
        StudyResults("lost", (Variant("a"), Variant("a")), (RunResult("ghost", 1, "k", "done", metrics={"x": 1.0}),)),
    ],
    ids=["empty", "base alone", "all failed", "zeros", "extremes", "one seed", "no such metric", "inconsistent"],
)
def test_odd_studies_have_reports(study):
    made = report_files(study)

    Elements(made["report.html"])
    assert "worse" not in {one.verdict for one in compare_study(study)}


@pytest.mark.parametrize("count", [1, 2, 19])
def test_any_number_of_variants(count):
    made = report_files(full_study([f"variant {place}" for place in range(count)], seeds=6))

    assert Elements(made["report.html"]).text.count(f"variant {count - 1}") >= 5


@pytest.mark.usefixtures("undrawn")
def test_nothing_is_replaced_when_the_report_cannot_be_made(study, tmp_path, monkeypatch):
    write_report(study, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr("gemnet_blocks.ablation.report.content.to_html", lambda made: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        write_report(full_study(), tmp_path)

    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_without_matplotlib_the_extra_is_named(study, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)

    with pytest.raises(ImportError, match=r"gemnet_blocks\[plot\]"):
        report_files(study)


@pytest.mark.usefixtures("undrawn")
def test_few_seeds_are_said_to_be_few():
    assert "0.0625" in report_files(full_study(seeds=5))["report.md"]
    told = report_files(full_study(NAMES, seeds=6))["report.md"]
    assert "no difference can be shown, however large. 8 seeds are needed." in told


def test_the_front_is_what_nothing_beats():
    points = [
        Point(number, *values, 0.0) for number, values in enumerate([(3, 1), (1, 3), (2, 2), (2, 3), (3, 3), (1, 3)])
    ]

    assert [one.number for one in front(points)] == [1, 5, 2, 0]
    assert [one.number for one in front(points, higher_is_better=True)] == [1, 5]


def test_curves_show_the_primary_metric_or_what_comes_nearest():
    study = full_study()
    assert curve_metric(study) == "forces_mae"
    assert curve_metric(replace(study, primary_metric="forces_mae_of_metals")) == "forces_mae"
    assert curve_metric(replace(study, primary_metric="energy_mae")) == "loss"
    assert curve_metric(replace(study, runs=())) is None


def test_curves_with_gaps_are_drawn():
    run = RunResult(
        *("base", 0, "k", "done"),
        metrics={"forces_mae": 1.0},
        curve=({"step": 1, "forces_mae": math.nan}, {"forces_mae": 1.0}, {"step": 2}, {"step": 3, "forces_mae": 0.0}),
    )
    study = StudyResults("base", (Variant("base"), Variant("b")), (run,))

    assert draw_curves(study).startswith("<?xml")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (45.1234, "45.12"),
        (-0.00123456, "−0.001235"),
        (123456.0, "123,456"),
        (9.99999, "10.000"),
        (1e-9, "1.000e-09"),
        (math.inf, "∞"),
        (math.nan, "–"),
    ],
)
def test_numbers(value, shown):
    assert number(value) == shown


def test_differences_have_the_same_decimals():
    forces = quantity("forces_mae")

    assert forces.show_differences([-0.00065, -0.00152, 0.0000593]) == ("−0.65", "−1.52", "+0.06")
    assert forces.show_differences([0.0, math.nan, -1e-9]) == ("0", "–", "−1.00e-06")
    assert (forces.heading, quantity("energy_mae_per_atom").heading) == (
        "forces MAE (meV/Å)",
        "energy MAE per atom (meV)",
    )
    assert (quantity("loss").heading, quantity("forces_cosine").unit) == ("loss", "")


@pytest.mark.parametrize(
    ("largest", "unit", "expected"),
    [
        (0.02, "s", (1e-3, "ms")),
        (2e-6, "s", (1e-6, "µs")),
        (200.0, "s", (60.0, "min")),
        (7200.0, "s", (3600.0, "h")),
        (7e8, "B", (1e6, "MB")),
        (2000.0, "B", (1.0, "B")),
        (3e9, "", (1e9, "G")),
        (23456.0, "", (1e3, "k")),
        (0.0, "B", (1.0, "B")),
    ],
)
def test_units_suit_the_largest(largest, unit, expected):
    assert scaled(largest, unit) == expected


def test_text_on_one_line():
    assert clean("a\n b\t c\x1b") == "a b c\\u001b"
    assert clean("x" * 10, 4) == "xxx…"
    assert json.loads(f'"{clean(chr(0x202E))}"') == "\u202e"


def test_changes_are_told_in_words():
    def told(path: str, base: object, value: object) -> str:
        return in_words([Difference(path, base, value)])

    assert told("interactions.quadruplet", {"down": 32}, None) == "without quadruplet interaction"
    assert told("interactions.near", None, {"type": "gated", "size": 4}) == (
        "with near interaction: type gated, size 4"
    )
    assert told("graphs.main.cutoff", 12.0, 6.0) == "cutoff of the edge set main 6 Å instead of 12 Å"
    assert told("graphs.main.max_neighbors", 30, None) == (
        "without max neighbors of the edge set main (30 in the base)"
    )
    assert told("blocks.count", 4, 6) == "number of blocks 6 instead of 4"
    assert told("bases.scale", False, True) == "with scale of the bases"
    assert told("execution.angular", "auto", "explicit") == "computation of angular explicit instead of auto"
    other_type = [
        Difference("bases.radial.type", "gaussian", "spherical_bessel"),
        Difference("bases.radial.trainable", False, None),
    ]
    assert in_words(other_type) == "radial basis spherical bessel instead of gaussian"


def test_parameters_are_compared_in_words():
    study = full_study(("no quadruplets", "same"))
    runs = [
        replace(run, cost={**run.cost, "parameters": 234_567}) if run.variant == "same" else run for run in study.runs
    ]
    study = replace(study, runs=tuple(runs))

    assert change_in_words(study, "no quadruplets") == (
        "without quadruplet interaction: 23 k fewer parameters (−10.0 %)"
    )
    assert change_in_words(study, "same").endswith("as many parameters as the base")


def test_a_seed_that_is_far_off_is_flagged_with_its_effect():
    errors = {"base": [1.0, 1.1, 0.9, 1.05, 0.95, 1.0], "other": [1.1, 1.2, 1.0, 1.15, 1.05, 9.0]}
    study = study_of(errors)
    (told,) = outliers(study, "forces_mae")

    assert told.startswith("other, seed 5: forces MAE 9,000 meV/Å, 71 times the spread")
    assert told.endswith("The mean difference is +1,417 meV/Å with it and +100 meV/Å without it.")
    assert errors_overview(study).rows[1][2] == "2,417 ± 3,226 (1,125) ⚑"
    assert [cell.endswith("⚑") for cell in errors_table(study, "forces_mae").rows[1][6:]] == [False] * 5 + [True]


def test_a_seed_that_is_far_off_in_base_and_variant_leaves_the_difference_alone():
    errors = {"base": [1.0, 1.1, 0.9, 1.05, 0.95, 9.0], "other": [1.1, 1.2, 1.0, 1.15, 1.05, 9.1]}
    told = outliers(study_of(errors), "forces_mae")

    assert len(told) == 2
    assert told[1].endswith("The base is as far off with this seed, so that the difference is not.")


def test_the_history_of_a_seed_that_is_far_off():
    study = study_of({"base": [1.0, 1.1, 0.9, 1.05, 0.95, 9.0]})

    def with_curves(ends: Sequence[int], last: float) -> StudyResults:
        runs = [
            replace(run, curve=[{"step": 1, "forces_mae": 2.0}, {"step": end, "forces_mae": value}])
            for run, end, value in zip(study.runs, ends, [1.0] * 5 + [last], strict=True)
        ]
        return replace(study, runs=tuple(runs))

    assert "rose again after step 1" in outliers(with_curves([100] * 6, 9.0), "forces_mae")[0]
    assert (
        "ended after 50 steps, that of the other seeds after 100"
        in (outliers(with_curves([100] * 5 + [50], 1.0), "forces_mae")[0])
    )


def test_the_trivial_prediction_has_a_row_of_its_own(study):
    overview, elements = errors_overview(study), elements_table(study)

    assert overview.rows[0] == ("–", "trivial prediction", "60.00", "20.00", "–")
    assert elements.headings == ("#", "variant", "Cu (60 atoms)", "O (12 atoms)")
    assert elements.rows[0] == ("–", "trivial prediction", "50.00", "110.0")


def test_accuracy_is_drawn_against_costs_that_differ_by_more_than_their_noise():
    study = full_study(("same",))
    rng = random.Random(0)

    def with_time(name: str, spread: float) -> StudyResults:
        times = {name: 1.01}
        runs = [
            replace(run, cost={"training_seconds": times.get(run.variant, 1.0) + spread * rng.uniform(-1, 1)})
            for run in study.runs
        ]
        return replace(study, runs=tuple(runs))

    assert pareto.draw_pareto(with_time("same", 0.1)) is None
    assert pareto.without_difference(with_time("same", 0.1))[0].startswith("training time (variants differ by ")
    assert pareto.draw_pareto(with_time("same", 0.0001)) is not None
    assert "≈" in column(costs_table(with_time("same", 0.1)), "training time (s)")[1]


@pytest.mark.usefixtures("undrawn")
def test_few_points_of_learning_curves_are_said(study):
    few = [replace(run, curve=run.curve[-2:]) for run in study.runs]

    assert "have only 2 points" in to_markdown(page(replace(study, runs=tuple(few))))
    assert "have only" not in to_markdown(page(study))


def test_errors_at_equal_budgets():
    """A variant that is better at every step and takes twice the time per step is worse at equal time."""

    def runs_of(name: str, seconds: float, error: float) -> list[RunResult]:
        curve = tuple({"step": step, "seconds": seconds * step, "forces_mae": error / step} for step in (1, 2, 4))
        cost = {"matmul_flops_training": 1e9 * seconds}
        return [
            RunResult(name, seed, "k", "done", metrics={"forces_mae": 1.0}, curve=curve, cost=cost) for seed in (0, 1)
        ]

    variants = (Variant("base"), Variant("slow"))
    study = StudyResults("base", variants, (*runs_of("base", 1.0, 1.0), *runs_of("slow", 2.0, 0.8)), seeds=(0, 1))
    found = {one.kind: one for one in equal_budgets(study, "forces_mae")}

    assert {kind: one.amount for kind, one in found.items()} == {"steps": 4, "seconds": 4, "FLOPs": 4e9}
    assert found["steps"].values["slow"][0] == pytest.approx(0.2)
    assert found["seconds"].values["slow"][0] == pytest.approx(0.4)
    assert found["FLOPs"].values["base"][1] == pytest.approx(0.25)
    assert equal_budgets_table(study, "forces_mae").rows[1][2:] == (
        "200.0 (−20.0 %)",
        "400.0 (+60.0 %)",
        "400.0 (+60.0 %)",
    )


def test_tables_for_papers(study, files):
    text = files["tables.tex"]

    assert text.count("\\toprule") == text.count("\\bottomrule") == 4
    assert "no quadruplets & 50.73 $\\pm$ 0.97 (50.78)" in text
    for line in text.splitlines():
        if line.endswith("\\\\"):
            assert not re.search(r"(?<!\\)[%#_~]|[−±×…Å]", line), line


def test_hostile_text_is_only_text_in_latex(hostile):
    for line in hostile["tables.tex"].splitlines():
        bare = re.sub(r"\\(textbackslash|ldots|AA|infty|pm|times|ast|approx|leq|textmu)\b|\\[\\&%$#_{}~^]", "", line)
        commands = set(re.findall(r"\\([A-Za-z]+)", bare))
        assert commands <= {
            *("begin", "end", "centering", "caption", "toprule", "midrule", "bottomrule", "usepackage")
        }, line


def test_the_numbers_of_figures_are_in_csv_files(study, files):
    points, labels, elements, errors = (
        list(csv.DictReader(io.StringIO(files[name])))
        for name in ("curves.csv", "parity.csv", "elements.csv", "errors.csv")
    )

    assert len(points) == sum(len(run.curve) for run in study.runs)
    assert float(labels[0]["label"]) == study.run("base", 0).parity["energy"].label[0]
    assert elements[0]["element"] == "Cu"
    assert errors[0]["variant"] == "trivial prediction"
    assert float(errors[0]["mean"]) == pytest.approx(0.06)
    assert float(errors[1]["median"]) == pytest.approx(0.04508, rel=1e-3)


def test_every_figure_has_its_data_beside_it(study, files, hostile):
    for made in (files, hostile):
        drawings = {name.removesuffix(".svg") for name in made if name.endswith(".svg")}
        assert drawings == {name.removesuffix(".csv") for name in made if re.fullmatch(r"figures/\w+\.csv", name)}
        for name in drawings:
            header, *rows = csv.reader(io.StringIO(made[f"{name}.csv"]))
            assert rows
            assert {len(row) for row in rows} == {len(header)}

    def data(name: str) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(files[f"figures/{name}.csv"])))

    one = compare_study(study)[0]
    mean, first = data("differences")[:2]
    assert (mean["seed"], mean["verdict"]) == ("mean", "worse")
    assert float(mean["variant − base: forces MAE (meV/Å)"]) == 1e3 * one.mean
    assert (first["seed"], float(first["variant − base: forces MAE (meV/Å)"])) == ("0", 1e3 * one.differences[0])
    seeds = [row["seed"] for row in data("learning_curves") if row["variant"] == "base"]
    assert seeds == [*(str(seed) for seed in range(8) for _ in range(20)), *["median"] * 20]
    assert [row["force MAE, variant − base (%)"] for row in data("elements")] == [
        f"{place} {name}" for place, name in enumerate(NAMES, 1)
    ]
    assert {row["variant"] for row in data("pareto")} == {"base", *NAMES}
    assert {row["on the front"] for row in data("pareto")} == {"yes", "no"}
    assert len(data("parity")) == 5 * 60
