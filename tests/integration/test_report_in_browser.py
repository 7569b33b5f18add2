"""The report of a study in a real browser, at the width of a telephone and of a desk."""

from __future__ import annotations

import matplotlib.image
import pytest
from browser import Browser
from synthetic_studies import full_study

from gemnet_blocks.ablation.report.content import write_report

TELEPHONE, DESK = 390, 1280
LONG = "a name without any space: " + "x" * 150
STUDIES = {
    "few": (("no quadruplets", "bessel basis", "no atom–atom interaction", "legendre"), 8),
    "many": (("</title><script>document.title = 'run'</script>", LONG, *(f"variant {n}" for n in range(17))), 6),
}

# What sticks out of the window, apart from what scrolls within a container of its own.
OUTSIDE = """[...document.querySelectorAll("body *")].filter(
    one => !one.closest(".scroll") && one.getBoundingClientRect().width > 0 && !one.closest("svg *")
        && (one.getBoundingClientRect().right > innerWidth + 0.5 || one.getBoundingClientRect().left < -0.5)
).map(one => one.outerHTML.slice(0, 200))"""
# The narrowest contrast of text with what is behind it, after WCAG.
CONTRAST = """(() => {
    const light = color => {
        const [r, g, b] = color.match(/[0-9.]+/g).slice(0, 3).map(
            one => one / 255 <= 0.04045 ? one / 255 / 12.92 : ((one / 255 + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = one => {
        const color = getComputedStyle(one).backgroundColor;
        return color !== "rgba(0, 0, 0, 0)" || !one.parentElement ? color : behind(one.parentElement);
    };
    const texts = document.querySelectorAll("p, td, th, li, a, h1, h2, h3, dd, dt, span, figcaption");
    return Math.min(...[...texts].map(one => {
        const [dark, bright] = [light(getComputedStyle(one).color), light(behind(one))].sort((a, b) => a - b);
        return (bright + 0.05) / (dark + 0.05);
    }));
})()"""
LINES = "[...document.querySelectorAll('figure svg')].map(one => one.getBoundingClientRect().width)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    return {
        name: write_report(full_study(variants, seeds, failures=2), folder / name)
        for name, (variants, seeds) in STUDIES.items()
    }


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("width", [320, TELEPHONE, 768, DESK])
def test_the_page_fits_its_window(browser, pages, name, width):
    browser.open(pages[name], width)
    browser.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")

    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(OUTSIDE) == []


@pytest.mark.parametrize("name", STUDIES)
def test_wide_tables_scroll_within_themselves(browser, pages, name):
    browser.open(pages[name], TELEPHONE)

    wide = "[...document.querySelectorAll('.scroll')].filter(one => one.scrollWidth > one.clientWidth)"
    assert browser.evaluate(f"{wide}.length") > 0
    assert browser.evaluate(f"{wide}.map(one => {{ one.scrollLeft = 50; return one.scrollLeft }}).every(x => x > 0)")


@pytest.mark.parametrize("name", STUDIES)
def test_the_page_fetches_and_runs_nothing(browser, pages, name):
    browser.open(pages[name], DESK)

    assert browser.requests() == [pages[name].resolve().as_uri()]
    assert browser.complaints() == []
    assert browser.evaluate("document.title") == "What the interactions bring on Cu₃X slabs"
    assert browser.evaluate("document.querySelectorAll('script, img, link, iframe').length") == 0


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_the_page(browser, pages, dark):
    browser.open(pages["few"], DESK, dark=dark)

    assert browser.evaluate(CONTRAST) >= 4.5
    paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(20, 24, 29)" if dark else "rgb(255, 255, 255)")


def test_figures_are_as_wide_as_a_telephone_and_readable(browser, pages):
    browser.open(pages["few"], TELEPHONE)

    widths = browser.evaluate(LINES)
    assert len(widths) == 5
    # figures are drawn 4.4 inches of 96 pixels wide, with letters of 9 points
    assert all(12 * width / (4.4 * 96) > 9.5 for width in widths)


@pytest.mark.parametrize("width", [TELEPHONE, DESK])
@pytest.mark.parametrize("dark", [False, True])
def test_pictures_of_the_page(browser, pages, width, dark, tmp_path):
    browser.open(pages["few"], width, dark=dark)
    picture = matplotlib.image.imread(browser.screenshot(tmp_path / "page.png"))

    height = browser.evaluate("document.documentElement.scrollHeight")
    assert picture.shape[:2] == (height, width)
    luminance = picture[..., :3].mean(axis=2)
    background = luminance[:, :4].mean()  # the margin
    assert background < 0.15 if dark else background > 0.95
    # letters and lines take some of the page, and not most of it
    drawn = (abs(luminance - background) > 0.3).mean()
    assert 0.01 < drawn < 0.3
