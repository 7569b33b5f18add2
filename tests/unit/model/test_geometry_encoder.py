from __future__ import annotations

import torch
from helpers import CUTOFFS, KINDS, assert_close, graphs_of, radial_values, small_model, topology_of
from torch import Tensor, nn

from gemnet_blocks.basis.radial import Gaussian
from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.interactions.interaction import InteractionGeometry
from gemnet_blocks.layers.initialization import he_orthogonal_
from gemnet_blocks.layers.projection import RadialAngularProjection
from gemnet_blocks.layers.radial_bases import RadialBases, RadialValues
from gemnet_blocks.layers.scaled_basis import ScaledBasis
from gemnet_blocks.model.geometry_encoder import GeometryEncoder
from gemnet_blocks.testing import oracles


class Counted(InteractionGeometry[int]):
    """An interaction that reads how many edges there are, and counts how often it is asked."""

    calls = 0

    def forward(self, graphs: Graphs, radial: RadialValues) -> int:
        self.calls += 1
        return len(radial.radial["main"])


def encoder(**interactions: InteractionGeometry[int]) -> GeometryEncoder:
    bases = RadialBases({"main": Gaussian(CUTOFFS["main"], 5)}, {"main": Gaussian(CUTOFFS["main"], 5)})
    return GeometryEncoder(bases, 5, 3, interactions).double()


def test_the_encoder_gives_raw_and_projected_radial_functions_of_main_edges() -> None:
    structures, module = KINDS["slab"](), encoder()
    graphs = graphs_of(structures)
    geometry = module(structures, topology_of(structures))
    raw = Gaussian(CUTOFFS["main"], 5)(graphs.main.edges.distance)
    assert torch.equal(geometry.main.edges.distance, graphs.main.edges.distance)
    assert torch.equal(geometry.main.reverse, graphs.main.reverse)
    assert_close(geometry.radial, raw)
    assert_close(geometry.update_radial, torch.einsum("en,kn->ek", raw, module.update_radial.weight))
    assert_close(geometry.output_radial, torch.einsum("en,kn->ek", raw, module.output_radial.weight))
    assert not torch.allclose(geometry.update_radial, geometry.output_radial)


def test_each_interaction_is_asked_once_and_answers_under_its_name() -> None:
    one, other = Counted(), Counted()
    structures = KINDS["slab"]()
    graphs = graphs_of(structures)
    geometry = encoder(one=one, other=other)(structures, topology_of(structures))
    assert geometry.interactions == {"one": graphs.main.edges.count, "other": graphs.main.edges.count}
    assert one.calls == other.calls == 1


def test_radial_bases_use_the_distances_and_the_cutoff_of_their_own_edge_set() -> None:
    graphs = graphs_of(KINDS["slab"]())
    values = radial_values(graphs, count=3, angular_count=4)
    for name, cutoff in CUTOFFS.items():
        distance = graphs.edge_sets[name].distance
        assert_close(values.radial[name], Gaussian(cutoff, 3)(distance))
        assert_close(values.angular[name], Gaussian(cutoff, 4)(distance))


def test_bases_are_evaluated_only_for_edge_sets_that_something_reads() -> None:
    model = small_model(interactions__quadruplet=None, interactions__atom_edge=None, interactions__edge_atom=None)
    assert set(model.backbone.geometry.bases.radial) == {"main", "atom"}
    assert set(model.backbone.geometry.bases.angular) == {"main"}


def test_scaled_bases_multiply_by_one_fitted_factor() -> None:
    basis = Gaussian(3.0, 4)
    scaled = ScaledBasis(basis)
    x = torch.linspace(0, 3, 7)
    assert torch.equal(scaled(x), basis(x))
    scaled.scale.factor.data.fill_(2)
    assert torch.equal(scaled(x), 2 * basis(x))


def test_projections_contract_the_radial_functions() -> None:
    projection = RadialAngularProjection(radial_count=4, angular_count=3, size=2).double()
    radial = torch.randn(6, 4, dtype=torch.float64)
    assert_close(projection(radial), oracles.project(projection, radial))
    assert projection(radial[:0]).shape == (0, 2, 3)


def test_projections_start_as_published_models_do() -> None:
    # filled as (n, l, k), standardised over n and l together, then read as (n, k, l) without a transposition
    torch.manual_seed(0)
    filled = he_orthogonal_(torch.empty(4, 3, 2))
    torch.manual_seed(0)
    weight = RadialAngularProjection(radial_count=4, angular_count=3, size=2).weight
    assert torch.equal(weight.flatten(), filled.flatten())
    assert weight.shape == (4, 2, 3)


def test_derivatives_of_a_projection() -> None:
    projection: nn.Module = RadialAngularProjection(radial_count=2, angular_count=2, size=3).double()
    radial: Tensor = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(projection, (radial,))
