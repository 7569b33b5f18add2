"""Training configs: model, data, losses, optimizer and budget of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from gemnet_blocks.aggregation.method import AngularMethod
from gemnet_blocks.data.frame import LABELS
from gemnet_blocks.data.opening import unknown_labels
from gemnet_blocks.data.options import DataOptions, KeyOptions
from gemnet_blocks.errors import SpecError, StateError, StructureError
from gemnet_blocks.model.grafting import NewWeights
from gemnet_blocks.model.scale_fitting import Rows
from gemnet_blocks.options import Count, Options, Size
from gemnet_blocks.spec.catalog import did_you_mean, near
from gemnet_blocks.spec.document import Document, Route
from gemnet_blocks.spec.execution import Execution, current_spelling
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.training.distributed import Device
from gemnet_blocks.training.losses import (
    METRICS,
    AtomChoice,
    EnergyTerm,
    ForcesTerm,
    Loss,
    Measure,
    Metric,
    PropertyTerm,
    StressTerm,
    Term,
)
from gemnet_blocks.training.optimizer import AnySchedule, Cosine, OptimizerOptions, Plateau
from gemnet_blocks.training.plugins import CallbackOptions, LoggerOptions
from gemnet_blocks.training.references import ReferencesOptions
from gemnet_blocks.util.precision import MatrixProducts

Weight = Annotated[float, Field(gt=0)]
"""The weight of the mean of a term in the loss."""

Delta = Annotated[float, Field(gt=0)]
"""The error beyond which the Huber function turns from x²/2 to δ(|x| - δ/2), in units of `references.scale`."""


class EnergyLossOptions(Options):
    """The loss of energies."""

    type: Literal["mae", "mse", "huber"] = "mae"
    """The function that is averaged over structures: |x|, x² or the Huber function."""
    weight: Weight = 1.0
    """The weight of the mean in the loss; with `first_weight`, at the end of training and in validations."""
    first_weight: Weight | None = None
    """The weight at the start of training, which then changes geometrically with the used fraction t of the budget,
    weight(t) = first_weight·(weight / first_weight)^t, as the prefactors of DeePMD-kit do (Wang et al., Comput. Phys.
    Commun. 2018, arXiv 1712.03641). Typical: a small one for energies, whose errors fall last. null: `weight`
    throughout."""
    per_atom: bool = True
    """Whether errors are divided by the number of atoms in the structure."""
    delta: Delta = 1.0
    """The error beyond which the Huber function is linear, in units of `references.scale`."""


class ForcesLossOptions(Options):
    """The loss of forces."""

    type: Literal["mae", "l2mae", "mse", "rmse", "huber"] = "l2mae"
    """The function that is averaged: |x| of components, norms of the error vectors of atoms (l2mae), x² of components,
    or the Huber function of components; rmse is the root of the mean of x²."""
    weight: Weight = 1.0
    """The weight of the mean in the loss; with `first_weight`, at the end of training and in validations."""
    first_weight: Weight | None = None
    """The weight at the start of training, which then changes geometrically with the used fraction t of the budget,
    weight(t) = first_weight·(weight / first_weight)^t. null: `weight` throughout."""
    atoms: AtomChoice = "all"
    """The atoms whose forces count: all, or only those that are free."""
    delta: Delta = 1.0
    """The error beyond which the Huber function is linear, in units of `references.scale`."""


class StressLossOptions(Options):
    """The loss of stresses, which needs a model with gradient forces."""

    type: Literal["mae", "mse", "huber"] = "mae"
    """The function that is averaged over the nine components: |x|, x² or the Huber function."""
    weight: Weight = 1.0
    """The weight of the mean in the loss; with `first_weight`, at the end of training and in validations."""
    first_weight: Weight | None = None
    """The weight at the start of training, which then changes geometrically with the used fraction t of the budget,
    weight(t) = first_weight·(weight / first_weight)^t. null: `weight` throughout."""
    per: Literal["atom", "volume"] = "atom"
    """volume: stresses in eV/Å³, which are small numbers; atom: virials per atom V·σ/N in eV, which are of the order of
    energies per atom."""
    delta: Delta = 1.0
    """The error beyond which the Huber function is linear, in units of `references.scale`."""


class PropertyLossOptions(Options):
    """The loss of a property besides energy, forces and stress."""

    type: Literal["mae", "l2mae", "mse", "rmse", "huber"] = "mae"
    """The function that is averaged: |x| of components, norms of the errors of vectors or tensors (l2mae), x² of
    components, or the Huber function of components; rmse is the root of the mean of x²."""
    weight: Weight = 1.0
    """The weight of the mean in the loss."""
    delta: Delta = 1.0
    """The error beyond which the Huber function is linear, in standard deviations of the training labels."""


class LossOptions(Options):
    """The sum of weight · mean over energies, forces, stresses and further properties.

    Errors are first divided by `references.scale` in eV: if forces have an RMS of 2 eV/Å, an energy error of 0.1 eV per
    atom counts as 0.05, and so does a force error of 0.1 eV/Å. Losses and gradients are thus of order one for any
    material, and weights have the same meaning.

    A further entry such as `dipole: {type: mse, weight: 1}` is the loss of the head of that name. Its errors are
    divided by the standard deviation of the training labels.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, PropertyLossOptions | None]

    energy: EnergyLossOptions | None = None
    """The loss of energies; null: energies are not trained."""
    forces: ForcesLossOptions | None = None
    """The loss of forces; null: forces are not trained."""
    stress: StressLossOptions | None = None
    """The loss of stresses; null: stresses are not trained."""

    @model_validator(mode="after")
    def _some_term(self) -> LossOptions:
        if not self.compared():
            raise ValueError("needs at least one of energy, forces, stress and further heads of the model")
        return self

    @property
    def properties(self) -> dict[str, PropertyLossOptions]:
        """The losses of further properties by name, in the order of their names."""
        given = self.__pydantic_extra__ or {}
        return {name: options for name, options in sorted(given.items()) if options is not None}

    def compared(self) -> list[str]:
        """List the names of all labels that are compared with predictions."""
        return [name for name in LABELS if getattr(self, name) is not None] + list(self.properties)

    def loss(self, unit: float, scales: Mapping[str, float] | None = None) -> Loss:
        """Make the loss.

        Args:
            unit: the unit of errors of energies, forces and stresses, in eV.
            scales: the unit of errors of each further property; those that are missing have the unit 1.
        """

        def measure(options: EnergyLossOptions | ForcesLossOptions | StressLossOptions) -> Measure:
            return Measure(options.type, unit, options.delta)

        energy, forces, stress = self.energy, self.forces, self.stress
        terms: list[Term] = []
        if energy is not None:
            terms.append(EnergyTerm(measure(energy), energy.weight, energy.per_atom, energy.first_weight))
        if forces is not None:
            terms.append(ForcesTerm(measure(forces), forces.weight, forces.atoms, forces.first_weight))
        if stress is not None:
            terms.append(StressTerm(measure(stress), stress.weight, stress.per, stress.first_weight))
        for name, options in self.properties.items():
            one = Measure(options.type, (scales or {}).get(name, 1.0), options.delta)
            terms.append(PropertyTerm(name, one, options.weight))
        return Loss(terms)

    def errors(self, labels: frozenset[str]) -> Loss:
        """Make the mean absolute errors in eV per atom, eV/Å and eV/Å³ of all labels, for logs.

        Errors of further properties are in their unit.

        Forces are those of the atoms that the loss counts; stresses are included if the loss compares them.
        """
        plain = Measure("mae")
        atoms = self.forces.atoms if self.forces is not None else "all"
        known: dict[str, Term] = {"energy": EnergyTerm(plain), "forces": ForcesTerm(plain, atoms=atoms)}
        if self.stress is not None:
            known["stress"] = StressTerm(plain)
        known |= {name: PropertyTerm(name, plain) for name in sorted(labels.difference(LABELS))}
        return Loss([term for name, term in known.items() if name in labels])


Positive = Annotated[float, Field(gt=0)]
"""A number above 0."""

MODEL_SCHEMA = "model of a training run"
"""The title by which the JSON Schema of the field `model` is found and filled in."""


class ScalesOptions(Options):
    """The fit of scale factors before training."""

    batches: Size = 8
    """The number of training batches in the fit. Use more if batches are small."""
    rows: Rows = "distinct"
    """The rows of summed values whose variance is preserved: `distinct`, every edge or atom once; or `gathered`, once
    per triplet, quadruplet or neighbor in the sum, as in the published implementation."""


class EveryOptions(Options):
    """An interval in steps, in epochs, or in both: whenever either is due."""

    steps: Size | None = None
    """The interval in steps."""
    epochs: Size | None = None
    """The interval in epochs, at the end of the last."""

    @model_validator(mode="after")
    def _one_is_given(self) -> EveryOptions:
        if self.steps is None and self.epochs is None:
            raise ValueError("needs steps or epochs, such as {epochs: 1}")
        return self


class CheckpointOptions(Options):
    """The intervals at which the state of training is saved, besides its end and interruptions."""

    steps: Size | None = None
    """The interval in steps; null: none."""
    minutes: Positive | None = 5.0
    """The interval in minutes; null: none."""


class StopOptions(Options):
    """Early stopping: training ends before its budget if a validation metric no longer falls."""

    metric: Metric = "loss"
    """The validation metric that must fall."""
    patience: Size
    """The number of validations without a gain after which the next one without a gain ends training. Typical: 10."""
    least_gain: Annotated[float, Field(ge=0)] = 0.0
    """The least fall of the metric, in its unit (eV, Å), that counts as a gain."""


class LogOptions(Options):
    """Logs and progress of training, which do not affect its results."""

    every: Size = 10
    """The number of steps per row of the log."""
    tensorboard: bool = True
    """Whether TensorBoard's files are written in addition to log.csv."""
    curve_points: Count = 0
    """The number of further validations, spread evenly over the budget, for learning curves alone: they neither choose
    the best model nor count as training time. Studies have 20 unless `validate_every` is given."""
    progress: bool | None = None
    """true shows a progress bar; false shows nothing; null shows the bar only in terminals and notebooks. Unless false,
    log files get a line at each validation."""


class ExecutionOptions(Options):
    """The computation of the model; see `gemnet_blocks.spec.Execution`."""

    search: Literal["auto", "vesin", "torch", "torch_cluster", "nvalchemi"] = "auto"
    """The neighbor search."""
    angular: AngularMethod | dict[str, AngularMethod] = "auto"
    """The method of sums over triplets and quadruplets, for all interactions or by interaction."""
    matmul: MatrixProducts = "float32"
    """The precision of matrix products; bfloat16 rounds their factors to 8 significant bits."""
    memory_budget: Positive | None = None
    """Memory in bytes; a step that would need more recomputes intermediate results instead of storing them. null: no
    limit."""
    compile: bool = False
    """Compile the model in the first step, once for all batches; needs a C++ compiler or, on GPUs, Triton."""

    @field_validator("angular", mode="before")
    @classmethod
    def _current_spelling(cls, angular: Any) -> Any:
        return current_spelling(angular)

    def execution(self) -> Execution:
        """Return the `Execution` that `build` takes."""
        return Execution(
            search=self.search,
            angular=self.angular,
            matmul=self.matmul,
            memory_budget=self.memory_budget,
            compile=self.compile,
        )


BUDGETS = ("steps", "epochs", "minutes")
"""The fields of `training` that limit its length."""


class TrainingOptions(Options):
    """The budget and procedure of a run. The first of steps, epochs and minutes to be reached ends it; at least one is
    needed."""

    steps: Size | None = None
    """The number of optimizer steps."""
    epochs: Size | None = None
    """The number of passes over the training set."""
    minutes: Positive | None = None
    """The minutes of training and validation, including those before an interruption."""
    clock: Literal["wall", "processor"] = "wall"
    """The clock that measures these minutes. wall: the elapsed time. processor: the processor time of the training
    process, all threads together; on machines with other load it compares models more fairly, but not on GPUs, whose
    work it does not contain."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the initial weights and of the order of structures."""
    initial_weights: Literal["in_order", "by_name"] = "in_order"
    """in_order: all initial weights come from one random generator, one after another; by_name: each comes from a
    generator that is seeded with its name, so that models that differ elsewhere share initial weights, as ablation
    studies need."""
    start_from: str | None = None
    """The folder of a run (its best model, else its last one), a model file or a checkpoint whose weights training
    begins with, including fitted scale factors. Weights are taken by name and shape; `model` may have further parts,
    see `new_weights`. Reference energies and the energy scale are those that `references` gives for the new data. null:
    random weights."""
    new_weights: NewWeights = "grafted"
    """The weights of `model` that `start_from` lacks. grafted: the last weights of new interactions, blocks, streams
    and heads are zero and sums are divided as in the trained model, so that its function is unchanged at first; weights
    that do not fit are an error. drawn: new weights, and those that do not fit, are drawn as without `start_from`."""
    freeze: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Patterns of names of parameters that are not trained, such as `[blocks.0.*, atom_embedding.*]`, where * stands
    for any text and ? for any character; a pattern that begins with ! excepts parameters from those before it."""
    clip: Positive | None = 10.0
    """The maximum norm of all gradients together; null: gradients are not clipped."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = 0.999
    """The decay of the exponential moving average of the weights (less in the first steps n, where (1 + n)/(10 + n) is
    smaller), which is validated and saved as the model. null: the last weights are."""
    validate_every: EveryOptions = EveryOptions(epochs=1)
    """The interval between validations; the last one is at the end."""
    stop_early: StopOptions | None = None
    """Early stopping; null: training uses its whole budget."""
    precision: Literal["32", "64", "bf16-mixed", "16-mixed"] = "32"
    """The floating-point precision of training, as Lightning names it."""
    deterministic: bool = False
    """Whether only operations with reproducible results are allowed, some of which are slower on GPUs."""
    device: Device = "auto"
    """The device; auto: a CUDA device if there is one."""
    allow_unfitted: bool = False
    """Whether a model whose scale factors are not fitted may be trained."""
    checkpoint: CheckpointOptions = CheckpointOptions()
    """The intervals at which the state of training is saved."""
    log: LogOptions = LogOptions()
    """Logs and progress."""
    execution: ExecutionOptions = ExecutionOptions()
    """The computation of the model."""

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
    """The file and line of each entry, which comparisons of configs ignore."""

    places: Mapping[Route, str] = field(default_factory=dict, compare=False)


class TrainingConfig(Options):
    """The complete definition of a training run, for `train`.

    Read it from a file with `load_config`, or construct it in Python. Paths are relative to the file, or else to the
    current folder.
    """

    model: Annotated[Spec, WithJsonSchema({"title": MODEL_SCHEMA})]
    """The architecture: in a file, a spec, or changes of a spec that it `extends`, or the path of a spec file."""
    data: DataOptions
    """The training, validation and test data."""
    references: ReferencesOptions = ReferencesOptions()
    """Atomic reference energies and the energy scale of the model."""
    scales: ScalesOptions | None = ScalesOptions()
    """The fit of scale factors before training; null: they are not fitted."""
    loss: LossOptions
    """The loss."""
    optimizer: OptimizerOptions = OptimizerOptions()
    """The optimizer."""
    schedule: AnySchedule = Cosine()
    """The learning rate schedule."""
    training: TrainingOptions
    """The budget and procedure of training."""
    loggers: Annotated[tuple[LoggerOptions, ...], Field(strict=False)] = ()
    """Loggers of Lightning besides the log of the run: the names tensorboard, wandb, mlflow and csv, or mappings with
    options. They write to the folder of the run and do not use a network, unless their options say otherwise."""
    callbacks: Annotated[tuple[CallbackOptions, ...], Field(strict=False)] = ()
    """Callbacks of Lightning by import path, such as `{path: my_lab.callbacks:FreezeEmbeddings}`, if imports are
    allowed."""
    output: str | None = None
    """The folder of all results; must be given here or to `train`."""

    @model_validator(mode="after")
    def _names_exist(self) -> TrainingConfig:
        problems = [
            InitErrorDetails(
                type=PydanticCustomError("name", "{problem}", {"problem": problem}),
                loc=tuple(int(key) if key.isdecimal() else key for key in place.split(".")),
                input=None,
            )
            for place, problem in self.unknown_names().items()
        ]
        if problems:
            raise ValidationError.from_exception_data("name", problems)
        return self

    def unknown_names(self) -> dict[str, str]:
        """Find labels, losses and metrics of properties that the model does not predict.

        Returns:
            The problem with each of them, by its place in the config.
        """
        heads = self.model.heads.properties
        problems = {f"data.{place}": problem for place, problem in unknown_labels(self.data, heads).items()}
        problems |= {
            f"loss.{name}": f"unknown field{did_you_mean(name, [*LABELS, *heads])}"
            for name in self.loss.properties
            if name not in heads
        }
        known = [*METRICS, *(f"{name}_mae" for name in heads)]
        listed = " or ".join((", ".join(map(repr, known[:-1])), repr(known[-1])))
        for place, metric in self.watched().items():
            if metric not in known:
                problems[place] = f"must be {listed}, got {metric!r}{near(metric, known)}"
        return problems

    def for_model(self, model: Spec) -> TrainingConfig:
        """Copy the config for another model, without labels, keys and losses of properties that only this one has."""
        missing = self.model.heads.properties.keys() - model.heads.properties.keys()
        labels = tuple(name for name in self.data.labels if name not in missing)
        keys = KeyOptions(**{name: key for name, key in self.data.keys if name not in missing})
        loss = self.loss.model_copy()
        loss.__pydantic_extra__ = {name: one for name, one in self.loss if name in loss.properties.keys() - missing}
        data = self.data.model_copy(update={"labels": labels, "keys": keys})
        return self.model_copy(update={"model": model, "data": data, "loss": loss})

    def watched(self) -> dict[str, Metric]:
        """Return the validation metrics that training depends on, by the option that names them."""
        found = {}
        if self.training.stop_early is not None:
            found["training.stop_early.metric"] = self.training.stop_early.metric
        if isinstance(self.schedule, Plateau):
            found["schedule.metric"] = self.schedule.metric
        return found

    _folder: Path = PrivateAttr(default_factory=Path)
    _origin: _Origin = PrivateAttr(default_factory=_Origin)

    @property
    def folder(self) -> Path:
        """The folder that paths are relative to."""
        return self._folder

    def in_folder(self, folder: Path) -> TrainingConfig:
        """Copy the config with paths relative to another folder."""
        copy = self.model_copy()
        copy._folder = folder
        return copy

    def with_places(self, places: Mapping[Route, str]) -> TrainingConfig:
        """Copy the config with the file and line of every entry, for later errors."""
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
        route = tuple(line.partition(": ")[0].split("."))
        place = Document({}, self._origin.places).place(route) if route[0] in type(self).model_fields else ""
        return f"{place}: {line}" if place else line

    def moved_to(self, folder: Path) -> TrainingConfig:
        """Copy the config into the folder of its results, which becomes its output: paths are relative to it."""

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
        """Return plain mappings, lists, numbers and text from which the config can be read again."""
        return self.model_dump(mode="json")
