"""The learner of most studies: trains, evaluates and measures."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final, get_args

import torch
from torch import Tensor

from gemnet_blocks.ablation.learner import Fit, Learner, Task
from gemnet_blocks.ablation.options import Metric
from gemnet_blocks.data.dataset import LabelledDataset
from gemnet_blocks.data.labelled import collate
from gemnet_blocks.layers.initialization import without_initial_values
from gemnet_blocks.model.costs import Estimate
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.spec.build import build
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.structures import Prediction, Structures
from gemnet_blocks.training.data_stream import BatchLoader
from gemnet_blocks.training.distributed import Processes
from gemnet_blocks.training.options import TrainingConfig

if TYPE_CHECKING:
    from gemnet_blocks.data.opening import DataSplits
    from gemnet_blocks.training.options import TrainingConfig


LOWER_IS_BETTER: tuple[str, ...] = get_args(Metric)
"""The errors that are kept of an evaluation."""

NAMES = {"energy_mae": "energy_mae_per_atom"}
"""What training calls the errors of evaluations, where it calls them something else."""


@final
@dataclass(frozen=True, slots=True)
class TrainingLearner(Learner):
    """Train, evaluate on the test set (on the validation set where there is none), and measure what it costs.

    Of a run, the best model by validation loss is evaluated; forces on fixed atoms count if the loss counts them.

    Attributes:
        sample: how many structures of the evaluated set are measured with: time, edges, symmetry.
        repeats: how often the time of inference is taken.
        rotations: how often the sample is rotated to find the symmetry error.
    """

    sample: int = 8
    repeats: int = 7
    rotations: int = 3

    def fit(self, task: Task, folder: Path) -> Fit:
        """Train from where it was stopped, if it was, then evaluate and measure."""
        from gemnet_blocks.ablation.training_learner import measured
        from gemnet_blocks.evaluation.evaluate import evaluate
        from gemnet_blocks.potential.model_file import load_potential
        from gemnet_blocks.training import train
        from gemnet_blocks.training.checkpoints import FILE, KEY, read_checkpoint
        from gemnet_blocks.training.data_stream import open_parts
        from gemnet_blocks.training.distributed import Processes

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
        held_out = data.test if data.test is not None else data.validation
        assert held_out is not None  # `check` saw to it
        # opening the data compared its parts, by the rule `data.leakage`
        errors = evaluate(potential, held_out, atoms=_atoms(config), allow_overlap=True).errors.to_dict()
        state = read_checkpoint(folder / FILE)[KEY]["state"]
        cost = {"steps": float(state["step"]), "training_seconds": float(state["seconds"])}
        found = measured(potential, config, data.train, held_out, self)
        about = {"device": str(device), "evaluated_on": "test" if data.test is not None else "validation"}
        return Fit(
            metrics={name: errors[name] for name in LOWER_IS_BETTER if errors[name] is not None},
            curve=[
                {NAMES.get(name, name): float(value) for name, value in one.items()} for one in state["validations"]
            ],
            cost={**cost, **found.costs},
            environment={**about, "not measured": "; ".join(found.problems)} if found.problems else about,
        )

    def check(self, task: Task, data: DataSplits | None) -> Sequence[str]:
        """What `train` would complain of, and what a comparison needs besides."""
        from gemnet_blocks.ablation.training_learner import first_batches
        from gemnet_blocks.errors import SpecError, StateError, StructureError
        from gemnet_blocks.spec.build import build
        from gemnet_blocks.training.run import require_lightning
        from gemnet_blocks.training.setup import check_config, check_data
        from gemnet_blocks.training.starting import check_start

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
        except SpecError as error:
            return str(error).splitlines()
        try:
            model = build(task.spec, seed=0)
            for batch in first_batches(task.training, data.train, 1):
                model.trunk.graphs.check(batch)
        except StructureError as error:
            problems.append(str(error))
        return problems

    def metrics(self, task: Task, data: DataSplits | None) -> Sequence[str] | None:
        """Of what the model predicts and the evaluated set has labels for."""
        if data is None:
            return None
        held_out = data.test if data.test is not None else data.validation
        forces, predicted = task.spec.heads.forces, {"energy"}
        if forces is not None:
            predicted |= {"forces", "stress"} if forces.type == "gradient" else {"forces"}
        labelled = predicted if held_out is None else predicted & held_out.labels
        return [name for name in LOWER_IS_BETTER if name.partition("_")[0] in labelled]

    def training_flops(self, task: Task, data: DataSplits | None) -> float:
        """The mean estimate for the first batches."""
        from gemnet_blocks.ablation.training_learner import training_estimates

        assert data is not None
        estimates = training_estimates(task.spec, task.training, data.train)
        return sum(one.flops for one in estimates) / len(estimates)


def _atoms(config: TrainingConfig) -> Any:
    return config.loss.forces.atoms if config.loss.forces is not None else "all"


BATCHES = 3
"""How many batches a budget of operations is divided by the mean cost of."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a potential costs.

    Attributes:
        costs: the costs of `RunResult.cost` that are known of a potential alone.
        problems: why some are missing.
    """

    costs: Mapping[str, float]
    problems: tuple[str, ...] = ()


def measured(
    potential: Potential,
    config: TrainingConfig,
    train: LabelledDataset,
    held_out: LabelledDataset,
    how: TrainingLearner,
) -> Measured:
    """Measure a potential. What fails, as estimates do of parts that look at values, is left out.

    Args:
        potential: on the device that it was trained on.
        config: of its training.
        train: what training steps are estimated for.
        held_out: what inference is measured on.
        how: sizes of samples.
    """
    count = min(how.sample, len(held_out))
    sample = collate([held_out[index] for index in range(count)]).structures.to(potential.device)
    kinds: Mapping[str, Callable[[], Mapping[str, float]]] = {
        "inference": lambda: _inference(potential, sample),
        "training step": lambda: _training_step(potential, config, train),
        "inference time": lambda: _times(potential, sample, how.repeats),
        "symmetry error": lambda: symmetry_error(potential, sample, how.rotations),
    }
    costs = {"parameters": float(sum(one.numel() for one in potential.model.parameters()))}
    problems = []
    for name, measure in kinds.items():
        try:
            costs |= measure()
        except Exception as error:  # a user's own part may raise anything, and the model is trained
            problems.append(f"{name}: {type(error).__name__}: {error}")
    return Measured(costs, tuple(problems))


def _inference(potential: Potential, sample: Structures) -> Mapping[str, float]:
    dtype = next(potential.model.parameters()).dtype
    estimate = potential.model.estimate(sample.to(dtype=dtype), "predict")
    return {"matmul_flops_inference": estimate.flops / len(sample), **_counts(estimate.counts, len(sample))}


def _training_step(potential: Potential, config: TrainingConfig, train: LabelledDataset) -> Mapping[str, float]:
    dtype = next(potential.model.parameters()).dtype
    # one batch: an estimate takes as long as some training steps
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
    """The first training batches, in the order of a single process."""
    return BatchLoader(train, config, Processes()).first(count)


def training_estimates(spec: Spec, config: TrainingConfig, train: LabelledDataset) -> list[Estimate]:
    """What the first training steps of a spec will cost."""
    with without_initial_values():
        model = build(spec, execution=config.training.execution.execution(), seed=0).float()
    return [model.estimate(one.to(dtype=torch.float32), "train") for one in first_batches(config, train)]


def inference_seconds(potential: Potential, structures: Structures, repeats: int) -> list[float]:
    """Seconds of predicting structures as one batch, neighbor search included, after a first time."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        with torch.no_grad():
            prediction = potential(structures)
            prediction.energy.sum().item()  # waits for the device
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def symmetry_error(potential: Potential, structures: Structures, rotations: int) -> dict[str, float]:
    """How far predictions for rotated structures are from rotated predictions, in float64.

    Returns:
        `symmetry_error`: the largest difference of forces in eV/Å, over atoms and random rotations (of energies in eV
        where there are no forces); `symmetry_error_energy`: the largest difference of energies per atom, in eV.
    """
    # on the CPU, where float64 is at home
    exact = load_in_float64(potential)
    structures = structures.to("cpu", torch.float64)
    atoms = structures.atom_counts.clamp(min=1)
    before = _predicted(exact, structures)
    energies, forces = [0.0], [0.0]
    for turn in _rotations(rotations):
        turned = replace(structures, positions=structures.positions @ turn.T, cells=structures.cells @ turn.T)
        after = _predicted(exact, turned)
        energies.append(_largest((after.energy - before.energy) / atoms))
        if before.forces is not None and after.forces is not None:
            forces.append(_largest(after.forces - before.forces @ turn.T))
    whole = max(energies) if before.forces is None else max(forces)
    return {"symmetry_error": whole, "symmetry_error_energy": max(energies)}


def load_in_float64(potential: Potential) -> Potential:
    """A copy of a potential that computes in float64 on the CPU."""
    import copy

    return copy.deepcopy(potential).to("cpu").double()


def _predicted(potential: Potential, structures: Structures) -> Prediction:
    with torch.no_grad():
        return potential(structures)


def _rotations(count: int) -> Sequence[Tensor]:
    """Random rotations, the same every time."""
    generator = torch.Generator("cpu").manual_seed(0)
    found = []
    for _ in range(count):
        matrix, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64, device="cpu"))
        found.append(matrix * torch.linalg.det(matrix).sign())
    return found


def _largest(values: Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0


def _counts(counts: Mapping[str, int], structures: int) -> dict[str, float]:
    """Main edges, triplets and quadruplets of one structure."""
    kinds = {
        "edges": [number for name, number in counts.items() if name == "edges of main"],
        "triplets": [number for name, number in counts.items() if "triplet" in name],
        "quadruplets": [number for name, number in counts.items() if "quadruplet" in name],
    }
    return {kind: sum(numbers) / structures for kind, numbers in kinds.items()}
