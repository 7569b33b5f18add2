"""Feature streams in models: messages by name, initial values, combination and updates."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import pytest
import torch
from ase.build import bulk, molecule
from helpers import assert_close

from gemnet_blocks.errors import SpecError
from gemnet_blocks.interactions.directed_edges import SharedDirectedEdges
from gemnet_blocks.interactions.interaction import Embeddings, Interaction, InteractionOptions
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.summary import layers
from gemnet_blocks.plotting.architecture import read_architecture
from gemnet_blocks.spec import Spec, build, load_spec
from gemnet_blocks.structures import Structures

SMALL = {"sizes.atom": 6, "sizes.edge": 5, "graphs.main.cutoff": 3.0, "bases.radial.count": 4}
STRUCTURES = Structures.from_ase([molecule("CH4"), bulk("Cu"), molecule("H"), molecule("H")[:0]])


class SeveralOptions(InteractionOptions):
    type: str


class Several(Interaction):
    """Writes the number of neighbors, times constants, to all kinds of streams."""

    Options, writes, reads = SeveralOptions, ("atoms", "edges", "counts", "bonds", "total"), "distances"
    left_out = ""

    @classmethod
    def shared_geometry(cls, options, context):
        return SharedDirectedEdges("main", torch.nn.Identity())

    @classmethod
    def from_options(cls, options, context):
        return cls()

    def forward(self, embeddings, edges):
        count = embeddings.atoms.new_zeros(edges.atom_count).index_add(
            0, edges.target, edges.radial.new_ones(len(edges.target))
        )
        messages = {
            "atoms": torch.zeros_like(embeddings.atoms),
            "edges": torch.zeros_like(embeddings.edges),
            "counts": count[:, None].expand(-1, 2),
            "bonds": torch.ones_like(embeddings.streams["bonds"]),
            "total": count[:, None],
        }
        return {name: message for name, message in messages.items() if name != self.left_out}


class Forgetful(Several):
    left_out = "bonds"


EXTRA = {"several": Several, "forgetful": Forgetful}
EDGELESS = {
    "edge_embedding": None,
    "blocks": {"before_skip": 0, "after_skip": 0, "concatenation": None, "update": None},
}
STREAMS = {
    "counts": {"irreps": "2x0e"},
    "bonds": {"irreps": "1x0e", "on": "edges", "combine": "skip"},
    "total": {"irreps": "1x0e", "on": "structures"},
}


def spec_of(changes: dict[str, Any] | None = None, kind: str = "several") -> Spec:
    base = load_spec("symmetric", {**SMALL, "blocks.count": 2}, extra=EXTRA)
    without = base.patch(interactions=dict.fromkeys(base.interactions))
    return without.patch({"interactions.many.type": kind, "streams": STREAMS}).patch(changes)


def embeddings_of(model: GemNet, structures: Structures = STRUCTURES) -> Embeddings:
    found: Embeddings = model.backbone(structures, model.topology(structures)).embeddings
    return found


def test_messages_go_to_streams_by_name() -> None:
    streams = embeddings_of(build(spec_of(), seed=0)).streams
    assert_close(streams["counts"], 2 * torch.tensor([4.0, 4, 4, 4, 4, 12, 0])[:, None].expand(-1, 2))
    assert_close(streams["total"], 2 * torch.tensor([4.0, 12, 0, 0])[:, None])
    root = 2**-0.5
    assert_close(streams["bonds"], torch.full((32, 1), (root + 1) * root), tolerance=1e-6)
    assert sorted(streams) == ["bonds", "counts", "total"]


def test_embeddings_do_not_change() -> None:
    streams = embeddings_of(build(spec_of(), seed=0)).streams
    with pytest.raises(TypeError):
        streams["counts"] = torch.zeros(1)  # type: ignore[index]


def test_initial_embeddings_and_updates_of_scalars() -> None:
    changes = {
        f"streams.{name}": {"initial": "embedding", "update": {"type": "residual"}} for name in ("counts", "total")
    }
    model = build(spec_of({**changes, "streams.bonds.update": {"type": "gated"}}), seed=0)
    structures = Structures.from_ase([molecule("CH4"), molecule("H2O")])
    streams = embeddings_of(model, structures).streams
    assert {name: tuple(stream.shape) for name, stream in streams.items()} == {
        "bonds": (26, 1),
        "counts": (8, 2),
        "total": (2, 1),
    }
    sum(stream.square().sum() for stream in streams.values()).backward()
    trained = [weight for name, weight in model.named_parameters() if ".streams." in name]
    assert len(trained) == 2 + 2 * (2 + 2 + 4)
    assert all(weight.grad is not None and weight.grad.any() for weight in trained)


def test_every_stream_needs_its_message() -> None:
    model = build(spec_of(kind="forgetful"), seed=0)
    with pytest.raises(
        ValueError, match="'many' writes atoms, edges, counts, bonds, total: expected a mapping"
    ) as caught:
        model(STRUCTURES)
    assert str(caught.value).endswith("got messages to atoms, edges, counts, total")


def test_messages_of_the_wrong_shape() -> None:
    model = build(spec_of({"streams.total.irreps": "3x0e"}), seed=0)
    with pytest.raises(
        ValueError, match=r"'many' writes to total: its message is of shape \(7, 1\), \(7, 3\) is needed"
    ):
        model(STRUCTURES)


def test_unknown_and_unwritten_streams() -> None:
    with pytest.raises(SpecError, match=r"interactions.many: writes the unknown stream 'bonds'; did you mean 'bond'\?"):
        build(spec_of({"streams.bonds": None, "streams.bond": STREAMS["bonds"]}))
    with pytest.warns(UserWarning, match="streams.idle: no interaction writes this stream"):
        build(spec_of({"streams.idle": {"irreps": "2x1o"}}), seed=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"streams.atoms": {"irreps": "2x0e"}}, "streams.atoms: is a built-in stream"),
        ({"streams.v": {"irreps": "2z"}}, "streams.v.irreps: expected irreps of e3nn such as 64x0e"),
        ({"streams.v": {"irreps": "2x1o", "initial": "embedding"}}, "embedding is for scalars such as 64x0e"),
        ({"streams.v": {"irreps": "2x1o", "update": {"type": "gate"}}}, "unknown stream update 'gate'"),
        ({"streams.bonds.update": {"type": "none", "layers": 2}}, "unknown field"),
        ({"streams.v": {"irreps": "2x1o", "on": "bonds"}}, "must be 'atoms', 'edges' or 'structures', got 'bonds'"),
        (
            {**EDGELESS, "interactions.many": None, "streams": dict.fromkeys(STREAMS)},
            "readout: it reads edges, which have no",
        ),
        ({**EDGELESS, "readout": {"type": "atoms"}}, "interactions.many: it needs edge embeddings"),
        ({"edge_embedding": None}, "blocks: edges have no embeddings with edge_embedding: null: set concatenation"),
        ({"readout": {"type": "atoms"}, "heads.forces": {"type": "direct"}}, "readout: it reads no edges"),
    ],
)
def test_errors(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        build(spec_of(changes))
    assert message in str(caught.value)


def equivariant(name: str) -> Spec:
    spec = load_spec(f"equivariant/{name}", {**SMALL, "blocks.count": 2})
    if name == "painn":
        return spec.patch({"streams.vectors.irreps": "4x1o"})
    return spec.patch({"streams.tensors.irreps": "2x1o+2x2e", "interactions.tensor_product.radial": 4})


@pytest.mark.parametrize("name", ["painn", "nequip"])
def test_models_without_edge_embeddings(name: str) -> None:
    spec = equivariant(name)
    model = build(spec, seed=0)
    assert model.topology(STRUCTURES).indices == {}
    assert embeddings_of(model).edges.shape == (32, 0)
    keys = list(model.state_dict())
    assert not [key for key in keys if "update_radial" in key or "output_radial" in key or "edge_embedding" in key]
    assert not [key for key in keys if ".dense." in key.replace("gate.dense", "") and "blocks" in key]
    drawn = read_architecture(spec)
    assert (
        drawn.parameters
        == sum(layer.parameters for layer in layers(model))
        == sum(node.parameters for node in drawn.nodes)
    )
    (stream,) = spec.streams
    assert next(node.title for node in drawn.nodes if stream in node.writes) == stream


@pytest.mark.parametrize("name", ["painn", "nequip"])
def test_gradient_forces_in_training_and_with_little_memory(name: str) -> None:
    model = build(equivariant(name), seed=0).double()
    structures = STRUCTURES.to(dtype=torch.float64)
    prediction = model(structures)
    assert prediction.forces is not None
    gradients = []
    for budget in (None, 0):
        model.zero_grad()
        prediction = model(structures, memory_budget=budget)
        (prediction.energy.sum() + prediction.forces.square().sum()).backward()
        gradients.append([weight.grad for weight in model.parameters() if weight.grad is not None])
    for stored, recomputed in zip(*gradients, strict=True):
        assert_close(stored, recomputed)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(structures).energy, prediction.energy)
    single = copy.deepcopy(model).float()(STRUCTURES)
    assert_close(single.energy.double(), prediction.energy, tolerance=1e-4)


def test_streams_without_a_spec_of_them_change_nothing() -> None:
    spec = load_spec("symmetric", SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = build(spec, seed=0)
    assert spec.all_streams() == {}
    assert not [key for key in model.state_dict() if "streams" in key]


def test_alone_draws_streams() -> None:
    alone = Several.alone(molecule("CH4"), streams=STREAMS, cutoff=3.0)
    shapes = {name: tuple(stream.shape) for name, stream in alone.embeddings.streams.items()}
    assert shapes == {"bonds": (20, 1), "counts": (5, 2), "total": (1, 1)}
    assert set(alone()) == set(Several.writes)
