"""Structures, graphs and small models for tests; everything is small, deterministic and in float64."""

from __future__ import annotations

import math
import resource
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import fcc111
from torch import Tensor, nn

from gemnet_blocks.aggregation.angular_sum import AngularSum, LinearMap
from gemnet_blocks.aggregation.method import EXPLICIT, AngularPlan
from gemnet_blocks.basis.radial import Gaussian
from gemnet_blocks.geometry.graphs import Graphs, measured_graphs
from gemnet_blocks.graph.builder import EdgeSetOptions, GraphBuilder
from gemnet_blocks.graph.index_sets import IndexRequest
from gemnet_blocks.graph.max_neighbors import Ties
from gemnet_blocks.graph.neighbor_list import VesinSearch
from gemnet_blocks.graph.pairs import Pairs
from gemnet_blocks.graph.symmetrize import Symmetrization
from gemnet_blocks.graph.topology import Topology
from gemnet_blocks.interactions.interaction import Embeddings, Interaction, InteractionGeometry
from gemnet_blocks.layers.radial_bases import RadialBases, RadialValues
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.spec import Spec, build, load_spec
from gemnet_blocks.structures import Structures
from gemnet_blocks.util.recompute import RECOMPUTED, evaluated_by

ROOT = Path(__file__).parents[1]


def slow_but(names: Iterable[str], quick: Collection[str]) -> list[Any]:
    """Parameters of a test that is slow for all names but the quick ones."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


# -- structures -------------------------------------------------------------------------------------------------------


def molecule(count: int = 5, seed: int = 0) -> Atoms:
    """A cluster of H, C, N and O without symmetry, its atoms 0.9 Å or more apart."""
    random = np.random.default_rng(seed)
    positions = np.zeros((0, 3))
    while len(positions) < count:
        candidate = random.uniform(0, 1.3 * count ** (1 / 3), 3)
        if all(np.linalg.norm(positions - candidate, axis=1) > 0.9):
            positions = np.vstack([positions, candidate])
    return Atoms(numbers=random.choice([1, 6, 7, 8], count), positions=positions, tags=random.integers(0, 3, count))


def slab() -> Atoms:
    """A rattled copper surface with an oxygen atom: periodic in two directions, tagged, its lowest atom fixed."""
    from ase.constraints import FixAtoms

    atoms = fcc111("Cu", (2, 1, 2), vacuum=5, orthogonal=False) + Atoms("O", positions=[[1.3, 0.9, 8.2]])
    atoms.rattle(0.15, seed=1)
    atoms.set_tags([0, 0, 1, 1, 2])
    atoms.set_constraint(FixAtoms([0]))
    return atoms


def small_cell() -> Atoms:
    """Two atoms in a triclinic cell so small that they have edges to their own images."""
    cell = [[2.3, 0.1, -0.2], [0.7, 3.1, 0.3], [-0.4, 0.6, 3.3]]
    return Atoms("CO", positions=[[0.1, 0.2, 0.0], [1.2, 1.0, 0.9]], cell=cell, pbc=True, tags=[1, 2])


def line(*x: float) -> Atoms:
    """Hydrogen atoms on the x axis."""
    return Atoms(f"H{len(x)}", positions=[[value, 0, 0] for value in x], tags=[1] * len(x))


KINDS: dict[str, Callable[[], Structures]] = {
    "molecules": lambda: Structures.from_ase([molecule(7), molecule(4, seed=1)]),
    "slab": lambda: Structures.from_ase(slab()),
    "small cell": lambda: Structures.from_ase(small_cell()),
    "mixed batch": lambda: Structures.from_ase([molecule(4), Atoms(), small_cell(), line(0)]),
    "no structures": lambda: Structures.from_ase([]),
    "no atoms": lambda: Structures.from_ase(Atoms()),
    "one atom": lambda: Structures.from_ase(line(0)),
    "no edges": lambda: Structures.from_ase(line(0, 20)),
    "no triplets": lambda: Structures.from_ase(line(0, 1)),
    "coincident atoms": lambda: Structures.from_ase(line(0, 1.1, 1.1) + molecule(2)),
    "collinear atoms": lambda: Structures.from_ase(line(0, 1, 2.1, 3.3)),
}
"""Structures of many kinds, odd ones included."""

SMOOTH = ("molecules", "slab", "small cell")
"""Kinds with quadruplets, where derivatives are of ordinary size, as no atoms coincide or lie on a line."""


def differentiable(structures: Structures) -> Structures:
    """The same structures, with positions and cells that gradients are computed for."""
    return replace(
        structures,
        positions=structures.positions.detach().clone().requires_grad_(),
        cells=structures.cells.detach().clone().requires_grad_(),
    )


# -- graphs -----------------------------------------------------------------------------------------------------------

CUTOFFS = {"main": 3.0, "atom": 3.6, "atom_edge": 3.2, "quad": 2.2}


def edge_set_rules(symmetrize: Symmetrization = "union") -> dict[str, EdgeSetOptions]:
    """Four edge sets with caps that bind in some structures.

    The cutoff of `quad` is so short that no atom of `small_cell` is the middle of a line of its own images, where the
    dihedral angle is rounding noise.
    """
    return {
        "atom": EdgeSetOptions(cutoff=CUTOFFS["atom"]),
        "main": EdgeSetOptions(cutoff=CUTOFFS["main"], max_neighbors=5, within="atom", symmetrize=symmetrize),
        "atom_edge": EdgeSetOptions(cutoff=CUTOFFS["atom_edge"], max_neighbors=3, within="atom"),
        "quad": EdgeSetOptions(cutoff=CUTOFFS["quad"], max_neighbors=2, within="atom"),
    }


def graphs_of(
    structures: Structures,
    requests: Sequence[IndexRequest] = (),
    symmetrize: Symmetrization = "union",
    ties: Ties = "strict",
) -> Graphs:
    """All four edge sets and the index sets asked for."""
    return measured_graphs(structures, topology_of(structures, requests, symmetrize, ties), torch.float64)


def topology_of(
    structures: Structures,
    requests: Sequence[IndexRequest] = (),
    symmetrize: Symmetrization = "union",
    ties: Ties = "strict",
) -> Topology:
    """The topology of all four edge sets and the index sets asked for."""
    return GraphBuilder(edge_set_rules(symmetrize), list(CUTOFFS), requests, VesinSearch(), ties)(
        structures, torch.float64
    )


def graphs_by(builder: GraphBuilder, structures: Structures, given: Pairs | None = None) -> Graphs:
    """The measured graphs of a builder, in double precision."""
    return measured_graphs(structures, builder(structures, torch.float64, given), torch.float64)


def radial_values(graphs: Graphs, count: int = 3, angular_count: int = 4) -> RadialValues:
    """Gaussians of all distances, as many for each use as told."""
    bases = RadialBases(
        {name: Gaussian(cutoff, count) for name, cutoff in CUTOFFS.items()},
        {name: Gaussian(cutoff, angular_count) for name, cutoff in CUTOFFS.items()},
    )
    return bases.double()(graphs)


def random_embeddings(graphs: Graphs, atom_size: int, edge_size: int) -> Embeddings:
    """Embeddings that gradients are computed for."""
    return Embeddings(
        torch.randn(graphs.structures.atom_count, atom_size, dtype=torch.float64, requires_grad=True),
        torch.randn(graphs.main.edges.count, edge_size, dtype=torch.float64, requires_grad=True),
    )


M = TypeVar("M", bound=nn.Module)

FACTORIZED = (
    AngularPlan("factorized", None),
    AngularPlan("factorized", atoms_at_most=2),
    AngularPlan("factorized", atoms_at_most=3),
)
"""Factorized sums of all atoms at once, and of a few; `executed` recomputes the intermediate results of the last."""


def executed(plan: AngularPlan, module: M) -> M:
    """The module as a plan of `FACTORIZED` is meant to be evaluated."""
    return evaluated_by(RECOMPUTED, module) if plan == FACTORIZED[-1] else module


class GivenSums(AngularSum):
    """Sums that do not depend on what is summed."""

    def __init__(self, sums: Tensor) -> None:
        self.sums = sums

    def __call__(self, values: Tensor, linear: LinearMap) -> Tensor:
        return linear(self.sums.flatten(1))


def listed(graphs: Graphs) -> int:
    """The number of triplets or quadruplets of graphs with one index set."""
    (index_set,) = graphs.indices.values()
    return index_set.count


def interaction_matches(
    block: Interaction[Any],
    shared: Callable[[AngularPlan], InteractionGeometry[Any]],
    oracle: Callable[..., Tensor],
    structures: Structures,
    symmetrize: Symmetrization = "union",
    plans: Sequence[AngularPlan] = (EXPLICIT, *FACTORIZED),
) -> Graphs:
    """Compare an interaction of atoms of width 5 and edges of width 6 with its oracle, in float64, for every plan.

    Values, and gradients to embeddings, positions, cells and all weights. Returns the graphs of explicit sums.
    """
    block, listing, structures = block.double(), shared(EXPLICIT).double(), differentiable(structures)
    set_random_scales(block)
    graphs = graphs_of(structures, listing.requests, symmetrize)
    embeddings = random_embeddings(graphs, atom_size=5, edge_size=6)
    inputs = [embeddings.atoms, embeddings.edges, structures.positions, structures.cells, *block.parameters()]
    expected = oracle(block, listing, embeddings, graphs, radial_values(graphs))
    weights = torch.randn_like(expected) / math.sqrt(max(1, expected.numel()))
    expected_gradients = gradients(expected, [*inputs, *listing.parameters()], weights)

    def check(plan: AngularPlan) -> None:  # a function, so that tracebacks show the plan
        planned = executed(plan, shared(plan).double())
        planned.load_state_dict(listing.state_dict())
        planned_graphs = graphs_of(structures, planned.requests, symmetrize)
        geometry = planned(planned_graphs, radial_values(planned_graphs))
        result = executed(plan, block)(embeddings, geometry)
        assert_close(result, expected)
        found = gradients(result, [*inputs, *planned.parameters()], weights)
        for one, other in zip(found, expected_gradients, strict=True):
            assert_close(one, other)

    for plan in plans:
        check(plan)
    return graphs


def check_interaction_derivatives(
    block: Interaction[Any],
    shared: Callable[[AngularPlan], InteractionGeometry[Any]],
    plans: Sequence[AngularPlan] = (EXPLICIT, FACTORIZED[0], FACTORIZED[2]),
) -> None:
    """First and second derivatives of an interaction to embeddings and positions, against finite differences."""
    block, structures = block.double(), KINDS["small cell"]()
    start = random_embeddings(graphs_of(structures), atom_size=5, edge_size=6)
    inputs = (start.atoms, start.edges, structures.positions.requires_grad_())

    def check(plan: AngularPlan) -> None:
        planned, geometry = executed(plan, block), executed(plan, shared(plan).double())

        def function(atoms: Tensor, edges: Tensor, positions: Tensor) -> Tensor:
            graphs = graphs_of(replace(structures, positions=positions), geometry.requests)
            return planned(Embeddings(atoms, edges), geometry(graphs, radial_values(graphs)))

        # fast mode: along one random direction
        assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
        assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)

    for plan in plans:
        check(plan)


def set_random_scales(module: nn.Module) -> None:
    """Give every scale factor another value, so that a factor at the wrong place is noticed."""
    for scale in module.modules():
        if isinstance(scale, ScaleFactor):
            nn.init.uniform_(scale.factor, 0.5, 2)


# -- models -----------------------------------------------------------------------------------------------------------


def small_spec(**changes: Any) -> Spec:
    """GemNet-OC with all its parts and small sizes; `changes` as of `Spec.patch`, with __ for dots."""
    spec = load_spec(ROOT / "paper_configs/gemnet-oc.yaml").patch(
        {
            "sizes": {"atom": 8, "edge": 10, "radial": 3, "circular": 3, "spherical": 4},
            "graphs": {
                "atom": {"cutoff": 4.0, "max_neighbors": 20},
                "main": {"cutoff": 3.5, "max_neighbors": 6},
                "atom_edge": {"cutoff": 3.5, "max_neighbors": 5},
                "quad": {"cutoff": 2.5, "max_neighbors": 3, "tags": None},
            },
            "bases": {"radial": {"count": 6}, "circular": {"count": 3}, "spherical": {"count": 3}},
            "blocks": {"count": 2, "before_skip": 1, "after_skip": 1, "concatenation": 1, "update": 1, "atom": 1},
            "interactions": {
                name: {"down": 4, "up": 5} for name in ("triplet", "quadruplet", "atom_edge", "edge_atom", "atom_atom")
            },
            "readout": {"layers": 1, "after_atom": 1, "network": 1},
        }
    )
    return spec.patch({name.replace("__", "."): value for name, value in changes.items()})


GRADIENT_FORCES = {"heads__forces": {"type": "gradient", "dynamic_scaling": False}}


def small_model(dtype: torch.dtype = torch.float64, **changes: Any) -> GemNet:
    """The model of `small_spec`, with fitted scale factors of arbitrary values."""
    model = build(small_spec(**changes), seed=0)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        set_random_scales(model)
    return model.to(dtype)


# -- comparisons ------------------------------------------------------------------------------------------------------


def assert_close(fast: Tensor, slow: Tensor, tolerance: float = 1e-12) -> None:
    """Equal shapes and types, and values equal within a tolerance relative to the largest one, or absolute below 1."""
    assert fast.shape == slow.shape
    assert fast.dtype == slow.dtype
    assert fast.isfinite().all()
    if fast.numel():
        error, size = float((fast - slow).detach().abs().max()), float(slow.detach().abs().max())
        assert error <= tolerance * max(1, size), f"differ by {error:.2e} of {size:.2e}"


def assert_same_function(fast: Tensor, slow: Tensor, inputs: Sequence[Tensor], tolerance: float = 1e-12) -> None:
    """Equal values and equal gradients to all inputs that require any."""
    assert_close(fast, slow, tolerance)
    weights = torch.randn_like(fast) / math.sqrt(max(1, fast.numel()))
    for one, other in zip(gradients(fast, inputs, weights), gradients(slow, inputs, weights), strict=True):
        assert_close(one, other, tolerance)


def gradients(output: Tensor, inputs: Sequence[Tensor], weights: Tensor) -> list[Tensor]:
    """The gradients of a weighted sum of outputs to all inputs that require any; zero where nothing depends on them."""
    inputs = [x for x in inputs if x.requires_grad]
    if not output.requires_grad:
        return [torch.zeros_like(x) for x in inputs]
    found = torch.autograd.grad((output * weights).sum(), inputs, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(x) if grad is None else grad for grad, x in zip(found, inputs, strict=True)]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a number of bytes: writing then fails as on a full disk."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))
