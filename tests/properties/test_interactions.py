"""Every interaction against its definition: values, and gradients to all inputs and weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import slow_but
from hypothesis import strategies as st
from properties.harness import batches, holds_for
from properties.models import INTERACTIONS, PLANS, alone, model_of, symmetric_spec

from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.geometry.graphs import measured_graphs
from gemnet_blocks.interactions.interaction import Embeddings
from gemnet_blocks.model.short_range import Zbl
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles
from gemnet_blocks.testing import strategies as some
from gemnet_blocks.testing.assertions import assert_interaction, assert_same_function

OPTIONS = {"down": 3, "up": 4}
RULES = (
    {},
    {"graphs.main.max_neighbors": 4, "graphs.quad": {"max_neighbors": 2, "tags": [1, 2]}, "neighbors.ties": "strict"},
    {"graphs.main.max_neighbors": 4, "graphs.atom_edge.max_neighbors": 3, "neighbors.ties": "smooth"},
    {"bases.spherical.type": "real_harmonics", "bases.circular.type": "gaussian", "bases.scale": True},
    {"bases.spherical.type": "gaussian_outer", "bases.radial.type": "spherical_bessel"},
)


@pytest.mark.parametrize("interaction", INTERACTIONS)
def test_definition(interaction: str) -> None:
    def test_definition(structures: Structures, data: Any) -> None:
        rules = data.draw(st.sampled_from(RULES))
        spec = symmetric_spec(**(alone(interaction) | {"blocks.count": 1} | rules))
        backbone = model_of(spec, plan=data.draw(PLANS)).backbone
        structures = replace(structures, positions=structures.positions.clone().requires_grad_())
        graphs = measured_graphs(structures, backbone.topology(structures), torch.float64)
        radial = backbone.geometry.bases(graphs)
        generator = torch.Generator().manual_seed(data.draw(st.integers(0, 9)))

        def random(rows: int, size: int) -> torch.Tensor:
            return torch.randn(rows, size, generator=generator, dtype=torch.float64, requires_grad=True)

        embeddings = Embeddings(random(structures.atom_count, 8), random(graphs.main.edges.count, 10))
        block: Any = backbone.blocks[0].interactions[interaction]
        shared: Any = backbone.geometry.interactions[interaction]
        weights = [*block.parameters(), *shared.parameters()]
        assert_same_function(
            block(embeddings, shared(graphs, radial)),
            oracles.interaction(block, shared, embeddings, graphs, radial),
            [embeddings.atoms, embeddings.edges, structures.positions, *weights],
            1e-9,
        )

    test_definition.__name__ += f"[{interaction}]"
    # tiny structures keep the definition fast
    tiny = some.generic_structures(max_atoms=4, cutoff=4.0) | some.shells(max_atoms=5) | some.chains(max_atoms=4)
    holds_for(batches(tiny, quick=4), quick=15)(test_definition)()


def test_repulsion() -> None:
    """The repulsion of nuclei in structures with near atoms, on edges with and without weights."""

    def test_repulsion(structures: Structures, data: Any) -> None:
        rules = data.draw(st.sampled_from(({}, {"graphs.main.max_neighbors": 3, "neighbors.ties": "smooth"})))
        backbone = model_of(symmetric_spec(**{"graphs.main.cutoff": 1.5} | rules)).backbone
        structures = replace(structures, positions=0.6 * structures.positions, cells=0.6 * structures.cells)
        structures.positions.requires_grad_()
        edges = measured_graphs(structures, backbone.topology(structures), torch.float64).main.edges
        repulsion = Zbl(1.5, Sums())
        repulsion.in_units_of(data.draw(st.sampled_from((1.0, 0.2))))
        found = repulsion(edges, structures.numbers)
        expected = oracles.repulsion(repulsion, edges, structures.numbers)
        assert_same_function(found, expected, [structures.positions], 1e-9)

    near = some.generic_structures(max_atoms=4, cutoff=2.5) | some.shells(max_atoms=5) | some.chains(max_atoms=4)
    holds_for(batches(near, quick=3), quick=15)(test_repulsion)()


@pytest.mark.parametrize("interaction", slow_but(INTERACTIONS, quick=["triplet"]))  # `test_definition` is quick for all
def test_every_interaction_is_one(interaction: str) -> None:
    assert_interaction(interaction_class(interaction), OPTIONS, examples=2, max_atoms=5)


def interaction_class(name: str) -> Any:
    return type(model_of(symmetric_spec()).backbone.blocks[0].interactions[name])
