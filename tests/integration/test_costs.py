"""What factorised sums do without, counted instead of timed: lists of triplets and quadruplets, and memory for them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ase.build import fcc111
from memory import Allocations
from properties.models import INTERACTIONS, alone, published_spec, symmetric_spec

from gemnet_blocks.aggregation.method import AngularMethod
from gemnet_blocks.graph.index_sets import AtomPairs
from gemnet_blocks.graph.padded import AtomGroups, Chains
from gemnet_blocks.graph.quadruplets import Quadruplets
from gemnet_blocks.graph.triplets import Triplets
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.spec import Spec, build
from gemnet_blocks.spec.execution import Execution
from gemnet_blocks.structures import Structures

CAPS = {
    "graphs.main": {"cutoff": 5.0, "max_neighbors": 16},
    "graphs.atom": {"cutoff": 5.0, "max_neighbors": 20},
    "graphs.atom_edge": {"cutoff": 5.0, "max_neighbors": 14},
    "graphs.quad": {"cutoff": 5.0, "max_neighbors": 8},
    "neighbors.ties": "strict",
}


def slab(length: int, width: int) -> Structures:
    """A rattled copper surface of three layers, all of its atoms at the surface or below."""
    atoms = fcc111("Cu", (length, width, 3), vacuum=6)
    atoms.rattle(0.1, seed=0)
    return Structures.from_ase(atoms)


def model_with(plan: AngularMethod | dict[str, AngularMethod], spec: Spec | None = None) -> GemNet:
    return build(spec or symmetric_spec(**CAPS), seed=0, execution=Execution(angular=plan))


def train(model: GemNet, structures: Structures) -> None:
    """What a training step computes: energies, forces, and gradients of both to all weights."""
    prediction = model(structures)
    assert prediction.forces is not None
    (prediction.energy.sum() + prediction.forces.square().sum()).backward()


def peak(model: GemNet, structures: Structures) -> int:
    with Allocations() as allocations:
        train(model, structures)
    return allocations.peak


# -- lists ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def nothing_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("combinations of edges are listed")

    for name in ("triplets", "quadruplets"):
        monkeypatch.setattr(f"gemnet_blocks.graph.index_sets.{name}", refuse)
        monkeypatch.setattr(f"gemnet_blocks.graph.quadruplets.{name}", refuse)


@pytest.mark.usefixtures("nothing_listed")
@pytest.mark.parametrize(
    ("plan", "spec", "dtype"),
    [
        ("auto", symmetric_spec(**CAPS), torch.float32),
        ("auto", symmetric_spec(**CAPS), torch.float64),
        ("auto", published_spec(), torch.float32),
        ("factorized", published_spec(), torch.float32),
        ("factorized", published_spec(), torch.float64),
    ],
)
def test_factorised_sums_need_no_list(plan: AngularMethod, spec: Spec, dtype: torch.dtype) -> None:
    model = model_with(plan, spec).to(dtype)
    train(model, slab(2, 2))
    assert all(part.method is None or part.method.factorized for part in model.backbone.geometry.interactions.values())


@pytest.mark.usefixtures("nothing_listed")
@pytest.mark.parametrize(
    ("plan", "spec"),
    [
        ("explicit", symmetric_spec(**CAPS)),
        ({"triplet": "explicit"}, symmetric_spec(**CAPS)),
        ("factorized", symmetric_spec(**{"bases.spherical.type": "real_harmonics"})),
        ("auto", published_spec()),
    ],
)
def test_the_others_need_one(plan: Any, spec: Spec) -> None:
    with pytest.raises(RuntimeError, match="listed"):
        model_with(plan, spec).double()(slab(2, 2))


def test_index_sets_are_those_of_the_plan() -> None:
    structures = slab(2, 2)
    fast = model_with("factorized").topology(structures).indices
    slow = model_with("explicit").topology(structures).indices
    assert {type(found) for found in fast.values()} == {AtomGroups, AtomPairs, Chains}
    assert {type(found) for found in slow.values()} == {AtomPairs, Triplets, Quadruplets}
    counts = [{request.listed: found.count for request, found in indices.items()} for indices in (fast, slow)]
    assert counts[0] == counts[1]
    assert len(counts[0]) == len(INTERACTIONS)
    assert min(counts[0].values()) > 100


def test_the_plan_of_one_interaction_is_its_own() -> None:
    interactions = model_with({"quadruplet": "explicit"}).backbone.geometry.interactions
    found = {name: str(interactions[name].method) for name in INTERACTIONS}
    # there are no angles between atoms
    expected = {"quadruplet": "explicit", "atom_atom": "None"}
    assert found == {name: expected.get(name, "factorized") for name in INTERACTIONS}


# -- memory -----------------------------------------------------------------------------------------------------------


def test_allocations_are_counted_while_they_live() -> None:
    with Allocations() as counted:
        x = torch.zeros(100, dtype=torch.float64)
        view = (x + 1).view(10, 10)
        assert (counted.live, counted.peak) == (1600, 1600)
        view.add_(1)
        assert counted.live == 1600
        del view
        assert (counted.live, counted.peak) == (800, 1600)
    del x
    assert counted.live == 0


LARGEST = {"factorized": 13e6, "explicit": 46e6}
"""Bytes of a training step on 27 atoms; a tenth more than was needed when this was written."""


@pytest.mark.parametrize("plan", LARGEST)
def test_memory_of_a_training_step(plan: AngularMethod) -> None:
    assert peak(model_with(plan), slab(3, 3)) < LARGEST[plan]


def test_memory_is_linear_in_the_number_of_atoms() -> None:
    model = model_with("factorized")
    train(model, slab(3, 3))  # so that gradients of weights, which do not grow, are there
    small = peak(model, slab(3, 3))
    assert peak(model, slab(6, 3)) <= 1.1 * 2 * small
    assert peak(model, slab(6, 6)) <= 1.1 * 4 * small


def test_memory_is_at_most_linear_in_the_number_of_middle_edges() -> None:
    def model(neighbors: int) -> GemNet:
        spec = symmetric_spec(**CAPS, **alone("quadruplet")).patch({"graphs.quad.max_neighbors": neighbors})
        return model_with("factorized", spec)

    structures = slab(3, 3)
    few, more = model(8), model(16)
    counts = [one.topology(structures).edges["quad"].count for one in (few, more)]
    assert counts == [8 * 27, 16 * 27]
    assert peak(more, structures) <= 2 * peak(few, structures)
