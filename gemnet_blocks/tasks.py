"""What a model is used for, as far as its cost is concerned."""

from __future__ import annotations

from copy import copy
from typing import Literal, TypeVar, final, get_args

import torch
from torch import Tensor, nn

from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.heads import GradientForces
from gemnet_blocks.parts import BACKWARD, Observer
from gemnet_blocks.structures import Prediction, Structures

Task = Literal["energy", "predict", "train"]
"""energy: energies alone. predict: energies and forces, for which gradient forces need one backward pass. train: the
same, and the gradient of a loss to the weights; without the optimiser's own step."""

AnyModule = TypeVar("AnyModule", bound=nn.Module)


@final
class Step(nn.Module):
    """Do a task once; leaves the model as it was, gradients included.

    Args:
        model: the model.
        task: what it is used for.
        observer: is told of the backward pass.
        graphs: stands in for the model's graph builder.

    Raises:
        ValueError: there is no such task.
    """

    def __init__(self, model: GemNet, task: Task, observer: Observer, graphs: nn.Module | None = None) -> None:
        super().__init__()
        if task not in get_args(Task):
            raise ValueError(f"there is no task {task!r}: choose one of {', '.join(get_args(Task))}")
        forces = None if task == "energy" else model.forces
        if isinstance(forces, GradientForces):
            forces = GradientForces(forces.scale is not None)  # a dynamic scale changes with every step
        trunk = model.trunk if graphs is None else _variant(model.trunk, graphs=graphs)
        self.model = _variant(model, trunk=trunk, forces=forces)
        self.model.memory_budget = None  # what is asked for is what it takes to keep everything
        self._task, self._observer = task, observer

    def forward(self, structures: Structures) -> tuple[Prediction, tuple[Tensor | None, ...]]:
        """The prediction, and the gradients of a loss to the weights when training."""
        if self._task != "train":
            with torch.no_grad():
                return self.model(structures), ()
        with torch.enable_grad():
            return self._trained(structures)

    def _trained(self, structures: Structures) -> tuple[Prediction, tuple[Tensor | None, ...]]:
        prediction: Prediction = self.model(structures)
        loss = prediction.energy.sum()
        if prediction.forces is not None:
            loss = loss + prediction.forces.square().sum()
        weights = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        with self._observer.inside(BACKWARD):
            return prediction, torch.autograd.grad(loss, weights, allow_unused=True)


def _variant(module: AnyModule, **changes: nn.Module | None) -> AnyModule:
    """The same module, weights included, with some of its submodules replaced."""
    variant = copy(module)
    variant._modules = {**module._modules, **changes}
    return variant


def weight_bytes(model: nn.Module) -> int:
    """Memory of the weights, and of floating-point constants that are stored with them."""
    return sum(value.numel() * value.element_size() for value in named_numbers(model).values())


def named_numbers(module: nn.Module) -> dict[str, Tensor]:
    """All weights and floating-point constants by name."""
    named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: value for name, value in named.items() if value.is_floating_point()}
