"""Checks and fits before the first step."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from ase.data import chemical_symbols
from torch import Tensor, nn

from gemnet_blocks.data.frame import LABELS
from gemnet_blocks.data.opening import DataSplits
from gemnet_blocks.errors import SpecError, StateError, first_few
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.scale_fitting import fit_scales
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.potential.references import References
from gemnet_blocks.spec.build import build
from gemnet_blocks.spec.resolve import Spec, check_known
from gemnet_blocks.structures import Structures
from gemnet_blocks.training.data_stream import BatchLoader
from gemnet_blocks.training.distributed import Processes
from gemnet_blocks.training.initial_weights import weights_by_name
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.training.plugins import misfitting_arguments, plugin_problems
from gemnet_blocks.training.references import ReferencesOptions, fit_references


def check_config(config: TrainingConfig) -> None:
    """Check the parts of a config that need neither data nor model, on any machine.

    Raises:
        SpecError: one error that lists every problem.
    """
    check_known(config.model, config.model.catalog)
    forces, loss = config.model.heads.forces, config.loss
    problems = []
    if loss.forces is not None and forces is None:
        problems.append("loss.forces: the model has no forces: set model.heads.forces, or remove loss.forces")
    if loss.stress is not None and (forces is None or forces.type != "gradient"):
        problems.append(
            "loss.stress: only models with gradient forces have stresses: set model.heads.forces, or remove loss.stress"
        )
    if loss.stress is not None and not config.model.neighbors.periodic:
        problems.append(
            "loss.stress: the model ignores periodicity: set model.neighbors.periodic, or remove loss.stress"
        )
    heads = config.model.heads.properties
    if not loss.compared():
        problems.append("loss: the model predicts nothing that it compares: add a loss, or the head that it needs")
    problems += [f"{place}: {problem}" for place, problem in config.unknown_names().items()]
    plugins = plugin_problems(config.loggers, config.callbacks, config.model) or misfitting_arguments(config.loggers)
    problems += [f"{place}: {problem}" for place, problem in plugins.items()]
    known = ", ".join(config.data.labels)
    for label in dict.fromkeys((*LABELS, *heads)):
        if label in loss.compared() and label not in config.data.labels:
            problems.append(f"loss.{label}: data.labels has only {known}: add {label} to it, or remove the loss")
        problems += [
            f"{place}: data.labels has only {known}: add {label} to it"
            for place, metric in config.watched().items()
            if metric == f"{label}_mae" and label not in config.data.labels
        ]
    for place, metric in config.watched().items():
        if metric == "stress_mae" and loss.stress is None:
            problems.append(
                f"{place}: stresses are validated only if loss.stress is given: add it, or name another metric"
            )
        if metric == "forces_mae" and forces is None:
            problems.append(f"{place}: the model has no forces: name another metric")
    if config.references.keep and config.training.start_from is None:
        problems.append("references.keep: there is no model whose references are kept: set training.start_from")
    if problems:
        raise SpecError("\n".join(problems))


def check_machine(config: TrainingConfig) -> None:
    """Check that this machine has the device of the run.

    Raises:
        SpecError: one error that lists every problem.
    """
    problems = []
    if config.training.device == "cuda" and not torch.cuda.is_available():
        problems.append("training.device: torch finds no CUDA device here: choose auto or cpu")
    on_cpu = Processes().device(config.training.device).type == "cpu"
    if config.training.precision == "16-mixed" and on_cpu:
        problems.append("training.precision: 16-mixed is for GPUs: choose bf16-mixed or 32")
    if problems:
        raise SpecError("\n".join(problems))


def check_data(config: TrainingConfig, data: DataSplits) -> None:
    """Check that the data have the labels and structures that the run needs.

    Raises:
        SpecError: one error that lists every problem.
    """
    problems = []
    fitted = {part: seen for part, seen in data.summaries.items() if part != "test"}
    if config.loss.stress is not None:
        problems += [
            f"loss.stress: {place} is not periodic in all directions, so it has no stress: remove loss.stress or the "
            "structure, or correct its pbc"
            for seen in fitted.values()
            if (place := seen.open_place()) is not None
        ]
    if config.loss.forces is not None and config.loss.forces.atoms == "free":
        problems += [
            f"loss.forces.atoms: none of {seen.atoms} atoms of the {part} set is free: write all, or remove loss.forces"
            for part, seen in fitted.items()
            if seen.complete and seen.atoms and not seen.free
        ]
    for part, dataset in (("training", data.train), ("validation", data.validation)):
        if dataset is None:
            continue
        if not len(dataset):
            problems.append(f"data: the {part} set is empty")
        problems += [
            f"loss.{label}: the {part} set has no {label} labels: remove loss.{label}, or name other files"
            for label in config.loss.compared()
            if label not in dataset.labels
        ]
    if data.validation is not None:
        measured = {"loss", *(f"{label}_mae" for label in compared_labels(config, data))}
        problems += [
            f"{place}: {metric} needs labels that the training or validation set lacks: name another metric"
            for place, metric in config.watched().items()
            if metric not in measured
        ]
    else:
        if config.training.stop_early is not None:
            problems.append("training.stop_early: needs a validation set: set data.validation or data.split")
        if config.schedule.type == "plateau":
            problems.append("schedule.type: plateau needs a validation set: set data.validation or data.split")
    if problems:
        raise SpecError("\n".join(problems))


def check_elements(data: DataSplits, references: References) -> None:
    """Check that all elements in the data have an atomic reference energy.

    Raises:
        SpecError: one error that lists every part with other elements.
    """
    problems = []
    for part, seen in data.summaries.items():
        if unknown := sorted(seen.elements - references.per_element.keys()):
            names = ", ".join(chemical_symbols[number] for number in unknown)
            problems.append(
                f"references: the {part} set contains {names}, whose reference energy is unknown: give "
                "references.unseen, an energy per atom in eV for such elements, or change the split of the data"
            )
    if problems:
        raise SpecError("\n".join(problems))


def compared_labels(config: TrainingConfig, data: DataSplits) -> frozenset[str]:
    """The labels whose errors are logged: those of all data that the model predicts."""
    labels = data.train.labels & (data.validation.labels if data.validation is not None else data.train.labels)
    return labels if config.model.heads.forces is not None else labels - {"forces"}


def initial_potential(
    config: TrainingConfig,
    data: DataSplits,
    references: References | None,
    spec: Spec | None = None,
    kept: References | None = None,
) -> Potential:
    """Build the untrained potential in the floating-point type of its training.

    Args:
        config: the config of the run.
        data: the data, to whose training set references are fitted.
        references: the references of a resumed run; None: they are fitted.
        spec: the architecture, if it differs from that of the config in the divisors of sums.
        kept: the references of the model that training begins with, which `references.keep` keeps.

    Raises:
        SpecError: the spec cannot be built, references cannot be fitted, or the data have elements without references.
    """
    execution, seed, spec = config.training.execution.execution(), config.training.seed, spec or config.model
    with torch.device("cpu"):  # training moves the weights to the device
        if config.training.initial_weights == "by_name":
            model = weights_by_name(lambda: build(spec, execution=execution), seed)
        else:
            model = build(spec, execution=execution, seed=seed)
    if references is None:
        options = config.references
        if data.train.labels.isdisjoint(("energy", "forces")) and options == ReferencesOptions():
            options = ReferencesOptions(per_element="none", scale=1.0)  # nothing to fit them to
        references = fit_references(
            data.train,
            data.meaning,
            options.per_element,
            options.scale,
            options.atoms,
            options.unseen,
            options.mean,
            config.model.heads.kinds(),
            kept if options.keep else None,
        )
    check_elements(data, references)
    dtype = torch.float64 if config.training.precision == "64" else torch.float32
    return Potential(model.to(dtype), spec, references)


def prepare_scales(config: TrainingConfig, feed: BatchLoader, model: GemNet) -> None:
    """Fit the scale factors to the same batches, with the same result, on all processes.

    A factor is 1 if its input has no variance, as messages from atoms in the first block of a system of one element.

    Raises:
        StateError: factors remain unfitted, and the config does not allow it.
    """
    if config.scales is not None and scale_factors(model):
        device = next(model.parameters()).device
        batches = [batch.to(device) for batch in feed.first(config.scales.batches)]
        values = fit_scales(model, batches, rows=config.scales.rows)
        for scale in _with_input(model, batches, {name for name, value in values.items() if not value}):
            scale.factor.data.fill_(1.0)
    unfitted = [name for name, factor in scale_factors(model).items() if not factor.fitted]
    if unfitted and not config.training.allow_unfitted:
        why = (
            "`scales` is null: set scales: {batches: 8}"
            if config.scales is None
            else "they receive no input for these data: remove interactions that the data do not need from the model"
        )
        raise StateError(
            f"{len(unfitted)} scale factors are not fitted ({first_few(unfitted, 5, ', ')}): {why}, or set "
            "training.allow_unfitted"
        )


def _with_input(model: GemNet, batches: Sequence[Structures], names: Collection[str]) -> set[ScaleFactor]:
    """The scale factors, among those named, that receive input for these batches."""
    found: set[ScaleFactor] = set()

    def note(scale: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if isinstance(scale, ScaleFactor) and arguments[0].numel():
            found.add(scale)

    factors = scale_factors(model)
    handles = [factors[name].register_forward_pre_hook(note) for name in names]
    try:
        with torch.no_grad():
            for batch in batches if handles else ():
                model(batch)
    finally:
        for handle in handles:
            handle.remove()
    return found


def scale_factors(model: GemNet) -> dict[str, ScaleFactor]:
    """The scale factors of a model by name."""
    return {name: one for name, one in model.named_modules() if isinstance(one, ScaleFactor)}
