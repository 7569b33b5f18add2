"""What a training run is: model, data, losses, optimizer, budget; every field documented once, here or at its part."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, PrivateAttr, WithJsonSchema, field_validator, model_validator

from gemnet_blocks.aggregation.angular_sum import AngularMethod
from gemnet_blocks.data.options import DataOptions
from gemnet_blocks.errors import SpecError, StateError, StructureError
from gemnet_blocks.model.scale_fitting import Rows
from gemnet_blocks.options import Options, Size
from gemnet_blocks.spec.build import Execution, current_spelling
from gemnet_blocks.spec.document import Document, Route
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.training.distributed import Device
from gemnet_blocks.training.losses import AtomChoice, EnergyTerm, ForcesTerm, Loss, Measure, Metric, StressTerm, Term
from gemnet_blocks.training.optimizer import AnySchedule, Cosine, OptimizerOptions
from gemnet_blocks.training.references import ReferencesOptions
from gemnet_blocks.util.precision import MatrixProducts

Weight = Annotated[float, Field(gt=0)]
"""What the mean of a term is multiplied by."""

Delta = Annotated[float, Field(gt=0)]
"""Where the Huber function turns from x²/2 to δ(|x| - δ/2), in units of `references.scale`."""


class EnergyLossOptions(Options):
    """Of energies."""

    type: Literal["mae", "mse", "huber"] = "mae"
    """What is averaged over structures: |x|, x² or the Huber function."""
    weight: Weight = 1.0
    """Of the mean."""
    per_atom: bool = True
    """Whether errors are divided by the number of atoms of the structure."""
    delta: Delta = 1.0
    """Of the Huber function."""


class ForcesLossOptions(Options):
    """Of forces."""

    type: Literal["mae", "l2mae", "mse", "rmse", "huber"] = "l2mae"
    """What is averaged: |x| of components, norms of atoms' vectors (l2mae), x² of components, or their Huber function;
    rmse is the root of the mean of x²."""
    weight: Weight = 1.0
    """Of the mean."""
    atoms: AtomChoice = "all"
    """Whether fixed atoms count: all atoms, or free ones only."""
    delta: Delta = 1.0
    """Of the Huber function."""


class StressLossOptions(Options):
    """Of stresses; only for models with gradient forces."""

    type: Literal["mae", "mse", "huber"] = "mae"
    """What is averaged over the nine components: |x|, x² or the Huber function."""
    weight: Weight = 1.0
    """Of the mean."""
    per: Literal["atom", "volume"] = "atom"
    """volume: of stresses in eV/Å³, which are small numbers; atom: of virials per atom V·σ/N in eV, which are of the
    order of energies per atom."""
    delta: Delta = 1.0
    """Of the Huber function."""


class LossOptions(Options):
    """The sum of weight · mean over the terms that are given.

    Errors are divided by `references.scale` (eV) before they are measured: an energy error of 0.1 eV per atom counts as
    0.05 where forces have an RMS of 2 eV/Å, a force error of 0.1 eV/Å as 0.05, too. Losses and gradients are then of
    order one for any material, and weights mean the same everywhere.
    """

    energy: EnergyLossOptions | None = None
    """Of energies; null: they are not trained."""
    forces: ForcesLossOptions | None = None
    """Of forces; null: they are not trained."""
    stress: StressLossOptions | None = None
    """Of stresses; null: they are not trained."""

    @model_validator(mode="after")
    def _some_term(self) -> LossOptions:
        if self.energy is None and self.forces is None and self.stress is None:
            raise ValueError("needs at least one of energy, forces and stress")
        return self

    def loss(self, unit: float) -> Loss:
        """The loss, with errors in this unit (eV)."""
        terms: list[Term] = []
        if self.energy is not None:
            measure = Measure(self.energy.type, unit, self.energy.delta)
            terms.append(EnergyTerm(measure, self.energy.weight, self.energy.per_atom))
        if self.forces is not None:
            terms.append(
                ForcesTerm(Measure(self.forces.type, unit, self.forces.delta), self.forces.weight, self.forces.atoms)
            )
        if self.stress is not None:
            terms.append(
                StressTerm(Measure(self.stress.type, unit, self.stress.delta), self.stress.weight, self.stress.per)
            )
        return Loss(terms)

    def errors(self, labels: frozenset[str]) -> Loss:
        """Mean absolute errors in eV, eV/Å and eV/Å³ of everything that has labels and that the loss may compare.

        Energies are per atom; forces of the atoms that the loss counts.
        """
        plain = Measure("mae")
        atoms = self.forces.atoms if self.forces is not None else "all"
        known: dict[str, Term] = {"energy": EnergyTerm(plain), "forces": ForcesTerm(plain, atoms=atoms)}
        if self.stress is not None:
            known["stress"] = StressTerm(plain)
        return Loss([term for name, term in known.items() if name in labels])


Positive = Annotated[float, Field(gt=0)]
"""A number above 0."""

MODEL_SCHEMA = "model of a training run"
"""The title by which the JSON Schema of the field `model` is found and filled in."""


class ScalesOptions(Options):
    """How scale factors are fitted before training."""

    batches: Size = 8
    """How many batches of the training set they are fitted to."""
    rows: Rows = "distinct"
    """The rows of summed values whose variance is kept: `distinct`, every edge or atom once; or `gathered`, once per
    triplet, quadruplet or neighbor that it is summed over, as the published implementation fits them."""


class EveryOptions(Options):
    """How often something happens; with both, whenever either is due."""

    steps: Size | None = None
    """Every so many steps."""
    epochs: Size | None = None
    """At the end of every so many epochs."""

    @model_validator(mode="after")
    def _one_is_given(self) -> EveryOptions:
        if self.steps is None and self.epochs is None:
            raise ValueError("needs steps or epochs, such as {epochs: 1}")
        return self


class CheckpointOptions(Options):
    """When the state of training is saved, besides its end and an interruption."""

    steps: Size | None = None
    """Every so many steps."""
    minutes: Positive | None = 5.0
    """Whenever so many minutes have passed."""


class StopOptions(Options):
    """When training ends before its budget does."""

    metric: Metric = "loss"
    """What must fall, on the validation set."""
    patience: Size
    """How many validations without a gain are waited for."""
    least_gain: Annotated[float, Field(ge=0)] = 0.0
    """A fall by no more than this, in the unit of the metric (eV, Å), is no gain."""


class LogOptions(Options):
    """What is written while training; changes nothing in the result."""

    every: Size = 10
    """Steps that one row of the log stands for."""
    tensorboard: bool = True
    """Whether TensorBoard's files are written too."""
    progress: bool | None = None
    """true shows a progress bar; false shows nothing; null shows the bar only in an interactive terminal. Unless false,
    log files get a line at each validation."""


class ExecutionOptions(Options):
    """How the model is computed; see `gemnet_blocks.spec.build.Execution`."""

    search: Literal["auto", "vesin", "torch", "torch_cluster"] = "auto"
    """The neighbor search."""
    angular: AngularMethod | dict[str, AngularMethod] = "auto"
    """How sums over triplets and quadruplets are computed, for all or by interaction."""
    matmul: MatrixProducts = "float32"
    """The precision of matrix products; bfloat16 rounds their factors to 8 significant bits."""
    memory_budget: Positive | None = None
    """In bytes; where a step would need more, intermediate results are made anew. null: no limit."""

    @field_validator("angular", mode="before")
    @classmethod
    def _current_spelling(cls, angular: Any) -> Any:
        return current_spelling(angular)

    def execution(self) -> Execution:
        """The same as `build` takes it."""
        return Execution(search=self.search, angular=self.angular, matmul=self.matmul, memory_budget=self.memory_budget)


class TrainingOptions(Options):
    """The budget of a run and how it proceeds. At least one of steps, epochs and minutes ends it: the first reached."""

    steps: Size | None = None
    """Steps of the optimizer."""
    epochs: Size | None = None
    """Passes over the training set."""
    minutes: Positive | None = None
    """Minutes of training and validation, those before an interruption included."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Of initial weights and of the order of structures."""
    initial_weights: Literal["in_order", "by_name"] = "in_order"
    """How initial weights follow from the seed: all from one generator, one after another; or each from one of its own
    by its name, so that models that differ elsewhere share them, as ablation studies need."""
    start_from: str | None = None
    """The folder of a run (its best model, else its last one) or a model file whose weights training begins with,
    fitted scale factors included; `model` must be the same architecture. Reference energies and the energy scale are
    those that `references` gives for the new data. null: random weights."""
    clip: Positive | None = 10.0
    """The norm of all gradients together is reduced to this; null: it is left as it is."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = 0.999
    """How much of the mean weights is kept in each step (less in the first, where (1 + n)/(10 + n) is smaller); they
    are validated and saved as the model. null: no mean."""
    validate_every: EveryOptions = EveryOptions(epochs=1)
    """How often the validation set is gone through; it is once more at the end."""
    stop_early: StopOptions | None = None
    """When training ends early; null: it does not."""
    precision: Literal["32", "64", "bf16-mixed", "16-mixed"] = "32"
    """The numbers that training computes with, as Lightning names them."""
    deterministic: bool = False
    """Whether only operations are allowed that give the same result whenever repeated; some are slower on GPUs."""
    device: Device = "auto"
    """What is computed on; auto: a CUDA device if there is one."""
    allow_unfitted: bool = False
    """Whether a model whose scale factors are not fitted may be trained."""
    checkpoint: CheckpointOptions = CheckpointOptions()
    """When the state of training is saved."""
    log: LogOptions = LogOptions()
    """What is written while training."""
    execution: ExecutionOptions = ExecutionOptions()
    """How the model is computed."""

    @field_validator("precision", mode="before")
    @classmethod
    def _number_of_bits(cls, value: Any) -> Any:
        return str(value) if value in (32, 64) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _some_budget(self) -> TrainingOptions:
        if self.steps is None and self.epochs is None and self.minutes is None:
            raise ValueError("needs a budget: steps, epochs or minutes")
        return self


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where the entries of a config were written, which makes no config differ from another."""

    places: Mapping[Route, str] = field(default_factory=dict, compare=False)


class TrainingConfig(Options):
    """Everything that defines a training run.

    Read it from a file with `load_config`, or make it in Python; hand it to `train`. Paths are relative to the file
    that it was read from, else to the current folder.
    """

    model: Annotated[Spec, WithJsonSchema({"title": MODEL_SCHEMA})]
    """The architecture: in a file, a spec, or what differs from one that it `extends`, or the path of a spec file."""
    data: DataOptions
    """What to learn from."""
    references: ReferencesOptions = ReferencesOptions()
    """What the model's outputs are relative to."""
    scales: ScalesOptions | None = ScalesOptions()
    """How scale factors are fitted before training; null: they are not."""
    loss: LossOptions
    """What is minimised."""
    optimizer: OptimizerOptions = OptimizerOptions()
    """How it is minimised."""
    schedule: AnySchedule = Cosine()
    """The learning rate over time."""
    training: TrainingOptions
    """The budget and the rest."""
    output: str | None = None
    """The folder for everything that a run writes; must be given here or to `train`."""

    _folder: Path = PrivateAttr(default_factory=Path)
    _origin: _Origin = PrivateAttr(default_factory=_Origin)

    @property
    def folder(self) -> Path:
        """What paths are relative to."""
        return self._folder

    def in_folder(self, folder: Path) -> TrainingConfig:
        """The same with paths relative to another folder."""
        copy = self.model_copy()
        copy._folder = folder
        return copy

    def with_places(self, places: Mapping[Route, str]) -> TrainingConfig:
        """The same with the file and line of every entry, for errors that are found later."""
        copy = self.model_copy()
        copy._origin = _Origin(places)
        return copy

    @contextmanager
    def naming_places(self) -> Iterator[None]:
        """Add file and line to errors that begin with the path of an entry, such as `data.split: ...`.

        Raises:
            SpecError, StateError, StructureError: as raised inside, with places.
        """
        try:
            yield
        except (SpecError, StateError, StructureError) as error:
            text = "\n".join(map(self._located, str(error).split("\n")))
            if text == str(error):
                raise
            raise type(error)(text) from error

    def _located(self, line: str) -> str:
        """A line of an error with the place of the entry that it begins with."""
        route = tuple(line.partition(": ")[0].split("."))
        place = Document({}, self._origin.places).place(route) if route[0] in type(self).model_fields else ""
        return f"{place}: {line}" if place else line

    def moved_to(self, folder: Path) -> TrainingConfig:
        """The same in a folder where its results are: its paths are relative to that folder, which is its output."""

        def moved(name: str | None) -> str | None:
            if name is None or Path(name).expanduser().is_absolute():
                return name
            path = self.folder / name
            try:
                return os.path.relpath(path.parent.resolve() / path.name, folder.resolve())
            except ValueError:  # on another drive
                return str(path.resolve())

        files = {part: getattr(self.data, part) for part in ("files", "train", "validation", "test")}
        found = {part: None if names is None else tuple(map(moved, names)) for part, names in files.items()}
        data = self.data.model_copy(update={**found, "cache": moved(self.data.cache)})
        training = self.training.model_copy(update={"start_from": moved(self.training.start_from)})
        return self.model_copy(update={"data": data, "training": training, "output": "."}).in_folder(folder)

    def to_dict(self) -> dict[str, Any]:
        """Plain mappings, lists, numbers and text that make the same config again."""
        return self.model_dump(mode="json")


METRICS: tuple[str, ...] = get_args(Metric)
