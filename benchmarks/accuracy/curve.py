"""Learning curve as a task of the workers of both implementations: the same training steps on the same batches.

The interpreters of both implementations run this file, so it may import only torch, numpy and the standard library.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from worker import Task, timed

Data = TypeVar("Data")
"""Type of the input of a model."""


class Curve(Task, Generic[Data]):
    """AdamW steps on the loss mean |ΔE| + weight · mean ‖ΔF‖, several per request.

    Args:
        model: the trained model.
        data: creates the input of the model from indices of frames.
        predict: computes energies and forces.
        request: `labels` (a .npz file with energies, forces and atom counts of all frames, in units of the model's
            outputs), `batches` (indices of frames, a list per step), `learning_rate`, `force_weight`, `chunk` (steps
            per request).
    """

    def __init__(
        self,
        model: nn.Module,
        data: Callable[[Sequence[int]], Data],
        predict: Callable[[Data], tuple[Tensor, Tensor]],
        request: dict[str, Any],
    ) -> None:
        self.model, self.data, self.predict = model.train(), data, predict
        self.batches, self.chunk, self.force_weight = request["batches"], request["chunk"], request["force_weight"]
        with np.load(request["labels"]) as labels:
            self.energies = torch.from_numpy(labels["energies"])
            self.forces = torch.from_numpy(labels["forces"]).split(labels["counts"].tolist())
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=request["learning_rate"])
        self.step = 0

    def run(self) -> dict[str, Any]:
        """Perform the next steps; return the loss of each step before its update, and its seconds."""
        losses: list[float] = []
        seconds = []
        for chosen in self.batches[self.step : self.step + self.chunk]:
            batch = self.data(chosen)
            seconds.append(timed(lambda: losses.append(self._step(batch, chosen))))  # noqa: B023 (called at once)
        self.step += len(seconds)
        return {"losses": losses, "seconds": seconds}

    def outputs(self) -> dict[str, Any]:
        """Return energies and forces of the next batch."""
        energy, forces = self.predict(self.data(self.batches[self.step]))
        return {"energy": energy.detach().tolist(), "forces": forces.detach().tolist()}

    def _step(self, batch: Data, chosen: Sequence[int]) -> float:
        energy, forces = self.predict(batch)
        energies = self.energies[list(chosen)].to(energy)
        labels = torch.cat([self.forces[index] for index in chosen]).to(forces)
        lengths = (forces - labels).norm(dim=-1)
        loss = (energy - energies).abs().mean() + self.force_weight * lengths.mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss)
