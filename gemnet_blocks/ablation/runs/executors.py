"""Where runs are done: the contract, and this very process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

from gemnet_blocks.ablation.runs.jobs import Work


class Handle(ABC):
    """A run that has been started."""

    @abstractmethod
    def poll(self) -> int | None:
        """The exit code of its worker, negative for the signal that killed it; None while it runs."""

    @abstractmethod
    def stop(self) -> None:
        """Tell it to save its state and end."""

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Wait so long for it to end, and then end it, where that can be done from here."""


class Executor(ABC):
    """Starts runs."""

    slots: int
    """How many runs it does at once."""

    on_this_machine: ClassVar[bool] = True
    """Whether runs are done by the machine of the driver."""

    @abstractmethod
    def start(self, folder: Path, token: str, work: Work) -> Handle:
        """Start the run of a folder.

        Args:
            folder: of the run.
            token: of the claim that the worker takes over.
            work: what it needs besides.
        """

    def check(self, work: Work) -> None:
        """Check that workers can be started.

        Raises:
            SpecError: they cannot.
            ImportError: a package is missing.
        """
        work.arguments(Path(), "")


@final
class HereExecutor(Executor):
    """This very process, one run after another: for notebooks with parts of their own, and small studies."""

    slots = 1

    def start(self, folder: Path, token: str, work: Work) -> Handle:
        """Do the run, now."""
        from gemnet_blocks.ablation.runs.worker import work as do

        code = do(folder, work.learner, work.catalog(), token)
        if code > 128:  # what stops a run here, stops the study
            raise KeyboardInterrupt
        return _Ended(code)

    def check(self, work: Work) -> None:
        """Nothing needs to be imported."""


@final
@dataclass(frozen=True, slots=True)
class _Ended(Handle):
    code: int

    def poll(self) -> int | None:
        return self.code

    def stop(self) -> None:
        """It has ended."""

    def wait(self, seconds: float) -> None:
        """It has ended."""
