"""What a study is, besides its base, data and training; every field documented once."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from gemnet_blocks.options import Count, Options, Size
from gemnet_blocks.spec.document import shown

Positive = Annotated[float, Field(gt=0)]
"""A number above 0."""

Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""What a run's chance is drawn from."""

Metric = Literal[
    "energy_mae",
    "energy_rmse",
    "energy_mae_per_atom",
    "energy_rmse_per_atom",
    "forces_mae",
    "forces_rmse",
    "forces_l2_mae",
    "stress_mae",
    "stress_rmse",
]
"""An error, in eV and Å; see `gemnet_blocks.evaluation.metrics.Errors`."""


class BudgetOptions(Options):
    """What every variant may spend on training: exactly one of the three, and the same for all."""

    steps: Size | None = None
    """So many steps of the optimizer."""
    minutes: Positive | None = None
    """So many minutes; only comparable on one kind of machine that has nothing else to do."""
    flops: Positive | None = None
    """So many floating-point operations in products of matrices; a variant takes as many steps as they allow, by the
    estimate for its first batches."""

    @model_validator(mode="after")
    def _exactly_one(self) -> BudgetOptions:
        given = [name for name in ("steps", "minutes", "flops") if getattr(self, name) is not None]
        if len(given) != 1:
            found = "none is given" if not given else f"{' and '.join(given)} are given"
            raise ValueError(f"needs exactly one of steps, minutes and flops, such as {{steps: 1000}}; {found}")
        return self

    def __str__(self) -> str:
        if self.steps is not None:
            return f"equal steps: {self.steps:,}"
        if self.minutes is not None:
            return f"equal time: {self.minutes:g} minutes"
        return f"equal matmul FLOPs: {self.flops:.3g}"


class MatchOptions(Options):
    """Controls: for each variant, another one as large as the base, so that size does not pass for structure."""

    parameters: str = "sizes.edge"
    """The width that is changed until the number of parameters is nearest to the base's; where a variant changes this
    width itself, `sizes.atom` is changed instead."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """By what share numbers of parameters may differ. Variants that are as near to the base need no control; where no
    width comes as near, the study is refused."""


class StudyOptions(Options):
    """Everything about a study besides `base`, `data` and `training`."""

    title: str = "Ablation study"
    """What its report is called."""
    variants: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    """What each variant changes, by its name: a mapping, or dotted paths, of the base; under `execution`, of
    `training.training.execution`."""
    seeds: Annotated[tuple[Seed, ...], Field(strict=False, min_length=1)] = tuple(range(6))
    """The seeds that every variant is trained with: a list, or their number. Fewer than 6 support no conclusion."""
    budget: BudgetOptions
    """What every variant may spend."""
    match: MatchOptions | None = None
    """Whether variants of another size get a control that is as large as the base: `match: parameters`."""
    primary: Metric = "forces_mae"
    """The error that conclusions are drawn from."""
    allow_equal: bool = False
    """Whether variants may be equal to the base or to each other, for A/A studies."""
    retries: Count = 1
    """How often a run that fails is tried again, each time that the study is run."""
    output: str | None = None
    """The folder for everything that a study writes, relative to the file; null: named after the file."""

    @field_validator("variants")
    @classmethod
    def _names(cls, variants: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name in variants:
            if not name.strip() or not name.isprintable():
                raise ValueError(f"{name!r} is no name: use printable text")
            if name == BASE:
                raise ValueError(f"{BASE!r} is what the base is called: choose another name")
        return variants

    @field_validator("seeds", mode="before")
    @classmethod
    def _number_of_seeds(cls, seeds: Any) -> Any:
        if isinstance(seeds, (list, tuple)):
            return seeds
        if not isinstance(seeds, int) or isinstance(seeds, bool) or not 1 <= seeds <= 10_000:
            raise ValueError(f"must be a list of seeds, or their number from 1 to 10000, got {shown(seeds)}")
        return tuple(range(seeds))

    @field_validator("seeds")
    @classmethod
    def _different_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if twice:
            raise ValueError(f"{', '.join(map(str, twice))} given twice: equal seeds give equal runs")
        return seeds

    @field_validator("match", mode="before")
    @classmethod
    def _match_by_name(cls, match: Any) -> Any:
        if match == "parameters":
            return {}
        if isinstance(match, str):
            raise ValueError(f"must be `parameters`, or a mapping such as {{parameters: sizes.edge}}, got {match!r}")
        return match


BASE = "base"
"""What the base is called among the variants."""
