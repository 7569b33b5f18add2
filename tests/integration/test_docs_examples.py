"""What pages and docstrings show exists and runs."""

from __future__ import annotations

import doctest
import importlib
import json
import re
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml
from documentation import DOCS, ROOT, blocks, blocks_in, commands, environment, needs_what_builds_it, run, written_pages
from potentials import smooth_potential

from gemnet_blocks.potential import save_potential

pytestmark = needs_what_builds_it


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of an environment with the installed wheel, and with the packages that it needs beside it."""
    folder = tmp_path_factory.mktemp("installed")
    run([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    run([*pip, "install", "--no-deps", str(ROOT)], folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"], encoding="utf-8")
    variables = {**environment(folder / "bin"), "JUPYTER_PATH": str(folder / "share" / "jupyter")}
    variables.pop("PYTHONPATH", None)
    found = run([str(python), "-c", "import gemnet_blocks; print(gemnet_blocks.__file__)"], folder, variables)
    assert Path(found.strip()).is_relative_to(folder)
    run([str(python), "-m", "ipykernel", "install", "--prefix", str(folder)], folder, variables)
    return variables


@pytest.mark.docs
def test_start_in_an_empty_folder(tmp_path: Path, installed: dict[str, str]) -> None:
    """Files are saved under the names in their first lines; commands and examples are run in their order."""
    ran = []
    for language, content in blocks(DOCS / "start.md"):
        named = re.match(r"# (\S+\.(?:yaml|py))\n", content)
        if named:
            (tmp_path / named[1]).write_text(content, encoding="utf-8")
        elif language == "python":
            run(["python", "-c", content], tmp_path, installed)
            ran.append("python")
        elif language == "console":
            for command in commands(content):
                if command.startswith("pip install"):
                    assert_extras_exist(command, installed)
                else:
                    run(["sh", "-c", command], tmp_path, installed)
                ran.append(command)
    assert len(ran) >= 10
    assert (tmp_path / "mine.svg").read_text(encoding="utf-8").startswith("<svg")
    assert (tmp_path / "runs" / "first" / "best.safetensors").exists()
    assert "inconclusive" in (tmp_path / "study" / "report" / "report.html").read_text(encoding="utf-8")


def assert_extras_exist(command: str, installed: dict[str, str]) -> None:
    listing = "from importlib.metadata import metadata; print(*metadata('gemnet_blocks').get_all('Provides-Extra'))"
    known = run(["python", "-c", listing], ROOT, installed).split()
    for extras in re.findall(r"\[([\w,]+)\]", command):
        assert set(extras.split(",")) <= set(known)


@pytest.mark.docs
@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_outside_of_a_checkout(notebook: Path, tmp_path: Path, installed: dict[str, str]) -> None:
    """With the installed wheel alone, in an empty folder."""
    shutil.copy(notebook, tmp_path)
    execute = "import sys; from nbclient.cli import main; sys.exit(main())"
    run(["python", "-c", execute, notebook.name, "--timeout=600"], tmp_path, installed)


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


PAGES_WHOSE_PYTHON_RUNS = {"start", "training", "study", "spec", "export"}
"""By the tests here; on all other pages, examples are cells, which are executed whenever the site is built."""


def test_no_example_is_only_shown() -> None:
    assert {source.stem for source in written_pages() if blocks_in(source, "python")} == PAGES_WHOSE_PYTHON_RUNS


@pytest.mark.docs
def test_training(tmp_path: Path) -> None:
    """The config as it is but for the widths and the budget, the commands, and the calculator."""
    write_frames(tmp_path, 155)
    from gemnet_blocks.training import parse_config
    from gemnet_blocks.training.plugins import CallbackOptions, LoggerOptions

    config, recipe, _, weights, loggers, callbacks = blocks_in(DOCS / "how-to/training.md", "yaml")
    extending = parse_config(f"{recipe}\n{weights}", tmp_path)
    assert (extending.training.minutes, extending.training.steps) == (25, None)
    assert extending.loss.energy is not None
    assert (extending.loss.energy.first_weight, extending.loss.energy.weight) == (1, 10)
    options = [LoggerOptions.model_validate(one) for one in yaml.safe_load(loggers)["loggers"]]
    assert [one.type for one in options] == ["tensorboard", "csv", "wandb", "mlflow"]
    assert CallbackOptions.model_validate(yaml.safe_load(callbacks)["callbacks"][0]).arguments == {"epochs": 2}
    smaller = replaced(config, "sizes: {edge: 128}", "sizes: {atom: 8, edge: 8}")
    (tmp_path / "train.yaml").write_text(replaced(smaller, "minutes: 60", "steps: 2"), encoding="utf-8")
    console, longer, from_trained = blocks_in(DOCS / "how-to/training.md", "console")
    for command in commands(console):
        run(shlex.split(command), tmp_path)
    (command,) = commands(longer)
    run([part.replace("minutes=120", "steps=3") for part in shlex.split(command)], tmp_path)
    new = (tmp_path / "train.yaml").read_text(encoding="utf-8").replace("runs/first", "runs/second")
    (tmp_path / "new.yaml").write_text(new, encoding="utf-8")
    (command,) = commands(from_trained)
    run(shlex.split(command), tmp_path)
    (example,) = blocks_in(DOCS / "how-to/training.md", "python")
    made = "from ase.build import bulk\natoms = bulk('Cu', cubic=True)\n"
    run([sys.executable, "-c", f"{made}{example}\nprint(atoms.get_potential_energy())"], tmp_path)
    assert list((tmp_path / "runs/first/test").rglob("*.png"))


@pytest.mark.docs
def test_fine_tuning(tmp_path: Path) -> None:
    """The config of a larger model after a first run, but for widths and budgets, and the study."""
    from gemnet_blocks.ablation import Study

    write_frames(tmp_path, 155)
    config, *_ = blocks_in(DOCS / "how-to/training.md", "yaml")
    (console,) = blocks_in(DOCS / "how-to/fine-tune.md", "console")
    tuning, study = blocks_in(DOCS / "how-to/fine-tune.md", "yaml")
    small = "sizes: {atom: 8, edge: 8}"
    first = replaced(replaced(config, "sizes: {edge: 128}", small), "minutes: 60", "steps: 2")
    second = replaced(replaced(tuning, "sizes: {edge: 128}", small), "minutes: 20", "steps: 2")
    (tmp_path / "train.yaml").write_text(first, encoding="utf-8")
    (tmp_path / "fine-tune.yaml").write_text(second, encoding="utf-8")
    run(["gemnet-blocks", "train", "train.yaml"], tmp_path)
    told = run(shlex.split(commands(console)[0]), tmp_path)
    assert "new parts that start at zero: blocks.2" in told
    (tmp_path / "study.yaml").write_text(replaced(study, "sizes: {edge: 128}", small), encoding="utf-8")
    plan = Study.from_file(tmp_path / "study.yaml").check()
    assert len(plan.runs) == 24
    assert {run.task.training.training.start_from for run in plan.runs} == {None, "runs/first"}


@pytest.mark.docs
def test_study(tmp_path: Path) -> None:
    """The files as they are are valid; with one step of two runs, the example in Python makes its report."""
    from gemnet_blocks.ablation import Study
    from gemnet_blocks.ablation.study_file import read_study

    write_frames(tmp_path, 15)
    study, factors, values, extension = blocks_in(DOCS / "how-to/study.md", "yaml")
    (tmp_path / "search.yaml").write_text(values, encoding="utf-8")
    assert Study.from_file(tmp_path / "search.yaml").document.options.trials == 40
    (tmp_path / "factors.yaml").write_text(factors, encoding="utf-8")
    assert len(read_study(tmp_path / "factors.yaml").patches) == 7
    path = tmp_path / "quadruplets.yaml"
    path.write_text(study, encoding="utf-8")
    assert Study.from_file(path).folder == tmp_path / "quadruplets"
    own = replaced(replaced(extension, "validation.aselmdb", "frames.extxyz"), "train.aselmdb", "frames.extxyz")
    (tmp_path / "mine.yaml").write_text(own, encoding="utf-8")
    assert "no triplets" not in read_study(tmp_path / "mine.yaml").patches
    fewer = replaced(replaced(study, "seeds: 8", "seeds: 1"), "steps: 2000", "steps: 1")
    fewer = replaced(replaced(fewer, "match: parameters\n", ""), "  4 Å quadruplets: {graphs.quad.cutoff: 4.0}\n", "")
    path.write_text(replaced(fewer, "validation: 50, test: 100", "validation: 5, test: 5"), encoding="utf-8")
    (example,) = blocks_in(DOCS / "how-to/study.md", "python")
    run([sys.executable, "-c", example], tmp_path)
    assert "inconclusive" in (tmp_path / "quadruplets/report/report.html").read_text(encoding="utf-8")


TASKS = (DOCS / "how-to/tasks.md").read_text(encoding="utf-8").split("\n## ")[1:]
"""The sections of the page of ten tasks."""


def code_of(task: str, kind: str = r"[^\n]*") -> str:
    """All code of a task in its blocks of one kind."""
    return "".join(re.findall(rf"^```{kind}\n(.*?)^```$", task, re.DOTALL | re.MULTILINE))


def test_there_are_ten_tasks() -> None:
    assert len(TASKS) == 10


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.splitlines()[0])
def test_a_task_states_its_lines_and_pages(task: str) -> None:
    (stated,) = re.findall(r"^(\d+) lines?, (\d+) pages?: ((?:\[[^\]]+\]\([\w.-]+\)(?:, )?)+)\.", task, re.MULTILINE)
    lines = [line for line in code_of(task).splitlines() if line and not line.startswith(("# ", "%%"))]
    assert len(lines) == int(stated[0])
    pages = re.findall(r"\(([\w.-]+)\)", stated[2])
    assert len(pages) == int(stated[1])
    assert all((DOCS / "how-to" / page).is_file() for page in pages)


@pytest.mark.docs
def test_the_commands_of_the_tasks_run(tmp_path: Path) -> None:
    """In the order of the page; its cells are executed when the site is built."""
    write_frames(tmp_path, 15)
    shutil.copy(ROOT / "tests/parity/checkpoints/older.pt", tmp_path / "CHECKPOINT.pt")
    hidden = code_of(
        (DOCS / "how-to/tasks.md").read_text(encoding="utf-8").split("\n## ")[0], r"\{code-cell\} ipython3"
    )
    prepared = "\n".join(line for line in hidden.splitlines() if not line.startswith((":", "%", "os.chdir")))
    run([sys.executable, "-c", prepared], tmp_path)
    (written,) = re.findall(r"^%%writefile (\S+)\n(.*?)^```$", "\n".join(TASKS), re.DOTALL | re.MULTILINE)
    (tmp_path / written[0]).write_text(written[1], encoding="utf-8")
    (study,) = (code for task in TASKS if (code := code_of(task, "yaml")))
    fewer = replaced(replaced(study, "seeds: 6", "seeds: 1"), "steps: 2000", "steps: 1")
    (tmp_path / "study.yaml").write_text(fewer, encoding="utf-8")
    printed = []
    for command in (command for task in TASKS for command in commands(code_of(task, "console"))):
        loose = " --fmax 1e6" if " relax " in command else ""  # weights are random
        printed.append(run(["sh", "-c", command + loose], tmp_path))
    assert len(printed) == 7
    assert printed[2].startswith("metric,variant")
    assert "energy" in (tmp_path / "predicted.extxyz").read_text(encoding="utf-8")
    assert (tmp_path / "relaxed.extxyz").exists()


@pytest.mark.docs
def test_export_of_a_program(tmp_path: Path) -> None:
    """The first command, for a small model, and the example in Python."""
    (tmp_path / "runs/first").mkdir(parents=True)
    unused = {f"interactions__{name}": None for name in ("quadruplet", "atom_edge", "edge_atom", "atom_atom")}
    save_potential(smooth_potential(blocks__count=1, **unused), tmp_path / "runs/first/best.safetensors")
    (console,) = blocks_in(DOCS / "how-to/export.md", "console")
    run(shlex.split(commands(console)[0]), tmp_path)
    (example,) = blocks_in(DOCS / "how-to/export.md", "python")
    assert "tensor([" in run([sys.executable, "-c", example], tmp_path)


@pytest.mark.docs
def test_a_checkpoint_is_moved(tmp_path: Path) -> None:
    from ase.build import fcc111
    from ase.io import write

    shutil.copy(ROOT / "tests/parity/checkpoints/older.pt", tmp_path / "CHECKPOINT.pt")
    write(tmp_path / "slab.cif", fcc111("Cu", (2, 2, 2), vacuum=6.0, periodic=True))
    (console,) = blocks_in(DOCS / "how-to/checkpoint.md", "console")
    convert, relax = commands(console)
    assert "0 keys missing" in run(shlex.split(convert), tmp_path)
    run([*shlex.split(relax), "--fmax", "1e6"], tmp_path)  # weights are random
    assert (tmp_path / "relaxed.extxyz").exists()


def test_other_examples(tmp_path: Path) -> None:
    from gemnet_blocks.data.options import DataOptions

    (data,) = blocks_in(DOCS / "how-to/scale.md", "yaml")
    split = {"type": "random", "validation": 1, "test": 1, "seed": 0}
    more = {"files": ["frames.extxyz"], "units": "eV", "energy": "total", "split": split}
    assert DataOptions.model_validate({**more, **yaml.safe_load(data)["data"]}).workers == 2
    (schema,) = blocks_in(DOCS / "reference/spec.md", "python")
    assert json.loads(run([sys.executable, "-c", schema], tmp_path))["title"] == "GemNet spec"


def write_frames(folder: Path, count: int) -> None:
    """Copper with displaced atoms, labelled by EMT, as `frames.extxyz`."""
    import numpy as np
    from ase.build import bulk
    from ase.calculators.emt import EMT
    from ase.io import write

    generator = np.random.default_rng(0)
    frames = [bulk("Cu", cubic=True) for _ in range(count)]
    for frame in frames:
        frame.positions += generator.normal(scale=0.05, size=(4, 3))
        frame.calc = EMT()
        frame.get_forces()
    write(folder / "frames.extxyz", frames)


def replaced(text: str, one: str, other: str) -> str:
    """The text with what must occur in it replaced."""
    assert one in text
    return text.replace(one, other)


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
    for source in written_pages():
        text = source.read_text(encoding="utf-8")
        spans = re.findall(r"`((?:[\w-]+/)*[\w-]+(?:\.py|\.yaml|\.md|/))`", text)
        known = ("gemnet_blocks/", "tests/", "paper_configs/", "benchmarks/", "docs/")
        for span in spans:
            named = "/" in span and (span.startswith(known) or (ROOT / "gemnet_blocks" / span.split("/")[0]).exists())
            if named and not any((ROOT / folder / span).exists() for folder in ("", "gemnet_blocks/")):
                missing.append(f"{source.name}: {span}")
    assert not missing


def test_tests_that_are_named_exist() -> None:
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^ *def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    text = (DOCS / "mathematics" / "symmetry.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", text))
    assert len(named) > 10
    assert named <= defined, named - defined
