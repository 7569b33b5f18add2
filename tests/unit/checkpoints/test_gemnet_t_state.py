"""Weights and scale factors of GemNet-T under their published names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import ROOT, set_random_scales
from torch import Tensor, nn

from gemnet_blocks import GemNetT
from gemnet_blocks.checkpoints import fairchem_state, load_fairchem_state, load_scales
from gemnet_blocks.checkpoints.checkpoint_file import read_checkpoint
from gemnet_blocks.checkpoints.convert import convert_checkpoint
from gemnet_blocks.checkpoints.fairchem import energy_weights, trained_keys
from gemnet_blocks.errors import StateError
from gemnet_blocks.spec import build
from gemnet_blocks.structures import Structures

ARGUMENTS: dict[str, Any] = {
    **{"num_spherical": 3, "num_radial": 6, "num_blocks": 2, "emb_size_atom": 8, "emb_size_edge": 8},
    **{"emb_size_trip": 5, "emb_size_rbf": 4, "emb_size_cbf": 3, "emb_size_bil_trip": 7},
    **{"num_before_skip": 1, "num_after_skip": 2, "num_concat": 1, "num_atom": 1},
}
OLDER_NAMES = {
    **{f"int_blocks.{i}.trip_interaction.scale_rbf": f"TripInteraction_{i + 1}_had_rbf" for i in range(2)},
    **{f"int_blocks.{i}.trip_interaction.scale_cbf_sum": f"TripInteraction_{i + 1}_sum_cbf" for i in range(2)},
    **{f"int_blocks.{i}.atom_update.scale_sum": f"AtomUpdate_{i + 1}_sum" for i in range(2)},
    **{f"out_blocks.{i}.scale_sum": f"OutBlock_{i}_sum" for i in range(3)},
    **{f"out_blocks.{i}.scale_rbf_F": f"OutBlock_{i}_had" for i in range(3)},
}


def facade(direct: bool = True, **changes: Any) -> GemNetT:
    model = GemNetT(**{**ARGUMENTS, "direct_forces": direct, **changes})
    set_random_scales(model)
    return model


def scales(module: nn.Module) -> dict[str, float]:
    suffix = ".scale_factor"
    return {
        name.removesuffix(suffix): float(value)
        for name, value in fairchem_state(module).items()
        if name.endswith(suffix)
    }


@pytest.mark.parametrize("rbf", ["gaussian", "spherical_bessel", "bernstein"])
@pytest.mark.parametrize("direct", [True, False])
def test_round_trip(direct: bool, rbf: str) -> None:
    one, other = (facade(direct, rbf={"name": rbf}) for _ in range(2))
    state = fairchem_state(one)
    for prefixed in (state, {f"module.{name}": value for name, value in state.items()}):
        assert load_fairchem_state(other, prefixed).complete
    ours, theirs = one.state_dict(), other.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    # the model of the spec has the same weights as the façade
    assert load_fairchem_state(build(one.spec), state).complete


def test_how_weights_are_stored() -> None:
    model = facade()
    state = fairchem_state(model)
    projection = state["mlp_cbf3.weight"]
    assert projection.shape == (3, 6, 3)  # (L, N, emb)
    ours = model.trunk.geometry.interactions["triplet"].get_submodule("triplet_sum.projection").weight
    assert isinstance(ours, Tensor)
    assert torch.equal(ours, projection.permute(1, 2, 0))
    bilinear = state["int_blocks.0.trip_interaction.mlp_cbf.weight"]
    assert bilinear.shape == (5, 3, 7)  # (features in, k, features out)
    linear = model.trunk.blocks[0].get_submodule("interactions.triplet.contraction.linear").weight
    assert isinstance(linear, Tensor)
    x = torch.randn(3, 5)  # (k, f)
    assert torch.allclose(linear @ x.flatten(), torch.einsum("kf,fko->o", x, bilinear), atol=1e-6)
    assert all(value.is_contiguous() for value in state.values())


def test_names_that_stand_for_one_weight() -> None:
    model = facade()
    state = fairchem_state(model)
    aliases = [name for name in state if ".seq_energy." in name]
    assert aliases
    assert all(torch.equal(state[name], state[name.replace("seq_energy", "layers")]) for name in aliases)
    assert not any("tint" in name or "bilinear" in name or "seq_energy_pre" in name for name in state)
    groups = trained_keys(model, state)
    assert sum(len(group) for group in groups) == len(state) - sum(
        "scale" in name or "offset" in name for name in state
    )


def test_weights_of_another_shape_are_refused() -> None:
    model = facade()
    state = fairchem_state(model)
    state["mlp_cbf3.weight"] = state["mlp_cbf3.weight"].permute(1, 0, 2).contiguous()
    with pytest.raises(StateError, match=r"mlp_cbf3\.weight \(expected \(3, 6, 3\), found \(6, 3, 3\)\)"):
        load_fairchem_state(model, state)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"blocks.atom": 1}, "trunk.blocks.0.atom_layers"),
        ({"bases.scale": True}, "trunk.geometry.bases.radial.main.scale.factor"),
        (
            {"graphs.atom": {"cutoff": 6.0}, "interactions.atom_atom": {"graph": "atom", "down": 3, "up": 3}},
            "interactions.atom_atom.radial.weight",
        ),
    ],
)
def test_parts_beyond_the_published_model_have_no_name(changes: dict[str, Any], name: str) -> None:
    with pytest.raises(StateError, match="published models do not have the weights") as caught:
        fairchem_state(build(facade().spec.patch(changes)))
    assert name in str(caught.value)


def test_the_weights_that_energies_are_linear_in() -> None:
    model = facade()
    ours = [model.trunk.output_blocks[i].get_submodule("atoms.linear").weight for i in range(3)]
    assert [id(weight) for weight in energy_weights(model)] == [id(weight) for weight in ours]


# -- scale factors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direct", [True, False])
def test_scale_files_with_older_names(tmp_path: Path, direct: bool) -> None:
    """Blocks are counted from 1, output blocks from 0; there is a comment."""
    names = {new: old for new, old in OLDER_NAMES.items() if direct or not old.endswith("_had")}
    values = {old: 1.0 + index for index, old in enumerate(names.values())}
    path = tmp_path / "scales.json"
    path.write_text(json.dumps({"comment": "GemNet-T", **values}), encoding="utf-8")
    model = GemNetT(**ARGUMENTS, direct_forces=direct, scale_file=path)
    assert scales(model) == {new: values[old] for new, old in names.items()}


def test_scale_files_with_newer_names() -> None:
    model, values = facade(), {name: 1.0 + index for index, name in enumerate(OLDER_NAMES)}
    load_scales(model, values)
    assert scales(model) == values


def test_missing_scale_factors_are_listed() -> None:
    values = {old: 2.0 for old in OLDER_NAMES.values() if old != "AtomUpdate_2_sum"}
    with pytest.raises(StateError, match=r"lacks 1 factors of the model: int_blocks\.1\.atom_update\.scale_sum"):
        load_scales(facade(), values)


def test_comments_are_the_only_text_in_a_scale_file() -> None:
    values: dict[str, Any] = dict.fromkeys(OLDER_NAMES.values(), 2.0)
    load_scales(facade(), {**values, "comment": None})
    with pytest.raises(StateError, match="scale factors: remark must be a single number"):
        load_scales(facade(), {**values, "remark": "fitted"})


def test_a_checkpoint_is_converted_with_its_normalisers() -> None:
    folder = ROOT / "tests" / "parity"
    atoms = np.load(folder / "fixtures" / "gemnet_dt_equal_widths.npz")
    recorded = np.load(folder / "checkpoints" / "gemnet_t_predictions.npz")
    checkpoint = read_checkpoint(folder / "checkpoints" / "gemnet_t.pt")
    conversion = convert_checkpoint(checkpoint, None, "total", dtype=torch.float64)
    assert conversion.keys.complete
    numbers = torch.tensor(atoms["atoms/numbers"]).long()
    prediction = conversion.potential(
        Structures(
            positions=torch.tensor(atoms["atoms/positions"]),
            numbers=numbers,
            structure=torch.tensor(atoms["atoms/structure"]).long(),
            cells=torch.tensor(atoms["atoms/cell"]),
            periodic=torch.tensor(atoms["atoms/pbc"]),
            tags=torch.tensor(atoms["atoms/tags"]).long(),
            fixed=torch.zeros_like(numbers, dtype=torch.bool),
        )
    )
    np.testing.assert_allclose(prediction.energy.detach().numpy(), recorded["energy"], 1e-9, 1e-9)
    np.testing.assert_allclose(prediction.forces.detach().numpy(), recorded["forces"], 1e-9, 1e-9)
