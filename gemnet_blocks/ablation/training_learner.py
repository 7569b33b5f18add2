"""The default learner of studies: trains a model, evaluates it and measures its costs."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from gemnet_blocks.ablation.evaluated_set import EvaluatedSet, SetCollector
from gemnet_blocks.ablation.learner import Fit, Learner, Task
from gemnet_blocks.ablation.options import METRICS
from gemnet_blocks.ablation.runs.run_folder import PREDICTIONS
from gemnet_blocks.data.dataset import LabelledDataset
from gemnet_blocks.data.labelled import collate
from gemnet_blocks.errors import SpecError, StateError, StructureError
from gemnet_blocks.evaluation.evaluate import Evaluation, evaluate
from gemnet_blocks.layers.initialization import without_initial_values
from gemnet_blocks.model.costs import Estimate
from gemnet_blocks.model.summary import parameter_count
from gemnet_blocks.potential.model_file import load_potential
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.spec.build import build
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.structures import Prediction, Structures
from gemnet_blocks.training.data_stream import BatchLoader, open_parts
from gemnet_blocks.training.distributed import Processes
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.training.setup import check_config, check_data
from gemnet_blocks.training.starting import check_start

if TYPE_CHECKING:
    from gemnet_blocks.data.opening import DataSplits


NAMES = {"energy_mae": "energy_mae_per_atom"}
"""The names of recorded errors whose names in training logs differ."""


@final
@dataclass(frozen=True, slots=True)
class TrainingLearner(Learner):
    """Learner that trains a model, evaluates it on the test set (or else the validation set) and measures its costs.

    The model with the lowest validation loss is evaluated. Errors of forces include fixed atoms only if the loss does.

    Attributes:
        sample: number of structures of the evaluated set for the measurements of time, edges and symmetry.
        repeats: number of repetitions of the inference time.
        rotations: number of random rotations for the symmetry error.
    """

    sample: int = 8
    repeats: int = 7
    rotations: int = 3

    def fit(self, task: Task, folder: Path) -> Fit:
        """Train, resuming from a checkpoint in the folder, then evaluate and measure."""
        # training needs Lightning, which a report does not
        from gemnet_blocks.training import train
        from gemnet_blocks.training.checkpoints import FILE, KEY, read_checkpoint

        config = task.training
        path = train(config, folder)
        device = Processes().device(config.training.device)
        potential = load_potential(
            path,
            config.training.execution.execution(),
            device=device,
            extra=task.spec.catalog.extra,
            allow_imports=task.spec.catalog.allow_imports,
        )
        data = open_parts(config)
        held_out = _held_out(data)
        assert held_out is not None  # checked when the study was planned
        atoms = config.loss.forces.atoms if config.loss.forces is not None else "all"
        # the splits were compared when they were opened, as `data.leakage` says
        collector = SetCollector(potential, held_out)
        evaluation = evaluate(potential, held_out, atoms=atoms, allow_overlap=True, observe=collector)
        errors, properties = evaluation.errors.to_dict(), evaluation.errors.properties
        state = read_checkpoint(folder / FILE)[KEY]["state"]
        cost = {"steps": float(state["step"]), "training_seconds": float(state["seconds"])}
        found = measured(potential, config, data.train, held_out, self)
        details, problems = _details(collector, evaluation, folder)
        about = {"device": str(device), "evaluated_on": "test" if data.test is not None else "validation"}
        if problems := (*found.problems, *problems):
            about["not measured"] = "; ".join(problems)
        validations = sorted((*state["validations"], *state.get("curve", ())), key=lambda one: one["step"])
        return Fit(
            metrics={name: errors[name] for name in (*METRICS, *properties) if errors[name] is not None},
            curve=[{NAMES.get(name, name): float(value) for name, value in one.items()} for one in validations],
            cost={**cost, **found.costs},
            environment=about,
            baseline=details.baseline,
            elements=details.elements,
            parity=details.parity,
        )

    def check(self, task: Task, data: DataSplits | None) -> Sequence[str]:
        """Return the problems that `train` would report, and labels that the comparison needs."""
        from gemnet_blocks.training.launch import require_lightning

        require_lightning()
        problems: list[str] = []
        try:
            check_config(task.training)
            check_start(task.training)
        except (SpecError, StateError) as error:
            problems += str(error).splitlines()
        if data is None or problems:
            return problems
        try:
            check_data(task.training, data)
            model = build(task.spec, seed=0)
            for batch in first_batches(task.training, data.train, 1):
                model.backbone.graphs.check(batch)
        except (SpecError, StructureError) as error:
            problems += str(error).splitlines()
        return problems

    def metrics(self, task: Task, data: DataSplits | None) -> Sequence[str] | None:
        """Return the errors of all outputs for which the evaluated set has labels."""
        if data is None:
            return None
        held_out = _held_out(data)
        forces, predicted = task.spec.heads.forces, {"energy"}
        if forces is not None:
            predicted |= {"forces", "stress"} if forces.type == "gradient" else {"forces"}
        labelled = predicted if held_out is None else predicted & held_out.labels
        further = [name for name in task.spec.heads.properties if held_out is not None and name in held_out.labels]
        found = [name for name in METRICS if name.partition("_")[0] in labelled]
        return found + [f"{name}_{metric}" for name in further for metric in ("mae", "rmse")]

    def training_flops(self, task: Task, data: DataSplits | None) -> float:
        """Return the mean estimate for the first batches."""
        assert data is not None
        estimates = training_estimates(task.spec, task.training, data.train)
        return sum(one.flops for one in estimates) / len(estimates)

    def training_seconds(self, task: Task, data: DataSplits | None) -> float:
        """Return the median time of the forward and backward passes of the first batch, after a warm-up."""
        assert data is not None
        config = task.training
        device = Processes().device(config.training.device)
        model = build(task.spec, execution=config.training.execution.execution(), seed=0).float().to(device)
        (batch,) = first_batches(config, data.train, 1)
        batch = batch.to(device, torch.float32)
        seconds = []
        for _ in range(self.repeats + 1):
            start = time.perf_counter()
            found = model(batch)
            outputs = (found.energy, found.forces)
            loss = sum(one.square().mean() for one in outputs if one is not None)
            assert isinstance(loss, Tensor)
            loss.backward()
            float(loss.detach())  # waits for the device
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds[1:])

    def training_memory(self, task: Task, data: DataSplits | None) -> float:
        """Return the estimate for the first batch."""
        assert data is not None
        (one,) = training_estimates(task.spec, task.training, data.train, 1)
        return float(one.peak_bytes + one.weight_bytes)


def _details(collector: SetCollector, evaluation: Evaluation, folder: Path) -> tuple[EvaluatedSet, Sequence[str]]:
    """Write the predictions and return the details of an evaluation, and a problem if they cannot be found."""
    try:
        if (kept := collector.kept()) is not None:
            kept.save(folder / PREDICTIONS)
        return collector.details(evaluation), ()
    except Exception as error:  # the trained model and its errors must not be lost
        return EvaluatedSet(), (f"baseline and errors by element: {type(error).__name__}: {error}",)


def _held_out(data: DataSplits) -> LabelledDataset | None:
    return data.test if data.test is not None else data.validation


BATCHES = 3
"""The number of batches whose mean cost determines the steps of a budget of FLOPs."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The measured costs of a potential.

    Attributes:
        costs: costs by the names of `RunResult.cost`.
        problems: reasons for missing costs.
    """

    costs: Mapping[str, float]
    problems: tuple[str, ...] = ()


def measured(
    potential: Potential,
    config: TrainingConfig,
    train: LabelledDataset,
    held_out: LabelledDataset,
    learner: TrainingLearner,
) -> Measured:
    """Measure the costs of a potential.

    Measurements that fail are left out, such as estimates for custom components that depend on values of tensors.

    Args:
        potential: the potential on the device of the training.
        config: the training config.
        train: the training set, for estimates of a training step.
        held_out: the evaluated set, for measurements of inference.
        learner: sizes of samples and numbers of repetitions.
    """
    count = min(learner.sample, len(held_out))
    sample = collate([held_out[index] for index in range(count)]).structures.to(potential.device)
    measurements: Mapping[str, Callable[[], Mapping[str, float]]] = {
        "inference": lambda: _inference(potential, sample),
        "training step": lambda: _training_step(potential, config, train),
        "inference time": lambda: _times(potential, sample, learner.repeats),
        "symmetry error": lambda: symmetry_error(potential, sample, learner.rotations),
    }
    costs = {"parameters": float(parameter_count(potential.model))}
    problems = []
    for name, measure in measurements.items():
        try:
            costs |= measure()
        except Exception as error:  # a custom component may raise anything, and the trained model must not be lost
            problems.append(f"{name}: {type(error).__name__}: {error}")
    return Measured(costs, tuple(problems))


def _inference(potential: Potential, sample: Structures) -> Mapping[str, float]:
    dtype = next(potential.model.parameters()).dtype
    estimate = potential.model.estimate(sample.to(dtype=dtype), "predict")
    counts = {
        "matmul_flops_inference": estimate.flops,
        "edges": estimate.counts.get("edges of main", 0),
        "triplets": sum(count for name, count in estimate.counts.items() if "triplet" in name),
        "quadruplets": sum(count for name, count in estimate.counts.items() if "quadruplet" in name),
    }
    return {name: count / len(sample) for name, count in counts.items()}


def _training_step(potential: Potential, config: TrainingConfig, train: LabelledDataset) -> Mapping[str, float]:
    dtype = next(potential.model.parameters()).dtype
    # one batch only: an estimate takes as long as some training steps
    (batch,) = first_batches(config, train, 1)
    step = potential.model.estimate(batch.to(potential.device, dtype), "train")
    return {
        "matmul_flops_training": float(step.flops),
        "peak_memory_bytes": float(step.peak_bytes + step.weight_bytes),
    }


def _times(potential: Potential, sample: Structures, repeats: int) -> Mapping[str, float]:
    seconds = inference_seconds(potential, sample, repeats)
    quartiles = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else [seconds[0]] * 3
    return {
        "inference_seconds": statistics.median(seconds) / len(sample),
        "inference_spread": (quartiles[2] - quartiles[0]) / 2 / len(sample),
    }


def first_batches(config: TrainingConfig, train: LabelledDataset, count: int = BATCHES) -> list[Structures]:
    """Return the first training batches in the order of a single process."""
    return BatchLoader(train, config, Processes()).first(count)


def training_estimates(
    spec: Spec, config: TrainingConfig, train: LabelledDataset, count: int = BATCHES
) -> list[Estimate]:
    """Estimate the costs of the first training steps of a spec."""
    with without_initial_values():
        model = build(spec, execution=config.training.execution.execution(), seed=0).float()
    return [model.estimate(one.to(dtype=torch.float32), "train") for one in first_batches(config, train, count)]


def inference_seconds(potential: Potential, structures: Structures, repeats: int) -> list[float]:
    """Measure the seconds of predicting structures as one batch, including neighbor search, after a warm-up."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        _predicted(potential, structures).energy.sum().item()  # waits for the device
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def symmetry_error(potential: Potential, structures: Structures, rotations: int) -> dict[str, float]:
    """Measure how far predictions for rotated structures deviate from rotated predictions, in float64.

    Returns:
        `symmetry_error`: the largest deviation of forces in eV/Å over atoms and random rotations (without forces, of
        energies per atom in eV); `symmetry_error_energy`: the largest deviation of energies per atom in eV.
    """
    # on the CPU, because some accelerators do not support float64
    exact = copy.deepcopy(potential).to("cpu").double()
    structures = structures.to("cpu", torch.float64)
    atoms = structures.atom_counts.clamp(min=1)
    before = _predicted(exact, structures)
    energies, forces = [0.0], [0.0]
    for rotation in _rotations(rotations):
        rotated = replace(structures, positions=structures.positions @ rotation.T, cells=structures.cells @ rotation.T)
        after = _predicted(exact, rotated)
        energies.append(_largest((after.energy - before.energy) / atoms))
        if before.forces is not None and after.forces is not None:
            forces.append(_largest(after.forces - before.forces @ rotation.T))
    whole = max(energies) if before.forces is None else max(forces)
    return {"symmetry_error": whole, "symmetry_error_energy": max(energies)}


def _predicted(potential: Potential, structures: Structures) -> Prediction:
    with torch.no_grad():
        return potential(structures)


def _rotations(count: int) -> Sequence[Tensor]:
    """Draw reproducible random rotations."""
    generator = torch.Generator("cpu").manual_seed(0)
    found = []
    for _ in range(count):
        matrix, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64, device="cpu"))
        found.append(matrix * torch.linalg.det(matrix).sign())
    return found


def _largest(values: Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0
