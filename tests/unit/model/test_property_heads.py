"""Heads of further properties: values against plain formulas, symmetries, derivatives, and models that contain them."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from helpers import KINDS, molecule, small_cell
from torch import Tensor

from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.property_heads import Dipole, HeadContext, Property, PropertyHead, PropertyHeadOptions
from gemnet_blocks.model.readout import BackboneOutput
from gemnet_blocks.spec import build, load_spec
from gemnet_blocks.structures import Structures

SMALL = {"sizes.edge": 12, "sizes.atom": 10, "blocks.count": 1, "heads.forces.type": "gradient"}
HEADS: dict[str, dict[str, Any]] = {
    f"{per}_{shape}_{reads}": {"type": "property", "per": per, "shape": shape, "reads": reads, "layers": 1}
    for per in ("structure", "atom")
    for shape in ("scalar", "vector", "tensor")
    for reads in ("atoms", "edges")
} | {"mean": {"type": "property", "reduce": "mean"}, "dipole": {"type": "dipole", "layers": 0}}


def model_of(**heads: dict[str, Any]) -> GemNet:
    """A small model with gradient forces and further heads, in float64."""
    return build(load_spec("symmetric").patch({**SMALL, "heads": heads}), seed=0).double()


@cache
def model() -> GemNet:
    """A small model with every kind of head."""
    return model_of(**HEADS)


def features_of(gemnet: GemNet, structures: Structures) -> BackboneOutput:
    return gemnet.backbone(structures, gemnet.topology(structures))


def by_formula(head: PropertyHead, features: BackboneOutput, structures: Structures) -> Tensor:
    """The value of a head, summed in loops over edges and atoms."""
    edges, per_atom = features.main.edges, []
    f = head.directed(features) if head.directed is not None else None
    for atom in range(structures.atom_count):
        into = (edges.target == atom).nonzero()[:, 0].tolist()
        if isinstance(head, Dipole):
            own = structures.positions[structures.structure == structures.structure[atom]]
            value = head.charges(features)[atom] * (structures.positions[atom] - own.mean(dim=0))
            value = value + sum(f[edge] * edges.direction[edge] for edge in into)
            per_atom.append(value)
            continue
        assert isinstance(head, Property)
        value = torch.zeros(head.kind.size, dtype=torch.float64)
        if head.kind.shape != "scalar":
            for edge in into:
                u = edges.direction[edge]
                value = value + f[edge] * (u if head.kind.shape == "vector" else torch.outer(u, u))
        if head.isotropic is not None:
            t = head.isotropic(features)
            number = t[atom] if len(t) == structures.atom_count and head.reads.startswith("atoms") else sum(t[into])
            value = value + number * (torch.eye(3).double() if head.kind.shape == "tensor" else 1.0)
        per_atom.append(value)
    if head.kind.per == "atom":
        return torch.stack(per_atom)
    totals = []
    for index in range(len(structures)):
        own = [value for value, owner in zip(per_atom, structures.structure.tolist(), strict=True) if owner == index]
        total = sum(own, start=torch.zeros(head.kind.size, dtype=torch.float64))
        totals.append(total / max(len(own), 1) if getattr(head, "reduce", "sum") == "mean" else total)
    return torch.stack(totals)


def test_values_are_those_of_the_formulas() -> None:
    structures, gemnet = KINDS["mixed batch"](), model()
    predicted, features = gemnet(structures).properties, features_of(gemnet, structures)
    assert predicted.keys() == HEADS.keys()
    for name, head in gemnet.heads.items():
        torch.testing.assert_close(predicted[name], by_formula(head, features, structures), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_for_all_structures(kind: str) -> None:
    structures = KINDS[kind]()
    for name, value in model()(structures).properties.items():
        owner = model().property_kinds[name]
        rows = structures.atom_count if owner.per == "atom" else len(structures)
        assert value.shape == (rows, *owner.size)
        assert value.isfinite().all()


def test_vectors_and_tensors_rotate_and_scalars_do_not() -> None:
    structures = Structures.from_ase([molecule(6), molecule(4, seed=1)])
    rotation = -torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    moved = replace(structures, positions=structures.positions @ rotation.T + 3.0)
    before, after = model()(structures).properties, model()(moved).properties
    for name, value in before.items():
        for axis in range(1, value.ndim):
            value = torch.movedim(torch.tensordot(value, rotation, dims=([axis], [1])), -1, axis)
        torch.testing.assert_close(after[name], value, rtol=1e-9, atol=1e-11)
        if value.ndim == 3:
            torch.testing.assert_close(value, value.transpose(1, 2))
        assert value.abs().max() > 1e-4


def test_values_vanish_smoothly_with_neighbors_at_the_cutoff() -> None:
    gemnet = model_of(vector={"type": "property", "per": "atom", "shape": "vector", "reads": "edges"})
    cutoff = gemnet.backbone.graphs.rules["main"].cutoff

    def vector(distance: float) -> Tensor:
        atoms = molecule(2)
        atoms.positions[:] = [[0, 0, 0], [distance, 0, 0]]
        return gemnet(Structures.from_ase(atoms)).properties["vector"]

    assert vector(cutoff - 1.0).abs().max() > 1e-6
    assert vector(cutoff - 1e-3).abs().max() < 1e-6


def test_properties_are_differentiable_twice_and_reach_all_weights() -> None:
    structures, gemnet = Structures.from_ase([molecule(4), small_cell()]), model()
    gemnet.zero_grad()
    prediction = gemnet(structures)
    loss = sum(value.square().sum() for value in prediction.properties.values()) + prediction.forces.square().sum()
    loss.backward()
    unreached = [name for name, one in gemnet.heads.named_parameters() if one.requires_grad and one.grad is None]
    assert unreached == []


def test_a_memory_budget_changes_no_value_and_no_gradient() -> None:
    structures = Structures.from_ase(molecule(4))
    results = []
    for budget in (None, 0.0):
        gemnet = copy.deepcopy(model())
        prediction = gemnet(structures, memory_budget=budget)
        sum(value.square().sum() for value in prediction.properties.values()).backward()
        results.append((prediction.properties, [one.grad for one in gemnet.parameters() if one.grad is not None]))
    (stored, slopes), (recomputed, same) = results
    for name, value in stored.items():
        torch.testing.assert_close(recomputed[name], value)
    torch.testing.assert_close(same, slopes)


def test_models_with_heads_pickle_and_share_weights_with_models_without() -> None:
    structures = KINDS["molecules"]()
    bare = build(load_spec("symmetric").patch(SMALL), seed=0).double()
    copied = pickle.loads(pickle.dumps(model()))
    assert torch.equal(bare(structures).energy, copied(structures).energy)
    own = {name for name in copied.state_dict() if name.startswith("heads.")}
    assert copied.state_dict().keys() - own == bare.state_dict().keys()
    assert torch.equal(copied(structures).properties["dipole"], model()(structures).properties["dipole"])


def test_estimates_and_direct_forces_work_with_heads() -> None:
    spec = load_spec("triplets-only").patch({**SMALL, "heads.forces.type": "direct", "heads.gap": HEADS["mean"]})
    structures = Structures.from_ase(molecule(5))
    gemnet = build(spec, seed=0)
    with torch.no_grad():
        assert gemnet(structures).properties["gap"].shape == (1,)
    without = build(spec.patch({"heads.gap": None}), seed=0)
    assert gemnet.estimate(structures, "train").flops > without.estimate(structures, "train").flops


def test_stresses_come_with_predictions_if_the_spec_says_so() -> None:
    gemnet = model_of(stress={"type": "stress"})
    crystal = Structures.from_ase(small_cell())
    predicted = gemnet(crystal)
    torch.testing.assert_close(predicted.stress, model()(crystal, stress=True).stress)
    assert model()(crystal).stress is None
    assert gemnet(crystal, stress=False).stress is None
    assert gemnet(Structures.from_ase(molecule(3))).stress is None


class CenterOptions(PropertyHeadOptions):
    type: str
    factor: float = 2.0


class Center(PropertyHead):
    """A custom head: a multiple of the mean feature of each structure's atoms."""

    Options = CenterOptions

    def __init__(self, options: CenterOptions) -> None:
        super().__init__(options.kind)
        self.factor = options.factor

    @classmethod
    def from_options(cls, options: CenterOptions, context: HeadContext) -> Center:
        return cls(options)

    def forward(self, features: BackboneOutput, structures: Structures) -> Tensor:
        h = features.embeddings.atoms.mean(dim=1)
        total = h.new_zeros(len(structures)).index_add(0, structures.structure, h)
        return self.factor * total / structures.atom_counts.clamp(min=1)


def test_a_custom_head_is_a_class_and_a_name() -> None:
    spec = load_spec("symmetric", {**SMALL, "heads.mine": {"type": "center", "factor": 3.0}}, extra={"center": Center})
    structures, gemnet = KINDS["molecules"](), build(spec, seed=0).double()
    h = features_of(gemnet, structures).embeddings.atoms.mean(dim=1)
    expected = 3 * torch.stack([h[structures.structure == index].mean() for index in range(2)])
    torch.testing.assert_close(gemnet(structures).properties["mine"], expected)
