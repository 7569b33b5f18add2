"""All tensors of a model follow its inputs to another device; shown on fake GPU tensors, which need no GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from helpers import slow_but
from torch import Tensor
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.func import functional_call
from torch.fx import GraphModule, Interpreter
from torch.fx.experimental.proxy_tensor import make_fx
from variants import VARIANTS, crystals, spec_of

from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.heads import GradientForces
from gemnet_blocks.spec import build
from gemnet_blocks.spec.catalog import BUILT_IN
from gemnet_blocks.structures import Structures
from gemnet_blocks.util.nested import tensors_in, with_tensors

FEW_LAYERS = {
    "blocks": {"before_skip": 0, "after_skip": 0, "concatenation": 0, "update": 0},
    "readout": {"layers": 0, "after_atom": 0, "network": 0},
}


def traced(model: GemNet, structures: Structures) -> tuple[GraphModule, list[Tensor]]:
    """The operations of a training step on energies, forces and stresses, and its inputs."""
    topology = model.topology(structures)
    weights = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    trained = [name for name, weight in weights.items() if weight.requires_grad]
    inputs = (weights, structures, topology)
    options = {"stress": True} if isinstance(model.forces, GradientForces) else {}

    def step(*tensors: Tensor) -> list[Tensor]:
        replaced, batch, given = with_tensors(inputs, iter(tensors))
        results = list(tensors_in(functional_call(model, replaced, (batch, given), options)))
        loss = sum(result.square().sum() for result in results)
        gradients = torch.autograd.grad(loss, [replaced[name] for name in trained], allow_unused=True)
        return results + [gradient for gradient in gradients if gradient is not None]

    tensors = [tensor.detach().requires_grad_(tensor.requires_grad) for tensor in tensors_in(inputs)]
    # tensors that are made without naming a device come to lie on this one, and do not mix with others
    with torch.device("meta"):
        return make_fx(step)(*tensors), tensors


class OnGpu(Interpreter):
    """Run traced operations on fake GPU tensors: those that named the device of their inputs name this one."""

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if "device" in kwargs:
            kwargs = {**kwargs, "device": torch.device("cuda")}
        return super().call_function(target, args, kwargs)


def replayed(graph: GraphModule, inputs: list[Tensor]) -> list[Tensor]:
    """The results of the traced operations for inputs on a fake GPU.

    Raises:
        RuntimeError: an operation mixes devices.
    """
    with FakeTensorMode(allow_non_fake_inputs=False), torch.no_grad():
        fake = [torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="cuda") for x in inputs]
        results: list[Tensor] = OnGpu(graph).run(*fake)
    return results


@pytest.mark.parametrize("variant", slow_but(VARIANTS, quick=["direct forces"]))  # half a minute each
def test_everything_follows_its_inputs_to_another_device(variant: str) -> None:
    changes = FEW_LAYERS if variant == "direct forces" else {}
    model = build(spec_of(variant).patch({"blocks.count": 1, **changes}), seed=0)
    graph, inputs = traced(model, crystals())
    results = replayed(graph, inputs)
    assert results
    for result in results:
        assert isinstance(result, FakeTensor)
        assert result.device.type == "cuda"


def test_all_parts_of_the_catalog_are_traced() -> None:
    used: set[str] = set()

    def collect(document: Any) -> None:
        if isinstance(document, Mapping):
            used.update(value for key, value in document.items() if key == "type" and isinstance(value, str))
            for value in document.values():
                collect(value)

    for variant in VARIANTS:
        spec = spec_of(variant)
        collect(spec.model_dump())
        used.update(spec.interactions)
    known = {name for kind in BUILT_IN.values() for name in kind}
    assert known <= used


@pytest.mark.parametrize(
    "mixing",
    [
        lambda x: x + torch.arange(3),
        lambda x: x * torch.tensor([1.0, 2.0, 3.0]),
        lambda x: torch.where(x > 0, x, torch.zeros(3)),
    ],
)
def test_mixed_devices_are_found(mixing: Callable[[Tensor], Tensor]) -> None:
    x = torch.ones(3)
    with pytest.raises((RuntimeError, AssertionError)):  # noqa: PT012
        with torch.device("meta"):
            graph = make_fx(mixing)(x)
        (result,) = replayed(make_fx(lambda x: [graph(x)])(x), [x])
        assert result.device.type == "cuda"
