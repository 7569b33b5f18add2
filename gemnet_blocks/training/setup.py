"""Everything that is checked or fitted before the first step."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from ase.data import chemical_symbols
from torch import Tensor, nn

from gemnet_blocks.data.opening import DataSplits
from gemnet_blocks.errors import SpecError, StateError, first_few
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.scale_fitting import fit_scales
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.potential.references import References
from gemnet_blocks.spec.build import build
from gemnet_blocks.spec.resolve import check_known
from gemnet_blocks.structures import Structures
from gemnet_blocks.training.data_stream import Feed
from gemnet_blocks.training.distributed import Processes
from gemnet_blocks.training.initial_weights import weights_by_name
from gemnet_blocks.training.losses import Metric
from gemnet_blocks.training.optimizer import Plateau
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.training.references import fit_references


def check_config(config: TrainingConfig) -> None:
    """Check what needs neither data nor model, on any machine.

    Raises:
        SpecError: one error with every problem.
    """
    check_known(config.model, config.model.catalog)
    forces, loss = config.model.heads.forces, config.loss
    problems = []
    if loss.forces is not None and forces is None:
        problems.append("loss.forces: the model has no forces: set model.heads.forces, or remove it")
    if loss.stress is not None and (forces is None or forces.type != "gradient"):
        problems.append(
            "loss.stress: only models with gradient forces have stresses: set model.heads.forces, or remove it"
        )
    if loss.stress is not None and not config.model.neighbors.periodic:
        problems.append("loss.stress: the model repeats no structure: set model.neighbors.periodic, or remove it")
    known = ", ".join(config.data.labels)
    for label in ("energy", "forces", "stress"):
        if getattr(loss, label) is not None and label not in config.data.labels:
            problems.append(f"loss.{label}: data.labels has only {known}: add {label} to it, or remove the loss")
        problems += [
            f"{place}: data.labels has only {known}: add {label} to it"
            for place, metric in _watched(config).items()
            if metric == f"{label}_mae" and label not in config.data.labels
        ]
    for place, metric in _watched(config).items():
        if metric == "stress_mae" and loss.stress is None:
            problems.append(f"{place}: stresses are validated only where loss.stress is given")
        if metric == "forces_mae" and forces is None:
            problems.append(f"{place}: the model has no forces")
    if problems:
        raise SpecError("\n".join(problems))


def _watched(config: TrainingConfig) -> dict[str, Metric]:
    """The results of validation that decide about the course of training, by the option that names them."""
    early, schedule = config.training.stop_early, config.schedule
    watched: dict[str, Metric] = {}
    if early is not None:
        watched["training.stop_early.metric"] = early.metric
    if isinstance(schedule, Plateau):
        watched["schedule.metric"] = schedule.metric
    return watched


def check_machine(config: TrainingConfig) -> None:
    """Check that this machine has what the run computes on.

    Raises:
        SpecError: one error with every problem.
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
    """Check that the data has what the run needs.

    Raises:
        SpecError: one error with every problem.
    """
    problems = []
    fitted = {part: seen for part, seen in data.summaries.items() if part != "test"}
    if config.loss.stress is not None:
        problems += [
            f"loss.stress: {place} is not periodic in all directions, so that it has no stress: remove loss.stress or "
            "the structure, or correct its pbc"
            for seen in fitted.values()
            if (place := seen.open_place()) is not None
        ]
    if config.loss.forces is not None and config.loss.forces.atoms == "free":
        problems += [
            f"loss.forces.atoms: no atom of the {part} set is free, of {seen.atoms}: write all, or remove loss.forces"
            for part, seen in fitted.items()
            if seen.complete and seen.atoms and not seen.free
        ]
    for part, dataset in (("training", data.train), ("validation", data.validation)):
        if dataset is None:
            continue
        if not len(dataset):
            problems.append(f"data: the {part} set is empty")
        problems += [
            f"loss.{label}: the {part} set has no labels for it: remove it, or name other files"
            for label in ("energy", "forces", "stress")
            if getattr(config.loss, label) is not None and label not in dataset.labels
        ]
    if data.validation is not None:
        measured = {"loss", *(f"{label}_mae" for label in compared_labels(config, data))}
        problems += [
            f"{place}: {metric} needs labels that the training or validation set lacks: name another metric"
            for place, metric in _watched(config).items()
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
    """Check that the energies of all elements in the data have a reference.

    Raises:
        SpecError: one error with every part that has others.
    """
    problems = []
    for part, seen in data.summaries.items():
        if unknown := sorted(seen.elements - references.per_element.keys()):
            names = ", ".join(chemical_symbols[number] for number in unknown)
            problems.append(
                f"references: the {part} set contains {names}, of which no reference energy is known: give "
                "references.unseen, an energy per atom in eV for such elements, or split the data otherwise"
            )
    if problems:
        raise SpecError("\n".join(problems))


def compared_labels(config: TrainingConfig, data: DataSplits) -> frozenset[str]:
    """What errors are logged for: what the model predicts and all data has."""
    labels = data.train.labels & (data.validation.labels if data.validation is not None else data.train.labels)
    return labels if config.model.heads.forces is not None else labels - {"forces"}


def initial_potential(config: TrainingConfig, data: DataSplits, references: References | None) -> Potential:
    """The untrained potential, in the type of numbers that it is trained in.

    Args:
        config: the run.
        data: what references are fitted to.
        references: those of a run that goes on.

    Raises:
        SpecError: the spec cannot be built, references cannot be fitted, or a part of the data has elements without.
    """
    execution, seed = config.training.execution.execution(), config.training.seed
    with torch.device("cpu"):  # where all weights are made; training moves them
        if config.training.initial_weights == "by_name":
            model = weights_by_name(lambda: build(config.model, execution=execution), seed)
        else:
            model = build(config.model, execution=execution, seed=seed)
    if references is None:
        options = config.references
        references = fit_references(
            data.train, data.meaning, options.per_element, options.scale, options.atoms, options.unseen, options.mean
        )
    check_elements(data, references)
    dtype = torch.float64 if config.training.precision == "64" else torch.float32
    return Potential(model.to(dtype), config.model, references)


def prepare_scales(config: TrainingConfig, feed: Feed, model: GemNet) -> None:
    """Fit the scale factors; the same on all processes, as they do it with the same batches.

    Where a factor's input is the same in all samples, as messages from atoms are in the first block where all atoms are
    of one element, there is no variance to keep, and the factor is 1.

    Raises:
        StateError: factors stay unfitted, and the config does not allow it.
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
            else "nothing varies where they are: remove what the data does not need from model.interactions"
        )
        raise StateError(
            f"{len(unfitted)} scale factors are not fitted ({first_few(unfitted, 5, ', ')}): {why}, or set "
            "training.allow_unfitted"
        )


def _with_input(model: GemNet, batches: Sequence[Structures], names: Collection[str]) -> set[ScaleFactor]:
    """Those scale factors, of the names given, that multiply anything for these batches."""
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
