"""Whole models against their definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ase import Atoms
from helpers import GRADIENT_FORCES, KINDS, assert_close, line, molecule, small_cell, small_model
from torch import nn

from gemnet_blocks.structures import Prediction, Structures
from gemnet_blocks.testing import oracles

SMOOTH_RULES = {"neighbors__ties": "smooth", "bases__collinear": {"type": "smooth", "width": 0.05}}


def assert_same(fast: Prediction, slow: Prediction) -> None:
    assert_close(fast.energy, slow.energy, 1e-11)
    if fast.forces is None or slow.forces is None:
        assert fast.forces is slow.forces
    else:
        assert_close(fast.forces, slow.forces, 1e-11)


def small_batch() -> Structures:
    return Structures.from_ase([molecule(4), Atoms(), small_cell(), line(0)])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"heads__forces": {"type": "direct", "coupled": True}, "heads__energy": {"reduce": "mean"}},
        {"heads__forces": None},
        GRADIENT_FORCES,
        GRADIENT_FORCES | SMOOTH_RULES,
        GRADIENT_FORCES | {"neighbors__ties": "strict", "graphs__main__symmetrize": "lower_index"},
        GRADIENT_FORCES
        | SMOOTH_RULES
        | {"bases__spherical": {"type": "real_harmonics", "count": 3}, "graphs__quad__tags": [1, 2]},
    ],
    ids=["direct", "coupled", "energies", "gradient", "smooth", "lower index", "harmonics"],
)
def test_models_equal_their_definition(changes: dict[str, Any]) -> None:
    model, structures = small_model(blocks__count=1, **changes), small_batch()
    assert_same(model(structures), oracles.model(model, structures))


def test_blocks_follow_one_another() -> None:
    model, structures = small_model(), Structures.from_ase(molecule(5, seed=4))
    assert len(model.backbone.blocks) == 2
    assert_same(model(structures), oracles.model(model, structures))


@pytest.mark.parametrize("kind", ["no structures", "no atoms", "no edges", "no triplets", "coincident atoms"])
@pytest.mark.parametrize("forces", ["direct", "gradient"])
def test_odd_structures(kind: str, forces: str) -> None:
    model = small_model(blocks__count=1, **({} if forces == "direct" else GRADIENT_FORCES), **SMOOTH_RULES)
    structures = KINDS[kind]()
    assert_same(model(structures), oracles.model(model, structures))


def test_a_line_of_atoms_with_smooth_rules() -> None:
    model = small_model(blocks__count=1, **GRADIENT_FORCES, **SMOOTH_RULES)
    structures = KINDS["collinear atoms"]()
    assert_same(model(structures), oracles.model(model, structures))


def test_gradients_of_all_weights() -> None:
    model, structures = small_model(blocks__count=1), Structures.from_ase(molecule(4))
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    found = []
    for prediction in (model(structures), oracles.model(model, structures)):
        assert prediction.forces is not None
        total = prediction.energy.sum() + prediction.forces.square().sum()
        found.append(torch.autograd.grad(total, weights))
    assert len(weights) > 50
    for one, other in zip(*found, strict=True):
        assert_close(one, other, 1e-10)


def test_the_definition_knows_only_parts_that_are_built_in() -> None:
    model, structures = small_model(blocks__count=1), Structures.from_ase(molecule(2))
    model.read_out = nn.Identity()  # type: ignore[assignment]
    with pytest.raises(TypeError, match="oracles do not define the readout Identity"):
        oracles.model(model, structures)
    model.backbone.blocks[0].interactions["triplet"] = nn.Identity()
    with pytest.raises(TypeError, match="oracles do not define the interaction Identity with SharedTripletGeometry"):
        oracles.model(model, structures)
