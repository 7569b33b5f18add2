"""Bases, sending edges, directions and scale factors of single interactions."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from ase.build import molecule
from helpers import KINDS, assert_close, small_model, small_spec

from gemnet_blocks.basis.radial import Gaussian, GaussianOptions, SphericalBessel
from gemnet_blocks.errors import SpecError
from gemnet_blocks.interactions import QuadrupletInteraction, TripletInteraction
from gemnet_blocks.interactions.triplet import TripletOptions
from gemnet_blocks.layers.projection import ScaledBasis
from gemnet_blocks.model.estimate import estimate
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.scale_fitting import fit_scales
from gemnet_blocks.model.summary import layers, parameter_count
from gemnet_blocks.spec import Spec, build, load_spec
from gemnet_blocks.testing import oracles

BESSEL, GAUSSIAN = {"type": "spherical_bessel", "count": 6}, {"type": "gaussian", "count": 8}
NEAR = {
    "graphs.near": {"cutoff": 3.0, "within": "main"},
    "interactions.triplet.bases.radial": BESSEL,
    "interactions.near": {"type": "triplet", "graph": "near", "down": 4, "up": 5, "bases": {"radial": GAUSSIAN}},
}


def near_spec(**changes: Any) -> Spec:
    return small_spec(**changes).patch(NEAR)


def radial_bases(model: GemNet) -> dict[str, torch.nn.Module]:
    bases = model.backbone.geometry.bases
    found = [("radial", name, basis) for name, basis in bases.radial.items()]
    found += [("angular", name, basis) for name, basis in bases.angular.items()]
    return {f"{use} {name}": basis for use, name, basis in found}


def test_two_triplets_with_different_bases_and_cutoffs_in_a_short_file(tmp_path: Path) -> None:
    path = tmp_path / "near.yaml"
    path.write_text(
        """\
extends: symmetric
graphs: {near: {cutoff: 3, within: main}}
interactions:
  triplet: {bases: {radial: {type: spherical_bessel, count: 6}}}
  near: {type: triplet, graph: near, down: 16, up: 16, bases: {radial: {type: gaussian, count: 8}}}
"""
    )
    spec = load_spec(path)
    model = build(spec, seed=0)
    found = radial_bases(model)
    for name in ("radial triplet-main", "angular triplet-main"):  # the given basis also serves next to angles
        basis = found[name]
        assert isinstance(basis, SphericalBessel)
        assert (basis.count, basis.cutoff) == (6, spec.graphs["main"].cutoff)
    for name, cutoff in (("radial near-near", 3.0), ("angular near-main", spec.graphs["main"].cutoff)):
        basis = found[name]
        assert isinstance(basis, Gaussian)
        assert (basis.count, basis.cutoff) == (8, cutoff)
    assert Spec.from_yaml(spec.to_yaml()) == spec
    assert sum(row.parameters for row in layers(model)) == parameter_count(model)
    assert any(row.name == "radial, near in near" for row in layers(model))


def test_predictions_equal_the_definition() -> None:
    structures = KINDS["slab"]()
    changes = {
        "interactions.quadruplet": {"symmetric": False, "scale_factor": False},
        "interactions.quadruplet.bases": {
            "spherical": {"type": "legendre_outer", "count": 2},
            "angular_radial": BESSEL,
        },
        "interactions.atom_edge": {"symmetric": False, "bases": {"circular": {"type": "legendre", "count": 2}}},
        "interactions.edge_atom": {"scale_factor": False, "bases": {"envelope": {"type": "exponential"}}},
        "interactions.atom_atom": {"scale_factor": False, "bases": {"radial": {"type": "bernstein", "count": 3}}},
        "interactions.near.scale_factor": False,
    }
    model = build(near_spec(bases__scale=True).patch(changes), seed=0).double()
    for scale in model.modules():
        if isinstance(scale, ScaledBasis):
            scale.scale.factor.data.fill_(1.2)
    assert_close(model(structures).energy, oracles.model(model, structures).energy, 1e-10)


def test_equal_bases_are_shared() -> None:
    same = {"type": "gaussian", "count": 6}
    shared = small_spec().patch({"interactions.triplet.bases": {"radial": same, "circular": None}})
    assert shared.content_hash == small_spec().content_hash
    assert list(build(shared, seed=0).state_dict()) == list(build(small_spec(), seed=0).state_dict())
    both = small_spec().patch(
        {f"interactions.{name}.bases.radial": BESSEL for name in ("triplet", "quadruplet", "atom_edge")}
    )
    own = [name for name in radial_bases(build(both, seed=0)) if "-" in name]
    assert own == ["radial triplet-main", "radial triplet-atom_edge", "angular triplet-main", "angular triplet-quad"]


def test_models_copy_pickle_predict_and_are_fitted() -> None:
    structures = KINDS["slab"]()
    model = build(near_spec().patch({"interactions.near.scale_factor": False}), seed=0).double()
    expected = model(structures)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(again(structures).energy, expected.energy)
    assert_close(model(structures, memory_budget=0).energy, expected.energy)
    single = build(near_spec().patch({"interactions.near.scale_factor": False}), seed=0)
    assert float((single(structures).energy - expected.energy).detach().abs().max()) < 1e-3
    fitted = fit_scales(model, [structures])
    assert not any(".near." in name for name in fitted)
    assert any(".triplet." in name for name in fitted)
    assert estimate(model, structures).peak_bytes > 0


@pytest.mark.parametrize("name", ["triplet", "quadruplet", "atom_edge", "edge_atom", "atom_atom"])
def test_interactions_without_scale_factors_have_fewer_parameters(name: str) -> None:
    with_factors = small_model()
    without = build(small_spec().patch({f"interactions.{name}.scale_factor": False}), seed=0).double()
    missing = set(with_factors.state_dict()) - set(without.state_dict())
    assert set(without.state_dict()) <= set(with_factors.state_dict())
    assert missing
    assert all(f"interactions.{name}." in key and key.endswith("factor") for key in missing)


def test_symmetry_is_switched_off_everywhere_by_one_patch() -> None:
    names = ("triplet", "quadruplet", "atom_edge")
    spec = small_spec().patch({f"interactions.{name}.symmetric": False for name in names})
    model = build(spec, seed=0).double()
    missing = set(small_model().state_dict()) - set(model.state_dict())
    assert len(missing) == spec.blocks.count * len(names)
    assert all(".up.opposite." in key for key in missing)


def test_messages_of_one_direction_do_not_depend_on_the_opposite_edge() -> None:
    def receivers(symmetric: bool) -> int:
        options = {"symmetric": symmetric}
        alone = TripletInteraction.alone(molecule("C2H6"), options, cutoff=1.7)
        edges = alone.topology.edges["main"]
        message = alone()[edges.target == int(edges.target[0])]
        (gradient,) = torch.autograd.grad(message.square().sum(), alone.embeddings.edges)
        return len(set(edges.target[gradient.abs().amax(dim=1) > 0].tolist()))

    assert receivers(symmetric=False) == 1
    assert receivers(symmetric=True) > 1


def test_interactions_alone_take_these_options() -> None:
    options = {
        "graph": "far",
        "symmetric": False,
        "bases": {"radial": BESSEL, "circular": {"type": "gaussian", "count": 5}},
    }
    alone = TripletInteraction.alone(molecule("C2H6"), options, graphs={"far": {"cutoff": 6.5}})
    assert alone.topology.edges["far"].count == 56
    assert torch.isfinite(alone()).all()
    typed = TripletOptions(down=3, up=4, bases={"radial": GaussianOptions(count=7)})
    assert TripletInteraction.alone(molecule("C2H6"), typed).spec.bases_of("triplet").radial.count == 7
    own = {"bases": {"spherical": {"type": "real_harmonics", "count": 2}}}
    assert torch.isfinite(QuadrupletInteraction.alone(molecule("C2H6"), own)()).all()


class Cosines(Gaussian):
    """A custom radial basis."""


class CosinesOptions(GaussianOptions):
    type: str = "cosines"  # type: ignore[assignment]


Cosines.Options = CosinesOptions


class Refused(Cosines):
    """A custom radial basis that does not take its options."""

    @classmethod
    def from_options(cls, *arguments: Any) -> Any:
        raise ValueError("too few functions")


def test_custom_bases() -> None:
    spec = small_spec().patch({"interactions.triplet.bases.radial": {"type": "lab:Cosines", "count": 4}})
    with pytest.raises(SpecError, match=r"interactions\.triplet\.bases\.radial\.type: lab:Cosines would import code"):
        build(spec)
    model = build(spec, extra={"lab:Cosines": Cosines}, seed=0)
    assert isinstance(radial_bases(model)["radial triplet-main"], Cosines)
    with pytest.raises(SpecError, match=r"interactions\.triplet\.bases\.radial: too few functions"):
        build(spec, extra={"lab:Cosines": Refused})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"triplet.bases.radial": {"type": "gausian", "count": 3}}, r"triplet\.bases\.radial\.type: .*'gaussian'"),
        ({"triplet.bases.radial": {"type": "legendre", "count": 3}}, r"triplet\.bases\.radial\.type: .*circular basis"),
        ({"triplet.bases.radial": {"type": "gaussian"}}, r"triplet\.bases\.radial\.count: is missing"),
        (
            {"triplet.bases.radial": {"type": "gaussian", "count": 0}},
            r"triplet\.bases\.radial\.count: must be at least",
        ),
        ({"triplet.bases.radial": {"count": 3}}, r"triplet\.bases\.radial: needs a `type`"),
        ({"triplet.bases.radial": "gaussian"}, r"triplet\.bases\.radial: must be a mapping"),
        ({"triplet.bases.radiall": GAUSSIAN}, r"triplet\.bases\.radiall: unknown field; did you mean 'radial'"),
        ({"triplet.bases.scale": True}, r"triplet\.bases\.scale: unknown field"),
        ({"triplet.bases": 3}, r"triplet\.bases: must be a mapping"),
        ({"triplet.radial": GAUSSIAN}, r"triplet\.radial: is not a field of an interaction: write bases\.radial"),
        ({"triplet.graph": "mian"}, r"triplet\.graph: unknown edge set 'mian'; did you mean 'main'"),
        ({"edge_atom.senders": "quat"}, r"edge_atom\.senders: unknown edge set 'quat'; did you mean 'quad'"),
        ({"edge_atom.symmetric": False}, r"edge_atom\.symmetric: has no meaning for messages to atoms"),
        ({"atom_atom.symmetric": False}, r"atom_atom\.symmetric: has no meaning for messages to atoms"),
        ({"triplet.symmetric": "no"}, r"triplet\.symmetric: must be true or false"),
        ({"quadruplet.scale_factor": None}, r"quadruplet\.scale_factor: must be true or false"),
    ],
)
def test_errors_name_the_entry(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as error:
        build(small_spec().patch({f"interactions.{path}": value for path, value in changes.items()}))
    assert len(str(error.value).splitlines()) == 1


def test_patches_change_and_remove_bases() -> None:
    spec = near_spec()
    changed = spec.patch({"interactions.near.bases.radial.type": "spherical_bessel"})
    assert changed.bases_of("near").radial.model_dump() == {"type": "spherical_bessel", "count": 8}
    for removed in ({"interactions.near.bases": None}, {"interactions.near.bases.radial": None}):
        assert spec.patch(removed).bases_of("near") == spec.bases
    assert "near" in spec.graphs_in_use()
    assert "near" not in spec.patch({"interactions.near.graph": "main"}).graphs_in_use()
    assert spec.patch({"interactions.near": None, "interactions.triplet.bases": None}).content_hash == (
        small_spec().content_hash
    )


def test_a_triplet_that_takes_the_place_of_another_interaction_reads_main() -> None:
    spec = small_spec()
    assert spec.patch({"interactions.quadruplet.type": "triplet"}).interactions["quadruplet"].graph == "main"
    assert spec.patch({"interactions.triplet.type": "atom_edge"}).interactions["triplet"].graph == "atom_edge"


def test_a_quadruplet_needs_a_spherical_basis_of_its_own_or_of_all() -> None:
    without = {"bases.spherical": None}
    with pytest.raises(SpecError, match=r"needs bases\.spherical"):
        small_spec().patch(without)
    own = {"interactions.quadruplet.bases.spherical": {"type": "legendre_outer", "count": 2}}
    model = build(small_spec().patch({**own, **without}), seed=0)
    assert torch.isfinite(model(KINDS["slab"]()).energy).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"interactions.triplet.bases.radial": BESSEL},
        {"interactions.triplet.graph": "quad"},
        {"interactions.edge_atom.senders": "atom_edge"},
        {"interactions.quadruplet.symmetric": False},
        {"interactions.atom_atom.scale_factor": False},
    ],
)
def test_published_arguments_cannot_describe_such_specs(changes: dict[str, Any]) -> None:
    from gemnet_blocks.spec.published.writing import to_published

    spec = load_spec("gemnet-oc")
    assert to_published(spec)
    (path,) = changes
    named = path.removesuffix(".radial").replace(".", r"\.")
    with pytest.raises(SpecError, match=f"published arguments cannot describe this spec.* {named}"):
        to_published(spec.patch(changes))
