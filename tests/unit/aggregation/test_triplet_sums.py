from __future__ import annotations

import pytest
import torch
from helpers import FACTORIZED, KINDS, SMOOTH, executed
from hypothesis import given, settings
from hypothesis import strategies as st
from sums_compared import Case, assert_same_sums, case, derivatives, sharing_weights

from gemnet_blocks.aggregation.method import EXPLICIT, AngularPlan
from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.aggregation.triplets import Over
from gemnet_blocks.basis.circular import CircularBasis, Gaussian, Legendre
from gemnet_blocks.graph.index_sets import TripletRequest
from gemnet_blocks.interactions.triplet import TripletSum
from gemnet_blocks.layers.projection import RadialAngularProjection
from gemnet_blocks.layers.scaled_basis import ScaledBasis
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import strategies as some
from gemnet_blocks.testing.symmetries import Rotation
from gemnet_blocks.util.recompute import RECOMPUTED, evaluated_by

SIZE = 2
REQUESTS = (
    TripletRequest("main", "main"),
    TripletRequest("main", "atom_edge"),
    TripletRequest("atom_edge", "main"),
    TripletRequest("atom", "quad"),
)


def made(
    plan: AngularPlan,
    circular: CircularBasis | ScaledBasis | None = None,
    request: TripletRequest = REQUESTS[0],
    over: Over = "edges",
) -> TripletSum:
    circular = Legendre(3) if circular is None else circular
    count = 3 if isinstance(circular, ScaledBasis) else circular.count
    return TripletSum(
        request,
        circular,
        RadialAngularProjection(radial_count=4, angular_count=count, size=SIZE),
        Sums(),
        over,
        plan,
    )


@pytest.mark.parametrize("count", range(1, 9))
def test_equal_to_explicit_sums_for_every_degree(count: int) -> None:
    slow, fast = sharing_weights(lambda plan: made(plan, Legendre(count)), (EXPLICIT, FACTORIZED[0]))
    for kind in SMOOTH:
        assert_same_sums(fast, slow, case(KINDS[kind](), SIZE))


@pytest.mark.parametrize("plan", FACTORIZED, ids=str)
@pytest.mark.parametrize("over", ["edges", "atoms"])
@pytest.mark.parametrize("request_", REQUESTS, ids=str)
def test_equal_to_explicit_sums_between_any_edge_sets(request_: TripletRequest, over: Over, plan: AngularPlan) -> None:
    slow, fast = sharing_weights(lambda plan: made(plan, None, request_, over), (EXPLICIT, plan))
    for kind in SMOOTH:
        assert_same_sums(executed(plan, fast), slow, case(KINDS[kind](), SIZE))


@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(some.batches(some.generic_structures(max_atoms=9, cutoff=3.6, min_atoms=3), max_structures=4, min_structures=1))
def test_equal_to_explicit_sums_on_generic_structures(structures: Structures) -> None:
    slow, fast = sharing_weights(lambda plan: made(plan, Gaussian(4)), (EXPLICIT, FACTORIZED[1]))
    molecules = some.concatenate([structures, KINDS["molecules"]()])  # there is something to compare
    assert_same_sums(fast, slow, case(molecules, SIZE))


@pytest.mark.parametrize("plan", [FACTORIZED[0], FACTORIZED[2]], ids=str)
@pytest.mark.parametrize("over", ["edges", "atoms"])
def test_derivatives(over: Over, plan: AngularPlan) -> None:
    part, on = executed(plan, made(plan, over=over).double()), case(KINDS["slab"](), SIZE)

    def function(positions: torch.Tensor, values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return on.sum(part, positions, values, **{"projection.weight": weight})

    inputs = (
        on.structures.positions,
        on.values_and_sum(part)[0],
        part.projection.weight.detach().clone().requires_grad_(),
    )
    assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


@pytest.mark.parametrize("over", ["edges", "atoms"])
def test_recomputed_sums_are_the_same(any_structures: Structures, over: Over) -> None:
    part, on = made(AngularPlan("factorized", 2), over=over).double(), case(any_structures, SIZE)
    recomputing = evaluated_by(RECOMPUTED, part)
    stored = derivatives(part, on)
    for one, other in zip(stored, derivatives(recomputing, on), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)
    with torch.no_grad():
        torch.testing.assert_close(on.sum(recomputing), stored[0], rtol=1e-13, atol=1e-14)


@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(some.batches(some.degenerate_structures(max_atoms=6), max_structures=3), st.sampled_from(("edges", "atoms")))
def test_degenerate_structures(structures: Structures, over: Over) -> None:
    slow, fast = sharing_weights(lambda plan: made(plan, over=over), (EXPLICIT, FACTORIZED[0]))
    on = case(structures, SIZE)
    for one, other in zip(derivatives(fast, on), derivatives(slow, on), strict=True):
        assert one.isfinite().all()
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * float(other.abs().max()) if other.numel() else 0)


def test_turned_structures_have_the_same_sums() -> None:
    part = made(FACTORIZED[0]).double()
    on = case(KINDS["slab"](), SIZE)
    turned = Case(Rotation(0.3, 1.1, -2.0, reflect=True).apply(on.structures), on.linear)
    torch.testing.assert_close(turned.sum(part), on.sum(part), rtol=1e-11, atol=1e-13)


def test_scaled_bases_have_explicit_sums_and_say_why() -> None:
    part = made(FACTORIZED[0], ScaledBasis(Legendre(3)))
    assert not part.method.factorized
    assert "scale factor" in part.method.reason
    assert str(part.method) == f"explicit: {part.method.reason}"
    assert part.requests == (REQUESTS[0],)


@pytest.mark.parametrize("circular", [Legendre(3), Gaussian(3)])
def test_any_other_basis_has_factorised_sums(circular: CircularBasis) -> None:
    assert str(made(FACTORIZED[0], circular).method) == str(made(AngularPlan(), circular).method) == "factorized"
    assert str(made(EXPLICIT, circular).method) == "explicit"
