"""The interface of learners, which do the runs of a study; custom learners may do anything with a spec and a seed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gemnet_blocks.ablation.results import Parity
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.training.options import TrainingConfig

if TYPE_CHECKING:
    from gemnet_blocks.data.opening import DataSplits


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """The definition of a run.

    Attributes:
        variant: name of the variant.
        seed: random seed.
        key: hash of everything that the result depends on.
        spec: the architecture.
        config: data and training, with seed and budget; None in studies without data and training.
    """

    variant: str
    seed: int
    key: str
    spec: Spec
    config: TrainingConfig | None = None

    @property
    def training(self) -> TrainingConfig:
        """The training config.

        Raises:
            ValueError: the study has no data and training.
        """
        if self.config is None:
            raise ValueError(f"{self.variant}: this learner needs the sections data and training of the study")
        return self.config


@dataclass(frozen=True, slots=True)
class Fit:
    """The outcome of a run.

    Attributes:
        metrics: errors by name; lower is better.
        curve: `step`, `seconds` and metrics of each validation.
        cost: costs by the names of `RunResult.cost`.
        environment: additions to the environment that is recorded for every run.
        baseline: errors of a trivial prediction, by the names of `metrics`; see `RunResult.baseline`.
        elements: errors of the forces by element; see `RunResult.elements`.
        parity: labels and predictions; see `RunResult.parity`.
    """

    metrics: Mapping[str, float]
    curve: Sequence[Mapping[str, float]] = ()
    cost: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    baseline: Mapping[str, float] = field(default_factory=dict)
    elements: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    parity: Mapping[str, Parity] = field(default_factory=dict)


class Learner(ABC):
    """Base class of learners, which do the runs of a study.

    Subclasses are dataclasses of plain values, which are part of the key of a run. Worker processes import the class,
    so it must be defined in a module and not in a notebook, unless the study runs with `executor="here"`.
    """

    needs_data: ClassVar[bool] = True
    """Whether the learner reads the data of the study; if False, they need not exist."""

    @abstractmethod
    def fit(self, task: Task, folder: Path) -> Fit:
        """Do a run and return its errors and costs. After an interrupt, it is called again with the same folder.

        Args:
            task: definition of the run; equal tasks must give equal metrics.
            folder: folder of the run, also for files of the learner. Reports compare variants atom by atom if the
                learner saves `KeptPredictions` of the evaluated set there, as `predictions.npz`.

        Raises:
            Exception: any error is recorded, and the run is tried again.
        """

    def check(self, task: Task, data: DataSplits | None) -> Sequence[str]:
        """Return problems with a run, which are reported before any run starts."""
        return ()

    def metrics(self, task: Task, data: DataSplits | None) -> Sequence[str] | None:
        """Return the names of the metrics that a run will compute; None if they are unknown beforehand."""
        return None

    def training_flops(self, task: Task, data: DataSplits | None) -> float:
        """Return the FLOPs in matrix products of one training step, for budgets of equal FLOPs."""
        raise NotImplementedError(f"{type(self).__name__} does not implement training_flops")

    def training_seconds(self, task: Task, data: DataSplits | None) -> float:
        """Return the measured seconds of one training step, for controls of equal time."""
        raise NotImplementedError(f"{type(self).__name__} does not implement training_seconds")

    def training_memory(self, task: Task, data: DataSplits | None) -> float:
        """Return the peak memory of one training step in bytes, for controls of equal memory."""
        raise NotImplementedError(f"{type(self).__name__} does not implement training_memory")

    def settings(self) -> dict[str, Any]:
        """Return class and fields of the learner as plain data, which are part of the key of its runs."""
        values: dict[str, Any] = asdict(self) if is_dataclass(self) and not isinstance(self, type) else {}
        return {"class": f"{type(self).__module__}:{type(self).__qualname__}", "values": values}
