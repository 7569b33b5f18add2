"""The fields of a study besides its base, data and training."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gemnet_blocks.options import Count, Options, Size
from gemnet_blocks.spec.document import shown

Positive = Annotated[float, Field(gt=0)]
"""A number above 0."""

Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""A random seed."""

METRICS = (
    "energy_mae",
    "energy_rmse",
    "energy_mae_per_atom",
    "energy_rmse_per_atom",
    "forces_mae",
    "forces_rmse",
    "forces_l2_mae",
    "stress_mae",
    "stress_rmse",
)
"""The errors of energies, forces and stresses, in eV and Å; see `gemnet_blocks.evaluation.metrics.Errors`."""


def _check_metric(name: str, further: tuple[str, ...] = ()) -> str:
    if name not in METRICS and not re.fullmatch(r"\w+_(mae|rmse)", name):
        known = ", ".join(map(repr, (*METRICS, *further)))
        raise ValueError(f"must be {known}, or the name of a head followed by _mae or _rmse, got {name!r}")
    return name


Metric = Annotated[str, AfterValidator(_check_metric)]
"""An error of `METRICS`, or of another head of the model, such as dipole_mae or dipole_rmse."""


class BudgetOptions(Options):
    """The training budget, equal for all variants; give exactly one of the three."""

    steps: Size | None = None
    """Number of optimizer steps."""
    minutes: Positive | None = None
    """Training time in minutes; comparable only between identical machines without other load."""
    flops: Positive | None = None
    """Number of floating-point operations in matrix products; the number of steps of each variant follows from the
    estimated cost of its first batches."""

    @model_validator(mode="after")
    def _exactly_one(self) -> BudgetOptions:
        given = [name for name in ("steps", "minutes", "flops") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"needs exactly one of steps, minutes and flops, such as {{steps: 1000}}; got {found}")
        return self

    def __str__(self) -> str:
        if self.steps is not None:
            return f"equal steps: {self.steps:,}"
        if self.minutes is not None:
            return f"equal time: {self.minutes:g} minutes"
        return f"equal matmul FLOPs: {self.flops:.3g}"


Matched = Literal["parameters", "flops", "seconds", "memory"]
"""What controls have in common with the base."""

WIDTH = "sizes.edge"
"""The width that is changed unless the study names another one."""


class MatchOptions(Options):
    """Controls of the size or cost of the base, which separate the effect of an architecture from that of its size. At
    most one of parameters, flops, seconds and memory is given, as the dotted path of the width that is changed to match
    it; for a variant that changes this width itself, `sizes.atom` is changed instead."""

    parameters: str | None = None
    """The width that matches the number of parameters. The default, with sizes.edge, if none of the four is given."""
    flops: str | None = None
    """The width that matches the matrix products of a training step, as estimated for the first batches."""
    seconds: str | None = None
    """The width that matches the time of a training step, measured on the first batch when the study is checked. Times
    vary: use an idle machine, and see the stated deviation."""
    memory: str | None = None
    """The width that matches the peak memory of a training step, as estimated for the first batch."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Largest relative difference from the base. A variant within the tolerance needs no control; if no width reaches
    it, the study is rejected. null: 0.02, and 0.1 for seconds."""

    @model_validator(mode="before")
    @classmethod
    def _parameters_by_default(cls, data: Any) -> Any:
        if isinstance(data, dict) and not any(data.get(name) for name in get_args(Matched)):
            return {**data, "parameters": WIDTH}
        return data

    @model_validator(mode="after")
    def _one(self) -> MatchOptions:
        given = [name for name in get_args(Matched) if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"needs one of parameters, flops, seconds and memory, got {' and '.join(given)}")
        return self

    @property
    def quantity(self) -> Matched:
        """The size or cost that is matched."""
        return next(name for name in get_args(Matched) if getattr(self, name) is not None)

    @property
    def width(self) -> str:
        """The dotted path of the width that is changed."""
        return str(getattr(self, self.quantity))

    @property
    def largest_deviation(self) -> float:
        """The tolerance, or that of the quantity if none is given."""
        return self.tolerance or (0.1 if self.quantity == "seconds" else 0.02)


LEVEL = 0.05
"""The family-wise error rate of a study: the chance of calling any variant different if none is."""

MINIMUM_PAIRS = 6
"""The smallest number of pairs for which a p-value is given: see `gemnet_blocks.ablation.report.statistics`."""


def pairs_needed(comparisons: int, level: float = LEVEL) -> int:
    """Compute how many pairs one of several comparisons needs to be significant after Holm's correction.

    This is the smallest n ≥ 6 with comparisons · 2/2ⁿ ≤ level: 6 for one comparison, 7 for two or three, 8 for four to
    six.
    """
    return max(MINIMUM_PAIRS, math.ceil(math.log2(2 * max(comparisons, 1) / level)))


LOOKS = 5
"""The number of looks of a sequential study unless `step` says otherwise."""


class SequentialSeeds(Options):
    """Seeds that are added until every variant is decided. After each step, a look compares the variants with the base;
    variants that differ, or that hardly can be shown to differ any more, get no more seeds. The looks together have one
    error rate."""

    at_most: Annotated[int, Field(ge=6, le=10_000)]
    """The largest number of seeds."""
    at_least: Annotated[int, Field(ge=2)] = 6
    """The number of seeds of the first look, a pilot whose spread tells how many seeds are needed."""
    step: Size | None = None
    """Number of seeds that are added from one look to the next. null: evenly spread, five looks."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """The error rate: the largest chance of calling any variant different, at any look, if none is. Holm's method
    divides it among the variants."""
    power: Annotated[float, Field(ge=0.5, le=0.99)] = 0.8
    """The probability of finding the effect that is worth finding, for each variant."""
    effect: Annotated[float, Field(gt=0, lt=10)] | None = None
    """The smallest difference that is worth finding, as a fraction of the primary error: 0.05 for 5 %. The study then
    takes only as many seeds as its spread requires, up to `at_most`. null: the difference that `at_most` seeds find
    with the power, which the pilot tells."""
    spending: Literal["obrien_fleming", "pocock"] = "obrien_fleming"
    """How the error rate is divided among the looks. obrien_fleming: strict bounds at first, and nearly that of a fixed
    number of seeds at the end. pocock: nearly equal bounds, which find large differences earlier, small ones later."""
    futility: Annotated[float, Field(gt=0, lt=0.5)] | None = 0.1
    """A variant is stopped if the probability of still showing the effect that is worth finding (the conditional power)
    is smaller, typically 0.1 to 0.3. null: never. The error rate does not depend on it."""

    @model_validator(mode="after")
    def _in_order(self) -> SequentialSeeds:
        if self.at_least > self.at_most:
            raise ValueError(f"at_least must not exceed at_most, got {self.at_least} and {self.at_most}")
        return self

    @property
    def looks(self) -> tuple[int, ...]:
        """The number of seeds of each look."""
        step = self.step or max(1, math.ceil((self.at_most - self.at_least) / (LOOKS - 1)))
        return (*range(self.at_least, self.at_most, step), self.at_most)


Seeds = Annotated[
    Annotated[tuple[Seed, ...], Field(strict=False, min_length=1), Tag("fixed")]
    | Annotated[SequentialSeeds, Tag("sequential")],
    Discriminator(lambda value: "sequential" if isinstance(value, (Mapping, SequentialSeeds)) else "fixed"),
]
"""The seeds of a study, or when to stop adding seeds."""


COSTS = (
    "parameters",
    "matmul_flops_training",
    "matmul_flops_inference",
    "training_seconds",
    "inference_seconds",
    "peak_memory_bytes",
)
"""The costs that a search can minimize; see `gemnet_blocks.ablation.results.RunResult`."""


class SamplerOptions(Options):
    """The choice of the values that a search tries. The first trial is the base, if its values are in the space; others
    depend on the seed and, with tpe, on earlier trials."""

    type: Literal["tpe", "random", "grid", "qmc"] = "tpe"
    """tpe: tree-structured Parzen estimator, more often values that were good; random: independent values; qmc: a
    quasi-random sequence, which covers the space more evenly; grid: all combinations."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the values."""


class PruningOptions(Options):
    """Early stopping of trials whose validation error is above that of earlier trials after as many validations."""

    type: Literal["median", "successive_halving"] = "median"
    """median: stop a trial whose lowest error so far is above the median of earlier trials; successive_halving: after
    1, r, r², … validations, stop all but the best 1/r of the trials."""
    startup: Count = 5
    """Number of finished trials before median stops any."""
    warmup: Count = 0
    """Number of validations of a trial before median stops it."""
    reduction: Annotated[int, Field(ge=2)] = 4
    """The factor r of successive_halving. Typical: 2 to 4."""


class StudyOptions(Options):
    """The fields of a study besides `base`, `data` and `training`."""

    title: str = "Ablation study"
    """Title of the report."""
    factors: dict[str, Any] | None = None
    """The levels of each factor of a factorial study, whose variants are all combinations: `quadruplet: [on, off]`, an
    interaction of the base with and without; `radial: [gaussian, spherical_bessel]`, the types of a basis or the values
    at a dotted path; or changes of the base by the name of the level, `depth: {shallow: {}, deep: {blocks.count: 6}}`.
    The first level is that of the base."""
    resolution: Literal[3, 4, 5] | None = None
    """Resolution of a fractional design for factors with two levels, which needs fewer variants: 3 confounds effects of
    factors with synergies of pairs, 4 only synergies with each other, 5 neither. null: all combinations."""
    search: dict[str, Any] | None = None
    """The fields whose values are searched instead of variants, by dotted path: `sizes.edge: {log: [32, 256]}`, numbers
    that are log-uniform; `{range: [2, 6], step: 2}`, uniform numbers; `{choice: [8, 16]}`, one of several values; for a
    part of the base, `{choice: [on, off]}`. Paths are those of the base, or begin with `training`, `data` or
    `execution`, such as `training.optimizer.learning_rate`."""
    variants: dict[str, dict[str, Any]]
    """The changes of each variant by its name, as a mapping or dotted paths of the base; the section `execution`
    changes `training.training.execution`, and `start_from` the weights that training starts from, in which `{seed}`
    stands for the seed. A factorial study adds its combinations to them."""
    seeds: Seeds = tuple(range(6))
    """The seeds of the runs of each variant: a list, or their number; fewer than 6 do not support conclusions. Or
    `{at_most: 24, effect: 0.05}`, a sequential study, which adds seeds until every variant is decided."""
    budget: BudgetOptions
    """The training budget of each variant."""
    trials: Size | None = None
    """Number of trials of a search, including those that are stopped early; null: all of a grid."""
    sampler: SamplerOptions = SamplerOptions()
    """The choice of values, by name or with options."""
    pruning: PruningOptions | None = None
    """Early stopping of bad trials, by name or with options; null: none."""
    metric: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None
    """The quantity that a search minimizes: an error of the validation set, such as forces_mae or loss, or a cost, such
    as parameters; or a list of them, for which the report has the Pareto front. null: primary."""
    parallel: Size = 1
    """Number of trials of a search at the same time. A trial knows the results of those before the last that many, so
    that results do not depend on the number of processes."""
    match: MatchOptions | None = None
    """`parameters`, `flops`, `seconds` or `memory` adds a control with the same number of parameters, or the same cost
    of a training step, as the base for each variant that differs in it."""
    primary: Metric = "forces_mae"
    """The error that verdicts are based on, such as forces_mae, energy_mae_per_atom, or dipole_mae of a head dipole."""
    allow_equal: bool = False
    """Whether variants may be equal to the base or to each other, for A/A studies."""
    retries: Count = 1
    """Number of retries of a failed run, each time the study is run."""
    output: str | None = None
    """Folder for all output, relative to the file; null: named after the file."""

    @field_validator("variants")
    @classmethod
    def _names(cls, variants: dict[str, dict[str, Any]], info: ValidationInfo) -> dict[str, dict[str, Any]]:
        if not variants and not info.data.get("factors") and info.data.get("search") is None:
            raise ValueError("must have at least 1 of them, got {}: give changes of a variant, factors, or a search")
        for name in variants:
            if not name.strip() or not name.isprintable():
                raise ValueError(f"names must be printable text, got {name!r}")
            if name == BASE:
                raise ValueError(f"{BASE!r} is the name of the base: choose another name")
        return variants

    @field_validator("seeds", mode="before")
    @classmethod
    def _number_of_seeds(cls, seeds: Any) -> Any:
        if isinstance(seeds, (list, tuple, Mapping, SequentialSeeds)):
            return seeds
        if not isinstance(seeds, int) or isinstance(seeds, bool) or not 1 <= seeds <= 10_000:
            raise ValueError(
                f"must be a list of seeds or a number of seeds from 1 to 10000, got {shown(seeds)}; for a sequential "
                "study, write a mapping such as {at_most: 24}"
            )
        return tuple(range(seeds))

    @field_validator("seeds")
    @classmethod
    def _different_seeds(cls, seeds: tuple[int, ...] | SequentialSeeds) -> tuple[int, ...] | SequentialSeeds:
        if isinstance(seeds, SequentialSeeds):
            return seeds
        twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if twice:
            raise ValueError(f"must be different, got {', '.join(map(str, twice))} twice: equal seeds give equal runs")
        return seeds

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """All seeds that a run may have."""
        return tuple(range(self.seeds.at_most)) if isinstance(self.seeds, SequentialSeeds) else self.seeds

    @property
    def sequential(self) -> SequentialSeeds | None:
        """When to stop adding seeds; None for a fixed number of seeds."""
        return self.seeds if isinstance(self.seeds, SequentialSeeds) else None

    @field_validator("sampler", "pruning", mode="before")
    @classmethod
    def _by_name(cls, given: Any) -> Any:
        return {"type": given} if isinstance(given, str) else given

    @field_validator("metric", mode="before")
    @classmethod
    def _one_metric(cls, metric: Any) -> Any:
        return (metric,) if isinstance(metric, str) else metric

    @field_validator("metric")
    @classmethod
    def _known_metrics(cls, metric: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in metric or ():
            if name not in COSTS and name != "loss":
                _check_metric(name, further=("loss", *COSTS))
        return metric

    @model_validator(mode="after")
    def _of_a_search(self) -> StudyOptions:
        if self.search is None:
            fields = type(self).model_fields
            given = [name for name in SEARCH[1:] if getattr(self, name) != fields[name].default]
            if given:
                raise ValueError(f"{given[0]} is for searches: give `search`, or remove {given[0]}")
            return self
        others = [name for name in ("variants", "factors", "match") if getattr(self, name)]
        if others:
            raise ValueError(f"a search has no {others[0]}: remove `search` or `{others[0]}`")
        if self.sequential is not None:
            raise ValueError("a search needs a fixed number of seeds: give a number, such as 1")
        if self.trials is None and self.sampler.type != "grid":
            raise ValueError("a search needs the number of `trials`, such as 50")
        if self.pruning is not None and (len(self.objectives) > 1 or self.objectives[0] in COSTS):
            raise ValueError(f"pruning needs an error as the single metric, got {', '.join(self.objectives)}")
        return self

    @property
    def objectives(self) -> tuple[str, ...]:
        """The quantities that a search minimizes."""
        return self.metric or (self.primary,)

    @field_validator("match", mode="before")
    @classmethod
    def _match_by_name(cls, match: Any) -> Any:
        if match in get_args(Matched):
            return {match: WIDTH}
        if isinstance(match, str):
            known = ", ".join(get_args(Matched))
            raise ValueError(f"must be one of {known}, or a mapping such as {{parameters: sizes.edge}}, got {match!r}")
        return match


BASE = "base"
"""The name of the base among the variants."""

SEARCH = ("search", "trials", "sampler", "pruning", "metric", "parallel")
"""The fields of a search."""
