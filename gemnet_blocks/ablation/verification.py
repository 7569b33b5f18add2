"""Verification of reports: their text follows from the results, and runs that are done again give the same numbers."""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from gemnet_blocks.ablation.learner import Task
from gemnet_blocks.ablation.report.chemiscope_file import CHEMISCOPE
from gemnet_blocks.ablation.report.content import HTML, MARKDOWN, RESULTS, report_files
from gemnet_blocks.ablation.report.page import generator
from gemnet_blocks.ablation.report.recorded_text import differing_text, recorded_text
from gemnet_blocks.ablation.report.where_section import WHERE
from gemnet_blocks.ablation.results import RunResult, StudyResults
from gemnet_blocks.ablation.runs import worker
from gemnet_blocks.ablation.runs.comparison import Mismatch, comparable, mismatches, numbers
from gemnet_blocks.ablation.runs.jobs import imported, place
from gemnet_blocks.ablation.runs.run_folder import RunFolder
from gemnet_blocks.ablation.runs.run_key import Fingerprints, run_key
from gemnet_blocks.ablation.training_learner import TrainingLearner
from gemnet_blocks.errors import SpecError, StateError
from gemnet_blocks.spec.catalog import Catalog, search_beside

TOLERANCE = 0.05
"""The default relative tolerance of numbers from other machines or versions: training amplifies rounding errors."""

MOST_THREADS = 256
"""The largest number of threads that a recorded run is believed to have had."""

SAME_MACHINE = ("gemnet_blocks", "torch", "python", "system", "host", "cpu", "threads", "gpu", "device")
"""The entries of a run's environment that are equal if its numbers are to be equal bit for bit."""


@dataclass(frozen=True, slots=True)
class Rerun:
    """A run that was done again.

    Attributes:
        variant: name of the variant.
        seed: the seed.
        numbers: the number of compared numbers.
        tolerance: their relative tolerance; 0 for bitwise equality.
        reason: why there is a tolerance; empty for bitwise equality.
    """

    variant: str
    seed: int
    numbers: int
    tolerance: float = 0.0
    reason: str = ""

    def __str__(self) -> str:
        how = f"with a tolerance of {self.tolerance:.3g}, because {self.reason}" if self.reason else "bit for bit"
        return f"{self.variant}, seed {self.seed}: done again, {self.numbers:,} numbers compared {how}"


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome of the verification of a report.

    Attributes:
        report: folder of the report.
        files: number of files of the report that were composed again and compared.
        runs: number of runs whose numbers were compared with those in their folders.
        reruns: the runs that were done again.
        mismatches: everything that differs; empty if the report is verified.
        notes: what was not compared, and why.
    """

    report: Path
    files: int
    runs: int
    reruns: tuple[Rerun, ...]
    mismatches: tuple[Mismatch, ...]
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """True if nothing differs."""
        return not self.mismatches


def verify(
    path: str | Path,
    sample: int = 2,
    seed: int | None = None,
    tolerance: float = TOLERANCE,
    *,
    learner: type | None = None,
    extra: Mapping[str, type] | None = None,
    allow_imports: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Verification:
    """Verify the report of a study.

    The report is composed again from its results and compared text by text; the results are compared with those in the
    folders of the runs; and a random sample of runs is done again in a temporary folder, as its folder records it.
    Numbers must be equal bit for bit if the machine, the versions and the number of threads are the same, except
    measured times. Otherwise errors and counts must be equal within a tolerance.

    Args:
        path: folder of a report or of its study.
        sample: number of runs that are done again; 0 for none.
        seed: seed of the sample; None: a random one.
        tolerance: relative tolerance of numbers that cannot be equal bit for bit.
        learner: class of the learner; None: `TrainingLearner`, or the recorded one if imports are allowed.
        extra: custom components of the specs; see `gemnet_blocks.spec.build`.
        allow_imports: whether the recorded learner and components such as `my_lab.blocks:GatedTriplet` are imported,
            which runs their code.
        tell: a function that is called with a line of text for each step.

    Raises:
        SpecError: there is no report with results, there are no finished runs that can be done again, or a recorded run
            or the data that it read cannot be read.
        ImportError: a package of reports or training is missing.
    """
    found = _Report.located(Path(path))
    catalog = Catalog().plus(extra, allow_imports)
    chosen = random.randrange(2**31) if seed is None else seed
    sampled = found.sampled(sample, chosen)
    text = found.compare_text()
    tell(f"{text.count} files of {found.folder} composed again")
    runs = found.compare_runs()
    tell(f"{runs.count} runs compared with their folders")
    reruns, differing, notes = [], [*runs.mismatches, *text.mismatches], [*runs.notes, *text.notes]
    for run in sampled:
        one, more = _done_again(found, run, catalog, learner, tolerance)
        reruns.append(one)
        differing += more
        tell(str(one))
    if reruns and seed is None:
        notes.append(f"the runs were drawn with seed {chosen}")
    return Verification(found.folder, text.count, runs.count, tuple(reruns), tuple(differing), tuple(notes))


@dataclass(frozen=True, slots=True)
class _Compared:
    """The number of things that were compared, the mismatches, and what was not compared."""

    count: int
    mismatches: tuple[Mismatch, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Report:
    """A report, its results, and the folder of its study, if it is known."""

    folder: Path
    results: StudyResults
    own: bool
    study: Path | None

    @classmethod
    def located(cls, path: Path) -> _Report:
        path = path.parent if path.is_file() else path
        folder = path if (path / HTML).is_file() else path / "report"
        if not (folder / HTML).is_file():
            raise SpecError(f"{path}: expected the folder of a report or of a study with a report, found no {HTML}")
        study = next((one for one in (path, folder.absolute().parent) if (one / "runs").is_dir()), None)
        file = folder / RESULTS
        own = file.is_file()
        if not own:  # a report of an earlier version
            file = (study or folder) / RESULTS
        if not file.is_file():
            raise SpecError(
                f"{folder}: expected a report with {RESULTS} in its folder or that of its study, found none"
            )
        try:
            return cls(folder, replace(StudyResults.load(file), folder=study), own, study)
        except ValueError as error:
            raise SpecError(str(error)) from error

    def compare_text(self) -> _Compared:
        """Compose the report again from its results, and compare all files."""
        page = recorded_text(self.folder / HTML)
        written_by = re.search(r'<meta name="generator" content="([^"]*)">', page)
        if written_by is None or not self.own:
            return _Compared(0, (), ("its text was not compared, because an earlier version wrote the report",))
        notes = []
        files = dict(report_files(self.results))
        if not (self.folder / CHEMISCOPE).is_file():
            files.pop(CHEMISCOPE, None)  # the package was not installed
        if self.study is None and (self.folder / WHERE).is_file():
            files = {name: text for name, text in files.items() if name not in (HTML, MARKDOWN)}
            notes.append("the predictions of the runs are not beside the report, so that only tables were compared")
        drawn = written_by[1] == generator()
        if not drawn:
            notes.append(f"drawings were not compared, because {written_by[1]} wrote them and this is {generator()}")
            files = {name: text for name, text in files.items() if not name.endswith(".svg")}
        found = [one for name, text in files.items() for one in differing_text(self.folder / name, name, text, drawn)]
        return _Compared(len(files), tuple(found), tuple(notes))

    def compare_runs(self) -> _Compared:
        """Compare the results of the report and of the study with those in the folders of the runs."""
        if self.study is None:
            return _Compared(0, (), ("the folders of the runs are not beside the report",))
        recorded = {f"{RESULTS} of the report" if self.own else RESULTS: self.results}
        if self.own and (self.study / RESULTS).is_file():
            try:
                recorded[f"{RESULTS} of the study"] = StudyResults.load(self.study / RESULTS)
            except ValueError as error:
                raise SpecError(str(error)) from error
        found: list[Mismatch] = []
        compared, lost = set(), set()
        for file, results in recorded.items():
            for run in results.done():
                result = _folder(self.study, run).result(run.key)
                name = f"{run.variant}, seed {run.seed}"
                if result is None or result.status != "done":
                    lost.add(name)
                    continue
                compared.add(name)
                own = (replace(one, what=f"{one.what} in {file}") for one in _same_result(name, run, result))
                found += own
        notes = [f"no result is in the folder of {name}" for name in sorted(lost)]
        return _Compared(len(compared), tuple(found), tuple(notes))

    def sampled(self, sample: int, seed: int) -> Sequence[RunResult]:
        """Draw some of the finished runs whose folders tell how to do them again."""
        study, done = self.study, self.results.done()
        runs = [] if study is None else [run for run in done if _folder(study, run).learner()]
        if sample and not runs:
            raise SpecError(
                f"{self.folder}: expected folders of finished runs beside the report, to do some of them again, found "
                "none: give the folder of the study, or --sample 0 (in Python, sample=0)"
            )
        runs.sort(key=lambda run: (run.variant, run.seed))
        return random.Random(seed).sample(runs, min(sample, len(runs)))


def _folder(study: Path, run: RunResult) -> RunFolder:
    return RunFolder.of(study, run.variant, run.seed, run.key)


def _same_result(name: str, recorded: RunResult, found: RunResult) -> Iterator[Mismatch]:
    return mismatches(name, numbers(recorded), numbers(found))


def _done_again(
    report: _Report, run: RunResult, catalog: Catalog, learner: type | None, tolerance: float
) -> tuple[Rerun, list[Mismatch]]:
    """Do a run again in a temporary folder, and compare it with the results of the report."""
    assert report.study is not None
    name, source = f"{run.variant}, seed {run.seed}", _folder(report.study, run)
    try:
        task, _ = source.task(catalog)
        kept = source.predictions()
    except StateError as error:
        raise SpecError(str(error)) from error
    settings = source.learner()
    chosen = learner or _learner(settings, source.path, task, catalog.allow_imports)
    with tempfile.TemporaryDirectory(prefix="gemnet-blocks-") as folder, _threads(run.environment.get("threads")):
        found = [*_other_definition(name, report, run, task, settings, chosen, Path(folder))]
        target = RunFolder(Path(folder) / "run")
        target.prepare(task, settings)
        code = worker.work(target.path, chosen, catalog)
        result, predictions = target.result(task.key), target.predictions()
    if code > 128:
        raise KeyboardInterrupt
    if result is None or result.status != "done":
        reason = "no result" if result is None else result.error or "no result"
        return Rerun(run.variant, run.seed, 0), [*found, Mismatch(name, "run", "done", f"failed: {reason}")]
    why = _inexact(run, result, task)
    allowed = tolerance if why else 0.0
    old, new = (
        comparable(numbers(*one), allowed) for one in ((run, kept), (result, predictions if kept is not None else None))
    )
    found += mismatches(name, old, new, allowed)
    count = sum(len(values) for values in new.values())
    return Rerun(run.variant, run.seed, count, allowed, why), found


def _learner(settings: Mapping[str, Any], source: Path, task: Task, allow_imports: bool) -> type:
    """Return the class of the learner that did a run."""
    name = str(settings.get("class"))
    if name == place(TrainingLearner):
        return TrainingLearner
    if not allow_imports:
        raise SpecError(
            f"{source}: the learner {name} did the run, whose code is run only if allowed: give --allow-imports (in "
            "Python allow_imports=True or learner=...), or sample no runs"
        )
    if task.config is not None:
        search_beside(task.config.folder / "study.yaml")
    try:
        found: type = imported(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SpecError(f"{source}: the learner {name}, which did the run, cannot be imported: {error}") from error
    return found


def _other_definition(
    name: str,
    report: _Report,
    run: RunResult,
    task: Task,
    settings: Mapping[str, Any],
    learner: type,
    folder: Path,
) -> Iterator[Mismatch]:
    """Compare the hash of everything that a run depends on, and the architecture of its variant."""
    files: Mapping[str, Any] = {}
    try:
        if task.config is not None and getattr(learner, "needs_data", True):
            files = Fingerprints(folder / "fingerprints.json").of(task.config.data, task.config.folder)
        key = run_key(task.spec, task.config, files, task.seed, settings)
    except (SpecError, StateError, OSError) as error:
        raise SpecError(
            f"{name}: expected the files that the run read, cannot read them: {error}. Put them where the study had "
            "them, or give --sample 0 (in Python, sample=0)"
        ) from error
    if key != run.key:
        yield Mismatch(name, "hash of spec, data, training, seed and code", run.key[:16], key[:16])
    spec = next((one.spec_hash for one in report.results.variants if one.name == run.variant), "")
    if spec and spec != task.spec.content_hash:
        yield Mismatch(name, "content hash of the spec", spec[:16], task.spec.content_hash[:16])


def _inexact(recorded: RunResult, found: RunResult, task: Task) -> str:
    """Return why the numbers of two runs are not equal bit for bit; empty if they must be."""
    old, new = recorded.environment, found.environment
    if different := [one for one in SAME_MACHINE if old.get(one) != new.get(one)]:
        return f"{', '.join(different)} differ"
    if task.config is None:
        return ""
    training = task.config.training
    if training.minutes is not None:
        return "the budget is a time"
    if str(new.get("device", "cpu")) != "cpu" and not training.deterministic:
        return "training on this device is not deterministic"
    return ""


@contextmanager
def _threads(count: object) -> Iterator[None]:
    """Compute with the number of threads of a recorded run."""
    before = torch.get_num_threads()
    torch.set_num_threads(count if isinstance(count, int) and 0 < count <= MOST_THREADS else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
