"""Losses of energies, forces, stresses and further properties, which are exact if several processes share a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from gemnet_blocks.data.labelled import LabelledStructures
from gemnet_blocks.structures import Prediction

ErrorType = Literal["mae", "l2mae", "mse", "rmse", "huber"]
"""mae: |x|; l2mae: norm of a vector; mse: x²; rmse: root of the mean of x²; huber: x²/2, and linear beyond δ."""

AtomChoice = Literal["all", "free"]
"""All atoms, or only those that are not fixed."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A function of errors that is averaged.

    Attributes:
        type: the function.
        unit: the unit by which errors are divided first.
        delta: the error beyond which the Huber function is linear, in this unit.
    """

    type: ErrorType
    unit: float = 1.0
    delta: float = 1.0

    def of(self, error: Float[Tensor, "rows components"]) -> Float[Tensor, "rows columns"]:
        """Apply the function to each component, or to each row (l2mae)."""
        error = error / self.unit
        if self.type == "mae":
            return error.abs()
        if self.type == "l2mae":
            return norms(error)[:, None]
        if self.type == "huber":
            return torch.nn.functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=self.delta)
        return error.square()


def norms(vectors: Float[Tensor, "rows components"]) -> Float[Tensor, " rows"]:
    """Euclidean norms, whose first and second derivatives are 0 at zero vectors."""
    return _root(vectors.square().sum(dim=-1))


def _root(squares: Tensor) -> Tensor:
    positive = squares > 0
    return torch.where(positive, torch.where(positive, squares, 1.0).sqrt(), 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Totals:
    """Sums of several terms over a batch, and the numbers of their summands.

    Attributes:
        sums: the sum of each term, differentiable.
        counts: the number of summands of each term.
    """

    sums: Float[Tensor, " *terms"]
    counts: Float[Tensor, " *terms"]


class Term(ABC):
    """A predicted quantity that is compared with its label.

    Args:
        name: the name in logs.
        measure: the function of errors.
        weight: the weight of its mean in a loss, at the end of training.
        first_weight: the weight at the start of training; None: the same.
    """

    def __init__(self, name: str, measure: Measure, weight: float = 1.0, first_weight: float | None = None) -> None:
        self.name = name
        self.measure = measure
        self.weight = weight
        self.first_weight = weight if first_weight is None else first_weight

    def weight_at(self, fraction: float) -> float:
        """Return the weight after a fraction of the budget: w_first·(w / w_first)^fraction."""
        if self.first_weight == self.weight:
            return self.weight
        return float(self.first_weight * (self.weight / self.first_weight) ** min(fraction, 1.0))

    @abstractmethod
    def errors(self, prediction: Prediction, batch: LabelledStructures) -> Float[Tensor, "rows components"]:
        """Prediction minus label, a row for each counted atom or structure.

        Raises:
            ValueError: the prediction or the label is missing.
        """

    def total(self, prediction: Prediction, batch: LabelledStructures) -> Totals:
        """Sum the function of errors over a batch."""
        measured = self.measure.of(self.errors(prediction, batch))
        count = torch.tensor(float(measured.numel()), dtype=torch.float64, device=measured.device)
        return Totals(measured.sum(dtype=torch.float64), count)


@final
class EnergyTerm(Term):
    """Errors of energies in eV; with `per_atom`, divided by the number of atoms in the structure."""

    def __init__(
        self,
        measure: Measure,
        weight: float = 1.0,
        per_atom: bool = True,
        first_weight: float | None = None,
    ) -> None:
        super().__init__("energy", measure, weight, first_weight)
        self.per_atom = per_atom

    def errors(self, prediction: Prediction, batch: LabelledStructures) -> Float[Tensor, "structures 1"]:
        error = prediction.energy - _known(batch.energy, "energies")
        if self.per_atom:
            error = error / batch.structures.atom_counts.clamp(min=1)
        return error[:, None]


@final
class ForcesTerm(Term):
    """Errors of forces in eV/Å, three components per atom, of `all` atoms or only of `free` ones."""

    def __init__(
        self,
        measure: Measure,
        weight: float = 1.0,
        atoms: AtomChoice = "all",
        first_weight: float | None = None,
    ) -> None:
        super().__init__("forces", measure, weight, first_weight)
        self.atoms = atoms

    def errors(self, prediction: Prediction, batch: LabelledStructures) -> Float[Tensor, "chosen 3"]:
        error = _known(prediction.forces, "predicted forces") - _known(batch.forces, "forces")
        return error if self.atoms == "all" else error[~batch.structures.fixed]


@final
class StressTerm(Term):
    """Errors of stresses in eV/Å³ (`per` volume) or of virials V·σ/N in eV (atom), nine components per structure."""

    def __init__(
        self,
        measure: Measure,
        weight: float = 1.0,
        per: Literal["atom", "volume"] = "volume",
        first_weight: float | None = None,
    ) -> None:
        super().__init__("stress", measure, weight, first_weight)
        self.per = per

    def errors(self, prediction: Prediction, batch: LabelledStructures) -> Float[Tensor, "structures 9"]:
        error = _known(prediction.stress, "predicted stresses") - _known(batch.stress, "stresses")
        if self.per == "atom":
            volumes = torch.linalg.det(batch.structures.cells).abs()
            error = error * (volumes / batch.structures.atom_counts.clamp(min=1))[:, None, None]
        return error.reshape(-1, 9)


@final
class PropertyTerm(Term):
    """Errors of a property in its unit, all components of each structure or atom."""

    def errors(self, prediction: Prediction, batch: LabelledStructures) -> Float[Tensor, "rows components"]:
        label = _known(batch.properties.get(self.name), self.name)
        error = _known(prediction.properties.get(self.name), f"predicted {self.name}") - label
        return error.reshape(len(error), -1) if len(error) else error.new_zeros(0, 1)


@final
class Loss:
    """Σ_terms weight · mean, where each mean covers all atoms or structures of all processes.

    Weights may change during training: `value` and `local` take the used fraction of the budget. At the default, 1,
    they have the weights of its end, so that validations can be compared.

    Args:
        terms: the terms.
    """

    def __init__(self, terms: Sequence[Term]) -> None:
        self.terms = tuple(terms)

    @property
    def names(self) -> list[str]:
        """The names of the terms."""
        return [term.name for term in self.terms]

    def totals(self, prediction: Prediction, batch: LabelledStructures) -> Totals:
        """Sum all terms over a batch."""
        each = [term.total(prediction, batch) for term in self.terms]
        return Totals(torch.stack([one.sums for one in each]), torch.stack([one.counts for one in each]))

    def means(self, totals: Totals) -> Float[Tensor, " terms"]:
        """The mean of each term, or its root; 0 without summands."""
        mean = totals.sums / totals.counts.clamp(min=1)
        if not any(self._rooted):
            return mean
        return torch.where(torch.tensor(self._rooted, device=mean.device), _root(mean), mean)

    def value(self, totals: Totals, fraction: float = 1.0) -> Float[Tensor, ""]:
        """The loss of sums over all processes, after a fraction of the budget."""
        return self.means(totals) @ self._weights(totals.sums, fraction)

    def local(self, own: Totals, everything: Totals, processes: int, fraction: float = 1.0) -> Float[Tensor, ""]:
        """The loss of one process, such that the mean gradient over processes is that of `value(everything)`.

        The gradient of f(Σ_p S_p) is Σ_p f'(S)·∇S_p, and data-parallel engines average over P processes: process p
        differentiates P·f'(S)·S_p.

        Args:
            own: sums over the batch of this process.
            everything: sums over all processes.
            processes: the number of processes.
            fraction: the used fraction of the budget.
        """
        if processes == 1:
            return self.value(own, fraction)
        counts = everything.counts.clamp(min=1)
        slopes = 1 / counts
        if any(self._rooted):
            root = _root(everything.sums.detach() / counts)
            steep = torch.where(root > 0, 0.5 / (torch.where(root > 0, root, 1.0) * counts), 0.0)
            slopes = torch.where(torch.tensor(self._rooted, device=root.device), steep, slopes)
        return (own.sums * slopes) @ self._weights(own.sums, fraction) * processes

    @property
    def _rooted(self) -> list[bool]:
        return [term.measure.type == "rmse" for term in self.terms]

    def _weights(self, like: Tensor, fraction: float) -> Tensor:
        return torch.tensor([term.weight_at(fraction) for term in self.terms], dtype=like.dtype, device=like.device)


def _known(value: Tensor | None, what: str) -> Tensor:
    if value is None:
        raise ValueError(f"the batch has no {what}, which the loss needs")
    return value


Metric = str
"""A result of validation: loss, or a mean absolute error: energy_mae (per atom), forces_mae, stress_mae, or that of a
property, such as dipole_mae."""

METRICS = ("loss", "energy_mae", "forces_mae", "stress_mae")
"""The results of validation of all models."""


@torch.no_grad()
def validate(
    predict: Callable[[LabelledStructures], Prediction],
    batches: Iterable[LabelledStructures],
    loss: Loss,
    errors: Loss,
    device: torch.device,
    processes: int = 1,
) -> dict[str, float]:
    """Compute means over all structures, which do not depend on the batches.

    Args:
        predict: a function from structures to a prediction.
        batches: the batches of this process.
        loss: the loss.
        errors: further terms, of each of which the mean is computed.
        device: the device.
        processes: the number of processes that share the validation set.

    Returns:
        `loss`, and `energy_mae`, `forces_mae` and so on for the terms of `errors`, in eV and Å.
    """
    both = Loss((*loss.terms, *errors.terms))
    totals_of_all = torch.zeros(2, len(both.terms), dtype=torch.float64, device=device)
    for batch in batches:
        batch = batch.to(device)
        totals = both.totals(predict(batch), batch)
        totals_of_all += torch.stack([totals.sums, totals.counts])
    if processes > 1:
        torch.distributed.all_reduce(totals_of_all)
    sums, counts = totals_of_all.cpu()
    split = len(loss.terms)
    value = float(loss.value(Totals(sums[:split], counts[:split])))
    means = errors.means(Totals(sums[split:], counts[split:])).tolist()
    return {"loss": value, **named_errors(errors, means)}


def named_errors(errors: Loss, means: Iterable[float]) -> dict[str, float]:
    """Mean absolute errors by their names in options."""
    return {f"{name}_mae": mean for name, mean in zip(errors.names, means, strict=True)}


def in_log_units(metrics: Mapping[str, float]) -> dict[str, float]:
    """Convert errors of energies per atom, forces and stresses to meV, meV/Å and meV/Å³, with units in their names.

    Errors of further properties stay in the unit of their labels.
    """
    return {LOG_NAMES.get(name, name): value * (1000 if name in LOG_NAMES else 1) for name, value in metrics.items()}


LOG_NAMES: Mapping[str, str] = {
    "energy_mae": "energy_mae_mev_per_atom",
    "forces_mae": "forces_mae_mev_per_angstrom",
    "stress_mae": "stress_mae_mev_per_cubic_angstrom",
}
"""Names in logs, which contain the unit."""
