"""The parts of a model by name, and which of them is being computed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

from torch import nn
from torch.utils.hooks import RemovableHandle

from gemnet_blocks.model.block import Block
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.heads import GradientForces

REST = "everything else"
"""What is computed outside of all parts."""

ENERGY_GRADIENT = "gradient of the energy"
"""The backward pass that makes forces."""

BACKWARD = "backward pass"
"""The backward pass of training, which goes through the forces' one where they are gradients."""


def parts(model: GemNet) -> dict[str, list[nn.Module]]:
    """The modules of each part, in the order of computation; a part may lie within another one."""
    trunk = model.trunk
    found: dict[str, list[nn.Module]] = {"graphs": [trunk.graphs], "bases and projections": [trunk.geometry]}
    found |= {f"geometry of {name}": [shared] for name, shared in trunk.geometry.interactions.items()}
    found["embeddings"] = [trunk.atom_embedding, trunk.edge_embedding]
    for block in trunk.blocks:
        assert isinstance(block, Block)
        for name, interaction in block.interactions.items():
            found.setdefault(f"interaction {name}", []).append(interaction)
    found["dense layers of blocks"] = list(trunk.blocks)
    found["output blocks"] = list(trunk.output_blocks)
    found["read-out"] = [model.read_out]
    found["heads"] = [model.energy]
    if isinstance(model.forces, GradientForces):
        found[ENERGY_GRADIENT] = [model.forces]
    elif model.forces is not None:
        found["heads"].append(model.forces)
    return found


class Observer(ABC):
    """Somebody who is told which part of a model is being computed."""

    def __init__(self) -> None:
        self._within = [REST]

    @property
    def part(self) -> str:
        """The innermost part that is being computed."""
        return self._within[-1]

    @abstractmethod
    def before_change(self) -> None:
        """Called before `part` changes."""

    @contextmanager
    def inside(self, part: str) -> Iterator[None]:
        """Compute a part here."""
        self._enter(part)
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def watching(self, model: GemNet) -> Iterator[None]:
        """Follow the parts of a model."""
        handles: list[RemovableHandle] = []
        for name, modules in parts(model).items():
            hook = _Hook(self, name)
            for module in modules:
                handles.append(module.register_forward_pre_hook(hook.enter))
                handles.append(module.register_forward_hook(hook.leave, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, part: str) -> None:
        self.before_change()
        self._within.append(part)

    def _leave(self) -> None:
        self.before_change()
        self._within.pop()


@final
class _Hook:
    def __init__(self, observer: Observer, part: str) -> None:
        self._observer, self._part = observer, part

    def enter(self, _module: nn.Module, _arguments: Any) -> None:
        self._observer._enter(self._part)

    def leave(self, _module: nn.Module, _arguments: Any, _result: Any) -> None:
        self._observer._leave()
