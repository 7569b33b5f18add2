"""Whole models: symmetries on every structure, forces, and the definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ase.build import bulk
from hypothesis import assume
from hypothesis import strategies as st
from properties.harness import batches, holds_for
from properties.models import (
    INCLUSIVE_CAPS,
    INTERACTIONS,
    PLANS,
    SMOOTH_CAPS,
    TIGHT_CAPS,
    alone,
    model_of,
    moderate,
    published_spec,
    symmetric_spec,
)
from torch import Tensor

from gemnet_blocks.aggregation.method import AngularMethod
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.spec import build
from gemnet_blocks.spec.execution import Execution
from gemnet_blocks.structures import Prediction, Structures
from gemnet_blocks.testing import oracles
from gemnet_blocks.testing import strategies as some
from gemnet_blocks.testing.assertions import (
    assert_close,
    assert_deterministic,
    assert_forces_are_gradient,
    assert_momentum_balance,
    assert_precision,
    assert_stream_symmetry,
    assert_symmetry,
    assert_torque_balance,
)
from gemnet_blocks.testing.assertions.streams import has_streams
from gemnet_blocks.testing.symmetries import Alone

GENERIC = some.generic_structures(max_atoms=12, cutoff=5.0)
DEGENERATE = some.degenerate_structures(max_atoms=8)
BATCHES = batches(GENERIC | DEGENERATE)
TINY = batches(some.generic_structures(max_atoms=4, cutoff=2.5) | some.shells(max_atoms=4), quick=5)


def symmetric(plan: AngularMethod = "auto", **changes: Any) -> GemNet:
    return model_of(symmetric_spec(**changes), plan=plan)


# -- symmetries -------------------------------------------------------------------------------------------------------


@holds_for(BATCHES)
def test_rotations_and_reflections(structures: Structures, data: Any) -> None:
    assert_symmetry(symmetric(data.draw(PLANS)), structures, data.draw(some.rotations()))


@holds_for(BATCHES)
def test_translations(structures: Structures, data: Any) -> None:
    assert_symmetry(symmetric(), structures, data.draw(some.translations()))


@holds_for(BATCHES)
def test_permutations(structures: Structures, data: Any) -> None:
    assert_symmetry(symmetric(data.draw(PLANS)), structures, data.draw(some.permutations(structures)))


@holds_for(BATCHES)
def test_choices_of_the_cell(structures: Structures, data: Any) -> None:
    assert_symmetry(symmetric(data.draw(PLANS)), structures, data.draw(some.cell_changes() | some.reorderings()))


@holds_for(BATCHES, quick=8)
def test_supercells(structures: Structures, data: Any) -> None:
    assert_symmetry(symmetric(), structures, data.draw(some.supercells(max_images=3)))


@holds_for(BATCHES)
def test_batch_mates(structures: Structures, data: Any) -> None:
    assume(len(structures))
    assert_symmetry(symmetric(), structures, Alone(data.draw(st.integers(0, len(structures) - 1))))


@pytest.mark.parametrize("interaction", INTERACTIONS)
def test_each_interaction_alone(interaction: str) -> None:
    model = symmetric(**alone(interaction))

    def test_each_interaction_alone(structures: Structures, data: Any) -> None:
        assert_symmetry(model, structures, data.draw(some.symmetries(structures, max_images=2)))

    test_each_interaction_alone.__name__ += f"[{interaction}]"
    holds_for(batches(DEGENERATE), quick=6)(test_each_interaction_alone)()


@pytest.mark.parametrize(("name", "caps"), [("smooth", SMOOTH_CAPS), ("inclusive", INCLUSIVE_CAPS)])
def test_caps(name: str, caps: dict[str, Any]) -> None:
    model = symmetric(**caps)

    def test_caps(structures: Structures, data: Any) -> None:
        assert_symmetry(model, structures, data.draw(some.symmetries(structures, max_images=2)))

    test_caps.__name__ += f"[{name}]"
    holds_for(BATCHES)(test_caps)()


@holds_for(batches(GENERIC))
def test_published_rules_on_generic_structures(structures: Structures, data: Any) -> None:
    """With strict caps and `lower_index` all but the order of atoms, which decides where caps bind."""
    model = model_of(published_spec())
    moves = some.rotations() | some.translations() | some.reorderings()
    assert_symmetry(model, structures, data.draw(moves))


@holds_for(BATCHES)
def test_published_rules_with_factors(structures: Structures, data: Any) -> None:
    """Collinear atoms have θ = π/2 whether it is of factors or not; the slope there is rounding noise by definition."""
    energies = [model_of(published_spec(), plan=plan)(structures).energy for plan in ("factorized", "explicit")]
    assert_close(energies[0], energies[1], 1e-6)


@holds_for(batches(some.generic_structures(max_atoms=8, cutoff=4.0)), quick=10)
def test_models_of_any_spec_turn_with_generic_structures(structures: Structures, data: Any) -> None:
    spec = moderate(data.draw(some.specs()))
    assert_symmetry(build(spec, seed=0).double(), structures, data.draw(some.rotations() | some.translations()))


@holds_for(batches(some.generic_structures(max_atoms=6, cutoff=4.0), quick=3), quick=10)
def test_further_parts_turn_with_generic_structures(structures: Structures, data: Any) -> None:
    model = build(moderate(data.draw(some.further_specs())), seed=0).double()
    symmetry = data.draw(some.rotations() | some.translations())
    assert_symmetry(model, structures, symmetry)
    if has_streams(model):
        assert_stream_symmetry(model, structures, symmetry)


@holds_for(TINY, quick=8)
def test_further_parts_with_every_kind_of_sum(structures: Structures, data: Any) -> None:
    spec = moderate(data.draw(some.further_specs()))
    spec = spec.patch({"bases.collinear": {"type": "smooth", "width": 0.1}})  # a right angle has no factors
    found = []
    for plan in ("auto", "explicit"):
        model = build(spec, seed=0, execution=Execution(angular=plan)).double()
        prediction = model(structures)
        loss = sum(value.square().sum() for value in tensors_of(prediction))
        weights = [one for one in model.parameters() if one.requires_grad]
        gradients = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
        found.append([*tensors_of(prediction), *gradients])
    for fast, slow in zip(*found, strict=True):
        assert_close(fast, slow, 1e-8)


def tensors_of(prediction: Prediction) -> list[Tensor]:
    values = (prediction.energy, prediction.forces, prediction.stress, *prediction.properties.values())
    return [value for value in values if value is not None]


# -- forces -----------------------------------------------------------------------------------------------------------


@holds_for(batches(some.generic_structures(max_atoms=8, cutoff=5.0)), quick=8)
def test_forces_are_the_gradient(structures: Structures, data: Any) -> None:
    assert_forces_are_gradient(symmetric(data.draw(PLANS), **data.draw(st.sampled_from(({}, TIGHT_CAPS)))), structures)


@holds_for(BATCHES)
def test_momentum_and_torque(structures: Structures, data: Any) -> None:
    assert_momentum_balance(symmetric(), structures)
    if not bool(structures.periodic.any(dim=1).all()):
        assert_torque_balance(symmetric(), structures)


@holds_for(BATCHES)
def test_coupled_direct_forces_balance(structures: Structures, data: Any) -> None:
    model = symmetric(**{"heads.forces": {"type": "direct", "coupled": True}})
    assert_momentum_balance(model, structures)
    assert_symmetry(model, structures, data.draw(some.rotations()))


# -- numbers ----------------------------------------------------------------------------------------------------------


@holds_for(BATCHES)
def test_everything_is_finite_and_repeats(structures: Structures, data: Any) -> None:
    for model in (symmetric(), model_of(published_spec(**{"graphs.quad.tags": None}))):
        assert_deterministic(model, structures)
        prediction = model(structures)
        assert prediction.forces is not None
        assert prediction.energy.isfinite().all()
        assert prediction.forces.isfinite().all()


@holds_for(BATCHES)
def test_single_precision(structures: Structures, data: Any) -> None:
    assert_precision(symmetric(), structures)


@holds_for(TINY)
def test_models_of_any_spec_equal_their_definition(structures: Structures, data: Any) -> None:
    spec, plan = moderate(data.draw(some.specs())), data.draw(PLANS)
    if plan == "factorized" and spec.bases.collinear.type == "right_angle":
        plan = "auto"  # which knows that the published clamp of θ has no factors
    model = build(spec, seed=0, execution=Execution(angular=plan)).double()
    fast, slow = model(structures), oracles.model(model, structures)
    assert_close(fast.energy, slow.energy, 1e-10)
    assert (fast.forces is None) == (slow.forces is None)
    if fast.forces is not None and slow.forces is not None:
        assert_close(fast.forces, slow.forces, 1e-8)


def test_tests_see_the_whole_path() -> None:
    """All interactions matter in the models that are tested: without one, the energy is another."""
    structures = Structures.from_ase(bulk("Cu", cubic=True))
    energies = [symmetric()(structures).energy] + [
        model_of(symmetric_spec(**{f"interactions.{name}": None}))(structures).energy for name in INTERACTIONS
    ]
    assert len({round(float(energy.detach()), 9) for energy in energies}) == len(energies)
    assert torch.cat(energies).isfinite().all()
