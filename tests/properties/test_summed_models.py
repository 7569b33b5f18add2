"""GemNet-T: the properties of models whose read-out is summed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from properties.harness import batches, holds_for
from properties.models import PLANS, gemnet_t_spec, model_of

from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles
from gemnet_blocks.testing import strategies as some
from gemnet_blocks.testing.assertions import (
    assert_close,
    assert_deterministic,
    assert_forces_are_gradient,
    assert_momentum_balance,
    assert_precision,
    assert_symmetry,
)

GENERIC = some.generic_structures(max_atoms=12, cutoff=5.0)
BATCHES = batches(GENERIC | some.degenerate_structures(max_atoms=8))
TINY = batches(some.generic_structures(max_atoms=4, cutoff=2.5) | some.shells(max_atoms=4), quick=5)
SYMMETRIC = {"graphs.main": {"max_neighbors": None, "symmetrize": "union"}, "neighbors.ties": "inclusive"}
"""Rules that keep every symmetry on every structure."""
DIRECT = {"heads.forces": {"type": "direct"}}
COUPLED = {"heads.forces": {"type": "direct", "coupled": True}}
FORCES = st.sampled_from(({}, DIRECT, COUPLED))


@holds_for(BATCHES)
def test_symmetries(structures: Structures, data: Any) -> None:
    model = model_of(gemnet_t_spec(**SYMMETRIC, **data.draw(FORCES)), plan=data.draw(PLANS))
    assert_symmetry(model, structures, data.draw(some.symmetries(structures, max_images=2)))


@holds_for(batches(GENERIC))
def test_published_rules_on_generic_structures(structures: Structures, data: Any) -> None:
    """With strict caps and `lower_index` all but the order of atoms, which decides where caps bind."""
    moves = some.rotations() | some.translations() | some.reorderings()
    assert_symmetry(model_of(gemnet_t_spec(**data.draw(FORCES))), structures, data.draw(moves))


@holds_for(BATCHES)
def test_both_plans(structures: Structures, data: Any) -> None:
    """Without dihedral angles, both plans agree on every structure, collinear atoms included."""
    spec = gemnet_t_spec(**data.draw(FORCES))
    one, other = (model_of(spec, plan=plan)(structures) for plan in ("factorized", "explicit"))
    assert_close(one.energy, other.energy, 1e-10)
    assert one.forces is not None
    assert other.forces is not None
    assert_close(one.forces, other.forces, 1e-8)


@holds_for(TINY)
def test_the_definition(structures: Structures, data: Any) -> None:
    model = model_of(gemnet_t_spec(**data.draw(FORCES)), plan=data.draw(PLANS))
    fast, slow = model(structures), oracles.model(model, structures)
    assert_close(fast.energy, slow.energy, 1e-10)
    assert fast.forces is not None
    assert slow.forces is not None
    assert_close(fast.forces, slow.forces, 1e-8)


@holds_for(batches(some.generic_structures(max_atoms=8, cutoff=5.0)), quick=8)
def test_forces_are_the_gradient(structures: Structures, data: Any) -> None:
    assert_forces_are_gradient(model_of(gemnet_t_spec(**SYMMETRIC), plan=data.draw(PLANS)), structures)


@pytest.mark.parametrize("changes", [{}, COUPLED], ids=["gradient", "coupled"])
def test_forces_add_up_to_zero(changes: dict[str, Any]) -> None:
    model = model_of(gemnet_t_spec(**changes))

    def test_forces_add_up_to_zero(structures: Structures, data: Any) -> None:
        assert_momentum_balance(model, structures)

    test_forces_add_up_to_zero.__name__ += f"[{'coupled' if changes else 'gradient'}]"
    holds_for(BATCHES, quick=8)(test_forces_add_up_to_zero)()


@holds_for(BATCHES, quick=8)
def test_everything_is_finite_and_repeats(structures: Structures, data: Any) -> None:
    model = model_of(gemnet_t_spec(**data.draw(FORCES)))
    assert_deterministic(model, structures)
    prediction = model(structures)
    assert prediction.forces is not None
    assert prediction.energy.isfinite().all()
    assert prediction.forces.isfinite().all()


@holds_for(BATCHES, quick=8)
def test_single_precision(structures: Structures, data: Any) -> None:
    assert_precision(model_of(gemnet_t_spec(**SYMMETRIC)), structures)
