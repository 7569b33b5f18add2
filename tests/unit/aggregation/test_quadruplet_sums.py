from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import FACTORIZED, KINDS, SMOOTH, executed, graphs_of, radial_values
from hypothesis import given, settings
from hypothesis import strategies as st
from sums_compared import Case, assert_same_sums, case, derivatives, sharing_weights

from gemnet_blocks.aggregation.method import EXPLICIT, AngularPlan
from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.basis.circular import CircularBasis, Gaussian, Legendre
from gemnet_blocks.basis.spherical import GaussianOuter, LegendreOuter, RealHarmonics, SphericalBasis
from gemnet_blocks.geometry.angles import CollinearRule, RightAngle, SmoothCollinear
from gemnet_blocks.graph.index_sets import QuadrupletRequest
from gemnet_blocks.interactions.quadruplet import SharedQuadrupletGeometry
from gemnet_blocks.layers.dense import linear
from gemnet_blocks.layers.projection import RadialAngularProjection
from gemnet_blocks.layers.scaled_basis import ScaledBasis
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import strategies as some
from gemnet_blocks.testing.symmetries import Rotation
from gemnet_blocks.util.recompute import RECOMPUTED, evaluated_by

SIZE = 2
RULES = (RightAngle(), SmoothCollinear(), SmoothCollinear(0.4))
EVERY_RULE = pytest.mark.parametrize("rule", RULES, ids=("right angle", "smooth", "very smooth"))
BOTH_RULES = pytest.mark.parametrize("rule", RULES[:2], ids=("right angle", "smooth"))


def made(
    plan: AngularPlan,
    spherical: SphericalBasis | None = None,
    rule: CollinearRule = RULES[1],
    circular: CircularBasis | None = None,
    graph: str = "quad",
) -> SharedQuadrupletGeometry:
    spherical, circular = spherical or LegendreOuter(3), circular or Legendre(3)
    return SharedQuadrupletGeometry(
        graph=graph,
        radial=linear(3, 2),
        circular=circular,
        circular_projection=RadialAngularProjection(radial_count=4, angular_count=3, size=2),
        spherical=spherical,
        spherical_projection=RadialAngularProjection(radial_count=4, angular_count=spherical.size, size=SIZE),
        collinear=rule,
        sums=Sums(),
        plan=plan,
    )


def finite(tensors: list[torch.Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


@EVERY_RULE
@pytest.mark.parametrize("count", range(1, 9))
def test_equal_to_explicit_sums_for_every_degree(count: int, rule: CollinearRule) -> None:
    slow, fast = sharing_weights(lambda plan: made(plan, LegendreOuter(count), rule), (EXPLICIT, FACTORIZED[0]))
    assert_same_sums(fast, slow, case(KINDS["slab"](), SIZE))


@EVERY_RULE
@pytest.mark.parametrize("plan", FACTORIZED, ids=str)
@pytest.mark.parametrize("graph", ["quad", "atom_edge"])
def test_equal_to_explicit_sums_in_parts(graph: str, plan: AngularPlan, rule: CollinearRule) -> None:
    slow, fast = sharing_weights(lambda plan: made(plan, rule=rule, graph=graph), (EXPLICIT, plan))
    for kind in SMOOTH if graph == "quad" else SMOOTH[:1]:  # within longer cutoffs, images of an atom are on lines
        assert_same_sums(executed(plan, fast), slow, case(KINDS[kind](), SIZE))


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(
    some.batches(some.generic_structures(max_atoms=9, cutoff=3.6, min_atoms=3), max_structures=4, min_structures=1),
    st.sampled_from(RULES),
)
def test_equal_to_explicit_sums_on_generic_structures(structures: Structures, rule: CollinearRule) -> None:
    slow, fast = sharing_weights(lambda plan: made(plan, LegendreOuter(4), rule), (EXPLICIT, FACTORIZED[1]))
    molecules = some.concatenate([structures, KINDS["molecules"]()])  # there is something to compare
    assert_same_sums(fast, slow, case(molecules, SIZE))


@BOTH_RULES
@pytest.mark.parametrize("plan", [FACTORIZED[0], FACTORIZED[2]], ids=str)
def test_derivatives(plan: AngularPlan, rule: CollinearRule) -> None:
    part, on = executed(plan, made(plan, rule=rule).double()), case(KINDS["slab"](), SIZE)

    def function(positions: torch.Tensor, values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return on.sum(part, positions, values, **{"spherical_projection.weight": weight})

    weight = part.spherical_projection.weight.detach().clone().requires_grad_()
    inputs = (on.structures.positions, on.values_and_sum(part)[0], weight)
    assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


@BOTH_RULES
def test_recomputed_sums_are_the_same(any_structures: Structures, rule: CollinearRule) -> None:
    part, on = made(AngularPlan("factorized", 2), rule=rule).double(), case(any_structures, SIZE)
    recomputing = evaluated_by(RECOMPUTED, part)
    stored = derivatives(part, on)
    for one, other in zip(stored, derivatives(recomputing, on), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)
    with torch.no_grad():
        torch.testing.assert_close(on.sum(recomputing), stored[0], rtol=1e-13, atol=1e-14)


@EVERY_RULE
@pytest.mark.parametrize("graph", ["quad", "atom_edge"])
def test_everything_is_finite(any_structures: Structures, graph: str, rule: CollinearRule) -> None:
    part = made(FACTORIZED[1], rule=rule, graph=graph).double()
    assert finite(derivatives(part, case(any_structures, SIZE)))


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(
    some.batches(some.degenerate_structures(max_atoms=6) | some.perfect_crystals(max_atoms=4), max_structures=2),
    st.sampled_from(RULES),
)
def test_degenerate_structures(structures: Structures, rule: CollinearRule) -> None:
    slow, fast = sharing_weights(lambda plan: made(plan, rule=rule), (EXPLICIT, FACTORIZED[0]))
    on = case(structures, SIZE)
    found = derivatives(fast, on)
    assert finite(found)
    if not rule.gated:  # with π/2, nearly straight chains in a plane differ
        slow_sums = on.sum(slow).detach()
        torch.testing.assert_close(
            found[0].detach(), slow_sums, rtol=0, atol=1e-9 * max(1, float(slow_sums.abs().sum()))
        )


@EVERY_RULE
def test_frames_do_not_matter(rule: CollinearRule) -> None:
    """Frames are chosen by the axes of space, so that turned structures have others."""
    part = made(FACTORIZED[0], rule=rule).double()
    on = case(KINDS["molecules"](), SIZE)
    for angles in ((0.3, 1.1, -2.0), (1.6, 0.0, 0.0), (0.0, 1.5, 0.2)):
        turned = Case(Rotation(*angles, reflect=True).apply(on.structures), on.linear)
        assert float(turned.sum(part).detach().abs().max()) > 1e-3
        torch.testing.assert_close(turned.sum(part), on.sum(part), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("kind", ["no atoms", "one atom", "no edges", "no triplets"])
def test_without_quadruplets_sums_are_zero(kind: str) -> None:
    part = made(FACTORIZED[0]).double()
    on = case(KINDS[kind](), SIZE)
    graphs = graphs_of(on.structures, part.requests)
    assert on.sum(part).tolist() == [[0.0] * 4] * graphs.main.edges.count


@pytest.mark.parametrize(
    ("spherical", "circular", "reason"),
    [
        (GaussianOuter(3), Legendre(3), "GaussianOuter"),
        (RealHarmonics(3), Legendre(3), "RealHarmonics"),
        (ScaledBasis(LegendreOuter(3)), ScaledBasis(Legendre(3)), "scale factors"),
        (LegendreOuter(3), ScaledBasis(Legendre(3)), "scale factors"),
    ],
)
def test_other_bases_have_explicit_sums_and_say_why(spherical: Any, circular: Any, reason: str) -> None:
    if isinstance(spherical, ScaledBasis):
        spherical.size = 9
    for plan in (FACTORIZED[0], AngularPlan()):
        part = made(plan, spherical, circular=circular)
        assert not part.method.factorized
        assert reason in part.method.reason
        assert str(part.method) == f"explicit: {part.method.reason}"
        assert part.requests == (QuadrupletRequest("main", "quad"),)


@pytest.mark.parametrize("circular", [Legendre(3), Gaussian(3)])
def test_the_circular_basis_does_not_matter(circular: CircularBasis) -> None:
    assert str(made(FACTORIZED[0], circular=circular).method) == "factorized"
    assert str(made(AngularPlan(), circular=circular).method) == "factorized"
    assert str(made(EXPLICIT, circular=circular).method) == "explicit"


def test_published_rules_in_double_precision_are_computed_as_defined() -> None:
    """Unless factorised sums are asked for: the published clamp of θ has no factors."""
    structures = KINDS["slab"]()
    for rule, explicit in ((RightAngle(), True), (SmoothCollinear(), False)):
        part = made(AngularPlan(), rule=rule)
        graphs = graphs_of(structures, part.requests)
        name = type(part.double()(graphs, radial_values(graphs)).angular_sum).__name__
        assert (name == "ExplicitSum") == explicit
