"""The results of a study as plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from gemnet_blocks.util.files import write_json
from gemnet_blocks.util.html import upper_layer

if TYPE_CHECKING:
    from os import PathLike

    from pandas import DataFrame

RESULTS_FORMAT = 1
"""Version of the files that `StudyResults.save` writes."""

Status = Literal["done", "failed", "running", "missing"]
"""State of a run: done, failed (see its error), running, or missing (not started, or stopped)."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A field in which a variant differs from the base.

    Attributes:
        path: dotted path of the field, such as `interactions.quadruplet` or `execution.angular`.
        base: value in the base as plain data; None if the field is absent.
        value: value in the variant as plain data; None if the field is absent.
    """

    path: str
    base: Any
    value: Any


@dataclass(frozen=True, slots=True)
class Variant:
    """An architecture of a study.

    Attributes:
        name: name in the study.
        patch: changes of the base by (dotted) path; empty for the base.
        differences: the resulting differences from the base, field by field.
        spec_hash: content hash of the whole spec.
        control_of: name of the variant whose parameter-matched control this is; None otherwise.
        note: remark for readers, such as how a control was scaled.
        levels: the level of each factor, in factorial studies.
    """

    name: str
    patch: Mapping[str, Any] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()
    spec_hash: str = ""
    control_of: str | None = None
    note: str = ""
    levels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Variant:
        """Restore a variant from the plain data of `dataclasses.asdict`."""
        values = _known(cls, data)
        values["differences"] = tuple(Difference(**_known(Difference, one)) for one in data.get("differences", ()))
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Parity:
    """Labels and predictions of some structures or atoms of the evaluated set, the same for all runs of a study.

    Attributes:
        label: the labels.
        predicted: the predictions.
    """

    label: tuple[float, ...]
    predicted: tuple[float, ...]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Parity:
        """Restore a value from the plain data of `dataclasses.asdict`."""
        values = {name: tuple(map(float, one)) for name, one in _known(cls, data).items()}
        if len({len(one) for one in values.values()}) != 1:
            raise ValueError("Parity: needs as many predictions as labels")
        return cls(**values)


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of one variant with one seed.

    Attributes:
        variant: name of the variant.
        seed: seed of the initial weights and of the order of the data.
        key: hash of spec, data, training and seed.
        status: state of the run.
        error: the error of a failed run, last line first; None otherwise.
        metrics: errors on the test set (without one, on the validation set), by names such as `forces_mae` (eV/Å) and
            `energy_mae_per_atom` (eV); lower is better.
        curve: `step`, `seconds` and metrics of every validation.
        cost: `parameters`; `matmul_flops_inference` (for one structure) and `matmul_flops_training` (for one step);
            `training_seconds`, `steps`; `inference_seconds` (for one structure, median) and `inference_spread` (half
            the interquartile range); `peak_memory_bytes` (of a training step, estimated); `edges` of the main graph,
            `triplets` and `quadruplets` (per structure); `symmetry_error` (eV/Å) and `symmetry_error_energy` (eV per
            atom) under rotations in float64. Costs that could not be measured are missing.
        baseline: errors on the same set, by the names of `metrics`, of a potential that predicts zero forces and, for
            each structure, the sum of its atomic reference energies plus the mean remaining energy per atom of the set.
        elements: `atoms`, `forces_mae`, `forces_rmse` and `zero_forces_mae` of the atoms of each element, by symbol.
        parity: labels and predictions of `forces` (components in eV/Å) and `energy` (per atom, relative to the atomic
            reference energies, in eV), evenly spread over the evaluated set.
        environment: versions, processor, threads.
        attempts: number of times the run was started.
    """

    variant: str
    seed: int
    key: str
    status: Status = "missing"
    error: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    curve: Sequence[Mapping[str, float]] = ()
    cost: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 0
    baseline: Mapping[str, float] = field(default_factory=dict)
    elements: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    parity: Mapping[str, Parity] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.status not in get_args(Status):
            raise ValueError(f"RunResult: status must be one of {', '.join(get_args(Status))}, got {self.status!r}")

    def to_dict(self) -> dict[str, Any]:
        """Convert the result to plain data."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunResult:
        """Restore a result from the plain data of `to_dict`.

        Raises:
            ValueError: the data are not a result of this version.
        """
        values = _known(cls, data)
        if "curve" in values:
            values["curve"] = tuple(values["curve"])
        if "parity" in values:
            values["parity"] = {name: Parity.from_dict(one) for name, one in values["parity"].items()}
        return cls(**values)


@dataclass(frozen=True, slots=True)
class StudyResults:
    """All results of a study, and the source of its report.

    Attributes:
        base_name: name of the variant that all others are compared with, the first of `variants`.
        variants: in the order of the study, each control after its variant.
        runs: one for each variant and seed, including missing and failed runs.
        primary_metric: the metric that verdicts are based on, such as `forces_mae`.
        seeds: the seeds in order.
        title: title of the study.
        budget: the training budget of each variant in words.
        data: description of the data.
        settings: the study as plain data, in the layout of a study file.
        folder: folder of the study, where runs keep their predictions; None if it is unknown. It is not saved.
    """

    base_name: str
    variants: tuple[Variant, ...]
    runs: tuple[RunResult, ...]
    primary_metric: str = "forces_mae"
    seeds: tuple[int, ...] = ()
    title: str = "Ablation study"
    budget: str = ""
    data: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"StudyResults({len(self.variants)} variants, {len(self.done())} of {len(self.runs)} runs done)"

    def _repr_html_(self) -> str:
        return upper_layer("ablation.report.notebook").html(self)

    def table(self, metric: str | None = None) -> DataFrame:
        """Tabulate the comparison of every variant with the base as a pandas data frame.

        The columns are the verdict, the means of base and variant over the pairs, the mean difference, the 95 %
        interval of it (`low`, `high`), the relative difference, p-values before and after Holm's correction, and the
        numbers of complete and planned pairs.

        Args:
            metric: name of the metric; None: the primary metric, which alone has a verdict in reports.

        Raises:
            ImportError: pandas or statsmodels is not installed.
        """
        return upper_layer("ablation.report.notebook").table(self, metric)

    def where(self, variant: str, quantity: str = "forces") -> Any:
        """Compare the errors of a variant and the base atom by atom and structure by structure, paired by seed.

        `results.where("no quadruplets").groups("coordination")` tells which atoms profit from quadruplets.

        Args:
            variant: name of the variant.
            quantity: `forces` (of each atom), `energy` (per atom, of each structure), or another labelled property.

        Returns:
            The `PairedErrors`, whose `groups` are tables by element, coordination, tag, composition or own labels.

        Raises:
            KeyError: the variant is unknown.
            ValueError: the runs kept no predictions, or none of this quantity.
        """
        return upper_layer("ablation.report.paired_errors").where(self, variant, quantity)

    def variant(self, name: str) -> Variant:
        """Return the variant with a name.

        Raises:
            KeyError: the variant is unknown.
        """
        for one in self.variants:
            if one.name == name:
                return one
        raise KeyError(f"unknown variant {name!r}: choose from {', '.join(one.name for one in self.variants)}")

    def run(self, variant: str, seed: int) -> RunResult | None:
        """Return the run of a variant with a seed; None if the study does not contain it."""
        return next((one for one in self.runs if one.variant == variant and one.seed == seed), None)

    def runs_of(self, variant: str) -> tuple[RunResult, ...]:
        """Return all runs of a variant, ordered by seed."""
        return tuple(sorted((one for one in self.runs if one.variant == variant), key=lambda one: one.seed))

    def done(self) -> tuple[RunResult, ...]:
        """Return the finished runs."""
        return tuple(one for one in self.runs if one.status == "done")

    def failed(self) -> tuple[RunResult, ...]:
        """Return the failed runs."""
        return tuple(one for one in self.runs if one.status == "failed")

    @property
    def complete(self) -> bool:
        """True if all runs are done."""
        return all(one.status == "done" for one in self.runs)

    def values(self, variant: str, metric: str | None = None) -> dict[int, float]:
        """Return one metric of the finished runs of a variant, by seed.

        Args:
            variant: name of the variant.
            metric: name of the metric; None: the primary metric.
        """
        name = metric or self.primary_metric
        runs = (one for one in self.runs_of(variant) if one.status == "done")
        return {one.seed: float(one.metrics[name]) for one in runs if name in one.metrics}

    def to_dict(self) -> dict[str, Any]:
        """Convert the results to plain data."""
        values = asdict(self)
        del values["folder"]
        return {"format": RESULTS_FORMAT, **json.loads(json.dumps(values))}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> StudyResults:
        """Restore results from the plain data of `to_dict`.

        Raises:
            ValueError: the data are not results of this version.
        """
        if data.get("format") != RESULTS_FORMAT:
            raise ValueError(f"expected results of format {RESULTS_FORMAT}, got format {data.get('format')!r}")
        values = _known(cls, {key: value for key, value in data.items() if key != "format"})
        values["variants"] = tuple(Variant.from_dict(one) for one in data["variants"])
        values["runs"] = tuple(RunResult.from_dict(one) for one in data["runs"])
        values["seeds"] = tuple(data.get("seeds", ()))
        return cls(**values)

    def save(self, path: str | PathLike[str]) -> None:
        """Write a JSON file."""
        write_json(Path(path), self.to_dict())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> StudyResults:
        """Read a JSON file that `save` wrote; the folder of the study is that of the file, or the one above it.

        Raises:
            ValueError: the file does not contain results of a study.
        """
        try:
            found = cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
            near = (Path(path).absolute().parent, Path(path).absolute().parent.parent)
            return replace(found, folder=next((one for one in near if (one / "runs").is_dir()), None))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: expected results of a study: {error}") from error


def _known(kind: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Check that the entries of a mapping are fields of a dataclass, and return them as its arguments."""
    if not isinstance(data, Mapping):
        raise ValueError(f"{kind.__name__}: must be a mapping, got {type(data).__name__}")
    names = [one.name for one in fields(kind) if one.compare]  # others are not saved
    unknown = [str(name) for name in data if name not in names]
    if unknown:
        raise ValueError(f"{kind.__name__}: unknown field {', '.join(unknown)}")
    return dict(data)
