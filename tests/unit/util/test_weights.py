"""Weights survive inference mode, and are read from the states of wrapped models."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from helpers import GRADIENT_FORCES, molecule, small_spec
from potentials import REFERENCES
from torch import nn

from gemnet_blocks import GemNetOC, GemNetOCBackbone, GemNetOCEnergyAndGradForceHead, GemNetT, Structures
from gemnet_blocks.calculator import GemNetCalculator
from gemnet_blocks.checkpoints import fairchem_state, load_fairchem_state
from gemnet_blocks.checkpoints.checkpoint_file import checkpoint_of
from gemnet_blocks.checkpoints.convert import convert_checkpoint
from gemnet_blocks.errors import StateError
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.scale_fitting import fit_scales
from gemnet_blocks.potential import Potential
from gemnet_blocks.spec import Spec, build
from gemnet_blocks.spec.published import to_published
from gemnet_blocks.util.weights import without_wrappers


def spec() -> Spec:
    return small_spec(blocks__count=1, graphs__atom__max_neighbors=20, **GRADIENT_FORCES)


def structures() -> Structures:
    return Structures.from_ase(molecule(4))


def potential() -> Potential:
    return Potential(build(spec(), seed=0), spec(), REFERENCES)


def converted() -> Potential:
    checkpoint = checkpoint_of({"state_dict": fairchem_state(build(spec(), seed=0))})
    return convert_checkpoint(checkpoint, to_published(spec()), "total").potential


def calculated() -> Potential:
    atoms = molecule(4)
    atoms.calc = GemNetCalculator(potential(), dtype=torch.float64)
    atoms.get_forces()
    return atoms.calc.potential


def fitted() -> nn.Module:
    model = build(spec(), seed=0)
    fit_scales(model, [structures()])
    return model


def published() -> GemNetOC:
    return GemNetOC(**to_published(spec()))


def unpickled() -> Potential:
    return pickle.loads(pickle.dumps(potential()))


def loaded_as_a_whole() -> Potential:
    buffer = io.BytesIO()
    torch.save(potential(), buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def assigned() -> GemNet:
    model, weights = build(spec(), seed=0), build(spec(), seed=1).state_dict()
    model.load_state_dict({name: value.clone() for name, value in weights.items()}, assign=True)
    return model


def gemnet_t() -> GemNetT:
    sizes = ("atom", "edge", "trip", "rbf", "cbf", "bil_trip")
    layers = ("before_skip", "after_skip", "concat", "atom", "blocks")
    return GemNetT(
        num_spherical=2, num_radial=3, **{f"emb_size_{s}": 3 for s in sizes}, **{f"num_{n}": 1 for n in layers}
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: build(spec(), seed=0),
        lambda: build(small_spec(blocks__count=1), seed=0).double(),
        lambda: potential().to(dtype=torch.float64),
        lambda: copy.deepcopy(potential()),
        published,
        gemnet_t,
        converted,
        calculated,
        fitted,
        unpickled,
        loaded_as_a_whole,
        assigned,
        lambda: pickle.loads(pickle.dumps(published())),
    ],
    ids=[
        "build",
        "to a type",
        "potential",
        "copy",
        "GemNetOC",
        "GemNetT",
        "converted",
        "calculator",
        "scales",
        "unpickled",
        "loaded as a whole",
        "assigned",
        "GemNetOC unpickled",
    ],
)
def test_a_model_made_in_inference_mode_can_be_trained(make: Callable[[], nn.Module]) -> None:
    with torch.inference_mode():
        model = make()
    found = model(structures())
    energy, forces = (found["energy"], found["forces"]) if isinstance(found, dict) else (found.energy, found.forces)
    (energy.sum() + forces.square().sum()).backward()
    assert any(weight.grad is not None for weight in model.parameters())
    with torch.no_grad():
        next(model.parameters()).add_(1.0)


def test_heads_have_gradient_forces_in_inference_mode() -> None:
    with torch.inference_mode():
        backbone = GemNetOCBackbone(**to_published(spec()))
        head = GemNetOCEnergyAndGradForceHead(backbone, 1)
    given = structures()
    embeddings = backbone(given)
    expected = head(given, backbone(given))["forces"]
    with torch.inference_mode():
        assert torch.allclose(head(given, embeddings)["forces"], expected)
    assert expected.any()
    expected.square().sum().backward()
    assert head.out_energy.linear.weight.grad is not None


def test_neighbors_found_in_inference_mode_serve_training() -> None:
    model = potential()
    with torch.inference_mode():
        pairs = model.neighbors(structures())
    model(structures(), given=pairs).forces.square().sum().backward()


PREFIXES = [
    "_orig_mod.",
    "model.",
    "ema_model.module.",
    "module._orig_mod.model.",
    "model._orig_mod.module.",
    "potential.model.",
    "net.",
    "averaged_model.module.",
    "wrapped.inside.my_own_wrapper.",
]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_of_wrappers_are_removed(prefix: str) -> None:
    one, other, third = (build(spec(), seed=seed) for seed in range(3))
    load_fairchem_state(other, {prefix + name: value for name, value in fairchem_state(one).items()})
    third.load_state_dict({prefix + name: value for name, value in one.state_dict().items()})
    for name, value in one.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
        assert torch.equal(third.state_dict()[name], value)


@pytest.mark.parametrize("head", ["output_heads.energy.", "heads.energy.", "energy_head.module."])
def test_a_backbone_and_its_head_may_have_prefixes_of_their_own(head: str) -> None:
    one, other = (build(spec(), seed=seed) for seed in range(2))
    state = {
        (head if name.startswith("out_") and "blocks" not in name else "backbone.") + name: value
        for name, value in fairchem_state(one).items()
    }
    assert load_fairchem_state(other, state).complete
    assert torch.equal(other.read_out.atoms.last.linear.weight, one.read_out.atoms.last.linear.weight)


def test_weights_of_other_parts_are_unexpected_and_two_models_in_one_state_are_refused() -> None:
    model = build(spec(), seed=0)
    state = {f"student.{name}": value for name, value in model.state_dict().items()}
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\) in state_dict: \"criterion\.scale\""):
        model.load_state_dict({**state, "criterion.scale": torch.ones(1)})
    with pytest.raises(StateError, match="weights twice, with different prefixes: student"):
        model.load_state_dict({**state, **{name.replace("student", "teacher"): state[name] for name in state}})


def test_a_basis_that_the_model_lacks_is_not_taken_for_another_one() -> None:
    model = build(spec().patch({"interactions.quadruplet": None}), seed=0)
    state = fairchem_state(build(spec(), seed=0))
    with pytest.raises(StateError, match=r"unexpected: .*cbf_basis_qint\.radial_basis"):
        load_fairchem_state(model, {f"net.{name}": value for name, value in state.items()})


def test_checkpoints_of_training_runs_load_into_every_kind_of_model() -> None:
    trained = potential()
    state = {f"potential.{name}": value for name, value in trained.state_dict().items()}
    for model in (build(spec(), seed=1), Potential(build(spec(), seed=1), spec(), REFERENCES), published()):
        model.load_state_dict(state)
        found, expected = list(model.state_dict().values()), list(trained.state_dict().values())
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_averaged_and_compiled_parts_are_read() -> None:
    one, other = published(), published()
    averaged = torch.optim.swa_utils.AveragedModel(one).state_dict()
    for prefix in ("", "_average_model.", "swa."):
        other.load_state_dict({prefix + name: value for name, value in averaged.items()})
        assert torch.equal(other.out_energy.linear.weight, one.out_energy.linear.weight)
    for key, name in {"module.a.0._orig_mod.b": "a.0.b", "a.module.b": "a.module.b"}.items():
        assert without_wrappers([key], {"a.0.b", "c"}) == {key: name}


@pytest.mark.parametrize("strict", [True, False])
def test_a_state_without_a_matching_key_is_one_error(strict: bool) -> None:
    model = published()
    foreign = {"layers.0.weight": torch.zeros(1), "layers.1.weight": torch.zeros(1)}
    message = r"no key of the state fits the model: expected keys such as .*found layers\.0\.weight, layers\.1\.weight"
    with pytest.raises(StateError, match=message):
        load_fairchem_state(model, foreign, strict=strict)
    with pytest.raises(RuntimeError, match=message):
        model.load_state_dict(foreign, strict=strict)
    with pytest.raises(StateError, match=r"read with gemnet_blocks\.checkpoints\.load_fairchem_state"):
        model.load_state_dict(fairchem_state(model), strict=strict)
