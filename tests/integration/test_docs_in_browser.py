"""The documentation site in a real browser, at the width of a telephone and of a desk, in light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser
from documentation import needs_what_builds_it

pytestmark = [pytest.mark.docs, needs_what_builds_it]

TELEPHONE, DESK = 390, 1280
LOOKED_AT = ("*.html", "how-to/*.html", "mathematics/*.html", "reference/*.html", "generated/[!a]*/*.html")
"""All but the reference of Python, which is long and of one make; one page of that stands for the others."""

MATHEMATICS = """[...document.querySelectorAll("article math")].map(one => {
    const box = one.getBoundingClientRect();
    return [box.width, box.height, getComputedStyle(one).color, getComputedStyle(one).fontFamily];
})"""
PICTURES = """[...document.querySelectorAll("article .cell_output img, article figure img")].map(
    one => [one.naturalWidth, one.getBoundingClientRect().width])"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


@pytest.mark.parametrize("width", [TELEPHONE, DESK])
def test_nothing_is_wider_than_the_window(site: Path, browser: Browser, width: int) -> None:
    """What is wider scrolls in a place of its own; nothing is asked of other sites, and nothing is complained about."""
    paths = [path for pattern in LOOKED_AT for path in sorted(site.glob(pattern))]
    assert len(paths) > 30
    for path in [*paths, site / "generated" / "api" / "graph.html"]:
        browser.open(path, width)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width, path.name
        assert all(one.startswith(("file:", "data:")) for one in browser.requests()), path.name
        assert not browser.complaints(), path.name


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["bases", "factorized", "graphs", "interactions", "symmetry"])
def test_mathematics_can_be_read(site: Path, browser: Browser, name: str, dark: bool) -> None:
    browser.open(site / "mathematics" / f"{name}.html", TELEPHONE, dark=dark)
    found = browser.evaluate(MATHEMATICS)
    assert len(found) >= 5
    for width, height, color, font in found:
        assert width > 4
        assert height > 8
        red, green, blue = (int(part) for part in color.removeprefix("rgb(").removesuffix(")").split(","))
        assert red + green + blue > 540 if dark else red + green + blue < 120, color
        assert "STIX Two Math" in font


def test_pictures_are_not_drawn_too_small(site: Path, browser: Browser) -> None:
    """Words in pictures are set for their natural width: they are legible down to two thirds of it."""
    for name in ("picture", "mathematics/bases", "mathematics/graphs", "how-to/block"):
        browser.open(site / f"{name}.html", TELEPHONE)
        pictures = browser.evaluate(PICTURES)
        assert pictures
        assert all(shown >= 2 / 3 * natural for natural, shown in pictures), name
