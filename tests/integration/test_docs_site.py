"""The documentation site: it builds without warnings, its links lead somewhere, its reference is complete."""

from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from tempfile import gettempdir
from urllib.parse import unquote, urlsplit

import pytest
from documentation import DOCS, ROOT, needs_what_builds_it, written_pages

pytestmark = [pytest.mark.docs, needs_what_builds_it]


class Page(HTMLParser):
    """Anchors, links and whatever a page loads."""

    LOADED = (("script", "src"), ("img", "src"), ("link", "href"), ("source", "src"), ("iframe", "src"))

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.images_without_text = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors.update(value for name in ("id", "name") if (value := given.get(name)))
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        for name, attribute in self.LOADED:
            is_metadata = tag == "link" and given.get("rel") in ("canonical", "next", "prev", "search", "index")
            if tag == name and given.get(attribute) and not is_metadata:
                self.loaded.append(str(given[attribute]))
        self.images_without_text += tag == "img" and (given.get("alt") or "_images/").startswith(("_images/", "../"))


@cache
def page(path: Path) -> Page:
    return Page(path)


def pages(site: Path) -> list[Path]:
    return [path for path in sorted(site.rglob("*.html")) if not {"_static", "_downloads"} & set(path.parts)]


def local(address: str, path: Path) -> tuple[Path, str] | None:
    """The file and anchor of an address on a page; None if it leads out of the site."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return None
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    return target, unquote(parts.fragment)


def test_descriptions_are_not_taken_for_types(site: Path) -> None:
    """Types stand in signatures; words before a colon are a part of the description."""
    for path in sorted((site / "generated/api").glob("*.html")):
        assert 'Type<span class="colon">' not in path.read_text(encoding="utf-8"), path.name


def test_all_pages_are_there(site: Path) -> None:
    found = {str(path.relative_to(site)) for path in pages(site)}
    for source in written_pages():
        assert str(source.relative_to(DOCS).with_suffix(".html")) in found
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"generated/notebooks/{notebook.stem}.html" in found
    for package in (ROOT / "gemnet_blocks").rglob("__init__.py"):
        name = ".".join(package.parent.relative_to(ROOT / "gemnet_blocks").parts) or "gemnet_blocks"
        assert name == "cli" or f"generated/api/{name}.html" in found


def test_links_and_anchors(site: Path) -> None:
    broken, count = [], 0
    for path in pages(site):
        for address in page(path).links:
            found = local(address, path)
            count += 1
            if found is None:
                parts = urlsplit(address)
                well_formed = parts.scheme == "https" and "." in parts.netloc and " " not in address
                if not well_formed and parts.scheme != "mailto":
                    broken.append(f"{path.relative_to(site)}: {address}")
            elif not found[0].exists() or (
                found[1] and found[0].suffix == ".html" and found[1] not in page(found[0]).anchors
            ):
                broken.append(f"{path.relative_to(site)}: {address}")
    assert count > 1000
    assert not broken, "\n".join(sorted(set(broken)))


def test_everything_that_pages_load_is_in_the_site(site: Path) -> None:
    for path in pages(site):
        for address in page(path).loaded:
            found = local(address.split("?")[0], path)
            assert address.startswith("data:") or (found is not None and found[0].is_file()), f"{path.name}: {address}"
        assert not page(path).images_without_text, path.name
    for style in (site / "_static").rglob("*.css"):
        for address in re.findall(r"url\(\s*[\"']?([^\"')]+)", style.read_text(encoding="utf-8")):
            assert address.startswith(("data:", "#")) or (style.parent / address.split("?")[0]).is_file(), address


def test_mathematics_is_drawn_by_the_browser(site: Path) -> None:
    for name in ("bases", "graphs", "interactions", "factorized", "symmetry"):
        text = (site / "mathematics" / f"{name}.html").read_text(encoding="utf-8")
        assert text.count("<math ") >= 5
        body = re.sub(r"<(math|pre|code|script)\b.*?</\1>", "", text[text.index("<article") :], flags=re.DOTALL)
        left = re.findall(r"\$[^$\n]{3,80}\$|\\(?:frac|sum|theta|varphi|mathrm)\b", body)
        assert not left, left
    assert (site / "_static" / "STIXTwoMath-Regular.woff").stat().st_size > 100_000


def test_no_machine_is_mentioned(site: Path) -> None:
    for path in pages(site):
        text = path.read_text(encoding="utf-8")
        for word in (str(ROOT), f"{Path.home()}/", f"{gettempdir()}/"):
            assert word not in text, f"{path.relative_to(site)} mentions {word}"


NOT_FOR_READERS = ("PydanticUndefined", "FieldInfo(", "annotation=NoneType", "object at 0x", "&lt;factory&gt;")
"""Representations of Python objects, which readers cannot use."""


def test_no_page_shows_representations_of_objects(site: Path) -> None:
    for path in pages(site):
        text = re.sub(r"<[^>]+>", "", path.read_text(encoding="utf-8"))
        for word in NOT_FOR_READERS:
            assert word not in text, f"{path.relative_to(site)} shows {word}"


def test_text_has_no_unit(site: Path) -> None:
    """Only numbers have a unit; choices, and fields whose description names several units, have none."""
    text = (site / "reference" / "training.html").read_text(encoding="utf-8")
    facts = re.findall(r'field-name[^>]*>(?:<[^>]+>)*(\w+)<.*?field-facts">(.*?)</p>', text, re.DOTALL)
    assert len(facts) > 50
    units = {(name, found[1]) for name, shown in facts if (found := re.search(r"unit ([^\s·]+)", shown))}
    assert ("unseen", "eV") in units
    assert not {"units", "scale", "per"} & {name for name, _ in units}


def test_every_field_is_in_the_reference(site: Path) -> None:
    from gemnet_blocks.spec.catalog import BUILT_IN
    from gemnet_blocks.spec.resolve import Spec
    from gemnet_blocks.training.options import TrainingConfig

    text = (site / "reference" / "spec.html").read_text(encoding="utf-8")
    described = [Spec, *(part.Options for kind in BUILT_IN.values() for part in kind.values())]
    for owner in described:
        for name, field in owner.model_fields.items():
            assert f">{name}</span>" in text or f">{name}<" in text, f"{owner.__name__}.{name}"
            assert field.description, f"{owner.__name__}.{name} has no description"
    training = (site / "reference" / "training.html").read_text(encoding="utf-8")
    assert all(f">{name}<" in training for name in TrainingConfig.model_fields)


def test_every_command_and_option_is_in_the_reference(site: Path) -> None:
    import typer

    from gemnet_blocks.cli import app

    text = (site / "reference" / "command-line.html").read_text(encoding="utf-8")
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        assert f"command-{name}" in text
        for parameter in command.params:
            for option in parameter.opts:
                assert option in text or option.upper() in text, f"{name} {option}"


def test_every_published_argument_sets_something(site: Path) -> None:
    from gemnet_blocks.spec import published

    text = (site / "reference" / "published.html").read_text(encoding="utf-8")
    rows = {
        cells[0]: cells[1] for row in re.findall(r"<tr.*?</tr>", text, re.DOTALL) if len(cells := cells_of(row)) == 3
    }
    for name in (*published.REQUIRED, *published.DEFAULTS):
        assert rows[name], name
    assert rows["emb_size_trip_in"].startswith("interactions.triplet.down")


def cells_of(row: str) -> list[str]:
    return [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)]
