from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from small_specs import error_of, small_spec

from gemnet_blocks import GemNetOC
from gemnet_blocks.basis.radial import Bernstein
from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec import Spec, build, load_spec
from gemnet_blocks.spec.published import (
    DEFAULTS,
    REQUIRED,
    cutoffs,
    from_published,
    neighbor_caps,
    output_initialization,
    to_published,
)

BASE_MODEL = Path(__file__).parents[3] / "paper_configs" / "gemnet-oc.yaml"
SMALL: dict[str, Any] = dict.fromkeys(REQUIRED, 3)
ALL_ON = dict.fromkeys(("quad_interaction", "atom_edge_interaction", "edge_atom_interaction", "atom_interaction"), True)
CUTOFFS = {"cutoff": 5.0, "cutoff_qint": 4.0, "cutoff_aeaint": 4.5, "cutoff_aint": 6.0}
CAPS = {"max_neighbors": 9, "max_neighbors_qint": 4, "max_neighbors_aeaint": 6, "max_neighbors_aint": 100}

VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "everything on": {**ALL_ON, **CUTOFFS, **CAPS},
    **{f"only {name}": {name: True, **CUTOFFS, **CAPS} for name in ALL_ON},
    "direct": {"direct_forces": True},
    "coupled": {"direct_forces": True, "forces_coupled": True},
    "scaled gradient": {"scale_backprop_forces": True},
    "no forces": {"regress_forces": False},
    "no periodicity": {"use_pbc": False},
    "ties": {**ALL_ON, "enforce_max_neighbors_strictly": False},
    "no caps": {**ALL_ON, "max_neighbors": 0},
    "a cap without limit": {**ALL_ON, **CAPS, "max_neighbors_qint": 0},
    "tags": {**ALL_ON, "qint_tags": [1, 2]},
    "all tags": {**ALL_ON, "qint_tags": [0, 1, 2]},
    "no tag": {**ALL_ON, "qint_tags": []},
    "mean": {"extensive": False},
    "linear": {"activation": None},
    "zeros": {"output_init": "zeros"},
    "scaled bases": {**ALL_ON, "scale_basis": True},
    "trained Gaussians": {"rbf": {"name": "gaussian", "trainable": True}},
    "Bessel functions": {"rbf": {"name": "spherical_bessel"}, "envelope": {"name": "exponential"}},
    "Bernstein polynomials": {"rbf_spherical": {"name": "bernstein", "pregamma_initial": 0.3}},
    "Gaussian angles": {**ALL_ON, "cbf": {"name": "gaussian"}, "sbf": {"name": "gaussian_outer"}},
    "outer products": {**ALL_ON, "sbf": {"name": "legendre_outer"}},
    "another envelope": {"envelope": {"name": "polynomial", "exponent": 3}},
    "one angular function": {"num_spherical": 1, "sbf": {"name": "gaussian_outer"}},
    "more elements": {"num_elements": 100},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_round_trip(variant: str) -> None:
    given = {**SMALL, **VARIANTS[variant]}
    spec = from_published(given)
    arguments = to_published(spec)
    assert set(arguments) == {*REQUIRED, *DEFAULTS}
    again = from_published(arguments)
    assert again.content_hash == spec.content_hash
    assert to_published(again) == arguments
    assert Spec.from_yaml(spec.to_yaml()).content_hash == spec.content_hash
    # what was given is what comes back, except where an interaction is off or another way of saying the same was used
    same = {name: value for name, value in given.items() if not name.startswith(("cutoff_", "max_neighbors_"))}
    for name in ("qint_tags", "sbf", "emb_size_quad_in", "emb_size_aint_in"):
        same.pop(name, None)
    assert {name: arguments[name] for name in same} == same


def test_every_variant_is_another_architecture() -> None:
    hashes = {name: from_published({**SMALL, **changes}).content_hash for name, changes in VARIANTS.items()}
    assert len(set(hashes.values())) == len(VARIANTS)
    # these say the same in other words
    assert hashes["all tags"] == from_published({**SMALL, **ALL_ON}).content_hash
    assert hashes["one angular function"] == from_published({**SMALL, "num_spherical": 1}).content_hash


def test_the_base_model() -> None:
    spec = load_spec(BASE_MODEL)
    arguments = to_published(spec)
    assert from_published(arguments).content_hash == spec.content_hash
    with torch.device("meta"):
        assert GemNetOC(**arguments).num_params == 38_864_438
        assert GemNetOC(**{**arguments, "direct_forces": False}).num_params == 28_599_345


def test_a_spec_is_the_same_model_as_its_arguments() -> None:
    model, facade = build(from_published({**SMALL, **ALL_ON})), GemNetOC(**SMALL, **ALL_ON)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    assert shapes == {name: value.shape for name, value in facade.model.state_dict().items()}


def test_defaults_are_those_of_the_facade() -> None:
    signature = inspect.signature(GemNetOC).parameters
    assert [name for name, one in signature.items() if one.default is inspect.Parameter.empty][:-1] == list(REQUIRED)
    assert {name: signature[name].default for name in DEFAULTS} == dict(DEFAULTS)


# -- cutoffs and caps -------------------------------------------------------------------------------------------------


def sets(rules: Any, **changes: Any) -> list[Any]:
    values = rules({**DEFAULTS, **changes})
    return [values[name] for name in ("main", "quad", "atom_edge", "atom")]


def test_missing_edge_sets_follow_main() -> None:
    assert sets(cutoffs, cutoff=7.0) == [7, 7, 7, 7]
    assert sets(neighbor_caps, **ALL_ON, max_neighbors=14) == [14, 14, 14, 14]


def test_the_atom_set_takes_the_greatest_of_all() -> None:
    assert sets(cutoffs, **ALL_ON, cutoff=5.0, cutoff_qint=4.0, cutoff_aeaint=8.0) == [5, 4, 8, 8]
    assert sets(neighbor_caps, **ALL_ON, max_neighbors=5, max_neighbors_qint=9) == [5, 9, 5, 9]


def test_options_of_disabled_parts_are_ignored() -> None:
    assert sets(cutoffs, **CUTOFFS) == [5, 5, 5, 5]
    assert sets(cutoffs, **CUTOFFS, quad_interaction=True) == [5, 4, 5, 5]
    assert sets(cutoffs, **CUTOFFS, edge_atom_interaction=True) == [5, 5, 4.5, 5]
    assert sets(neighbor_caps, **CAPS, atom_interaction=True) == [9, 9, 9, 100]
    # also where it would be too great
    assert sets(cutoffs, cutoff=5.0, cutoff_qint=9.0, cutoff_aint=6.0, atom_interaction=True) == [5, 5, 5, 6]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"cutoff": 7.0}, "cutoff=7.0 exceeds cutoff_aint=6.0"),
        ({"cutoff_qint": 8.0}, "cutoff_qint=8.0 exceeds cutoff_aint=6.0"),
        ({"max_neighbors_aeaint": 101}, "max_neighbors_aeaint=101 exceeds max_neighbors_aint=100"),
    ],
)
def test_nothing_exceeds_the_atom_set(changes: dict[str, Any], name: str) -> None:
    assert name in error_of(from_published, {**SMALL, **ALL_ON, **CUTOFFS, **CAPS, **changes})


def test_a_cap_of_zero_is_no_cap() -> None:
    spec = from_published({**SMALL, **ALL_ON, **CAPS, "max_neighbors_qint": 0})
    assert spec.graphs["quad"].max_neighbors is None
    assert spec.graphs["main"].max_neighbors == 9
    assert to_published(spec)["max_neighbors_qint"] == 0
    # no cap on the atom set is never too small
    assert sets(neighbor_caps, **ALL_ON, max_neighbors=9, max_neighbors_aint=0) == [9, 9, 9, 0]


def test_edge_sets_are_selected_as_published() -> None:
    def within(**on: bool) -> dict[str, str | None]:
        return {name: rule.within for name, rule in from_published({**SMALL, **on}).graphs.items()}

    assert within() == {"main": None}
    assert within(quad_interaction=True) == {"main": None, "quad": "main"}
    assert within(atom_interaction=True) == {"atom": None, "main": "atom"}
    assert within(**ALL_ON) == {"atom": None, "main": "atom", "atom_edge": "atom", "quad": "atom"}


# -- details ----------------------------------------------------------------------------------------------------------


def test_other_ways_of_saying_the_same() -> None:
    def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
        hashes = {from_published({**SMALL, **ALL_ON, **given}).content_hash for given in (one, other)}
        return len(hashes) == 1

    assert same({"activation": "swish"}, {"activation": "SiLU"})
    assert same({"rbf": None}, {"rbf": {"name": "Gaussian"}})
    assert same({"rbf_spherical": None, "rbf": {"name": "bernstein"}}, {k: {"name": "bernstein"} for k in RADIAL})
    assert same({"envelope": None}, {"envelope": {"name": "polynomial", "exponent": 5.0}})
    assert same({"cbf": None}, {"cbf": {"name": "spherical_harmonics"}})
    assert same({"output_init": "heorthogonal"}, {})
    assert same({"rbf": {"name": "bernstein"}}, {"rbf": {"name": "bernstein", "pregamma_initial": 0.45264}})
    assert same({"sbf": None}, {"sbf": {"name": "spherical_harmonics"}})
    assert not same({"envelope": None}, {"envelope": {"name": "polynomial", "exponent": 6}})


RADIAL = ("rbf", "rbf_spherical")


def test_the_start_of_bernstein_polynomials() -> None:
    model = build(from_published({**SMALL, "rbf": {"name": "bernstein", "pregamma_initial": 0.3}}))
    starts = [part.gamma_raw.item() for part in model.modules() if isinstance(part, Bernstein)]
    assert starts
    assert starts == pytest.approx([0.3] * len(starts))


def test_names_of_output_initializations() -> None:
    assert output_initialization("HeOrthogonal") == "he_orthogonal"
    with pytest.raises(SpecError, match="did you mean 'loggrid'"):
        output_initialization("log_grid")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"quad_interactions": True},
            "does not take the argument 'quad_interactions'; did you mean 'quad_interaction'?",
        ),
        ({"activation": "relu"}, "activation='relu' is unknown"),
        ({"rbf": "gaussian"}, "rbf must be a dictionary with an entry 'name', got 'gaussian'"),
        ({"sbf": {"name": "legendre_outr"}}, "did you mean 'legendre_outer'?"),
        ({"cbf": {"name": "legendre"}}, "cbf['name']='legendre' is unknown"),
        ({"rbf": {"name": "gaussian", "trainable": 3}}, "bases.radial.trainable"),
        ({"num_blocks": -1}, "blocks.count"),
        ({"emb_size_edge": 0}, "sizes.edge"),
        ({"cutoff": None}, "cutoff must be a number, got None"),
        ({"max_neighbors_qint": "8"}, "max_neighbors_qint must be a number, got '8'"),
        ({"max_neighbors": True}, "max_neighbors must be a number, got True"),
        ({"num_radial": 1}, "bases.radial.count"),
    ],
)
def test_errors_name_the_argument(changes: dict[str, Any], message: str) -> None:
    assert message in error_of(from_published, {**SMALL, **changes})


def test_all_unknown_arguments_are_one_error() -> None:
    message = error_of(from_published, {**SMALL, "rbff": None, "num_targets": 2, "cutof": 3})
    assert "'rbff'; did you mean 'rbf'?" in message
    assert "'cutof'; did you mean 'cutoff'?" in message
    assert "num_targets=2; only 1 is possible" in message


def test_options_outside_the_architecture_are_ignored() -> None:
    others = {"otf_graph": True, "use_pbc_single": True, "scale_file": "scales.pt"}
    assert from_published({**SMALL, **others}).content_hash == from_published(SMALL).content_hash
    with pytest.warns(DeprecationWarning, match="'bond_feat_dim' of GemNet-OC is deprecated"):
        assert from_published({**SMALL, "bond_feat_dim": 0}).content_hash == from_published(SMALL).content_hash


def test_missing_arguments_are_listed() -> None:
    arguments = {name: 3 for name in REQUIRED if name not in ("num_blocks", "emb_size_rbf")}
    assert error_of(from_published, arguments) == "missing arguments: num_blocks, emb_size_rbf"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"neighbors.ties": "inclusive"}, "neighbors.ties"),
        ({"graphs.main.symmetrize": "union"}, "graphs.main.symmetrize"),
        ({"interactions.atom_edge.down": 5}, "interactions.atom_edge.down"),
        ({"bases.circular.count": 4}, "bases"),
        ({"bases.collinear": {"type": "smooth"}}, "bases.collinear.type"),
        ({"activation": "siqu"}, "activation"),
        ({"interactions.triplet": None}, "'down'"),
        ({"blocks.update": 2}, "readout.layers"),
    ],
)
def test_specs_that_published_arguments_cannot_say(changes: dict[str, Any], field: str) -> None:
    plain = {"bases.spherical.count": 3, "bases.collinear": {"type": "right_angle"}}
    to_published(small_spec(plain))
    message = error_of(to_published, small_spec({**plain, **changes}))
    assert "published arguments cannot describe this spec" in message or "is unknown" in message
    assert field in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"emb_size_atom": -1}, "argument emb_size_atom: sizes.atom: must be at least 1, got -1"),
        ({"num_radial": 1}, "argument num_radial: bases.radial.count: must be at least 2, got 1"),
        ({"extensive": "no"}, "extensive must be True or False, got 'no'"),
        ({"quad_interaction": 1}, "quad_interaction must be True or False, got 1"),
        ({"quad_interaction": True, "qint_tags": 1}, "qint_tags must be a list of integers"),
        ({"quad_interaction": True, "qint_tags": [1.7]}, "qint_tags must be a list of integers"),
    ],
)
def test_errors_name_the_argument_and_the_field(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        from_published({**SMALL, **changes})
    assert message in str(caught.value)


PUBLISHED = sorted(path for path in BASE_MODEL.parent.glob("*.yaml") if path.stem != "symmetric")


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_every_published_spec_has_arguments(path: Path) -> None:
    spec = load_spec(path)
    assert from_published(to_published(spec)).content_hash == spec.content_hash
