"""Topology is a value: what follows it neither waits for the device nor has shapes that depend on data."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from ase import Atoms
from ase.build import fcc111
from torch.utils._python_dispatch import TorchDispatchMode
from variants import VARIANTS, crystals, model_of, spec_of

from gemnet_blocks.geometry.graphs import measured_graphs
from gemnet_blocks.graph.neighbor_list import SearchName
from gemnet_blocks.spec import Execution, build
from gemnet_blocks.structures import Structures
from gemnet_blocks.util.operations import OperationCounter

WAITING = {
    "_local_scalar_dense",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "repeat_interleave",
    "unique_consecutive",
    "unique_dim",
    "_unique",
    "_unique2",
}
"""Operations of torch whose result has a shape that depends on data, or that hand a number to Python."""


class WaitRecorder(TorchDispatchMode):
    """Count the operations that wait for the device or have data-dependent shapes, by the line that calls them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        waits = name in WAITING
        if name in ("index", "index_put", "index_put_", "_unsafe_index"):
            waits = any(index is not None and index.dtype == torch.bool for index in args[1])
        if waits:
            ours = [frame for frame in traceback.extract_stack() if "gemnet_blocks" in frame.filename]
            self.found[f"{name} in {ours[-1].filename}:{ours[-1].lineno}" if ours else name] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("angular", ["explicit", "factorized"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_computation_after_the_topology_never_synchronizes(variant: str, angular: str) -> None:
    model, structures = model_of(variant, angular), crystals()
    topology = model.topology(structures)
    with WaitRecorder() as recorder:
        model(structures, topology)
    assert not recorder.found


def test_the_recorder_finds_synchronization() -> None:
    numbers = torch.tensor([1.0, -1.0])
    waiting: list[Callable[[], Any]] = [
        lambda: numbers.sum().item(),
        lambda: numbers[numbers > 0],
        lambda: bool(numbers.all()),
        numbers.unique,
        numbers.nonzero,
    ]
    for operation in waiting:
        with WaitRecorder() as recorder:
            operation()
        assert recorder.found


def test_a_prediction_from_a_topology_equals_one_without() -> None:
    model, structures = model_of("gradient forces", "auto"), crystals()
    topology = model.topology(structures)
    found, expected = model(structures, topology), model(structures)
    torch.testing.assert_close(found.energy, expected.energy, rtol=0, atol=0)
    torch.testing.assert_close(found.forces, expected.forces, rtol=0, atol=0)


def test_a_topology_holds_integers_and_its_graphs_carry_gradients() -> None:
    atoms = Atoms("CO", positions=[[0, 0, 0], [0, 0, 1.1]], tags=[2, 2])
    model, structures = model_of("direct forces", "auto"), Structures.from_ase(atoms)
    structures.positions.requires_grad_()
    topology = model.topology(structures)
    assert not topology.edges["main"].source.is_floating_point()
    distance = measured_graphs(structures, topology, torch.float64).main.edges.distance
    (slope,) = torch.autograd.grad(distance.sum(), structures.positions)
    torch.testing.assert_close(slope, torch.tensor([[0.0, 0, -2], [0, 0, 2]], dtype=slope.dtype))


WAITS = 12
"""The number of times that building a topology with all interactions waits for the device, for any number of structures
and atoms. Searching for neighbors on the device adds six waits."""


@pytest.mark.parametrize(("search", "most"), [("auto", WAITS), ("torch", WAITS + 6)])
@pytest.mark.parametrize("copies", [1, 4])
@pytest.mark.parametrize("variant", ["direct forces", "lower index"])
def test_a_topology_waits_for_the_device_a_fixed_number_of_times(
    variant: str, copies: int, search: SearchName, most: int
) -> None:
    slab = fcc111("Pt", (2, 2, 2), vacuum=6.0, periodic=True)
    slab.set_tags(1)
    model = build(spec_of(variant).patch({"blocks.count": 1}), seed=0, execution=Execution(search=search))
    structures = Structures.from_ase([slab] * copies)
    with OperationCounter() as counter:
        model.topology(structures)
    assert counter.waits <= most
