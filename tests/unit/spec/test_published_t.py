"""The published arguments of GemNet-T."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from small_specs import PAPER_CONFIGS, error_of

from gemnet_blocks import GemNetT
from gemnet_blocks.spec import Spec, load_spec
from gemnet_blocks.spec.published import from_published, to_published
from gemnet_blocks.spec.published.gemnet_t import DEFAULTS, REQUIRED

CONFIGS = PAPER_CONFIGS[0].parent
SMALL: dict[str, Any] = dict.fromkeys(REQUIRED, 3)
VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "widths": {name: 2 + index for index, name in enumerate(REQUIRED)},
    "direct": {"direct_forces": True},
    "no forces": {"regress_forces": False},
    "no periodicity": {"use_pbc": False},
    "another cutoff": {"cutoff": 5.0, "max_neighbors": 9},
    "no cap": {"max_neighbors": 0},
    "mean": {"extensive": False},
    "linear": {"activation": None},
    "zeros": {"output_init": "zeros"},
    "Bessel functions": {"rbf": {"name": "spherical_bessel"}, "envelope": {"name": "exponential"}},
    "Bernstein polynomials": {"rbf": {"name": "bernstein", "pregamma_initial": 0.3}},
    "Gaussian angles": {"cbf": {"name": "gaussian"}},
    "one angular function": {"num_spherical": 1},
    "more elements": {"num_elements": 100},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_round_trip(variant: str) -> None:
    given = {**SMALL, **VARIANTS[variant]}
    spec = from_published(given)
    arguments = to_published(spec)
    assert set(arguments) == {*REQUIRED, *DEFAULTS}
    assert {name: arguments[name] for name in given} == given
    assert from_published(arguments).content_hash == spec.content_hash
    assert to_published(from_published(arguments)) == arguments
    assert Spec.from_yaml(spec.to_yaml()).content_hash == spec.content_hash


def test_every_variant_is_another_architecture() -> None:
    hashes = {from_published({**SMALL, **changes}).content_hash for changes in VARIANTS.values()}
    assert len(hashes) == len(VARIANTS)


@pytest.mark.parametrize(("name", "direct"), [("gemnet-dt", True), ("gemnet-t", False)])
def test_the_paper_configs(name: str, direct: bool) -> None:
    published = {
        **dict.fromkeys(("emb_size_atom", "emb_size_edge"), 512),
        **dict.fromkeys(("emb_size_trip", "emb_size_bil_trip"), 64),
        **dict.fromkeys(("emb_size_rbf", "emb_size_cbf"), 16),
        **{"num_spherical": 7, "num_radial": 128, "num_blocks": 3, "num_before_skip": 1, "num_after_skip": 2},
        **{"num_concat": 1, "num_atom": 3, "direct_forces": direct},
    }
    spec = load_spec(CONFIGS / f"{name}.yaml")
    assert from_published(published).content_hash == spec.content_hash
    arguments = to_published(spec)
    assert {key: arguments[key] for key in published} == published


def test_the_architecture() -> None:
    spec = from_published({**SMALL, "emb_size_trip": 4, "emb_size_bil_trip": 5, "max_neighbors": 7, "cutoff": 5.0})
    (triplet,) = spec.interactions.values()
    assert triplet.model_dump(exclude_defaults=True) == {"down": 4, "up": 5}
    (main,) = spec.graphs.values()
    assert (main.cutoff, main.max_neighbors, main.symmetrize, main.within) == (5.0, 7, "lower_index", None)
    assert spec.neighbors.ties == "strict"
    assert (spec.blocks.atom, spec.blocks.update_projection) == (0, "always")
    assert spec.readout.model_dump() == {
        "type": "summed",
        "layers": 3,
        "projection": "always",
        "initialization": "he_orthogonal",
    }
    assert spec.bases.angular_radial is None
    assert not spec.bases.scale


def test_arguments_are_those_of_the_facade() -> None:
    signature = inspect.signature(GemNetT).parameters
    required = [name for name, one in signature.items() if one.default is inspect.Parameter.empty]
    assert required == list(REQUIRED)
    assert {name: signature[name].default for name in DEFAULTS} == dict(DEFAULTS)
    assert set(signature) - {*REQUIRED, *DEFAULTS} == {"otf_graph", "use_pbc_single", "scale_file"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_radia": 3}, "GemNet-T does not take the argument 'num_radia'; did you mean 'num_radial'?"),
        ({"quad_interaction": True}, "GemNet-T does not take the argument 'quad_interaction'"),
        ({"emb_size_trip": 0}, "argument emb_size_trip: interactions.triplet.down: must be at least 1, got 0"),
        ({"emb_size_bil_trip": 0}, "argument emb_size_bil_trip: interactions.triplet.up: must be at least 1"),
        ({"extensive": "no"}, "extensive must be True or False, got 'no'"),
        ({"activation": "relu"}, "activation='relu' is unknown"),
        ({"cutoff": None}, "cutoff must be a number, got None"),
    ],
)
def test_errors_name_the_argument(changes: dict[str, Any], message: str) -> None:
    assert message in error_of(from_published, {**SMALL, **changes})


def test_missing_arguments_are_listed() -> None:
    arguments = {name: 3 for name in REQUIRED if name not in ("num_blocks", "emb_size_rbf")}
    assert error_of(from_published, arguments) == "missing arguments: num_blocks, emb_size_rbf"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"blocks.update": 2}, "readout.layers"),
        ({"blocks.update_projection": "if_needed"}, "blocks.update_projection"),
        ({"readout.projection": "if_needed"}, "readout.projection"),
        ({"blocks.atom": 1}, "blocks.atom"),
        ({"bases.scale": True}, "bases.scale"),
        ({"bases.angular_radial": {"type": "bernstein", "count": 3}}, "bases.angular_radial"),
        ({"neighbors.ties": "inclusive_next"}, "neighbors.ties"),
        ({"interactions.triplet": None}, "'down'"),
        (
            {"graphs.atom": {"cutoff": 6.0}, "interactions.atom_atom": {"graph": "atom", "down": 3, "up": 3}},
            "interactions.atom_atom",
        ),
    ],
)
def test_specs_that_published_arguments_cannot_say(changes: dict[str, Any], field: str) -> None:
    message = error_of(to_published, from_published(SMALL).patch(changes))
    assert "published arguments cannot describe this spec" in message
    assert field in message


def test_unused_options_do_not_matter() -> None:
    spec = from_published(SMALL)
    arguments = to_published(spec)
    assert to_published(spec.patch({"sizes.spherical": 9, "bases.spherical": None})) == arguments
    assert to_published(spec.patch({"bases.collinear": {"type": "smooth"}})) == arguments
