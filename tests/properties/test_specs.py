"""Random valid patches of the base spec: each builds, and survives YAML, files and hashing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec import Spec, build, load_spec
from gemnet_blocks.spec.document import dump

BASE = load_spec(
    Path(__file__).parents[2] / "paper_configs" / "gemnet-oc.yaml",
    {
        "sizes": {"atom": 6, "edge": 8, "radial": 3, "circular": 3, "spherical": 4},
        "bases": {"radial": {"count": 4}, "circular": {"count": 3}, "spherical": {"count": 2}},
        "blocks": {"count": 1, "before_skip": 1, "after_skip": 1, "concatenation": 1, "update": 1, "atom": 1},
        "interactions": {
            name: {"down": 4, "up": 4} for name in ("triplet", "quadruplet", "atom_edge", "edge_atom", "atom_atom")
        },
        "read_out": {"layers": 1, "after_atom": 1, "network": 1},
    },
)

sizes, counts, cutoffs = st.integers(1, 9), st.integers(0, 2), st.floats(0.1, 20) | st.integers(1, 20)
caps = st.none() | st.integers(0, 50)


def part(*types: str, **fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"type": st.sampled_from(types), "count": st.integers(2, 5)}, optional=fields)


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "elements": st.integers(1, 118),
    "activation": st.sampled_from(["silu", "siqu", "identity"]),
    **{f"sizes.{name}": sizes for name in ("atom", "edge", "radial", "circular", "spherical")},
    "neighbors.ties": st.sampled_from(["strict", "inclusive", "inclusive_next"]),
    "neighbors.tie_tolerance": st.floats(0, 1),
    "neighbors.periodic": st.booleans(),
    **{f"graphs.{name}.cutoff": cutoffs for name in ("atom", "main", "atom_edge", "quad")},
    **{f"graphs.{name}.max_neighbors": caps for name in ("atom", "main", "atom_edge", "quad")},
    "graphs.quad.tags": st.none() | st.lists(st.integers(0, 3), max_size=3),
    "graphs.main.within": st.sampled_from([None, "atom"]),
    "graphs.main.symmetrize": st.sampled_from([None, "lower_index", "union"]),
    "graphs.unused": st.fixed_dictionaries({"cutoff": cutoffs}),
    "bases.radial": part("gaussian", "spherical_bessel", "bernstein"),
    "bases.angular_radial": st.none() | part("gaussian", "spherical_bessel", "bernstein"),
    "bases.envelope": st.sampled_from(
        [{"type": "exponential"}, {"exponent": 3}, {"type": "polynomial", "exponent": 7}]
    ),
    "bases.circular": part("legendre", "gaussian"),
    "bases.spherical": part("legendre_outer", "gaussian_outer", "real_harmonics"),
    "bases.scale": st.booleans(),
    **{f"blocks.{name}": counts for name in ("count", "before_skip", "after_skip", "concatenation", "update", "atom")},
    **{f"interactions.{name}": st.none() for name in ("triplet", "quadruplet", "atom_atom")},
    **{f"interactions.{name}.down": sizes for name in ("atom_edge", "edge_atom")},
    "interactions.again": st.fixed_dictionaries(
        {"type": st.sampled_from(["atom_atom", "quadruplet", "atom_edge"]), "down": sizes, "up": sizes},
        optional={"graph": st.sampled_from(["atom", "main", "quad"])},
    ),
    **{f"read_out.{name}": counts for name in ("layers", "after_atom", "network")},
    "read_out.initialization": st.sampled_from(["he_orthogonal", "zeros", "grid", "loggrid"]),
    "heads.energy.reduce": st.sampled_from(["sum", "mean"]),
    "heads.forces": st.sampled_from([None, {"type": "direct", "coupled": True}, {"type": "gradient"}]),
}
patches = st.fixed_dictionaries({}, optional=VALUES)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(patches)
def test_yaml_round_trip(patch: dict[str, Any]) -> None:
    spec = BASE.patch(patch)
    again = Spec.from_yaml(spec.to_yaml())
    assert again == spec
    assert again.content_hash == spec.content_hash
    assert again.to_yaml() == spec.to_yaml()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(patches, st.randoms(use_true_random=False))
def test_the_order_of_changes_does_not_matter(patch: dict[str, Any], random: Any) -> None:
    shuffled = list(patch.items())
    random.shuffle(shuffled)
    spec = BASE.patch(patch)
    assert BASE.patch(dict(shuffled)) == spec
    assert spec.patch({}) == spec
    assert spec.patch(spec.to_dict()) == spec


@settings(max_examples=20, deadline=None, derandomize=True)
@given(patches)
def test_what_is_valid_builds(patch: dict[str, Any]) -> None:
    spec = BASE.patch(patch)
    one, other = build(spec, seed=0), build(Spec.from_yaml(spec.to_yaml()), seed=0)
    states = one.state_dict(), other.state_dict()
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(patches, patches)
def test_equal_hashes_mean_equal_models(first: dict[str, Any], second: dict[str, Any]) -> None:
    one, other = BASE.patch(first), BASE.patch(second)
    used = [
        (spec.to_dict()["interactions"], [spec.graphs[name].cutoff for name in sorted(spec.graphs_in_use())])
        for spec in (one, other)
    ]
    assert (one.content_hash != other.content_hash) or used[0] == used[1]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("type"), inner, max_size=3)
    ),
    max_leaves=6,
)
places = st.sampled_from([*VALUES, "graphs", "graphs.new", "interactions", "interactions.new", "heads", "bases", "x"])


def spec_or_error(read: Callable[[Any], Spec], data: Any) -> Spec | SpecError:
    try:
        return read(data)
    except SpecError as error:
        return error


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.dictionaries(places, anything, min_size=1, max_size=4))
def test_any_patch_makes_a_spec_or_a_spec_error(patch: dict[str, Any]) -> None:
    result = spec_or_error(BASE.patch, patch)
    if isinstance(result, Spec):
        assert Spec.from_yaml(result.to_yaml()) == result
    else:
        assert "patch: " in str(result)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text(max_size=40) | anything.map(lambda value: dump({"interactions": value})))
def test_any_text_makes_a_spec_or_a_spec_error(text: str) -> None:
    assert str(spec_or_error(Spec.from_yaml, text)).startswith("spec")
