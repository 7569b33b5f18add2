"""Interactions that take part in some of the blocks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import KINDS, small_spec

from gemnet_blocks.errors import SpecError
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.summary import layers, parameter_count
from gemnet_blocks.spec import build


def used_in(model: GemNet, interaction: str) -> list[int]:
    return [number for number, block in enumerate(model.backbone.blocks) if interaction in block.interactions]


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [("all", [0, 1, 2]), ("first", [0]), ("last", [2]), ([1], [1]), ([2, 0], [0, 2]), ([0, 0, 1], [0, 1])],
)
def test_interactions_take_part_in_the_chosen_blocks(blocks: Any, expected: list[int]) -> None:
    spec = small_spec(blocks__count=3).patch({"interactions.quadruplet.blocks": blocks})
    model = build(spec, seed=0)
    assert used_in(model, "quadruplet") == expected
    assert used_in(model, "triplet") == [0, 1, 2]
    (row,) = [row for row in layers(model) if row.part == "block" and row.name == "quadruplet"]
    assert row.count == len(expected)
    assert sum(row.parameters for row in layers(model)) == parameter_count(model)


def test_models_of_such_specs_predict_and_train() -> None:
    spec = small_spec(blocks__count=2).patch(
        {"interactions.quadruplet.blocks": "last", "interactions.edge_atom.blocks": "first"}
    )
    model, structures = build(spec, seed=0), KINDS["slab"]()
    prediction = model(structures)
    (prediction.energy.sum() + prediction.forces.square().sum()).backward()
    assert all(
        block.interactions["triplet"].message.radial.weight.grad.abs().sum() > 0 for block in model.backbone.blocks
    )
    with torch.no_grad():
        torch.testing.assert_close(model(structures, memory_budget=0).energy, prediction.energy)


def test_hashes_tell_selections_apart_that_differ() -> None:
    spec = small_spec(blocks__count=3)
    chosen = {
        str(blocks): spec.patch({"interactions.triplet.blocks": blocks}) for blocks in ("last", [2], [0, 1, 2], "all")
    }
    assert chosen["last"].content_hash == chosen["[2]"].content_hash != spec.content_hash
    assert chosen["[0, 1, 2]"].content_hash == chosen["all"].content_hash == spec.content_hash
    single = small_spec(blocks__count=1)
    assert single.patch({"interactions.triplet.blocks": "first"}).content_hash == single.content_hash


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ("middle", r"interactions.triplet.blocks: expected all, first, last, or a list of block numbers.*'middle'"),
        ([], r"interactions.triplet.blocks: expected all, first, last, or a list"),
        ([-1], r"interactions.triplet.blocks: expected all, first, last, or a list"),
        ([True], r"interactions.triplet.blocks: expected all, first, last, or a list"),
        (1, r"interactions.triplet.blocks: expected all, first, last, or a list"),
        ([0, 3], r"interactions.triplet.blocks: there is no block 3: the model has 3 blocks, numbered from 0 to 2"),
    ],
)
def test_blocks_that_do_not_exist_are_refused(blocks: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message) as error:
        small_spec(blocks__count=3).patch({"interactions.triplet.blocks": blocks})
    assert len(str(error.value).splitlines()) == 1


def test_published_arguments_cannot_describe_such_specs() -> None:
    from gemnet_blocks.spec.published.writing import to_published

    spec = small_spec(blocks__count=2).patch({"interactions.triplet.blocks": "first"})
    with pytest.raises(SpecError, match=r"interactions.triplet.blocks"):
        to_published(spec)
