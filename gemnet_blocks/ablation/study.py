"""Studies: a base, patches, seeds, data and a budget; run, looked at and reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

from gemnet_blocks.ablation.learner import Learner
from gemnet_blocks.ablation.options import BASE, BudgetOptions, StudyOptions
from gemnet_blocks.ablation.results import StudyResults
from gemnet_blocks.ablation.runs.executors import Executor, HereExecutor, ProcessExecutor, SubmititExecutor
from gemnet_blocks.ablation.runs.jobs import Work
from gemnet_blocks.ablation.runs.plan import StudyPlan, data_files, in_study, make_plan
from gemnet_blocks.ablation.runs.scheduler import Driver, Progress
from gemnet_blocks.ablation.study_file import StudyDocument, read_study, study_document, study_of
from gemnet_blocks.ablation.training_learner import TrainingLearner
from gemnet_blocks.data.options import DataOptions
from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec.catalog import Catalog
from gemnet_blocks.spec.resolve import Spec, validate
from gemnet_blocks.util.files import read_json, write_json
from gemnet_blocks.util.locks import one_of_several_writers_to_folder

if TYPE_CHECKING:
    from os import PathLike

ExecutorName = Literal["local", "here", "slurm"]
"""local: processes of this machine. here: this process, one run after another. slurm: jobs of a cluster."""

RESULTS = "results.json"
"""The results in a study's folder."""

ABOUT = "study.json"
"""What was found in the data, for reports that are made without looking at it again."""


@final
class Study:
    """A comparison of variants of one architecture.

    Every variant is trained with every seed; the same seed gives the same data in the same order and, where layers are
    the same, the same initial weights, so that differences from the base are paired.

    Args:
        base: a spec, one as a mapping (`extends` included), or the path of one.
        patches: by the name of each variant, what it changes: `{"no quadruplets": {"interactions.quadruplet": None}}`.
            Under `execution`, how it is computed: `{"explicit": {"execution.angular": "explicit"}}`.
        seeds: a number of seeds, or a list of them.
        data: what to learn from, as in a training config; paths are relative to the current folder.
        training: the sections loss, optimizer, schedule, references, scales and training of a training config; like
            all else here, mappings or dotted paths: `{"loss": {...}, "optimizer.learning_rate": 1e-3}`.
        budget: what every variant may spend: `{"steps": 1000}`, `{"minutes": 5}` or `{"flops": 1e15}`; needed.
        learner: what does the runs; None: they are trained, evaluated and measured.
        folder: for everything that is written.
        extra: your own parts by the name that `type` gives them; see `gemnet_blocks.spec.build`.
        allow_imports: whether types like `my_lab.blocks:GatedTriplet` may be imported; only for specs that you trust.
        options: further fields of `StudyOptions`, such as match="parameters".

    Raises:
        SpecError: one error with every problem that can be seen without data.
    """

    def __init__(
        self,
        base: Spec | Mapping[str, Any] | str | PathLike[str],
        patches: Mapping[str, Mapping[str, Any]],
        seeds: int | Sequence[int] = 6,
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
        document = study_document(base, patches, given)
        spec, catalog = None, Catalog().plus(extra, allow_imports)
        if isinstance(base, Spec):  # read again, with the classes that are known only now
            spec = validate(base.document(), base.catalog.plus(extra, allow_imports))
        self._take(study_of(document, Path(), spec, catalog=catalog), learner, Path(folder))

    def _take(self, study: StudyDocument, learner: Learner | None, folder: Path) -> None:
        self._study = study
        if learner is not None and not isinstance(learner, Learner):
            raise TypeError(f"learner must be a Learner, such as TrainingLearner(), not {learner!r}")
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
            path: a YAML file; paths in it are relative to it.
            changes: by dotted path, such as `{"seeds": 8}`.
            learner: what does the runs; None: they are trained, evaluated and measured.
            folder: for everything that is written; None: what the file says, else a folder beside it of its name.
            extra: your own parts by the name that `type` gives them; see `gemnet_blocks.spec.build`.
            allow_imports: whether types like `my_lab.blocks:GatedTriplet` may be imported, by the processes that do
                the runs, too; only for files that you trust. Modules in the folder of the file and in the
                current one are found, too.

        Raises:
            SpecError: one error with every problem that can be seen without data.
        """
        path = Path(path)
        study = read_study(path, changes, Catalog().plus(extra, allow_imports))
        study_folder = path.parent / (study.options.output or path.stem) if folder is None else Path(folder)
        made = cls.__new__(cls)
        made._take(study, learner, study_folder)
        return made

    def check(self) -> StudyPlan:
        """Check everything that can be checked before anything is trained, and list all runs.

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
        """Do all runs that are not done; the same call goes on wherever it was stopped.

        Several drivers, on several machines, may run one study in one folder.

        Args:
            executor: where runs are done.
            processes: how many at once; None: what suits the machine.
            progress: whether a page of progress is shown; None: if somebody looks on, and lines if not.
            cluster: what Slurm is told, such as `{"slurm_partition": "gpu", "timeout_min": 600}`.

        Returns:
            Everything that was found, runs that failed included; also in `results.json`.

        Raises:
            SpecError: one error with every problem, before anything is trained; or a training writes to the folder.
            ImportError: a package is missing.
        """
        plan = self.check()
        chosen = self._executor(executor, processes, cluster, len(plan.runs))
        work = Work.of(self._learner, self._study.base.catalog)
        chosen.check(work)
        self._check_machine(chosen)
        options = self._study.options
        with one_of_several_writers_to_folder(self.folder, "output"):
            write_json(self.folder / ABOUT, {"data": plan.data})
            try:
                with Progress(plan.runs, options.title, options.primary, progress) as shown:
                    Driver(plan.runs, chosen, work, options.retries, shown).complete()
            finally:
                results = self.results()
                results.save(self.folder / RESULTS)
        return results

    def results(self) -> StudyResults:
        """What is known by now.

        Raises:
            SpecError: one error with every problem.
        """
        plan = self._plan or make_plan(self._study, self._learner, self.folder, thorough=False)
        self._plan = plan
        about = read_json(self.folder / ABOUT)
        options = self._study.options
        return StudyResults(
            base_name=BASE,
            variants=plan.variants,
            runs=tuple(one.folder.state(one.task.variant, one.task.seed, one.task.key) for one in plan.runs),
            primary_metric=options.primary,
            seeds=options.seeds,
            title=options.title,
            budget=str(options.budget),
            data=plan.data or (str(about.get("data", "")) if isinstance(about, dict) else ""),
            settings=self._settings(),
        )

    def report(self, folder: str | PathLike[str] | None = None) -> Path:
        """Write the report of what is known by now.

        Args:
            folder: where to; None: the folder `report` in the study's own.

        Returns:
            The page.

        Raises:
            SpecError: one error with every problem.
            ImportError: matplotlib is not installed.
        """
        from gemnet_blocks.ablation.report.content import write_report

        return write_report(self.results(), self.folder / "report" if folder is None else Path(folder))

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
        raise SpecError(f"executor: must be local, here or slurm, got {executor!r}")

    def _check_machine(self, executor: Executor) -> None:
        """What machines of a cluster have, cannot be known here."""
        config = self._study.config
        if config is not None and self._learner.needs_data and executor.on_this_machine:
            from gemnet_blocks.training.setup import check_machine

            try:
                check_machine(config)
            except SpecError as error:
                raise SpecError("\n".join(map(in_study, str(error).splitlines()))) from None

    def _settings(self) -> dict[str, Any]:
        """The whole study, with nothing left to look up."""
        study = self._study
        rest = study.config.to_dict() if study.config is not None else {}
        trained = {name: value for name, value in rest.items() if name not in ("model", "data", "output")}
        data = {"data": rest["data"], "training": trained} if rest else {}
        return {**study.options.model_dump(mode="json"), "base": study.base.to_dict(), **data}
