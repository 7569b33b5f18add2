"""Errors and interruptions that end training early."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gemnet_blocks.data.labelled import LabelledStructures
from gemnet_blocks.errors import StateError, first_few
from gemnet_blocks.util.files import replacing

if TYPE_CHECKING:
    from gemnet_blocks.training.state import StepReport


class NonFiniteError(StateError):
    """The loss or its gradient became infinite or NaN; the weights are those before the step.

    Args:
        report: the numbers of the step.
        batch: the structures of this process.
        step: the number of the step.
    """

    def __init__(self, report: StepReport, batch: LabelledStructures, step: int) -> None:
        what = f"the gradient is {report.gradient_norm}" if report.loss_finite else f"the loss is {report.loss}"
        super().__init__(f"step {step}: {what}")
        self.batch = batch
        self.place = report.place

    def saved(self, path: Path, places: Sequence[str], checkpoint: str) -> StateError:
        """The error for users, with the file of the batch and a way to continue.

        Args:
            path: the file of the batch.
            places: file and frame of its structures.
            checkpoint: a sentence about the last checkpoint.
        """
        return StateError(
            f"{self}. The batch ({first_few(places)}) was written to {path}: look for wrong labels or atoms that "
            f"overlap; else lower the learning rate or training.clip. {checkpoint}"
        )


class Interrupted(Exception):  # noqa: N818 (like KeyboardInterrupt, not an error)
    """A signal stopped training, whose state is saved.

    Args:
        step: the number of steps taken.
        folder: the folder of the run.
        signal: the number of the signal.
    """

    def __init__(self, step: int, folder: Path, signal: int) -> None:
        super().__init__(
            f"stopped after step {step}; the state is saved in {folder}: run the same command again to resume"
        )
        self.step = step
        self.signal = signal


def write_batch(batch: LabelledStructures, places: Sequence[str], path: Path) -> None:
    """Write labelled structures as extended XYZ, each with its number as `frame` and its file and frame as `place`."""
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    from gemnet_blocks.structures import to_ase

    batch = batch.to("cpu")
    many = to_ase(batch.structures)
    owner = batch.structures.structure
    for index, atoms in enumerate(many):
        labels: dict[str, object] = {}
        if batch.energy is not None:
            labels["energy"] = float(batch.energy[index])
        if batch.forces is not None:
            labels["forces"] = batch.forces[owner == index].double().numpy()
        if batch.stress is not None:
            xx, yy, zz = batch.stress[index].double().diagonal().tolist()
            labels["stress"] = [xx, yy, zz, *(float(batch.stress[index, i, j]) for i, j in ((1, 2), (0, 2), (0, 1)))]
        atoms.calc = SinglePointCalculator(atoms, **labels)
        atoms.info |= {"frame": int(batch.frame[index]), "place": places[index]}
    with replacing(path) as temporary:
        write(temporary, many, format="extxyz")
