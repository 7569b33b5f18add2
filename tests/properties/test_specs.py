"""Random valid patches of the base spec: each builds, and survives YAML, files and hashing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from ase.build import molecule as ase_molecule
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from properties.models import moderate

from gemnet_blocks.errors import SpecError
from gemnet_blocks.model.summary import layers, parameter_count
from gemnet_blocks.plotting import draw_architecture
from gemnet_blocks.spec import Spec, build
from gemnet_blocks.spec.document import dump
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import strategies as some

BASE = some.small_spec()
PLACES = ("sizes.atom", "neighbors.ties", "graphs.quad.tags", "bases.radial", "bases.collinear", "heads.forces")

patches = some.spec_patches(max_cutoff=20, min_elements=1)


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


@settings(max_examples=6, deadline=None, derandomize=True, phases=[Phase.generate])  # shrinking estimates takes minutes
@given(some.further_specs())
def test_further_parts_are_read_drawn_estimated_and_trained(spec: Spec) -> None:
    again = Spec.from_yaml(spec.to_yaml())
    assert again == spec.patch({})
    assert again.content_hash == spec.content_hash
    assert b"<svg" in draw_architecture(spec).content("svg")
    model, structures = build(moderate(spec), seed=0), Structures.from_ase(ase_molecule("CH3OH", tags=[2] * 6))
    assert sum(layer.parameters for layer in layers(model)) == parameter_count(model)
    assert model.estimate(structures, "train").peak_bytes > 0
    prediction = model(structures)
    values = (prediction.energy, prediction.forces, prediction.stress, *prediction.properties.values())
    torch.stack([value.square().mean() for value in values if value is not None]).sum().backward()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    optimizer.step()
    assert model(structures).energy.isfinite().all()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("type"), inner, max_size=3)
    ),
    max_leaves=6,
)
places = st.sampled_from((*PLACES, "graphs", "graphs.new", "interactions", "interactions.new", "heads", "bases", "x"))


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


@settings(max_examples=60, deadline=None, derandomize=True)
@given(some.broken_specs())
def test_a_mistake_is_named_with_its_place(broken: some.BrokenSpec) -> None:
    result = spec_or_error(Spec.from_yaml, dump(broken.document))
    assert isinstance(result, SpecError)
    assert broken.path in str(result)
