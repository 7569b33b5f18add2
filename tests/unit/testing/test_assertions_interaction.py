"""Interactions of the library and one's own, right and wrong."""

from __future__ import annotations

import textwrap

import pytest
import torch

from gemnet_blocks.errors import SpecError
from gemnet_blocks.interactions.atom_atom import AtomAtomInteraction
from gemnet_blocks.interactions.interaction import Interaction, InteractionGeometry, InteractionOptions
from gemnet_blocks.interactions.quadruplet import QuadrupletInteraction
from gemnet_blocks.interactions.triplet import AtomEdgeInteraction, EdgeAtomInteraction, TripletInteraction
from gemnet_blocks.layers.dense import linear
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.options import Size
from gemnet_blocks.structures import to_ase
from gemnet_blocks.testing.assertions import CounterExample, assert_interaction, interaction_spec


class GatedOptions(InteractionOptions):
    """Atoms to atoms: a sum over neighbors, gated by their distance."""

    type: str
    graph: str = "far"
    hidden: Size

    def edge_sets(self):
        return {"graph": self.graph}


class GatedGeometry(InteractionGeometry):
    def __init__(self, graph):
        super().__init__()
        self.graph = graph
        self.radial_on = (graph,)

    def forward(self, graphs, radial):
        return graphs.edge_sets[self.graph], radial.radial[self.graph], graphs.structures


class Gated(Interaction):
    """h_a ← Σ_{b→a} W₂ (W rad(d_ba) ⊙ W₁ h_b)."""

    Options, writes, reads = GatedOptions, "atoms", "atom embeddings, distances"

    def __init__(self, atom_size, hidden, radial_count):
        super().__init__()
        self.gate = linear(radial_count, hidden)
        self.down = linear(atom_size, hidden)
        self.up = linear(hidden, atom_size)

    @classmethod
    def shared_geometry(cls, options, context):
        return GatedGeometry(options.graph)

    @classmethod
    def from_options(cls, options, context):
        return cls(context.sizes.atom, options.hidden, context.radial_count)

    def weigh(self, edges, radial, structures):
        return self.gate(radial)

    def forward(self, embeddings, geometry):
        edges, radial, structures = geometry
        message = self.weigh(edges, radial, structures) * self.down(embeddings.atoms)[edges.source]
        return self.up(message.new_zeros(edges.atom_count, message.shape[1]).index_add(0, edges.target, message))


class Small(Gated):
    """Right, though it starts with zeros and is small."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        torch.nn.init.zeros_(self.up.weight)

    def forward(self, embeddings, geometry):
        return 1e-9 * super().forward(embeddings, geometry)


class OfDirections(Small):
    """Directions as they are."""

    def weigh(self, edges, radial, structures):
        return self.gate(radial) * (1 + 1e-3 * edges.direction[:, :1])


class OfOrder(Gated):
    """Which atom comes first matters."""

    def weigh(self, edges, radial, structures):
        return self.gate(radial) * (1 + (edges.source > edges.target)[:, None])


class OfMates(Gated):
    """Normalised over the batch."""

    def weigh(self, edges, radial, structures):
        gate = self.gate(radial)
        return gate / (1 + gate.square().sum())


class Jumping(Gated):
    """Ends hard at the cutoff."""

    def weigh(self, edges, radial, structures):
        powers = torch.arange(radial.shape[1], device=radial.device)
        return self.gate(radial + torch.exp(-edges.distance[:, None] * powers))


class OfMeans(Gated):
    """A division that fails where there are no neighbors."""

    def forward(self, embeddings, geometry):
        return super().forward(embeddings, geometry) / geometry[0].degree[:, None]


class Detached(Gated):
    """No gradient to positions."""

    def weigh(self, edges, radial, structures):
        return self.gate(radial.detach())


class NormOfDirections(Gated):
    """Has no derivative where the directions to all neighbors add up to zero."""

    def forward(self, embeddings, geometry):
        edges, radial, structures = geometry
        strength = self.weigh(edges, radial, structures) * self.down(embeddings.atoms)[edges.source]
        pulls = strength[:, :, None] * edges.direction[:, None, :]
        total = pulls.new_zeros(edges.atom_count, *pulls.shape[1:]).index_add(0, edges.target, pulls)
        return self.up(self.read(total))

    def read(self, total):
        return total.norm(dim=-1)


class SquareOfDirections(NormOfDirections):
    """Right."""

    def read(self, total):
        return total.square().sum(dim=-1)


class Idle(Gated):
    """A weight that nothing uses."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.idle = torch.nn.Parameter(torch.ones(3))


class Broadcast(Gated):
    """One message for all atoms."""

    def forward(self, embeddings, geometry):
        return super().forward(embeddings, geometry)[:1]


class Silent(Gated):
    """Nothing is ever said."""

    def forward(self, embeddings, geometry):
        return 0 * super().forward(embeddings, geometry)


class Kept(Gated):
    """Cannot be copied: a result of differentiable functions is kept."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.kept = self.gate.weight * 2


class Rounded(Gated):
    """Loses digits."""

    def weigh(self, edges, radial, structures):
        return (self.gate(radial) + 1e4) - 1e4


BUILT_IN = (
    AtomAtomInteraction,
    AtomEdgeInteraction,
    EdgeAtomInteraction,
    TripletInteraction,
    QuadrupletInteraction,
)


@pytest.mark.parametrize("interaction", [Small, pytest.param(SquareOfDirections, marks=pytest.mark.slow)])
def test_right_interactions(interaction: type[Interaction]) -> None:
    checked = assert_interaction(interaction, examples=1, max_atoms=3)
    assert len(set(checked)) == len(checked) == 18
    assert {"copies", "continuity at cutoffs", "symmetry under rotations and reflections"} <= set(checked)


@pytest.mark.parametrize("interaction", BUILT_IN)
def test_specs_of_the_librarys_own(interaction: type[Interaction]) -> None:
    spec = interaction_spec(interaction)
    assert len(spec.interactions) == 1
    (options,) = spec.interactions.values()
    assert (options.down, options.up) == (4, 4)


def test_custom_options_and_edge_sets() -> None:
    spec = interaction_spec(Gated, {"hidden": 7, "graph": "mine"})
    assert spec.interactions["tested"].hidden == 7
    assert spec.graphs["mine"].cutoff == 3.0
    with pytest.raises(SpecError, match="hiden"):
        interaction_spec(TripletInteraction, {"hiden": 3})


@pytest.mark.parametrize(
    ("interaction", "name", "message"),
    [
        (OfDirections, "symmetry under rotations and reflections", "energy of structure|force on atom"),
        (OfMates, "independence of other structures in the batch", "energy of structure"),
        (Jumping, "continuity at cutoffs", "jumps"),
        (OfMeans, "messages: one row for each main edge or atom, finite", "are not finite"),
        (Idle, "gradients to weights", "the energy does not depend on it"),
        (Silent, "gradients to weights", "the energy does not depend on it"),
        (Broadcast, "messages: one row for each main edge or atom, finite", r"its message is of shape \(1, 8\)"),
        (Kept, "copies", "cannot be deep-copied"),
        (Detached, "forces are the gradient of the energy", "forces predict"),
        pytest.param(Rounded, "single precision", "float32", marks=pytest.mark.slow),
    ],
)
def test_wrong_interactions(interaction: type[Interaction], name: str, message: str) -> None:
    with pytest.raises(CounterExample, match=message) as caught:
        assert_interaction(interaction, examples=2, max_atoms=3)
    assert caught.value.property == name
    assert isinstance(caught.value.model, GemNet)
    with pytest.raises(type(caught.value.error), match=message):
        exec(shown(caught.value), {"model": caught.value.model})


def shown(error: CounterExample) -> str:
    """The code in the message."""
    code = textwrap.dedent(str(error).split("attribute of this error):\n\n")[1])
    assert code == error.code
    return code


def test_kinks_at_symmetric_structures_are_found_with_the_fewest_examples() -> None:
    with pytest.raises(CounterExample, match="forces are the gradient of the energy") as caught:
        assert_interaction(NormOfDirections, examples=1)
    (atoms,) = to_ase(caught.value.example["structures"])
    assert len(atoms) == 3
    assert caught.value.code.endswith("\nassert_forces_are_gradient(model, structures, to_each_side=True)")


def test_jumps_name_every_edge_set_and_can_be_shown_again() -> None:
    with pytest.raises(CounterExample, match=r"cutoff of 3 Å \(edge sets far, main\) in a molecule") as caught:
        assert_interaction(Jumping, examples=1, max_atoms=3)
    assert caught.value.example["edge_sets"] == ("far", "main")
    assert caught.value.example["structures"].atom_count == 5
    assert caught.value.code == (
        "from gemnet_blocks.testing.assertions import assert_smooth, crossing\n\n"
        "structures, displacement = crossing(3.0)\n"
        "assert_smooth(model, structures, displacement, samples=64)"
    )


def test_counterexamples_show_code() -> None:
    with pytest.raises(CounterExample) as caught:
        assert_interaction(OfOrder, examples=1, max_atoms=3)
    assert caught.value.example["structures"].atom_count <= 3
    assert "symmetry = Permutation(order=(" in str(caught.value)
    assert shown(caught.value).startswith(
        "from ase import Atoms\n"
        "from gemnet_blocks import Structures\n"
        "from gemnet_blocks.testing.assertions import assert_symmetry\n"
        "from gemnet_blocks.testing.symmetries import Permutation\n\n"
        "structures = Structures.from_ase(["
    )
    assert shown(caught.value).endswith("\nassert_symmetry(model, structures, symmetry)")
