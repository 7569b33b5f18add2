"""Blocks that differ in their layers, and blocks without an atom update or a concatenation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import KINDS, small_spec

from gemnet_blocks.errors import SpecError
from gemnet_blocks.model.block import Block
from gemnet_blocks.model.summary import layers, parameter_count
from gemnet_blocks.plotting.architecture import read_architecture
from gemnet_blocks.spec import Spec, build
from gemnet_blocks.spec.published import to_published

LAYERS = {"before_skip": 1, "after_skip": 1, "concatenation": 1, "update": 1, "atom": 1}
LAST = {"before_skip": 0, "after_skip": 2, "concatenation": None, "update": None}


def differing(**changes: Any) -> Spec:
    return small_spec().patch({"blocks": [{**LAYERS, "repeat": 2}, LAST]} | changes)


def test_each_block_has_the_layers_of_its_entry() -> None:
    model = build(differing(), seed=0)
    blocks = [block for block in model.backbone.blocks if isinstance(block, Block)]
    assert [(block.update is None, block.concatenation is None) for block in blocks] == [(False, False)] * 2 + [
        (True, True)
    ]
    assert [len(block.after_skip) for block in blocks] == [1, 1, 2]
    assert len(model.backbone.output_blocks) == 4
    assert sum(row.parameters for row in layers(model)) == parameter_count(model)
    assert {row.name: row.count for row in layers(model)}["update"] == 2


def test_they_predict_within_memory_and_train() -> None:
    model, structures = build(differing(), seed=0), KINDS["slab"]()
    prediction = model(structures)
    (prediction.energy.sum() + prediction.forces.square().sum()).backward()
    assert all(block.dense.linear.weight.grad.abs().sum() > 0 for block in model.backbone.blocks)
    with torch.no_grad():
        torch.testing.assert_close(model(structures, memory_budget=0).energy, prediction.energy)


def test_hash_depends_on_the_layers_alone() -> None:
    base = small_spec(blocks__count=3)
    one_entry = base.patch(blocks=[{**base.blocks.model_dump(exclude={"count"}), "repeat": 3}])
    three = base.patch(blocks=[base.blocks.model_dump(exclude={"count"})] * 3)
    assert one_entry.content_hash == three.content_hash == base.content_hash
    assert len({base.content_hash, differing().content_hash, base.patch({"blocks.update": None}).content_hash}) == 3
    assert Spec.from_yaml(differing().to_yaml()) == differing()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"blocks.0.update": 3}, [3, 3, None]),
        ({"blocks": {"1": {"update": 0}}}, [1, 1, 0]),
        ({"blocks.update": None}, [None, None, None]),
        ({"blocks.1": None}, [1, 1]),
        ({"blocks.0.repeat": 1, "blocks.2": LAYERS}, [1, None, 1]),
        ({"blocks": {"count": 1, **LAYERS}}, [1]),
    ],
)
def test_patches_change_single_entries_or_all(changes: dict[str, Any], expected: list[int | None]) -> None:
    spec = differing()
    if isinstance(changes.get("blocks"), dict) and "count" in changes["blocks"]:
        spec = small_spec()
    assert [block.update for block in spec.patch(changes).block_layers] == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": []}, "blocks: must have at least 1"),
        ({"blocks.3.update": 1}, "blocks.3: there is no entry 3: there are 2 entries, numbered from 0 to 1"),
        ({"blocks.count": 4}, "blocks.0.count: unknown field; known: before_skip"),
        ({"blocks.0.updat": 4}, "blocks.0.updat: unknown field; did you mean 'update'?"),
        ({"blocks.0.repeat": 0}, "blocks.0.repeat: must be at least 1, got 0"),
        ({"blocks": [LAST, {"before_skip": 1}]}, "blocks.1.update: is missing"),
        ({"interactions.triplet.blocks": [3]}, "there is no block 3: the model has 3 blocks, numbered from 0 to 2"),
    ],
)
def test_errors_name_the_entry(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as raised:
        differing().patch(changes)
    assert message in str(raised.value)


def test_drawings_list_the_layers_of_each_block() -> None:
    details = {node.key: " ".join(node.details) for node in read_architecture(differing()).nodes}
    assert "1 | 1 | 2 residual layers" in details["blocks.edges"]
    assert "1 | 1 | none of the sum" in details["blocks.atoms"]
    without = read_architecture(
        small_spec().patch({"blocks.update": None, "blocks.concatenation": None, "blocks.atom": 0})
    )
    assert not {"blocks.atoms", "blocks.concatenation"} & {node.key for node in without.nodes}


@pytest.mark.parametrize("changes", [{"blocks": [LAST]}, {"blocks.update": None}, {"blocks.concatenation": None}])
def test_published_arguments_cannot_describe_them(changes: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="`blocks` must be one description with an atom update and a concatenation"):
        to_published(small_spec().patch(changes))
