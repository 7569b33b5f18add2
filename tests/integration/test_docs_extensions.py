"""What the site's own extensions make of equations, options and recorded pages."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from documentation import DOCS, needs_what_builds_it

pytestmark = needs_what_builds_it

sys.path.insert(0, str(DOCS / "_extensions"))


def drawn(latex: str) -> str:
    """The MathML of an equation, without the copy of the equation that screen readers read."""
    from mathml import mathml

    return re.sub(r'aria-label="[^"]*"', "", mathml(latex, display=True))


def test_absolute_values_have_no_space_inside() -> None:
    bars = re.findall(r'<mo form="(\w+)" stretchy="false">&#x0007C;</mo>', drawn(r"|n_c \times n_d| + \lvert x\rvert"))
    assert bars == ["prefix", "postfix"] * 2


def test_a_single_bar_is_left_as_it_is() -> None:
    assert "prefix" not in drawn(r"p(x | y)")


def test_functions_stand_apart_from_their_neighbors() -> None:
    found = drawn(r"C_{jk}\cos j\theta")
    space = r'<mspace width="[\d.]+em" />'
    assert re.search(rf"</msub>{space}<mi>cos</mi>{space}<mi>j</mi>", found)
    assert re.search(rf"<mi>n</mi>{space}<mrow>", drawn(r"n \operatorname{sinc}{(x)}"))
    assert "mspace" not in drawn(r"\cos(x)")


def test_names_of_operators_are_upright() -> None:
    letters = re.findall(r"<mi[^>]*>", drawn(r"\operatorname{atan}(x)"))
    assert letters[:4] == ['<mi mathvariant="normal">'] * 4


def test_large_parentheses_grow_with_their_content() -> None:
    found = drawn(r"\Big(\frac{a}{b}\Big)^{3/2}")
    assert "minsize" not in found
    assert re.search(r'<msup><mrow><mo stretchy="true" fence="true" form="prefix">', found)


def test_unknown_input_is_an_error() -> None:
    from mathml import mathml

    with pytest.raises(ValueError, match="unheard"):
        mathml(r"\unheard{x}", display=False)


def test_every_displayed_equation_of_a_docstring_is_converted() -> None:
    from docstrings import to_rst

    found = to_rst(["One.", "", r"$$a = b, \qquad", "c = d,$$", "", "$$e = f$$ and so on.", "", "$$g = h$$"])
    assert [line for line in found if line] == [
        "One.",
        r".. math:: a = b, \qquad c = d,",
        ".. math:: e = f",
        "and so on.",
        ".. math:: g = h",
    ]


def test_constants_have_the_docstring_below_their_definition() -> None:
    from python_pages import documented

    from gemnet_blocks.testing.strategies import ELEMENTS

    found = documented("gemnet_blocks.testing.strategies.ELEMENTS", ELEMENTS)
    assert found.split("\n\n")[1].strip() == "H, C, N, O, Al, Cu and Pt."


def test_options_keep_their_dashes() -> None:
    from command_line import _with_options
    from docutils import nodes

    found = _with_options("--resume: there must be a checkpoint. By default --new-one.")
    assert [one.astext() for one in found if isinstance(one, nodes.literal)] == ["--resume", "--new-one"]


def recorded_pages(root: Path) -> dict[str, str]:
    from recorded import recorded

    return dict(recorded(root))


def test_pages_are_those_of_files_that_are_there(tmp_path: Path) -> None:
    assert set(recorded_pages(tmp_path)) == {"records/index.md"}
    folder = tmp_path / "benchmarks" / "ablation"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("# What was found\n")
    pages = recorded_pages(tmp_path)
    assert pages["records/ablation.md"] == "# What was found\n"
    assert "Ablations <ablation>" in pages["records/index.md"]


def test_links_of_recorded_pages(tmp_path: Path) -> None:
    """To pages, pictures and files as they are from there; to what is no part of the site as code."""
    folder = tmp_path / "benchmarks" / "accuracy"
    (folder / "results").mkdir(parents=True)
    (folder / "README.md").write_text("# How")
    (folder / "results" / "one.png").write_bytes(b"")
    (folder / "notes.md").write_text("")
    (folder / "RESULTS.md").write_text(
        "[README.md](README.md#how), ![errors](results/one.png), [notes](notes.md), [`gone`](gone.csv), "
        "[results](results), [paper](https://arxiv.org/abs/2204.02782)"
    )
    assert recorded_pages(tmp_path)["records/accuracy.md"] == (
        "[README.md](accuracy-how.md#how), ![errors](../../../benchmarks/accuracy/results/one.png), `notes`, `gone`, "
        "`results`, [paper](https://arxiv.org/abs/2204.02782)"
    )


@pytest.mark.parametrize(
    ("annotation", "description", "unit"),
    [
        (float, "Largest distance in Å, typically 5 to 12.", "Å"),
        (float | None, "Memory in bytes; null: no limit.", "bytes"),
        (dict[str, float], "A mapping such as `{Cu: -3.7}` gives them in eV.", "eV"),
        (str, "The unit of energy, such as kcal/mol (then lengths are in Å).", None),
        (float, "A number in eV, or the root mean square of forces (in eV/Å).", None),
    ],
)
def test_units_are_those_of_numbers(annotation: object, description: str, unit: str | None) -> None:
    """Other fields, and fields whose description names several units, have no unit."""
    from schema_tables import unit_of

    assert unit_of(annotation, description) == unit


def test_one_of_several_classes_is_named_by_its_type() -> None:
    """Some types have no default."""
    from schema_tables import Formats

    from gemnet_blocks.data.options import DataOptions

    split = DataOptions.model_fields["split"]
    words = "".join(node.astext() for node in Formats("data").words(split.annotation, (), "data.split"))
    assert words == "data.split: random below or data.split: group below or null"


def test_the_gallery_has_all_notebooks_in_the_order_of_the_file() -> None:
    import yaml
    from gallery import notebooks

    pages = dict(notebooks(DOCS.parent))
    described = yaml.safe_load((DOCS / "notebooks.yaml").read_text(encoding="utf-8"))
    assert set(described) == {path.stem for path in (DOCS.parent / "notebooks").glob("*.ipynb")}
    index = str(pages["notebooks/index.md"])
    places = [index.index(f"]({name}.ipynb)") for name in described]
    assert places == sorted(places)
    assert all(text in index for text in described.values())
    for name in described:
        assert f"notebooks/{name}.ipynb" in pages
        assert any(len(pages.get(f"notebooks/pictures/{name}.{ending}", b"")) > 1000 for ending in ("png", "svg"))


def test_a_notebook_without_a_picture_is_an_error() -> None:
    from gallery import thumbnail

    cell = {"metadata": {"tags": ["thumbnail"]}, "outputs": [{"data": {"text/plain": "text"}}]}
    with pytest.raises(ValueError, match=r"mine.ipynb: tag a cell with 'thumbnail'"):
        thumbnail({"cells": [cell]}, "mine")


def test_names_to_import_precede_modules() -> None:
    from python_pages import python_pages

    pages = dict(python_pages(DOCS.parent / "gemnet_blocks"))
    page = pages["api/spec.rst"]
    first = page.index("- `load_spec`: Read a spec file")
    assert (
        first
        < page.index(".. autofunction:: gemnet_blocks.spec.load_spec")
        < page.index(".. automodule:: gemnet_blocks.spec.resolve")
    )
    resolve = page[page.index(".. automodule:: gemnet_blocks.spec.resolve") :]
    assert re.search(r":exclude-members: .*\bload_spec\b", resolve)
    assert "radial" not in re.findall(r"^- `(\w+)`", pages["api/basis.rst"], re.MULTILINE), (
        "modules are not names to import"
    )
    assert pages["api/index.md"].index("Specs: read") < pages["api/index.md"].index("## Internal")


def test_every_package_with_names_to_import_has_an_example() -> None:
    import importlib

    from python_pages import CONCEPTS

    for package in (name for titles in CONCEPTS.values() for name in titles if name):
        module = importlib.import_module(f"gemnet_blocks.{package}")
        if hasattr(module, "__all__"):
            assert ">>> " in (module.__doc__ or ""), package
