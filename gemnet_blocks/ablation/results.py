"""What a study found, as plain values: one result for each variant and seed, and all of them together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from gemnet_blocks.util.files import replacing

if TYPE_CHECKING:
    from os import PathLike

RESULTS_FORMAT = 1
"""The version of what `StudyResults.save` writes."""

Status = Literal["done", "failed", "running", "missing"]
"""How far a run is: done, failed (see its error), running now, or neither started nor failed."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which a variant differs from the base.

    Attributes:
        path: the dotted path of a field, such as `interactions.quadruplet` or `execution.angular`.
        base: what the base has there, as plain data; None where it has nothing.
        value: what the variant has there; None where it has nothing.
    """

    path: str
    base: Any
    value: Any


@dataclass(frozen=True, slots=True)
class Variant:
    """One architecture of a study.

    Attributes:
        name: as the study calls it.
        patch: what the study changes, by (dotted) path; empty for the base.
        differences: what that comes to, field by field.
        spec_hash: the content hash of the whole spec.
        control_of: for a parameter-matched control, the name of the variant that it is of; else None.
        note: what a reader should know of it, such as how a control was scaled.
    """

    name: str
    patch: Mapping[str, Any] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()
    spec_hash: str = ""
    control_of: str | None = None
    note: str = ""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Variant:
        """The inverse of `dataclasses.asdict`."""
        values = _known(cls, data)
        values["differences"] = tuple(Difference(**_known(Difference, one)) for one in data.get("differences", ()))
        return cls(**values)


@dataclass(frozen=True, slots=True)
class RunResult:
    """One variant with one seed.

    Attributes:
        variant: the name of the variant.
        seed: of initial weights and of the order of the data.
        key: a hash of spec, data, training and seed.
        status: whether it is done.
        error: why it failed, last line first; None if it did not.
        metrics: errors on the test set (on the validation set where there is no test set), by names such as
            `forces_mae` (eV/Å) and `energy_mae_per_atom` (eV); lower is better.
        curve: for every validation, `step`, `seconds` and its metrics.
        cost: `parameters`; `matmul_flops_inference` (of one structure) and `matmul_flops_training` (of one step);
            `training_seconds`, `steps`; `inference_seconds` (of one structure, median) and `inference_spread` (half the
            distance of the quartiles); `peak_memory_bytes` (of a training step, estimated); `edges` of main, all
            `triplets` and `quadruplets` (per structure); `symmetry_error` (eV/Å) and `symmetry_error_energy` (eV per
            atom) under rotations, in float64; what could not be measured is missing.
        environment: versions, processor, threads.
        attempts: how often it was started.
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

    def __post_init__(self) -> None:
        if self.status not in get_args(Status):
            raise ValueError(f"RunResult: status is {self.status!r}: choose one of {', '.join(get_args(Status))}")

    def to_dict(self) -> dict[str, Any]:
        """Plain mappings, lists, numbers and text that make the same result again."""
        return _plain(asdict(self))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunResult:
        """The inverse of `to_dict`.

        Raises:
            ValueError: it is none, or one of another version.
        """
        values = _known(cls, data)
        if "curve" in values:
            values["curve"] = tuple(values["curve"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class StudyResults:
    """Everything that a study found; all that its report is made of.

    Attributes:
        base_name: the name of the variant that all others are compared with; the first of `variants`.
        variants: in the order of the study, controls after what they are of.
        runs: one for each variant and seed, those that are missing or failed included.
        primary_metric: the metric that conclusions are drawn from, such as `forces_mae`.
        seeds: in order.
        title: of the study.
        budget: what all variants were given equally, in words.
        data: what was learned from, in words.
        settings: the study as plain data, as a file has it.
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

    def variant(self, name: str) -> Variant:
        """The variant of a name.

        Raises:
            KeyError: there is none.
        """
        for one in self.variants:
            if one.name == name:
                return one
        raise KeyError(f"there is no variant {name!r}: there are {', '.join(one.name for one in self.variants)}")

    def run(self, variant: str, seed: int) -> RunResult | None:
        """The run of a variant with a seed, if the study has it."""
        return next((one for one in self.runs if one.variant == variant and one.seed == seed), None)

    def runs_of(self, variant: str) -> tuple[RunResult, ...]:
        """All runs of a variant, in the order of seeds."""
        return tuple(sorted((one for one in self.runs if one.variant == variant), key=lambda one: one.seed))

    def done(self) -> tuple[RunResult, ...]:
        """The runs that are done."""
        return tuple(one for one in self.runs if one.status == "done")

    def failed(self) -> tuple[RunResult, ...]:
        """The runs that failed."""
        return tuple(one for one in self.runs if one.status == "failed")

    @property
    def complete(self) -> bool:
        """Whether all runs are done."""
        return all(one.status == "done" for one in self.runs)

    def values(self, variant: str, metric: str | None = None) -> dict[int, float]:
        """One metric of all runs of a variant that are done, by seed.

        Args:
            variant: its name.
            metric: its name; None: the primary one.
        """
        name = metric or self.primary_metric
        runs = (one for one in self.runs_of(variant) if one.status == "done")
        return {one.seed: float(one.metrics[name]) for one in runs if name in one.metrics}

    def to_dict(self) -> dict[str, Any]:
        """Plain mappings, lists, numbers and text that make the same results again."""
        return {"format": RESULTS_FORMAT, **_plain(asdict(self))}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> StudyResults:
        """The inverse of `to_dict`.

        Raises:
            ValueError: they are of another version, or none.
        """
        if data.get("format") != RESULTS_FORMAT:
            raise ValueError(f"these are no results of format {RESULTS_FORMAT}: their format is {data.get('format')!r}")
        values = _known(cls, {key: value for key, value in data.items() if key != "format"})
        values["variants"] = tuple(Variant.from_dict(one) for one in data["variants"])
        values["runs"] = tuple(RunResult.from_dict(one) for one in data["runs"])
        values["seeds"] = tuple(data.get("seeds", ()))
        return cls(**values)

    def save(self, path: str | PathLike[str]) -> None:
        """Write a JSON file."""
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> StudyResults:
        """Read a JSON file that `save` wrote.

        Raises:
            ValueError: it is none; names the file.
        """
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: cannot be read as the results of a study: {error}") from error


def _known(kind: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of data as arguments of a dataclass.

    Raises:
        ValueError: some are none of its fields, or it is no mapping.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{kind.__name__}: must be a mapping, not {type(data).__name__}")
    names = [one.name for one in fields(kind)]
    unknown = [str(name) for name in data if name not in names]
    if unknown:
        raise ValueError(f"{kind.__name__} has no {', '.join(unknown)}")
    return dict(data)


def _plain(value: Any) -> Any:
    """The same with lists in place of tuples, as JSON has them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value
