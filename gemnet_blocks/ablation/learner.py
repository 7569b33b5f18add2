"""What does a run: the contract, so that a study can be made of anything that learns from a spec and a seed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.training.options import TrainingConfig

if TYPE_CHECKING:
    from gemnet_blocks.data.opening import DataSplits


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One run, as a learner sees it.

    Attributes:
        variant: the name of the variant.
        seed: of everything that is drawn by chance.
        key: the hash of everything that the result depends on.
        spec: the architecture.
        config: data and training, with seed and budget; None in studies without them.
    """

    variant: str
    seed: int
    key: str
    spec: Spec
    config: TrainingConfig | None = None

    @property
    def training(self) -> TrainingConfig:
        """The config.

        Raises:
            ValueError: there is none.
        """
        if self.config is None:
            raise ValueError(f"{self.variant}: the study has no data and training")
        return self.config


@dataclass(frozen=True, slots=True)
class Fit:
    """What a learner found.

    Attributes:
        metrics: errors by name; lower is better.
        curve: `step`, `seconds` and metrics of each validation.
        cost: by the names of `RunResult.cost`.
        environment: besides what is recorded of every run.
    """

    metrics: Mapping[str, float]
    curve: Sequence[Mapping[str, float]] = ()
    cost: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)


class Learner(ABC):
    """Does runs. Subclasses are dataclasses of plain values, which are part of what a run is known by.

    Worker processes make learners anew by importing their class, so it must be in a module, not in a notebook, unless
    a study is run with `executor="here"`.
    """

    needs_data: ClassVar[bool] = True
    """Whether it reads the data of a study; if not, they need not exist."""

    @abstractmethod
    def fit(self, task: Task, folder: Path) -> Fit:
        """Learn and measure. Called again with the same folder after it was interrupted.

        Args:
            task: what to do; the same task gives the same metrics.
            folder: for files of its own.

        Raises:
            Exception: whatever goes wrong; it is recorded, and the run is tried again.
        """

    def check(self, task: Task, data: DataSplits | None) -> Sequence[str]:
        """What is wrong with a run, found before any run starts."""
        return ()

    def metrics(self, task: Task, data: DataSplits | None) -> Sequence[str] | None:
        """The names of the errors that a run will find; None where nobody knows beforehand."""
        return None

    def training_flops(self, task: Task, data: DataSplits | None) -> float:
        """Floating-point operations in products of matrices of one training step, for budgets of equal FLOPs."""
        raise NotImplementedError(f"{type(self).__name__} does not know what a step costs")

    def settings(self) -> dict[str, Any]:
        """Its class and plain values: part of what its runs are known by."""
        values: dict[str, Any] = asdict(self) if is_dataclass(self) and not isinstance(self, type) else {}
        return {"class": f"{type(self).__module__}:{type(self).__qualname__}", "values": values}
