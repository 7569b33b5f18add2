"""The documentation site: it builds without warnings, its commands run, its links lead somewhere."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from tempfile import gettempdir
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from filelock import FileLock

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REQUIRED = ("sphinx", "myst_nb", "furo", "latex2mathml", "ziamath", "matplotlib", "lightning")

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in REQUIRED), reason="pip install 'gemnet_blocks[dev]'"
)


def environment() -> dict[str, str]:
    """Commands of this environment first; one thread, so that tests do not fight for cores."""
    scripts = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": os.pathsep.join([scripts, os.environ["PATH"]]), "OMP_NUM_THREADS": "1"}


# -- the site ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built once for all workers; pages that were executed with this very library are taken as they are."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "site"
    with FileLock(shared / "site.lock"):
        if not folder.exists():
            build(folder)
    return folder


def build(folder: Path) -> None:
    """Build the site as `make docs` does; the folder is there if and only if it was built without a warning."""
    unfinished = folder.with_name("unfinished")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"),
            *("-d", str(folder.with_name("doctrees")), str(DOCS), str(unfinished)),
        ],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    unfinished.rename(folder)


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
    return [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]


def local(address: str, path: Path) -> tuple[Path, str] | None:
    """The file and anchor of an address on a page; None if it leads out of the site."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return None
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    return target, unquote(parts.fragment)


def test_all_pages_are_there(site: Path) -> None:
    found = {str(path.relative_to(site)) for path in pages(site)}
    for source in [*DOCS.glob("*.md"), *DOCS.glob("[!_g]*/*.md")]:
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
    for name in ("bases", "graphs", "interactions", "factorised", "symmetry"):
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


# -- what is generated ------------------------------------------------------------------------------------------------


def test_every_field_is_in_the_reference(site: Path) -> None:
    from gemnet_blocks.spec.catalog import BUILT_IN
    from gemnet_blocks.spec.schema import Spec
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


# -- what pages show --------------------------------------------------------------------------------------------------


def blocks(path: Path) -> Iterator[tuple[str, str]]:
    """The language and content of every block of code, in order."""
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        yield found[1], found[2]


def commands(text: str) -> list[str]:
    return [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]


def test_start_in_an_empty_folder(tmp_path: Path) -> None:
    """Files are saved under the names in their first lines; commands and examples are run in their order."""
    shutil.copytree(ROOT / "paper_configs", tmp_path / "paper_configs")
    ran = []
    for language, content in blocks(DOCS / "start.md"):
        named = re.match(r"# (\S+\.(?:yaml|py))\n", content)
        if named:
            (tmp_path / named[1]).write_text(content, encoding="utf-8")
        elif language == "python":
            run([sys.executable, "-c", content], tmp_path)
            ran.append("python")
        elif language == "console":
            for command in commands(content):
                if command.startswith("pip install"):
                    install(command, tmp_path)
                else:
                    run(shlex.split(command), tmp_path)
                ran.append(command)
    assert len(ran) >= 10
    assert (tmp_path / "mine.svg").read_text(encoding="utf-8").startswith("<svg")
    assert (tmp_path / "runs" / "first" / "best.safetensors").exists()
    assert "inconclusive" in (tmp_path / "study" / "report" / "report.html").read_text(encoding="utf-8")


def run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment(), timeout=300)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def install(command: str, folder: Path) -> None:
    """Build and install as the command says, but aside and without what the package needs; the extras must exist."""
    target = folder / "installed"
    run([sys.executable, "-m", *shlex.split(command), "--no-deps", "--target", str(target)], ROOT)
    assert (target / "gemnet_blocks" / "paper_configs" / "gemnet-oc.yaml").exists()
    (about,) = target.glob("gemnet_blocks-*.dist-info/METADATA")
    known = re.findall(r"^Provides-Extra: (.+)$", about.read_text(encoding="utf-8"), re.MULTILINE)
    for extras in re.findall(r"\[([\w,]+)\]", command):
        assert set(extras.split(",")) <= set(known)


@pytest.mark.parametrize("source", sorted(DOCS.glob("how-to/*.md")), ids=lambda path: path.stem)
def test_commands_that_are_shown_exist(source: Path) -> None:
    import typer

    from gemnet_blocks.cli import app

    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for language, content in blocks(source):
        for command in commands(content) if language in ("console", "bash") else ():
            words = shlex.split(command)
            if "gemnet-blocks" not in words:
                continue
            words = words[words.index("gemnet-blocks") + 1 :]
            assert words[0] in known, command
            options = {option for one in known[words[0]].params for option in (*one.opts, *one.secondary_opts)}
            assert {word for word in words if word.startswith("--")} <= options, command


def test_configs_that_are_shown_are_valid(tmp_path: Path) -> None:
    from gemnet_blocks.ablation import Study
    from gemnet_blocks.data.batching import BatchOptions
    from gemnet_blocks.training import load_config

    (tmp_path / "paper_configs").symlink_to(ROOT / "paper_configs")
    path = tmp_path / "shown.yaml"
    (training,) = (content for language, content in blocks(DOCS / "how-to/training.md") if language == "yaml")
    path.write_text(training, encoding="utf-8")
    assert load_config(path).training.minutes == 60
    (study,) = (content for language, content in blocks(DOCS / "how-to/study.md") if language == "yaml")
    path.write_text(study, encoding="utf-8")
    assert Study.from_file(path).folder == tmp_path / "shown"
    (batch,) = (content for language, content in blocks(DOCS / "how-to/scale.md") if language == "yaml")
    assert BatchOptions.model_validate(yaml.safe_load(batch)["batch"])


def test_examples_in_python_compile_and_import_what_exists() -> None:
    """Examples that need files of the reader: their imports are run, their syntax is checked."""
    count = 0
    for source in DOCS.glob("[!_g]*/*.md"):
        for language, content in blocks(source):
            if language == "python":
                compile(content, str(source), "exec")
                imports = re.findall(r"^(?:from|import) .*$", content, re.MULTILINE)
                exec("\n".join(imports), {})
                count += len(imports)
    assert count > 5


MODULES_WITH_EXAMPLES = sorted(
    path
    for path in (ROOT / "gemnet_blocks").rglob("*.py")
    if re.search(r"^\s*>>> ", path.read_text("utf-8"), re.MULTILINE)
)


@pytest.mark.parametrize("path", MODULES_WITH_EXAMPLES, ids=lambda path: path.stem)
def test_examples_in_docstrings(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "paper_configs").symlink_to(ROOT / "paper_configs")
    monkeypatch.chdir(tmp_path)
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(Checker(), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for found in doctest.DocTestFinder().find(module):
        runner.run(found)
    assert runner.tries
    assert not runner.failures


class Checker(doctest.OutputChecker):
    """Examples that show no result may have one."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return not want or super().check_output(want, got, optionflags)


def test_files_that_are_named_exist() -> None:
    """Paths in code spans: of the package, its tests and configs."""
    missing = []
    for source in [*DOCS.glob("*.md"), *DOCS.glob("[!_g]*/*.md")]:
        text = source.read_text(encoding="utf-8")
        spans = re.findall(r"`((?:[\w-]+/)*[\w-]+(?:\.py|\.yaml|\.md|/))`", text)
        known = ("gemnet_blocks/", "tests/", "paper_configs/", "benchmarks/", "docs/")
        for span in spans:
            folders = ("", "gemnet_blocks/", "gemnet_blocks/blocks/", "tests/properties/")
            named = "/" in span and (span.startswith(known) or (ROOT / "gemnet_blocks" / span.split("/")[0]).exists())
            if named and not any((ROOT / folder / span).exists() for folder in folders):
                missing.append(f"{source.name}: {span}")
    assert not missing
