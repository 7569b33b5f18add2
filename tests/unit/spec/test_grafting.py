"""Models that start from the weights of another one compute the same at first, with all parts of the catalog."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import KINDS, assert_close, set_random_scales, small_spec

from gemnet_blocks.errors import SpecError
from gemnet_blocks.interactions.atom_atom import AtomAtomInteraction, AtomAtomOptions
from gemnet_blocks.interactions.interaction import Interaction
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.heads import GradientForces
from gemnet_blocks.spec import Spec, build, graft
from gemnet_blocks.spec.build import build_shapes

GRADIENT: dict[str, Any] = {"heads.forces": {"type": "gradient", "dynamic_scaling": False}}
ALL = ("triplet", "quadruplet", "atom_edge", "edge_atom", "atom_atom")
WITHOUT_EDGES: dict[str, Any] = {
    "edge_embedding": None,
    "blocks": {"before_skip": 0, "after_skip": 0, "concatenation": None, "update": None, "atom": 0},
    "interactions": {name: None for name in ALL if name != "atom_atom"},
    "readout": {"type": "atoms", "layers": 1},
    **GRADIENT,
}
PAINN = {"type": "painn", "size": 3}
TENSORS = {"type": "tensor_product", "degree": 1, "radial": 4, "size": 3}

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **{name: ({f"interactions.{name}": None}, {f"interactions.{name}": {"down": 4, "up": 5}}) for name in ALL},
    "all interactions at once": (
        {f"interactions.{name}": None for name in ALL},
        {f"interactions.{name}": {"down": 4, "up": 5} for name in ALL},
    ),
    "two interactions with other edge sets": (
        {},
        {
            "graphs.far": {"cutoff": 4.5, "max_neighbors": 7},
            "interactions.far": {"type": "triplet", "graph": "far", "down": 4, "up": 5, "symmetric": False},
            "interactions.long": {"type": "atom_atom", "graph": "far", "down": 4, "up": 5, "scale_factor": False},
        },
    ),
    "painn": ({}, {"interactions.painn": PAINN}),
    "tensor_product": ({}, {"interactions.tensor_product": TENSORS}),
    "a second writer of a stream": (
        {"interactions.painn": PAINN, "streams.vectors": {"irreps": "3x1o", "combine": "skip"}},
        {"interactions.tensors": {**TENSORS, "size": None, "writes": "vectors"}},
    ),
    "updates of streams": (
        {"interactions.painn": PAINN},
        {"streams.vectors": {"irreps": "3x1o", "update": {"type": "gated"}}},
    ),
    "residual updates of streams": (
        {
            "interactions.tensors": {**TENSORS, "size": None, "writes": "scalars"},
            "streams.scalars": {"irreps": "4x0e", "initial": "embedding"},
            "heads.charges": {"type": "property", "per": "atom", "reads": "scalars"},
        },
        {"streams.scalars": {"irreps": "4x0e", "initial": "embedding", "update": {"type": "residual", "layers": 2}}},
    ),
    "an interaction in more blocks": (
        {"blocks.count": 2, "interactions.quadruplet.blocks": "first", "interactions.atom_atom.blocks": [1]},
        {"interactions.quadruplet.blocks": "all", "interactions.atom_atom.blocks": "all"},
    ),
    "messages that are added": (
        {"blocks.combine": "add", "interactions.atom_atom": None},
        {"interactions.atom_atom": {"down": 4, "up": 5}},
    ),
    "another combination": ({"blocks.combine": "add"}, {"blocks.combine": "skip"}),
    "charges and spins": ({}, {"atom_embedding": {"type": "element", "charge": True, "spin": True}}),
    "charges of a periodic table": (
        {"atom_embedding": {"type": "periodic_table"}},
        {"atom_embedding": {"type": "periodic_table", "charge": True}},
    ),
    "more elements": ({"elements": 30}, {"elements": 40}),
    "atom updates": ({"blocks.update": None}, {"blocks.update": 1}),
    "atom updates of other widths": (
        {"blocks.update": None},
        {"blocks.update": 0, "blocks.update_projection": "always"},
    ),
    "atom updates without projection": ({"blocks.update": None, "sizes.edge": 8}, {"blocks.update": 1}),
    "concatenation": ({"blocks.concatenation": None}, {"blocks.concatenation": 2}),
    "residual layers": (
        {"blocks.before_skip": 0, "blocks.after_skip": 0, "blocks.atom": 0},
        {"blocks.before_skip": 2, "blocks.after_skip": 1, "blocks.atom": 3},
    ),
    "more blocks": ({}, {"blocks.count": 3}),
    "more blocks with a summed readout": (
        {"readout": {"type": "summed", "layers": 1}},
        {"blocks.count": 3},
    ),
    "more blocks with a readout of products": (
        {"readout": {"type": "summed_product", "layers": 1}, "heads.forces": {"type": "direct"}},
        {"blocks.count": 3},
    ),
    "more blocks below further heads": (
        {
            "heads.charges": {"type": "property", "per": "atom"},
            "heads.polarizability": {"type": "property", "shape": "tensor", "reads": "edges"},
            "heads.dipole": {"type": "dipole"},
            "heads.vector": {"type": "property", "shape": "vector", "reads": "vectors"},
            "interactions.painn": PAINN,
            "streams.vectors": {"irreps": "3x1o", "update": {"type": "gated"}, "combine": "skip"},
        },
        {"blocks.count": 3},
    ),
    "more blocks without edges": (WITHOUT_EDGES, {"blocks.count": 3}),
    "differing blocks": (
        {},
        {
            "blocks": [
                {"before_skip": 1, "after_skip": 1, "concatenation": 1, "update": 1, "atom": 1, "repeat": 1},
                {"before_skip": 0, "after_skip": 2, "concatenation": None, "update": None, "atom": 2},
            ]
        },
    ),
    "edge embeddings": (
        WITHOUT_EDGES,
        {
            "edge_embedding": "radial",
            "blocks": {"before_skip": 1, "after_skip": 1, "concatenation": 1, "update": 1},
            "interactions.triplet": {"down": 4, "up": 5},
            "interactions.edge_atom": {"down": 4, "up": 5},
        },
    ),
    "further heads": (
        {},
        {
            "heads.charges": {"type": "property", "per": "atom"},
            "heads.polarizability": {"type": "property", "shape": "tensor", "reads": "edges"},
            "heads.dipole": {"type": "dipole"},
        },
    ),
    "forces and stresses": ({"heads.forces": None}, {**GRADIENT, "heads.stress": {}}),
    "direct forces": (GRADIENT, {"heads.forces": {"type": "direct"}}),
    "direct forces of a summed readout": (
        {**GRADIENT, "readout": {"type": "summed", "layers": 1}},
        {"heads.forces": {"type": "direct"}},
    ),
    "direct forces of products": (
        {**GRADIENT, "readout": {"type": "summed_product", "layers": 1}},
        {"heads.forces": {"type": "direct"}},
    ),
    "everything at once": (
        {
            **GRADIENT,
            "interactions.quadruplet": None,
            "interactions.atom_atom": None,
            "blocks.update": None,
        },
        {
            "interactions.quadruplet": {"down": 4, "up": 5},
            "interactions.atom_atom": {"down": 4, "up": 5, "blocks": "last"},
            "interactions.painn": PAINN,
            "blocks.count": 3,
            "blocks.update": 1,
            "heads.dipole": {"type": "dipole"},
            "atom_embedding": {"type": "element", "charge": True},
        },
    ),
}


def spec_of(changes: dict[str, Any]) -> Spec:
    return small_spec(blocks__count=1, heads__forces=GRADIENT["heads.forces"]).patch(changes)


def models_of(case: str) -> tuple[GemNet, GemNet]:
    """The old model of a case with arbitrary scale factors, and the larger one."""
    before, after = CASES[case]
    old_spec = spec_of(before)
    old = build(old_spec, seed=0)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        set_random_scales(old)
    model, _ = graft(old, old_spec.patch(after), seed=2)
    return old.double(), model.double()


@pytest.mark.parametrize("case", list(CASES))
def test_new_parts_leave_the_function_unchanged_at_first(case: str) -> None:
    old, model = models_of(case)
    both_gradient = all(isinstance(one.forces, GradientForces) for one in (old, model))
    structures = KINDS["small cell" if both_gradient else "mixed batch"]()
    with torch.no_grad():
        before, after = (one(structures, stress=both_gradient) for one in (old, model))
    names = ["energy", "atom_energies", *["forces", "stress"] * both_gradient]
    for name in names:
        assert_close(getattr(after, name), getattr(before, name))
    for name, value in before.properties.items():
        assert_close(after.properties[name], value)
    for name in after.properties.keys() - before.properties.keys():
        assert not after.properties[name].any()


LEARNING = {
    "everything at once": (*CASES["everything at once"],),
    "a head on a new stream": (
        {},
        {
            "interactions.painn": PAINN,
            "interactions.tensor_product": TENSORS,
            "heads.vector": {"type": "property", "shape": "vector", "reads": "vectors"},
            "heads.tensor": {"type": "property", "per": "atom", "reads": "tensors", "shape": "vector"},
        },
    ),
}


@pytest.mark.parametrize("case", list(LEARNING))
def test_all_new_weights_learn(case: str) -> None:
    """No two zeros follow each other on all paths to the predictions."""
    before, after = LEARNING[case]
    old = build(spec_of(before), seed=0)
    model, _ = graft(old, spec_of({**before, **after}), seed=2)
    model = model.double()
    first = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    optimizer = torch.optim.Adam([one for one in model.parameters() if one.requires_grad], lr=1e-2)
    structures = replace(KINDS["molecules"](), charge=torch.tensor([1, -1]))
    for _ in range(4):
        optimizer.zero_grad()
        prediction = model(structures)
        values = [prediction.energy, prediction.forces, *prediction.properties.values()]
        sum((one - 1).square().mean() for one in values).backward()
        optimizer.step()
    # of other charges and elements, of a stream that is zero before the first block, or not trained
    unread = ("charges", "atom_embedding", "blocks.0.interactions.tensor_product.before.weights.1", "factor")
    same = [name for name, weight in model.named_parameters() if torch.equal(weight, first[name])]
    assert [name for name in same if not any(word in name for word in unread)] == []


def test_a_grafted_model_is_grafted_again() -> None:
    old = build(spec_of({"interactions.quadruplet": None, "interactions.atom_atom": None}), seed=0).double()
    step, spec = graft(old, spec_of({"interactions.quadruplet": None}), seed=1)
    model, spec = graft(step, spec_of({"blocks.count": 3}), seed=2)
    structures = KINDS["small cell"]()
    assert_close(model.double()(structures).energy, old(structures).energy)
    again = build(Spec.from_yaml(spec.to_yaml()), seed=5).double()
    again.load_state_dict(model.state_dict())
    assert_close(again(structures).energy, old(structures).energy)
    assert spec.content_hash != spec_of({"blocks.count": 3}).content_hash


def test_a_model_of_the_same_parts_keeps_its_spec() -> None:
    spec = spec_of({})
    model, grafted = graft(build(spec, seed=0), spec, seed=1)
    assert grafted == spec
    for name, weight in build(spec, seed=0).state_dict().items():
        expected = torch.ones(()) if name.endswith("factor") else weight  # unfitted factors are one
        assert torch.equal(model.state_dict()[name], expected), name


class OwnOptions(AtomAtomOptions):
    """Options of `Own`."""

    type: str = "own"  # type: ignore[assignment]


class Own(AtomAtomInteraction):  # type: ignore[misc]
    """An interaction whose last weights are unknown."""

    Options = OwnOptions
    last_weights = Interaction.last_weights


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ({}, {"sizes.atom": 9}, r"atom_embedding.*expected .*\(83, 9\), found .*\(83, 8\)"),
        ({}, {"bases.radial.count": 7}, r"edge_embedding\S*: expected"),
        ({}, {"bases.radial": {"type": "spherical_bessel"}}, "SphericalBessel instead of Gaussian"),
        ({}, {"interactions.triplet.down": 3}, r"triplet\S*: expected"),
        ({}, {"interactions.triplet.symmetric": False}, r"opposite\S* is not part of the model"),
        ({}, {"readout": {"type": "summed", "layers": 1}}, "read_out is SummedReadout instead of"),
        ({}, {"blocks.before_skip": 2}, r"before_skip\.1\S* is missing"),
        ({"blocks.concatenation": 0}, {"blocks.concatenation": 1}, "concatenation_layers is new, and would change"),
        ({"readout.after_atom": 0}, {"readout.after_atom": 1}, "after_atom is new, and would change the function"),
        ({"activation": "siqu"}, {"blocks.count": 2}, "would never learn from zero"),
        ({}, {"atom_embedding": {"type": "periodic_table"}}, "PeriodicTableEmbedding instead of ElementEmbedding"),
    ],
)
def test_weights_that_do_not_fit_are_named(before: dict[str, Any], after: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        graft(build_shapes(spec_of(before)), spec_of({**before, **after}))


def test_custom_interactions_tell_their_last_weights() -> None:
    own = {"interactions.own": {"type": "own", "down": 4, "up": 5}}
    spec = Spec.from_yaml(spec_of({}).to_yaml(), extra={"own": Own})
    with pytest.raises(SpecError, match=r"interactions\.own is new: Own does not tell its last weights"):
        graft(build_shapes(spec_of({})), spec.patch(own))


def test_divisors_of_unknown_streams_are_refused() -> None:
    with pytest.raises(SpecError, match="the divisors of block 0 name the unknown stream 'vectors'"):
        build_shapes(spec_of({"blocks.divisors": {"streams": {"vectors": 2.0}}}))
