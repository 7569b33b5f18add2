"""Interactions that write feature streams, right and wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ase.build import bulk, molecule

from gemnet_blocks.interactions.directed_edges import SharedDirectedEdges
from gemnet_blocks.interactions.interaction import Interaction, InteractionOptions
from gemnet_blocks.layers.dense import linear
from gemnet_blocks.spec import build, load_spec
from gemnet_blocks.spec.alone import as_extra
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing.assertions import CounterExample, assert_interaction
from gemnet_blocks.testing.assertions.streams import assert_stream_symmetry
from gemnet_blocks.testing.symmetries import Permutation, Rotation, Symmetry, Translation

STREAMS = {"moments": {"irreps": "3x1o"}}
STRUCTURES = Structures.from_ase([molecule("CH3OH"), bulk("NaCl", "rocksalt", a=5.6)]).to(dtype=torch.float64)


class MomentOptions(InteractionOptions):
    """Sums of directions, weighted by the distance."""

    type: str


class Moments(Interaction):
    Options, writes, reads = MomentOptions, "moments", "atoms, their directions"

    def __init__(self, atom_size, radial_count):
        super().__init__()
        self.radial, self.atoms = linear(radial_count, 3), linear(atom_size, 3)

    @classmethod
    def shared_geometry(cls, options, context):
        return SharedDirectedEdges("main", torch.nn.Identity())

    @classmethod
    def from_options(cls, options, context):
        return cls(context.sizes.atom, context.radial_count)

    def functions(self, direction):
        return direction

    def forward(self, embeddings, edges):
        weights = self.radial(edges.radial) * self.atoms(embeddings.atoms)[edges.source]
        messages = (weights[:, :, None] * self.functions(edges.angular)[:, None, :]).flatten(1)
        return messages.new_zeros(edges.atom_count, 9).index_add(0, edges.target, messages)


class Squares(Moments):
    """Vectors that do not change their sign under reflections."""

    def functions(self, direction):
        return torch.linalg.cross(direction, direction.roll(1, dims=1))


class Pseudovectors(Moments):
    """Equivariant under rotations alone: messages have the parity of scalars."""

    def forward(self, embeddings, edges):
        message = super().forward(embeddings, edges).view(-1, 3, 3)
        return torch.linalg.cross(message, message.roll(1, dims=1)).flatten(1)


class OfPlaces(Moments):
    """The first atom of the batch receives more."""

    def forward(self, embeddings, edges):
        message = super().forward(embeddings, edges)
        return message * (1 + (torch.arange(len(message)) == 0))[:, None]


def model_with(interaction: type[Interaction[Any]], streams: dict[str, Any] = STREAMS) -> Any:
    extra = as_extra(interaction, "custom")
    base = load_spec("equivariant/painn", {"sizes.atom": 4, "graphs.main.cutoff": 3.0, "blocks.count": 1}, extra=extra)
    changes = {"interactions": {"painn": None, "custom": {}}, "streams": {"vectors": None, **streams}}
    return build(base.patch(changes), seed=0).double()


ROTATION = Rotation(0.3, 1.1, 2.0)
SYMMETRIES: list[Symmetry] = [
    ROTATION,
    Rotation(0.0, 0.0, 0.0, reflect=True),
    Translation(1.0, -7.0, 3.0),
    Permutation((3, 1, 0, 5, 4, 2, 7, 6)),
]


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_right_streams(symmetry: Symmetry) -> None:
    assert_stream_symmetry(model_with(Moments), STRUCTURES, symmetry)


@pytest.mark.parametrize(
    ("interaction", "symmetry"),
    [
        (Squares, SYMMETRIES[0]),
        (Pseudovectors, SYMMETRIES[1]),
        (OfPlaces, SYMMETRIES[3]),
    ],
)
def test_wrong_streams(interaction: type[Interaction[Any]], symmetry: Symmetry) -> None:
    model = model_with(interaction)
    with pytest.raises(AssertionError) as caught:
        assert_stream_symmetry(model, STRUCTURES, symmetry)
    assert f"the stream 'moments' is not equivariant: {symmetry!r} changes feature" in str(caught.value)


def test_pseudovectors_have_another_parity() -> None:
    model = model_with(Pseudovectors, {"moments": {"irreps": "3x1e"}})
    for symmetry in SYMMETRIES[:2]:
        assert_stream_symmetry(model, STRUCTURES, symmetry)


def test_a_wrong_interaction_is_found_by_a_search() -> None:
    with pytest.raises(CounterExample, match="the stream 'moments' is not equivariant: Rotation") as caught:
        assert_interaction(Pseudovectors, streams=STREAMS, examples=3, max_atoms=4)
    assert caught.value.property == "streams: symmetry under rotations and reflections"
    with pytest.raises(AssertionError, match="moments"):
        exec(caught.value.code, {"model": caught.value.model})
