"""Weights of GemNet-Q and GemNet-T of 2021 under their published names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import set_random_scales
from torch import Tensor

from gemnet_blocks import GemNet2021
from gemnet_blocks.checkpoints import convert_checkpoint, fairchem_state, load_fairchem_state
from gemnet_blocks.checkpoints.checkpoint_file import checkpoint_of
from gemnet_blocks.checkpoints.fairchem import energy_weights
from gemnet_blocks.errors import SpecError, StateError
from gemnet_blocks.spec import build, load_spec

ARGUMENTS: dict[str, Any] = {
    **{"num_spherical": 3, "num_radial": 2, "num_blocks": 1, "emb_size_atom": 4, "emb_size_edge": 5},
    **{"emb_size_trip": 3, "emb_size_quad": 2, "emb_size_rbf": 2, "emb_size_cbf": 4, "emb_size_sbf": 6},
    **{"emb_size_bil_quad": 8, "emb_size_bil_trip": 7, "num_before_skip": 1, "num_after_skip": 1},
    **{"num_concat": 1, "num_atom": 1, "triplets_only": False, "direct_forces": True},
}


def facade(**changes: Any) -> GemNet2021:
    model = GemNet2021(**{**ARGUMENTS, **changes})
    set_random_scales(model)
    return model


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("changes", [{}, {"direct_forces": False}, {"triplets_only": True}], ids=str)
def test_round_trip(changes: dict[str, Any]) -> None:
    one, other = facade(**changes), facade(**changes)
    state = fairchem_state(one)
    assert load_fairchem_state(other, state).complete
    assert same(one, other)
    # the model of the spec has the same weights as the façade, and a training checkpoint contains them
    assert load_fairchem_state(build(one.spec), {"model": state, "step": 3}).complete  # type: ignore[dict-item]


def test_one_name_of_each_weight_suffices_and_all_must_agree() -> None:
    one = facade()
    state = fairchem_state(one)
    once = {name: value for name, value in state.items() if ".seq_energy." not in name}
    short = {name: value for name, value in once.items() if not name.endswith(".linear.weight")}
    long = {name: value for name, value in once.items() if f"{name.removesuffix('.weight')}.linear.weight" not in once}
    for some in (short, long):
        assert len(some) < len(once) < len(state)
        other = facade()
        assert load_fairchem_state(other, some).complete
        assert same(one, other)
    for name in ("mlp_cbf4.weight", "out_blocks.1.seq_energy.1.dense_mlp.0.linear.weight"):
        with pytest.raises(StateError, match="which is the same weight"):
            load_fairchem_state(facade(), {**state, name: state[name] + 1})
    with pytest.raises(StateError, match=r"missing: mlp_sbf4\.weight"):
        load_fairchem_state(facade(), {name: value for name, value in state.items() if name != "mlp_sbf4.weight"})


def test_how_weights_are_stored() -> None:
    model = facade()
    state = fairchem_state(model)
    shared = model.backbone.geometry.interactions
    ours = {
        name: shared.get_submodule(path).weight
        for name, path in (
            ("3", "triplet.triplet_sum.projection"),
            ("4", "quadruplet.circular_projection"),
            ("s", "quadruplet.spherical_projection"),
        )
    }
    n, k = 1, 3
    assert isinstance(ours["s"], Tensor)
    assert torch.equal(state["mlp_cbf3.weight"][2, n], ours["3"][n, :, 2])  # (L, N, emb)
    assert torch.equal(state["mlp_sbf4.weight"][7, n], ours["s"][n, :, 7])  # (L², N, emb)
    for degree, sign in enumerate((1, -1, 1)):  # φ_abd is π minus the published angle
        assert torch.equal(state["mlp_cbf4.weight"][k, 2 * degree + n], sign * ours["4"][n, k, degree])
    assert state["mlp_cbf4.weight"].shape == (4, 6)
    bilinear = state["int_blocks.0.quad_interaction.mlp_sbf.weight"]
    assert bilinear.shape == (2, 6, 8)  # (features in, k, features out)
    linear = model.backbone.blocks[0].get_submodule("interactions.quadruplet.contraction.linear").weight
    x = torch.randn(6, 2)  # (k, f)
    assert isinstance(linear, Tensor)
    assert torch.allclose(linear @ x.flatten(), torch.einsum("kf,fko->o", x, bilinear), atol=1e-6)
    assert all(value.is_contiguous() for value in state.values())
    assert len(energy_weights(model)) == 2


def test_factors_that_are_not_fitted_are_stored_as_one() -> None:
    model = GemNet2021(**ARGUMENTS)
    factors = [value for name, value in fairchem_state(model).items() if name.endswith("scale_factor")]
    assert len(factors) == 10
    assert all(value == 1 for value in factors)


def test_conversion_of_checkpoints() -> None:
    one = facade()
    for content in (fairchem_state(one), {"model": fairchem_state(one), "step": 7}):
        found = convert_checkpoint(checkpoint_of(content), {"model": {"name": "gemnet", **ARGUMENTS}}, "total")
        assert found.keys.complete
        assert same(found.potential.model, one.model)
    with pytest.raises(SpecError, match="with triplets_only"):
        convert_checkpoint(checkpoint_of(fairchem_state(one)), {"model": {"name": "gemnet"}}, "total")


def test_other_models_do_not_have_these_weights() -> None:
    spec = load_spec("gemnet-2021-dt").patch({"readout.type": "summed"})
    with torch.device("meta"):
        model = build(spec)
    with pytest.raises(StateError, match=r"published models do not have the weights .*edge_radial"):
        fairchem_state(model)
