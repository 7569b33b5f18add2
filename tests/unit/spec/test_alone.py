"""Single interactions, built-in and custom ones, on structures and random embeddings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from ase.build import fcc111
from helpers import KINDS, differentiable, molecule, slab

from gemnet_blocks.errors import SpecError
from gemnet_blocks.graph import build_graphs
from gemnet_blocks.interactions import (
    AtomAtomInteraction,
    AtomEdgeInteraction,
    EdgeAtomInteraction,
    Embeddings,
    Interaction,
    InteractionGeometry,
    InteractionOptions,
    QuadrupletInteraction,
    Sizes,
    TripletInteraction,
)
from gemnet_blocks.interactions.triplet import TripletOptions
from gemnet_blocks.layers import linear
from gemnet_blocks.options import Size
from gemnet_blocks.spec import Execution, build

BUILT_IN = [
    TripletInteraction,
    QuadrupletInteraction,
    AtomEdgeInteraction,
    EdgeAtomInteraction,
    AtomAtomInteraction,
]
SIZES = {"atom": 6, "edge": 8}


class GatedOptions(InteractionOptions):
    """Messages between atoms."""

    type: str
    graph: str = "gates"
    hidden: Size
    power: int = 1

    def edge_sets(self) -> dict[str, str]:
        return {"graph": self.graph}


class GatedGeometry(InteractionGeometry[Any]):
    def __init__(self, graph: str) -> None:
        super().__init__()
        self.graph = graph
        self.radial_on = (graph,)

    def forward(self, graphs: Any, radial: Any) -> Any:
        return graphs.edge_sets[self.graph], radial.radial[self.graph]


class Gated(Interaction[Any]):
    Options, writes, reads = GatedOptions, "atoms", "atoms, their distances"

    def __init__(self, atom_size: int, hidden: int, radial_count: int) -> None:
        super().__init__()
        self.gate, self.down, self.up = (
            linear(radial_count, hidden),
            linear(atom_size, hidden),
            linear(hidden, atom_size),
        )

    @classmethod
    def shared_geometry(cls, options: Any, context: Any) -> GatedGeometry:
        return GatedGeometry(options.graph)

    @classmethod
    def from_options(cls, options: Any, context: Any) -> Gated:
        return cls(context.sizes.atom, options.hidden, context.radial_count)

    def forward(self, embeddings: Embeddings, geometry: Any) -> torch.Tensor:
        edges, radial = geometry
        message = torch.tanh(self.gate(radial)) * self.down(embeddings.atoms)[edges.source]
        return self.up(message.new_zeros(edges.atom_count, message.shape[1]).index_add(0, edges.target, message))


@pytest.mark.parametrize("interaction", [*BUILT_IN, Gated], ids=lambda one: one.__name__)
def test_message_and_its_derivatives(interaction: type[Interaction[Any]]) -> None:
    structures = differentiable(KINDS["slab"]())
    alone = interaction.alone(structures, sizes=SIZES)
    message = alone()
    rows, size = (alone.graphs.main.edges.count, 8) if interaction.writes == "edges" else (structures.atom_count, 6)
    assert message.shape == (rows, size)
    assert message.dtype == torch.float64
    assert message.any()
    inputs = [structures.positions, alone.embeddings.atoms, alone.embeddings.edges, *alone.shared_geometry.parameters()]
    for _ in range(2):  # every call computes all anew
        gradients = torch.autograd.grad(alone().square().sum(), inputs, allow_unused=True)
        assert gradients[0].any()
        read = "atoms" if "atoms" in interaction.reads else "edges"
        assert gradients[1 if read == "atoms" else 2].any()
        assert gradients[2 if read == "atoms" else 1] is None
    assert interaction.__name__ in repr(alone)


@pytest.mark.parametrize(
    "interaction", [QuadrupletInteraction, EdgeAtomInteraction, Gated], ids=lambda one: one.__name__
)
def test_input_can_be_replaced_and_differentiated(interaction: type[Interaction[Any]]) -> None:
    alone = interaction.alone(molecule(4), sizes=SIZES, cutoff=3.0)

    def function(atoms: torch.Tensor, edges: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        embeddings = replace(alone.embeddings, atoms=atoms, edges=edges)
        return replace(alone, structures=replace(alone.structures, positions=positions), embeddings=embeddings)() * 1e3

    positions = alone.structures.positions.clone().requires_grad_()
    inputs = (alone.embeddings.atoms, alone.embeddings.edges, positions)
    assert torch.equal(function(*inputs), alone() * 1e3)
    assert torch.autograd.gradcheck(function, inputs, fast_mode=True)


def test_seeds_decide_about_weights_and_embeddings() -> None:
    def drawn(**arguments: Any) -> Any:
        return TripletInteraction.alone(molecule(), {"down": 4}, sizes=SIZES, **arguments)

    before = torch.random.get_rng_state()
    first, again, other = drawn(), drawn(), drawn(seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first(), again())
    assert not torch.equal(first.embeddings.edges, other.embeddings.edges)
    assert not torch.equal(first.interaction.message.dense.linear.weight, other.interaction.message.dense.linear.weight)
    single = drawn(dtype=torch.float32)
    assert single().dtype == torch.float32
    assert float((single() - first()).detach().abs().max() / first().detach().abs().max()) < 1e-4


def test_weights_are_those_of_the_first_block_of_a_model() -> None:
    alone = AtomEdgeInteraction.alone(molecule(), sizes=SIZES, seed=3)
    model = build(alone.spec, seed=3).double()
    (block,) = model.backbone.blocks
    expected = block.interactions["atom_edge"].state_dict()  # type: ignore[union-attr, operator]
    assert all(torch.equal(value, expected[key]) for key, value in alone.interaction.state_dict().items())


def test_sections_of_a_spec_change_the_defaults() -> None:
    alone = QuadrupletInteraction.alone(
        [molecule(6), slab()],
        {"down": 5, "graph": "middle"},
        sizes=Sizes(atom=4, edge=7, radial=3, circular=3, spherical=5),
        cutoff=3.0,
        graphs={"main": {"max_neighbors": 4}, "middle": {"cutoff": 2.5}},
        bases={"spherical": {"type": "real_harmonics", "count": 3}, "radial.count": 6},
        neighbors={"ties": "strict"},
    )
    spec = alone.spec
    options = spec.interactions["quadruplet"]
    assert (options.down, options.up, options.graph) == (5, 16, "middle")  # type: ignore[attr-defined]
    assert (spec.sizes.edge, spec.bases.radial.count, spec.bases.spherical.count) == (7, 6, 3)  # type: ignore[attr-defined, union-attr]
    expected = build_graphs(
        [molecule(6), slab()], {"main": {"cutoff": 3.0, "max_neighbors": 4}, "middle": {"cutoff": 2.5}}, ties="strict"
    )
    for name in ("main", "middle"):
        assert torch.equal(alone.graphs[name].distance, expected[name].distance)
    assert alone().shape == (expected["main"].count, 7)


def test_options_may_be_an_object() -> None:
    alone = TripletInteraction.alone(molecule(), TripletOptions(down=3, up=4, blocks=[2]))
    assert alone.spec.interactions["triplet"] == TripletOptions(down=3, up=4)


def test_explicit_and_factorized_sums_agree() -> None:
    methods = (Execution(angular="explicit"), Execution(angular="factorized"))
    one, other = (QuadrupletInteraction.alone(fcc111("Cu", (2, 2, 2)), cutoff=3.0, execution=e)() for e in methods)
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-15)


def test_required_integers_and_edge_sets_of_custom_interactions_have_defaults() -> None:
    alone = Gated.alone(molecule(), cutoff=2.0)
    options = alone.spec.interactions["custom"]
    assert (options.hidden, options.power) == (16, 1)  # type: ignore[attr-defined]
    assert alone.spec.graphs["gates"].cutoff == 2.0


@pytest.mark.parametrize("kind", KINDS)
def test_odd_structures_have_finite_messages(kind: str) -> None:
    message = QuadrupletInteraction.alone(KINDS[kind](), sizes=SIZES, cutoff=2.5)()
    assert message.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"options": {"dwn": 4}}, "interactions.triplet.dwn: unknown field; did you mean 'down'"),
        ({"sizes": {"atoms": 4}}, "sizes.atoms: unknown field; did you mean 'atom'"),
        ({"graphs": {"main": {"cutoff": 0}}}, "graphs.main.cutoff: must be greater than 0"),
        ({"bases": {"circular": {"type": "legendr"}}}, "did you mean 'legendre'"),
        ({"neighbors": {"ties": "loose"}}, "neighbors.ties"),
    ],
)
def test_wrong_options_are_named(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(SpecError) as caught:
        TripletInteraction.alone(molecule(), **arguments)
    assert named in str(caught.value)


def test_other_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="cutoff must be a positive, finite number in Å, got -1"):
        TripletInteraction.alone(molecule(), cutoff=-1)
    with pytest.raises(SpecError, match="the class Interaction is abstract: implement forward"):
        Interaction.alone(molecule())
    with pytest.raises(TypeError, match=r"expected options such as .* got 16"):
        TripletInteraction.alone(molecule(), 16)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"expected Structures, ASE atoms.*'slab\.xyz'"):
        TripletInteraction.alone("slab.xyz")  # type: ignore[arg-type]
