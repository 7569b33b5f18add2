"""The published arguments of GemNet-Q and GemNet-T of 2021."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from small_specs import PAPER_CONFIGS, error_of

from gemnet_blocks import GemNet2021
from gemnet_blocks.spec import Spec, load_spec
from gemnet_blocks.spec.published import from_published, to_published
from gemnet_blocks.spec.published.gemnet_2021 import DEFAULTS, REQUIRED

CONFIGS = PAPER_CONFIGS[0].parent
SMALL: dict[str, Any] = {**{name: 2 + index for index, name in enumerate(REQUIRED)}, "triplets_only": False}
VARIANTS: dict[str, dict[str, Any]] = {
    "quadruplets": {},
    "triplets": {
        "triplets_only": True,
        # of no effect
        **{"emb_size_quad": SMALL["emb_size_trip"], "emb_size_bil_quad": SMALL["emb_size_bil_trip"]},
        "emb_size_sbf": SMALL["emb_size_cbf"],
    },
    "direct": {"direct_forces": True},
    "coupled": {"direct_forces": True, "forces_coupled": True},
    "cutoffs": {"cutoff": 4.0, "int_cutoff": 3.0},
    "envelope": {"envelope_exponent": 6},
    "mean": {"extensive": False},
    "linear": {"activation": None},
    "zeros": {"output_init": "zeros"},
}
PUBLISHED: dict[str, Any] = {
    **{"num_spherical": 7, "num_radial": 6, "num_blocks": 4, "emb_size_atom": 128, "emb_size_edge": 128},
    **{"emb_size_trip": 64, "emb_size_quad": 32, "emb_size_rbf": 16, "emb_size_cbf": 16, "emb_size_sbf": 32},
    **{"emb_size_bil_quad": 32, "emb_size_bil_trip": 64, "num_before_skip": 1, "num_after_skip": 1},
    **{"num_concat": 1, "num_atom": 2},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_round_trip(variant: str) -> None:
    given = {**SMALL, **VARIANTS[variant]}
    spec = from_published(given)
    arguments = to_published(spec)
    assert set(arguments) == {*REQUIRED, *DEFAULTS}
    assert {name: arguments[name] for name in given} == given
    assert from_published(arguments).content_hash == spec.content_hash
    assert Spec.from_yaml(spec.to_yaml()).content_hash == spec.content_hash


def test_every_variant_is_another_architecture() -> None:
    hashes = {from_published({**SMALL, **changes}).content_hash for changes in VARIANTS.values()}
    assert len(hashes) == len(VARIANTS)


@pytest.mark.parametrize(
    ("name", "triplets_only", "direct"),
    [
        ("gemnet-q", False, False),
        ("gemnet-dq", False, True),
        ("gemnet-2021-t", True, False),
        ("gemnet-2021-dt", True, True),
    ],
)
def test_the_paper_configs(name: str, triplets_only: bool, direct: bool) -> None:
    published = {**PUBLISHED, "triplets_only": triplets_only, "direct_forces": direct}
    assert from_published(published).content_hash == load_spec(CONFIGS / f"{name}.yaml").content_hash


def test_the_architecture() -> None:
    spec = from_published(SMALL)
    assert spec.elements == 93
    assert {name: (rule.cutoff, rule.max_neighbors, rule.within) for name, rule in spec.graphs.items()} == {
        "main": (5.0, None, None),
        "quad": (10.0, None, None),
    }
    assert not spec.neighbors.periodic
    assert spec.bases.angular_radial is not None
    assert spec.bases.angular_radial.model_dump() == {"type": "fourier_bessel", "count": 3, "zeros": "float32"}
    assert (spec.blocks.atom, spec.blocks.update_projection) == (0, "always")
    assert spec.readout.model_dump()["type"] == "summed_product"


def test_arguments_are_those_of_the_facade() -> None:
    signature = inspect.signature(GemNet2021).parameters
    required = [name for name, one in signature.items() if one.default is inspect.Parameter.empty]
    assert required == [*REQUIRED, "kwargs"]
    assert {name: signature[name].default for name in DEFAULTS} == dict(DEFAULTS)
    assert set(signature) - {*REQUIRED, *DEFAULTS} == {"num_targets", "scale_file", "name", "kwargs"}


def test_arguments_that_do_not_matter() -> None:
    expected = from_published(SMALL).content_hash
    assert from_published({**SMALL, "scale_file": "f.json", "name": "gemnet", "anything": 3}).content_hash == expected
    missing = {name: value for name, value in SMALL.items() if name not in ("num_atom", "emb_size_rbf")}
    assert error_of(from_published, missing) == "missing arguments: emb_size_rbf, num_atom"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"elements": 90}, "elements"),
        ({"bases.angular_radial.zeros": "exact"}, "bases.angular_radial.zeros"),
        ({"bases.radial": {"type": "gaussian", "count": 3}}, "bases.radial.type"),
        ({"graphs.main.max_neighbors": 9}, "graphs.main.max_neighbors"),
        ({"neighbors.periodic": True}, "neighbors.periodic"),
        ({"interactions.triplet": None}, "interactions.triplet.down"),
        ({"bases.spherical.count": 5}, "bases.spherical.count"),
    ],
)
def test_specs_that_published_arguments_cannot_say(changes: dict[str, Any], field: str) -> None:
    message = error_of(to_published, from_published(SMALL).patch(changes))
    assert "published arguments cannot describe this spec" in message
    assert field in message


def test_other_models_do_not_have_the_basis() -> None:
    spec = load_spec("gemnet-oc").patch({"bases.angular_radial": {"type": "fourier_bessel", "count": 3}})
    assert "rbf_spherical['name']='fourier_bessel' is a basis of specs" in error_of(to_published, spec)
