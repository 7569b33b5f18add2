"""The learner of most studies: trains, evaluates and measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final, get_args

from gemnet_blocks.ablation.learner import Fit, Learner, Task
from gemnet_blocks.ablation.options import Metric

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
        from gemnet_blocks.ablation.measuring import measured
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
        from gemnet_blocks.ablation.measuring import first_batches
        from gemnet_blocks.errors import SpecError, StructureError
        from gemnet_blocks.spec.build import build
        from gemnet_blocks.training.engine import require_lightning
        from gemnet_blocks.training.setup import check_config, check_data

        require_lightning()
        problems: list[str] = []
        try:
            check_config(task.training)
        except SpecError as error:
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
        from gemnet_blocks.ablation.measuring import training_estimates

        assert data is not None
        estimates = training_estimates(task.spec, task.training, data.train)
        return sum(one.flops for one in estimates) / len(estimates)


def _atoms(config: TrainingConfig) -> Any:
    return config.loss.forces.atoms if config.loss.forces is not None else "all"
