"""Prediction of a labelled dataset, and its errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from ase.data import chemical_symbols
from torch import Tensor

from gemnet_blocks.data.batching import BatchOptions, BudgetSampler, loader
from gemnet_blocks.data.dataset import Group, LabelledDataset
from gemnet_blocks.data.labelled import LabelledStructures, collate
from gemnet_blocks.data.trained_frames import Overlap, OverlapCounter, TrainedFrames
from gemnet_blocks.errors import StructureError
from gemnet_blocks.evaluation.metrics import Errors, ErrorSums, Residuals, residuals
from gemnet_blocks.evaluation.predictions import Predictions, Rows
from gemnet_blocks.evaluation.uncertainty import DeviationCollector, Deviations, Uncertainty
from gemnet_blocks.structures import AtomChoice, Prediction, PropertyKind, StoredMeaning
from gemnet_blocks.util.progress_lines import ProgressLines

if TYPE_CHECKING:
    from gemnet_blocks.potential.ensemble import Ensemble
    from gemnet_blocks.potential.potential import Potential

DEFAULT_BATCH = BatchOptions(atoms=512)
"""A batch that fits into the memory of any machine; larger ones are faster on a GPU."""


@dataclass(frozen=True, slots=True, eq=False)
class EvaluatedBatch:
    """A predicted batch.

    Attributes:
        indices: the structures in the dataset.
        labelled: structures and labels, on the device of the potential.
        prediction: the prediction.
        residuals: predictions minus labels.
        kinds: the kinds of further properties by name.
    """

    indices: Sequence[int]
    labelled: LabelledStructures
    prediction: Prediction
    residuals: Residuals
    kinds: Mapping[str, PropertyKind]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Errors of a potential on a labelled dataset, in eV and Å.

    Attributes:
        meaning: the reference of the energies.
        atoms: the atoms whose forces count, `all` or `free`.
        errors: errors of all structures.
        groups: errors of each group; empty without groups.
        elements: errors of the forces on each element, by symbol.
        predictions: the predictions.
        seconds: the duration of the predictions.
        overlap: counts of the structures that the potential was trained or validated on; None if it has no record.
        deviations: errors of `energy` and `forces` beside the standard deviations that an ensemble predicts; empty for
            single potentials.
    """

    meaning: StoredMeaning
    atoms: AtomChoice
    errors: Errors
    groups: Mapping[str, Errors]
    elements: Mapping[str, Errors]
    predictions: Predictions
    seconds: float
    overlap: Overlap | None = None
    deviations: Mapping[str, Deviations] = field(default_factory=dict)

    @property
    def uncertainties(self) -> dict[str, Uncertainty]:
        """How well the uncertainty that an ensemble predicts describes the errors of `energy` and `forces`."""
        components = {"energy": 1, "forces": 3}
        return {name: Uncertainty.of(found, components[name]) for name, found in self.deviations.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return everything except the predictions, as JSON can hold it."""
        uncertainties = {name: one.to_dict() for name, one in self.uncertainties.items()}
        return {
            "energy_meaning": self.meaning,
            "units": {"energy": "eV", "forces": "eV/Å", "stress": "eV/Å³"},
            "atoms": self.atoms,
            "errors": self.errors.to_dict(),
            "groups": {name: errors.to_dict() for name, errors in self.groups.items()},
            "elements": {name: errors.to_dict() for name, errors in self.elements.items()},
            "seconds": self.seconds,
            "overlap": None if self.overlap is None else self.overlap.to_dict(),
            **({"uncertainties": uncertainties} if uncertainties else {}),
        }


def evaluate(
    potential: Potential | Ensemble,
    dataset: LabelledDataset,
    batch: BatchOptions = DEFAULT_BATCH,
    groups: Sequence[str] | None = None,
    atoms: AtomChoice = "all",
    keep_atoms: bool = False,
    workers: int = 0,
    progress: bool = False,
    allow_overlap: bool | Literal["validation"] = False,
    overlap: Overlap | None = None,
    observe: Callable[[EvaluatedBatch], None] | None = None,
) -> Evaluation:
    """Predict every structure of a dataset, and compute the errors.

    The potential computes on its device, in its floating-point type and without gradients of the weights; its mode
    (training or evaluation) is restored.

    Args:
        potential: the potential, or an ensemble of potentials.
        dataset: structures with labels in eV and Å, and with energies of the potential's meaning. Missing labels have
            no errors.
        batch: the size of a batch, in structures or atoms.
        groups: the group of each structure, such as `dataset.groups("name")`, for separate errors of each group.
        atoms: the atoms whose forces count: `all`, or `free` to omit fixed atoms.
        keep_atoms: whether the forces of every atom are kept, for plots and tables.
        workers: the number of processes that read the dataset ahead.
        progress: whether the number of predicted structures is printed to log files twice a minute.
        allow_overlap: whether the dataset may contain structures that the potential was trained or validated on;
            `validation` allows only the latter. Model files of training runs contain a record of these structures.
        overlap: the count of these structures, if an `OverlapCounter` found it while the dataset was read for another
            purpose; None: it is counted here, which reads the dataset once more unless every overlap is allowed.
        observe: a function that is called with every predicted batch, such as an `AtomCollector`, for those who need
            more than the errors without predicting or reading the dataset again.

    Raises:
        StructureError: the dataset overlaps with the training or validation set; or a structure cannot be computed, or
            its prediction is not finite, which names its frame.
        ValueError: the number of groups differs from that of structures, or the batch is in edges.
    """
    if groups is not None and len(groups) != len(dataset):
        raise ValueError(f"expected a group for each of {len(dataset)} structures, got {len(groups)} groups")
    frames: TrainedFrames | None = getattr(potential, "frames", None)  # potentials of other kinds have none
    counter: OverlapCounter | None = None
    if overlap is None and frames is not None:
        if allow_overlap is True:
            counter = OverlapCounter(frames, dataset)  # counts while the dataset is predicted
        else:
            overlap = frames.overlap(dataset)
    if overlap is not None:
        _check_overlap(overlap, allow_overlap)
    sampler = BudgetSampler(batch.costs(dataset), batch.budget)  # in the order of the dataset
    run = _Run(potential, dataset, groups, atoms, keep_atoms, observe)
    training = potential.training
    potential.eval()
    try:
        with torch.no_grad():
            done, lines = 0, ProgressLines()
            for indices, labelled in zip(sampler, loader(dataset, sampler, workers), strict=True):
                if counter is not None:
                    counter.add(_one_by_one(indices, labelled))
                run.add(indices, labelled)
                done += len(indices)
                if progress:
                    lines.tell(partial("predicted {:,} of {:,} structures".format, done, len(dataset)))
    finally:
        potential.train(training)
    return replace(run.evaluation(), overlap=overlap if counter is None else counter.overlap())


def _one_by_one(indices: Sequence[int], labelled: LabelledStructures) -> Group:
    """Return each structure of a batch, without labels, with its index in the dataset."""
    return [
        (index, LabelledStructures(labelled.structures[place], None, None, None, labelled.frame[place : place + 1]))
        for place, index in enumerate(indices)
    ]


def _check_overlap(overlap: Overlap, allowed: bool | Literal["validation"]) -> None:
    if allowed is not True and (overlap.trained_on or (overlap.validated_on and not allowed)):
        raise StructureError(
            f"{overlap}: their errors are lower than those of new structures. Evaluate others, such as the test part "
            "of the config that the model was trained with, or allow these with allow_overlap=True (command line: "
            "--allow-overlap)"
        )


class _Run:
    """Predictions and sums of errors during an evaluation."""

    def __init__(
        self,
        potential: Potential | Ensemble,
        dataset: LabelledDataset,
        groups: Sequence[str] | None,
        atoms: AtomChoice,
        keep_atoms: bool,
        observe: Callable[[EvaluatedBatch], None] | None,
    ) -> None:
        self.potential, self.dataset, self.atoms, self.groups = potential, dataset, atoms, groups
        self.device = potential.device
        self.group_rows = {name: row for row, name in enumerate(dict.fromkeys(groups or ()))}
        # potentials of other kinds have none
        self.kinds: Mapping[str, PropertyKind] = getattr(potential, "property_kinds", {})
        self.sums = ErrorSums(1, self.device, self.kinds)
        self.group_sums = ErrorSums(len(self.group_rows), self.device, self.kinds)
        self.element_sums = ErrorSums(len(chemical_symbols), self.device)
        self.rows = Rows(keep_atoms, self.kinds)
        self.deviations = DeviationCollector()
        self.observe = observe
        self.seconds = 0.0

    def add(self, indices: Sequence[int], labelled: LabelledStructures) -> None:
        """Predict a batch and add its errors."""
        periodic = labelled.structures.periodic.all(dim=-1)
        if labelled.stress is not None and self.potential.has_stress and bool((periodic != periodic[0]).any()):
            # structures with open directions have no volume and no stress: two batches
            for which in (periodic, ~periodic):
                chosen = [indices[place] for place in which.nonzero().flatten().tolist()]
                self.add(chosen, collate([self.dataset[index] for index in chosen]))
            return
        labelled = labelled.to(self.device)
        prediction = self._predict(indices, labelled)
        batch = residuals(prediction, labelled, self.atoms)
        self.sums.add(batch)
        self.element_sums.add_atoms(batch, batch.numbers)
        if self.groups is not None:
            rows = [self.group_rows[self.groups[index]] for index in indices]
            self.group_sums.add(batch, torch.tensor(rows, device=self.device))
        self.rows.add(indices, labelled, prediction, batch)
        self.deviations.add(torch.tensor(indices, device=self.device), prediction, batch)
        if self.observe is not None:
            self.observe(EvaluatedBatch(indices, labelled, prediction, batch, self.kinds))

    def _predict(self, indices: Sequence[int], labelled: LabelledStructures) -> Prediction:
        structures = labelled.structures
        start = time.perf_counter()
        stress = self.potential.has_stress and labelled.stress is not None and bool(structures.periodic.all())
        try:
            prediction = self.potential(structures, stress=stress, given=labelled.pairs)
        except StructureError as error:
            if error.structure is None:
                raise
            raise error.at(self.dataset.place(indices[error.structure])) from None
        finite = prediction.energy.isfinite()
        if prediction.forces is not None:
            atoms = prediction.forces.isfinite().all(dim=-1)
            finite = finite & (_per_structure(~atoms, structures.structure, len(structures)) == 0)
        if prediction.stress is not None:
            finite = finite & prediction.stress.isfinite().all(dim=-1).all(dim=-1)
        for name, kind in self.kinds.items():
            wrong = ~prediction.properties[name].isfinite().reshape(len(prediction.properties[name]), -1).all(dim=-1)
            atoms = kind.per == "atom"
            finite = finite & ~(_per_structure(wrong, structures.structure, len(structures)) > 0 if atoms else wrong)
        bad = (~finite).nonzero().flatten().tolist()  # waits for the device, so that the time is complete
        self.seconds += time.perf_counter() - start
        if bad:
            names = ", ".join(("energy", *self.kinds, "forces"))
            place = self.dataset.place(indices[bad[0]])
            raise StructureError(f"{place}: the predicted {names} or stress are NaN or infinite")
        return prediction

    def evaluation(self) -> Evaluation:
        meaning = self.potential.meaning
        elements = {symbol: self.element_sums.errors(row) for row, symbol in enumerate(chemical_symbols)}
        return Evaluation(
            meaning=meaning,
            atoms=self.atoms,
            errors=self.sums.errors(),
            groups={name: self.group_sums.errors(row) for name, row in self.group_rows.items()},
            elements={symbol: errors for symbol, errors in elements.items() if errors.atoms},
            predictions=self.rows.joined(meaning, self.groups, self.dataset.file),
            seconds=self.seconds,
            deviations=self.deviations.joined(),
        )


def _per_structure(flags: Tensor, structure: Tensor, count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.long, device=flags.device).index_add_(0, structure, flags.long())
