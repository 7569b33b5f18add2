from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from helpers import set_random_scales, small_spec
from torch import Tensor, nn

from gemnet_blocks import GemNetOC, GemNetOCBackbone, GemNetOCEnergyAndGradForceHead, GemNetOCForceHead
from gemnet_blocks.checkpoints import fairchem_state, load_fairchem_state
from gemnet_blocks.errors import StateError
from gemnet_blocks.layers.projection import RadialAngularProjection
from gemnet_blocks.spec import build
from gemnet_blocks.spec.published import from_published, to_published

SCALED = {"bases.scale": True, "bases.radial": {"type": "spherical_bessel", "count": 6}}


def model(seed: int = 0, **changes: Any) -> nn.Module:
    built = build(small_spec(**changes), seed=seed)
    set_random_scales(built)
    return built


def arguments(**changes: Any) -> dict[str, Any]:
    return to_published(small_spec(graphs__atom__max_neighbors=20)) | changes


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def refused(module: nn.Module, state: Mapping[str, Tensor], **options: Any) -> str:
    """What the error says; checks that nothing was changed."""
    before = weights(module)
    with pytest.raises(StateError) as caught:
        load_fairchem_state(module, state, **options)
    assert same(weights(module), before)
    return str(caught.value)


VARIANTS: dict[str, Callable[[int], nn.Module]] = {
    "spec, direct forces": lambda seed: model(seed),
    "spec, gradient forces": lambda seed: model(seed, heads__forces={"type": "gradient"}),
    "scaled bases": lambda seed: model(seed, **{name.replace(".", "__"): value for name, value in SCALED.items()}),
    "no interactions with atoms": lambda seed: model(
        seed, interactions__atom_edge=None, interactions__edge_atom=None, interactions__atom_atom=None
    ),
    "façade": lambda seed: _seeded(lambda: GemNetOC(**arguments()), seed),
    "backbone": lambda seed: _seeded(lambda: GemNetOCBackbone(**arguments()), seed),
    "energy head": lambda seed: _seeded(
        lambda: GemNetOCEnergyAndGradForceHead(GemNetOCBackbone(**arguments()), 2), seed
    ),
    "force head": lambda seed: _seeded(lambda: GemNetOCForceHead(GemNetOCBackbone(**arguments()), 2), seed),
}


def _seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    module = make()
    set_random_scales(module)
    return module


@pytest.mark.parametrize("variant", VARIANTS)
def test_round_trip(variant: str) -> None:
    one, other = VARIANTS[variant](1), VARIANTS[variant](2)
    assert not same(weights(one), weights(other))
    report = load_fairchem_state(other, fairchem_state(one))
    assert report.complete
    assert same(weights(one), weights(other))
    assert set(report.loaded) == set(fairchem_state(one))


def test_the_state_is_a_copy() -> None:
    one = model()
    before = weights(one)
    for value in fairchem_state(one).values():
        value.fill_(7)
    assert same(weights(one), before)


@pytest.mark.parametrize(
    "prefix",
    ["module.", "backbone.", "module.module.", "module.backbone.", "backbone.module.", "module.module.module."],
)
def test_prefixes_are_removed(prefix: str) -> None:
    one, other = model(1), model(2)
    load_fairchem_state(other, {prefix + name: value for name, value in fairchem_state(one).items()})
    assert same(weights(one), weights(other))


def test_a_backbone_with_heads_is_one_model() -> None:
    """Checkpoints of a backbone and heads prefix each part of a model."""
    one, other = model(1), model(2)
    heads = {"out_mlp_E": "energy", "out_energy": "energy", "out_mlp_F": "forces", "out_forces": "forces"}
    state = {}
    for name, value in fairchem_state(one).items():
        head = heads.get(name.split(".")[0])
        state[f"module.output_heads.{head}.{name}" if head else f"module.backbone.{name}"] = value
    load_fairchem_state(other, state)
    assert same(weights(one), weights(other))


def test_a_name_twice_is_refused() -> None:
    state = fairchem_state(model())
    state["module.out_energy.linear.weight"] = state["out_energy.linear.weight"]
    message = refused(model(), state)
    assert "twice" in message
    assert "module.out_energy.linear.weight" in message
    assert ", out_energy" in message or ": out_energy" in message


def test_missing_and_unexpected_keys_are_listed_exactly() -> None:
    state = fairchem_state(model())
    for name in ("atom_emb.embeddings.weight", "int_blocks.1.atom_update.scale_sum.scale_factor"):
        del state[name]
    state["int_blocks.2.dense_ca.linear.weight"] = torch.zeros(1)
    message = refused(model(), state)
    assert message.endswith(
        "2 missing: atom_emb.embeddings.weight, int_blocks.1.atom_update.scale_sum.scale_factor; "
        "1 unexpected: int_blocks.2.dense_ca.linear.weight"
    )


def test_not_strict_reports_and_loads_the_rest() -> None:
    one, other = model(1), model(2)
    state = fairchem_state(one)
    left_out = other.get_parameter("trunk.atom_embedding.table.weight").detach().clone()
    del state["atom_emb.embeddings.weight"]
    state["extra"] = torch.zeros(3)
    report = load_fairchem_state(other, state, strict=False)
    assert report.missing == ("atom_emb.embeddings.weight",)
    assert report.unexpected == ("extra",)
    assert report.wrong_shape == ()
    assert not report.complete
    assert "1 missing: atom_emb.embeddings.weight; 1 unexpected: extra" in str(report)
    assert torch.equal(other.get_parameter("trunk.atom_embedding.table.weight"), left_out)
    loaded = "trunk.edge_embedding.dense.linear.weight"
    assert torch.equal(other.get_parameter(loaded), one.get_parameter(loaded))


@pytest.mark.parametrize("strict", [True, False])
def test_wrong_shapes_are_listed_and_always_refused(strict: bool) -> None:
    state = fairchem_state(model())
    shape = tuple(state["out_energy.linear.weight"].shape)
    state["out_energy.linear.weight"] = torch.zeros(2, 5)
    message = refused(model(), state, strict=strict)
    assert f"1 of the wrong shape: out_energy.linear.weight (expected {shape}, found (2, 5))" in message


def test_a_transposed_projection_is_of_the_wrong_shape() -> None:
    """Projections are stored as (radial, angular, size), which is not how they are used."""
    state = fairchem_state(model())
    radial, angular, size = state["mlp_sbf_qint.weight"].shape
    assert angular != size
    state["mlp_sbf_qint.weight"] = state["mlp_sbf_qint.weight"].transpose(1, 2)
    message = refused(model(), state)
    assert f"mlp_sbf_qint.weight (expected {(radial, angular, size)}, found {(radial, size, angular)})" in message


def test_a_projection_is_reshaped_not_transposed() -> None:
    one = model()
    state = fairchem_state(one)
    part = one.get_submodule("trunk.geometry.interactions.triplet.triplet_sum.projection")
    assert isinstance(part, RadialAngularProjection)
    assert torch.equal(state["mlp_cbf_tint.weight"].flatten(), part.weight.detach().flatten())


# -- one weight under several names -----------------------------------------------------------------------------------


def test_aliases_are_written_and_any_of_them_is_enough() -> None:
    one, other = model(1), model(2)
    state = fairchem_state(one)
    aliases = [name for name in state if ".seq_energy_pre." in name]
    assert aliases
    for name in aliases:
        original = name.replace("seq_energy_pre", "layers")
        assert torch.equal(state[name], state[original])
        del state[original]
    load_fairchem_state(other, state)
    assert same(weights(one), weights(other))


def test_the_shared_radial_basis_has_a_name_per_interaction() -> None:
    changes = {"bases__scale": True}
    names = {name for name in fairchem_state(model(**changes)) if name.endswith("radial_basis.scale_rbf.scale_factor")}
    assert names == {
        f"{name}.scale_rbf.scale_factor"
        for name in (
            "radial_basis",
            "cbf_basis_tint.radial_basis",
            "cbf_basis_aeint.radial_basis",
            "cbf_basis_eaint.radial_basis",
            "cbf_basis_qint.radial_basis",
            "sbf_basis_qint.radial_basis",
        )
    }
    without = fairchem_state(model(**changes, interactions__quadruplet=None, interactions__atom_edge=None))
    assert not [name for name in without if "qint" in name or "aeint" in name]


def test_aliases_that_differ_are_refused() -> None:
    state = fairchem_state(model())
    name = next(name for name in state if ".seq_energy_pre." in name)
    state[name] = state[name] + 1
    message = refused(model(), state)
    assert name in message
    assert "which is the same weight" in message


def test_the_unused_basis_of_edge_atom_without_atom_edge() -> None:
    changes = {"interactions__atom_edge": None, "bases__scale": True}
    one, other = model(1, **changes), model(2, **changes)
    state = fairchem_state(one)
    unused = [name for name in state if name.startswith("radial_basis_aeaint.")]
    assert sorted(name.removeprefix("radial_basis_aeaint.") for name in unused) == sorted(
        name.removeprefix("radial_basis.") for name in state if name.startswith("radial_basis.")
    )
    for name in unused:  # whatever is stored there
        state[name] = torch.zeros(17)
    load_fairchem_state(other, state)
    assert same(weights(one), weights(other))
    for name in unused:
        del state[name]
    assert load_fairchem_state(other, state).complete
    # with atom–edge interactions it is used
    assert "radial_basis_aeaint.rbf.offset" in refused(
        model(), {name: value for name, value in fairchem_state(model()).items() if "aeaint.rbf" not in name}
    )


def test_weights_without_a_published_name_are_refused() -> None:
    spec = small_spec().patch({"interactions": {"triplet": None, "second": {"type": "triplet", "down": 4, "up": 4}}})
    for function in (fairchem_state, lambda module: load_fairchem_state(module, {})):
        with pytest.raises(StateError, match=r"do not have the weights .*interactions\.second\."):
            function(build(spec))


def test_precision_is_the_models() -> None:
    one = model(1)
    state = {name: value.double() for name, value in fairchem_state(one).items()}
    other = model(2)
    load_fairchem_state(other, state)
    assert {value.dtype for value in other.parameters()} == {torch.float32}
    assert same(weights(one), weights(other))


def test_facade_and_spec_have_the_same_names() -> None:
    facade = GemNetOC(**arguments())
    assert fairchem_state(facade).keys() == fairchem_state(build(from_published(arguments()))).keys()
