"""Record the memory, matrix products and waits of every operation, by the part of the model that executes it."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any, TypeVar, final, get_args

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.hooks import RemovableHandle

from gemnet_blocks.model.block import Block
from gemnet_blocks.model.costs import Task
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.heads import GradientForces
from gemnet_blocks.structures import Prediction, Structures
from gemnet_blocks.util.operations import computes, waits

REST = "everything else"
"""Operations outside of all parts."""

ENERGY_GRADIENT = "gradient of the energy"
"""The backward pass that computes forces."""

BACKWARD = "backward pass"
"""The backward pass of training; with gradient forces, it differentiates the first backward pass."""


def parts(model: GemNet) -> dict[str, list[nn.Module]]:
    """Find the modules of each part, in the order of computation; parts may be nested."""
    backbone = model.backbone
    found: dict[str, list[nn.Module]] = {"graphs": [backbone.graphs], "bases and projections": [backbone.geometry]}
    found |= {f"geometry of {name}": [shared] for name, shared in backbone.geometry.interactions.items()}
    optional = [backbone.state_embedding, backbone.edge_embedding]
    embeddings = [backbone.atom_embedding, *backbone.streams.values(), *optional]
    found["embeddings"] = [module for module in embeddings if module is not None]
    for block in backbone.blocks:
        assert isinstance(block, Block)
        for name, interaction in block.interactions.items():
            found.setdefault(f"interaction {name}", []).append(interaction)
    found["dense layers of blocks"] = list(backbone.blocks)
    found["output blocks"] = list(backbone.output_blocks)
    found["readout"] = [model.readout]
    repulsion = [] if model.short_range is None else [model.short_range]
    found["heads"] = [model.energy, *repulsion, *model.heads.values()]
    if isinstance(model.forces, GradientForces):
        found[ENERGY_GRADIENT] = [model.forces]
    elif model.forces is not None:
        found["heads"].append(model.forces)
    return found


class Observer(ABC):
    """Base class of profilers that follow which part of a model is executing."""

    def __init__(self) -> None:
        self._within = [REST]

    @property
    def part(self) -> str:
        """The innermost part that is executing."""
        return self._within[-1]

    @abstractmethod
    def before_change(self) -> None:
        """Handle a change of `part`, before it happens."""

    def after_change(self) -> None:  # noqa: B027 - most observers have nothing to do here
        """Handle a change of `part`, after it happened."""

    @contextmanager
    def inside(self, part: str) -> Iterator[None]:
        """Attribute operations to a part."""
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
        self.after_change()

    def _leave(self) -> None:
        self.before_change()
        self._within.pop()
        self.after_change()


@final
class _Hook:
    def __init__(self, observer: Observer, part: str) -> None:
        self._observer, self._part = observer, part

    def enter(self, _module: nn.Module, _arguments: Any) -> None:
        self._observer._enter(self._part)

    def leave(self, _module: nn.Module, _arguments: Any, _result: Any) -> None:
        self._observer._leave()


class MemoryLedger(Observer):
    """A record of operations, of the memory of tensors and of matrix products.

    Attributes:
        operations: operations of torch by part, without views and allocations.
        waits: operations by part after which the host waits for the device, see `gemnet_blocks.util.operations`.
        flops: floating-point operations of matrix products by part; a multiplication and an addition count as two.
        live: bytes of the tensors in memory, by the part that allocated them.
        peak: the peak memory in bytes.
        at_peak: `live` at the time of the peak.
        peak_during: the peak memory of the whole model while each part was executing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.flops: dict[str, int] = {}
        self.live: dict[str, int] = {}
        self.peak = 0
        self.peak_during: dict[str, int] = {}
        self._at_peak: dict[str, int] = {}
        self._total = 0
        self._rising = False
        self._storages: dict[int, weakref.ref[Any]] = {}

    @property
    def at_peak(self) -> dict[str, int]:
        """`live` at the time of the peak."""
        return dict(self.live if self._rising else self._at_peak)

    def before_change(self) -> None:
        """Do nothing: tensors know their part."""

    def waited(self) -> None:
        """Record a wait for the device."""
        self.waits[self.part] += 1

    def multiplied(self, count: int) -> None:
        """Record floating-point operations."""
        self.flops[self.part] = self.flops.get(self.part, 0) + count

    def allocated(self, tensor: Tensor) -> None:
        """Record a tensor until its memory is freed."""
        storage = tensor.untyped_storage()
        key = id(storage)
        known = self._storages.get(key)
        if known is not None and known() is storage:
            return
        part, size = self.part, storage.nbytes()

        def freed(reference: weakref.ref[Any]) -> None:
            if self._storages.get(key) is reference:
                del self._storages[key]
            if self._rising:
                self._at_peak, self._rising = dict(self.live), False
            self.live[part] -= size
            self._total -= size

        self._storages[key] = weakref.ref(storage, freed)
        self.live[part] = self.live.get(part, 0) + size
        self._total += size
        if self._total > self.peak:
            self.peak, self._rising = self._total, True
        self.peak_during[part] = max(self.peak_during.get(part, 0), self._total)


class DispatchRecorder(TorchDispatchMode):
    """Records every operation of torch in a ledger.

    Args:
        ledger: the ledger.
    """

    def __init__(self, ledger: MemoryLedger) -> None:
        super().__init__()
        self.ledger = ledger

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.ledger.operations[self.ledger.part] += computes(func)
        if waits(func, args, kwargs):
            self.ledger.waited()
        result = self.compute(func, args, kwargs)
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.ledger.multiplied(int(formula(*args, **kwargs, out_val=result)))
        strided = [tensor for tensor in tensors_in((result,)) if tensor.layout == torch.strided]
        if strided:
            given = {id(self.memory(tensor).untyped_storage()) for tensor in tensors_in((*args, *kwargs.values()))}
            for tensor in map(self.memory, strided):
                if id(tensor.untyped_storage()) not in given:
                    self.ledger.allocated(tensor)
        return result

    def memory(self, tensor: Tensor) -> Tensor:
        """Return the tensor whose storage represents the memory of the given one."""
        return tensor

    def compute(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Execute one operation."""
        return func(*args, **kwargs)


def tensors_in(values: Iterable[Any]) -> list[Tensor]:
    """Find the tensors among arguments or results of an operation, also in lists."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors_in(value)
    return found


AnyModule = TypeVar("AnyModule", bound=nn.Module)


@final
class Step(nn.Module):
    """One execution of a task, which changes neither the model nor its gradients.

    Args:
        model: the model.
        task: energy, predict or train.
        observer: follows the backward pass.
        graphs: replaces the model's graph builder.

    Raises:
        ValueError: the task is unknown.
    """

    def __init__(self, model: GemNet, task: Task, observer: Observer, graphs: nn.Module | None = None) -> None:
        super().__init__()
        if task not in get_args(Task):
            raise ValueError(f"unknown task {task!r}: choose one of {', '.join(get_args(Task))}")
        forces = None if task == "energy" else model.forces
        if isinstance(forces, GradientForces):
            forces = GradientForces(forces.scale is not None)  # a dynamic scale changes with every step
        backbone = model.backbone if graphs is None else _variant(model.backbone, graphs=graphs)
        self.model = _variant(model, trunk=backbone, forces=forces)
        self.model.memory_budget = None  # the cost of storing all intermediate results is measured
        self._task, self._observer = task, observer

    def forward(self, structures: Structures) -> tuple[Prediction, tuple[Tensor | None, ...]]:
        """Compute the prediction, and the gradients of a loss with respect to the weights if the task is train."""
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
        for values in prediction.properties.values():
            loss = loss + values.square().sum()
        weights = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        with self._observer.inside(BACKWARD):
            return prediction, torch.autograd.grad(loss, weights, allow_unused=True)


def _variant(module: AnyModule, **changes: nn.Module | None) -> AnyModule:
    """Copy a module, sharing its weights, with some of its submodules replaced."""
    variant = copy(module)
    variant._modules = {**module._modules, **changes}
    return variant


def weight_bytes(model: nn.Module) -> int:
    """Compute the memory of the weights and of floating-point buffers in bytes."""
    return sum(value.numel() * value.element_size() for value in named_numbers(model).values())


def named_numbers(module: nn.Module) -> dict[str, Tensor]:
    """Find all weights and floating-point buffers by name."""
    named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: value for name, value in named.items() if value.is_floating_point()}
