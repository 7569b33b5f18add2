"""The Python interface of ablation studies."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

from gemnet_blocks.ablation.learner import Learner
from gemnet_blocks.ablation.options import BASE, SEARCH, BudgetOptions, StudyOptions
from gemnet_blocks.ablation.report.content import write_report
from gemnet_blocks.ablation.report.search_content import write_search_report
from gemnet_blocks.ablation.report.sequential.monitor import Run
from gemnet_blocks.ablation.report.sequential.study_looks import monitored, needed_part
from gemnet_blocks.ablation.report.sequential.words import print_looks
from gemnet_blocks.ablation.results import StudyResults
from gemnet_blocks.ablation.runs.executors import Executor, HereExecutor, ProcessExecutor, SubmititExecutor
from gemnet_blocks.ablation.runs.jobs import Work
from gemnet_blocks.ablation.runs.plan import PlannedRun, StudyPlan, data_files, make_plan
from gemnet_blocks.ablation.runs.scheduler import Driver, Progress
from gemnet_blocks.ablation.search_results import RESULT as SEARCHED
from gemnet_blocks.ablation.search_results import SearchResults
from gemnet_blocks.ablation.search_trials import space_of
from gemnet_blocks.ablation.study_file import StudyDocument, read_study, read_study_of, study_of
from gemnet_blocks.ablation.training_learner import TrainingLearner
from gemnet_blocks.data.options import DataOptions
from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec import resolve
from gemnet_blocks.spec.catalog import Catalog
from gemnet_blocks.spec.document import STANDARD_INPUT, Document, Problem, Route
from gemnet_blocks.spec.files import folder_of
from gemnet_blocks.spec.resolve import Spec, validate
from gemnet_blocks.training.setup import check_machine
from gemnet_blocks.util.files import read_json, write_json
from gemnet_blocks.util.locks import one_of_several_writers_to_folder

if TYPE_CHECKING:
    from os import PathLike

ExecutorName = Literal["local", "here", "slurm"]
"""local: processes of this machine. here: this process, one run after another. slurm: jobs of a cluster."""

RESULTS = "results.json"
"""The file of the results in the folder of a study."""

ABOUT = "study.json"
"""The file that stores the description of the data, for reports that do not open the data, and the first plan of a
sequential study."""


@final
class Study:
    """A comparison of variants of one architecture.

    Every variant is trained with every seed. Runs with the same seed get the same data in the same order and, for equal
    layers, the same initial weights, so that differences from the base are paired.

    Args:
        base: a spec, a mapping (which may contain `extends`), or the path of a spec.
        patches: the changes of each variant by its name: `{"no quadruplets": {"interactions.quadruplet": None}}`. The
            section `execution` changes how a model is computed: `{"explicit": {"execution.angular": "explicit"}}`, and
            `start_from` the weights that training starts from: `{"warm": {"start_from": "runs/first"}}`.
            Studies with factors need none: `Study(base, {}, factors={"quadruplet": ["on", "off"]}, ...)`.
        seeds: number of seeds, or a list of seeds; fewer than 6 seeds do not support conclusions. Or a mapping such as
            `{"at_most": 24, "effect": 0.05}` for a sequential study, which adds seeds until every variant is decided.
        data: the section `data` of a training config; paths are relative to the current folder.
        training: the sections loss, optimizer, schedule, references, scales and training of a training config, as
            mappings or dotted paths: `{"loss": {...}, "optimizer.learning_rate": 1e-3}`.
        budget: the training budget of each variant, required: `{"steps": 1000}`, `{"minutes": 5}` or `{"flops": 1e15}`.
        learner: does the runs; None: `TrainingLearner`, which trains, evaluates and measures the costs.
        folder: folder for all output.
        extra: custom components by the names that specs use as `type`; see `gemnet_blocks.spec.build`.
        allow_imports: whether specs may import types such as `my_lab.blocks:GatedTriplet`; only for specs that you
            trust.
        options: further fields of `StudyOptions`, such as match="parameters".

    Raises:
        SpecError: one error with every problem that can be found without data.
    """

    def __init__(
        self,
        base: Spec | Mapping[str, Any] | str | PathLike[str],
        patches: Mapping[str, Mapping[str, Any]],
        seeds: int | Sequence[int] | Mapping[str, Any] = 6,
        *,
        data: Mapping[str, Any] | DataOptions | None = None,
        training: Mapping[str, Any] | None = None,
        budget: Mapping[str, Any] | BudgetOptions | None = None,
        learner: Learner | None = None,
        folder: str | PathLike[str] = "study",
        extra: Mapping[str, type] | None = None,
        allow_imports: bool = False,
        **options: Any,
    ) -> None:
        unknown = [name for name in options if name not in StudyOptions.model_fields]
        if unknown:
            raise TypeError(f"Study has no argument {', '.join(unknown)}")
        given = {"seeds": seeds, "budget": budget, "data": data, "training": training, **options}
        document = _study_document(base, patches, given)
        spec, catalog = None, Catalog().plus(extra, allow_imports)
        if isinstance(base, Spec):  # validated again with the classes of `extra`
            spec = validate(base.document(), base.catalog.plus(extra, allow_imports))
        self._take(study_of(document, Path(), spec, catalog=catalog), learner, Path(folder))

    @classmethod
    def of_architecture(
        cls,
        base: Spec,
        path: str | PathLike[str],
        changes: Mapping[str, Any] | None = None,
        learner: Learner | None = None,
        folder: str | PathLike[str] | None = None,
    ) -> Study:
        """Read data, training, budget and seeds from a study file, for another base and without variants.

        Args:
            base: the architecture of the base.
            path: a study file or a name, as of `from_file`; it need not have a base and variants.
            changes: changes by dotted path, such as `{"seeds": 8}`.
            learner: does the runs; None: `TrainingLearner`.
            folder: folder for all output; None: as of `from_file`.

        Raises:
            SpecError: one error with every problem that can be found without data.
        """
        study = read_study_of(path, base, changes)
        instance = cls.__new__(cls)
        instance._take(study, learner, _folder(Path(path), study) if folder is None else Path(folder))
        return instance

    def _take(self, study: StudyDocument, learner: Learner | None, folder: Path) -> None:
        self._study = study
        if study.options.search is not None:
            space_of(study)
        if learner is not None and not isinstance(learner, Learner):
            raise TypeError(f"learner must be a Learner such as TrainingLearner(), got {learner!r}")
        self._learner: Learner = learner or TrainingLearner()
        self.folder = folder
        self._plan: StudyPlan | None = None

    @classmethod
    def from_file(
        cls,
        path: str | PathLike[str],
        changes: Mapping[str, Any] | None = None,
        learner: Learner | None = None,
        folder: str | PathLike[str] | None = None,
        *,
        extra: Mapping[str, type] | None = None,
        allow_imports: bool = False,
    ) -> Study:
        """Read a study file.

        Args:
            path: a YAML file, to which paths in it are relative; or the name of a study that the library ships, such as
                `studies/neighbors`, or `-`, standard input: then paths are relative to the current folder.
            changes: changes by dotted path, such as `{"seeds": 8}`.
            learner: does the runs; None: `TrainingLearner`, which trains, evaluates and measures the costs.
            folder: folder for all output; None: the field `output` of the file, or a folder beside the file with its
                name; for shipped studies, in the current folder.
            extra: custom components by the names that specs use as `type`; see `gemnet_blocks.spec.build`.
            allow_imports: whether the file may import types such as `my_lab.blocks:GatedTriplet`, also in worker
                processes; only for files that you trust. Modules are also searched in the folder of the file and in
                the current folder.

        Raises:
            SpecError: one error with every problem that can be found without data.
        """
        path = Path(path)
        study = read_study(path, changes, Catalog().plus(extra, allow_imports))
        instance = cls.__new__(cls)
        instance._take(study, learner, _folder(path, study) if folder is None else Path(folder))
        return instance

    @property
    def document(self) -> StudyDocument:
        """The validated study."""
        return self._study

    @property
    def base(self) -> Spec:
        """The architecture of the base."""
        return self._study.base

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the runs of each variant; sequential studies may not need all of them."""
        return self._study.options.all_seeds

    @property
    def learner(self) -> Learner:
        """The learner that does the runs."""
        return self._learner

    def with_variants(self, patches: Mapping[str, Mapping[str, Any]]) -> Study:
        """Return a study of other variants with the same base, data, training, budget, seeds, learner and folder.

        Runs that both studies contain are trained once. The new study has no controls, and its variants may be equal.

        Args:
            patches: the changes of each variant by its name.

        Raises:
            SpecError: a name or a path is wrong.
        """
        other = type(self).__new__(type(self))
        other._take(self._study.with_variants(patches), self._learner, self.folder)
        return other

    def check(self) -> StudyPlan:
        """Check the study as far as possible without training, and list all runs.

        Raises:
            SpecError: one error with every problem.
        """
        plan = self._plan
        if plan is None or not plan.thorough or plan.files != data_files(self._study, self._learner, self.folder):
            plan = self._plan = make_plan(self._study, self._learner, self.folder)
        return plan

    def run(
        self,
        executor: ExecutorName | Executor = "local",
        processes: int | None = None,
        progress: bool | None = None,
        cluster: Mapping[str, Any] | None = None,
    ) -> StudyResults:
        """Do all unfinished runs; if interrupted, call it again to resume.

        A sequential study does the runs of one look after another, until every variant is decided. Several drivers,
        also on several machines, may run one study in one folder.

        Args:
            executor: `local` (processes of this machine), `here` (this process), `slurm`, or an `Executor`.
            processes: number of runs at once; None: chosen from the GPUs and cores of the machine.
            progress: False to show nothing; None: a live table in terminals, a progress bar in notebooks, lines of text
                elsewhere.
            cluster: parameters for Slurm, such as `{"slurm_partition": "gpu", "timeout_min": 600}`.

        Returns:
            All results, including failed runs; they are also written to `results.json`.

        Raises:
            SpecError: one error with every problem, before the first training; or a training writes to the folder; or
                the study is a search.
            ImportError: a package is missing.
        """
        options = self._study.options
        if options.search is not None:
            raise SpecError("search: this study has a search instead of variants: call gemnet_blocks.ablation.search")
        plan = self.check()
        chosen, work = self.workers(executor, processes, cluster, len(plan.runs))
        with one_of_several_writers_to_folder(self.folder, "output"):
            self._begin(plan)
            try:
                self._complete(plan, chosen, work, progress)
            finally:
                results = self.results()
                results.save(self.folder / RESULTS)
        return results

    def results(self) -> StudyResults:
        """Collect the results of all runs so far.

        Raises:
            SpecError: one error with every problem.
        """
        self._plan = plan = self._plan or make_plan(self._study, self._learner, self.folder, thorough=False)
        return needed_part(self._all_results(plan))

    def _begin(self, plan: StudyPlan) -> None:
        """Store the description of the data and the first plan of a sequential study, and warn if it was changed."""
        about: dict[str, Any] = {"data": plan.data}
        if (sequential := self._study.options.sequential) is not None:
            before, planned = read_json(self.folder / ABOUT), sequential.model_dump(mode="json")
            first = before.get("seeds") if isinstance(before, dict) else None
            about["seeds"] = first = first if isinstance(first, dict) else planned
            changed = [name for name, value in planned.items() if first.get(name) != value]
            if changed:
                told = ", ".join(f"{name} from {first.get(name)} to {planned[name]}" for name in changed)
                warnings.warn(
                    f"seeds: the plan of the looks was changed after the study was begun ({told}): if results were "
                    "seen before, the study no longer has its error rate",
                    stacklevel=3,
                )
        write_json(self.folder / ABOUT, about)

    def _complete(self, plan: StudyPlan, executor: Executor, work: Work, progress: bool | None) -> None:
        """Do all runs; in sequential studies those that each look needs, one look after another."""
        options = self._study.options

        def complete(runs: Sequence[PlannedRun], title: str) -> None:
            with Progress(runs, title, options.primary, progress) as display:
                Driver(runs, executor, work, options.retries, display).complete()

        if options.sequential is None:
            complete(plan.runs, options.title)
            return
        tried: set[Run] = set()
        looks = 0
        while (found := monitored(self._all_results(plan), tried)) is not None:
            if progress is not False:
                print_looks(found, looks)
            looks = found.looks
            needed = set(found.needed) - tried
            if not needed:
                return
            complete(
                [run for run in plan.runs if (run.task.variant, run.task.seed) in needed],
                f"{options.title}, look {looks + 1}",
            )
            tried |= needed

    def _all_results(self, plan: StudyPlan) -> StudyResults:
        """Collect the results of all runs, also of those that a sequential study does not need."""
        about = read_json(self.folder / ABOUT)
        options = self._study.options
        return StudyResults(
            base_name=BASE,
            variants=plan.variants,
            runs=tuple(one.folder.state(one.task.variant, one.task.seed, one.task.key) for one in plan.runs),
            primary_metric=options.primary,
            seeds=options.all_seeds,
            title=options.title,
            budget=str(options.budget),
            data=plan.data or (str(about.get("data", "")) if isinstance(about, dict) else ""),
            settings=self.settings(),
            folder=self.folder.absolute(),
        )

    def report(self, folder: str | PathLike[str] | None = None) -> Path:
        """Write the report of the results so far.

        Args:
            folder: destination; None: the folder `report` in the folder of the study.

        Returns:
            The path of the HTML page.

        Raises:
            SpecError: one error with every problem; or no trial of a search has finished.
            ImportError: matplotlib or statsmodels is not installed.
        """
        target = self.folder / "report" if folder is None else Path(folder)
        if self._study.options.search is None:
            return write_report(self.results(), target)
        try:
            return write_search_report(SearchResults.load(self.folder / SEARCHED), target)
        except ValueError as error:
            raise SpecError(str(error)) from error

    def workers(
        self, executor: ExecutorName | Executor, processes: int | None, cluster: Mapping[str, Any] | None, runs: int
    ) -> tuple[Executor, Work]:
        """Return the executor of runs, and what its workers need; see `run`.

        Args:
            executor: where runs are executed.
            processes: number of runs at once.
            cluster: parameters for Slurm.
            runs: number of runs; there are no more workers.

        Raises:
            SpecError: the executor, or this machine, cannot do the runs.
            ImportError: a package is missing.
        """
        chosen, work = self._executor(executor, processes, cluster, runs), Work.of(self._learner, self.base.catalog)
        chosen.check(work)
        self._check_machine(chosen)
        return chosen, work

    def _executor(
        self, executor: ExecutorName | Executor, processes: int | None, cluster: Mapping[str, Any] | None, runs: int
    ) -> Executor:
        if isinstance(executor, Executor):
            return executor
        if executor == "local":
            return ProcessExecutor(processes, runs)
        if executor == "here":
            return HereExecutor()
        if executor == "slurm":
            return SubmititExecutor(self.folder / "jobs", parameters=cluster, jobs=processes)
        raise SpecError(f"executor: must be local, here, slurm or an Executor, got {executor!r}")

    def _check_machine(self, executor: Executor) -> None:
        """Check the device of the training config, unless the runs go to other machines."""
        config = self._study.config
        if config is not None and self._learner.needs_data and executor.on_this_machine:
            try:
                check_machine(config)
            except SpecError as error:
                raise SpecError("\n".join(map(self._study.located, str(error).splitlines()))) from None

    def settings(self) -> dict[str, Any]:
        """Return the complete study as plain data."""
        study = self._study
        rest = study.config.to_dict() if study.config is not None else {}
        trained = {name: value for name, value in rest.items() if name not in ("model", "data", "output")}
        data = {"data": rest["data"], "training": trained} if rest else {}
        unused = set(SEARCH) if study.options.search is None else None
        return {**study.options.model_dump(mode="json", exclude=unused), "base": study.base.to_dict(), **data}


def _folder(path: Path, study: StudyDocument) -> Path:
    """Return the folder for all output of a study that was read from a file."""
    return folder_of(path) / (study.options.output or ("study" if path == STANDARD_INPUT else path.stem))


def _study_document(base: Any, patches: Any, given: Mapping[str, Any]) -> Document:
    """Build the document of a study from Python arguments: mappings with dotted paths, options, numpy numbers, paths.

    Args:
        base: a mapping, a path, or a spec, which the document leaves out.
        patches: changes by the name of each variant.
        given: the other fields; None for those that are not given.
    """
    document = resolve.as_document({name: one for name, one in given.items() if one is not None and name != "factors"})
    data, problems = dict(document.data), list(document.problems)
    if given.get("factors") is not None:
        data["factors"] = _plain_factors(given["factors"])
    places: dict[Route, str] = {}
    if isinstance(base, Mapping):
        mapping = resolve.as_document(base)
        data["base"], places = mapping.data, {("base",): "base"}
        problems += [Problem(("base", *one.route), one.message) for one in mapping.problems]
    elif base is not None and not isinstance(base, Spec):
        data["base"] = os.fspath(base) if isinstance(base, os.PathLike) else base
    named = isinstance(patches, Mapping)
    data["variants"] = (
        {name: _patch_of_object(name, one, problems) for name, one in patches.items()} if named else patches
    )
    return Document(data, places, tuple(problems))


def _plain_factors(factors: Any) -> Any:
    """Convert factors to plain data, without splitting their names, which may be dotted paths."""
    if not isinstance(factors, Mapping):
        return factors

    def plain(value: Any) -> Any:
        return resolve.as_document({"value": value}).data["value"]

    return {
        name: {level: plain(patch) for level, patch in one.items()} if isinstance(one, Mapping) else plain(one)
        for name, one in factors.items()
    }


def _patch_of_object(name: Any, patch: Any, problems: list[Problem]) -> Any:
    if isinstance(patch, Spec):
        message = 'must contain only the changes of the base, such as {"blocks.count": 6}, got a whole spec'
        problems.append(Problem(("variants", str(name)), message))
        return {}
    if not isinstance(patch, Mapping):
        return patch
    document = resolve.as_document(patch)
    problems += [Problem(("variants", str(name), *one.route), one.message) for one in document.problems]
    return document.data
