"""From a spec to a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import nn

from gemnet_blocks.basis.circular import CircularBasis
from gemnet_blocks.basis.geometry import RadialBases, ScaledBasis
from gemnet_blocks.basis.radial import RadialBasis
from gemnet_blocks.basis.spherical import SphericalBasis
from gemnet_blocks.blocks.block import Block
from gemnet_blocks.blocks.embedding import AtomEmbedding, EdgeEmbedding
from gemnet_blocks.blocks.interaction import BuildContext, Interaction, InteractionGeometry
from gemnet_blocks.blocks.read_out import ReadOutContext
from gemnet_blocks.errors import SpecError
from gemnet_blocks.geometry import GeometryEncoder
from gemnet_blocks.graph.edge_sets import MAIN, GraphBuilder
from gemnet_blocks.graph.neighbors import neighbor_search
from gemnet_blocks.heads import DirectForces, DirectForcesOptions, Energy, GradientForces
from gemnet_blocks.model import GemNet, Trunk
from gemnet_blocks.options import Options
from gemnet_blocks.spec.catalog import CIRCULAR, ENVELOPE, INTERACTION, RADIAL, READ_OUT, SPHERICAL, Catalog
from gemnet_blocks.spec.document import Document
from gemnet_blocks.spec.part import Unresolved
from gemnet_blocks.spec.resolve import validate
from gemnet_blocks.spec.schema import Spec
from gemnet_blocks.sums import Sums, SumsName, sums


@dataclass(frozen=True, slots=True)
class Execution:
    """How a model is computed; changes no result and no weight.

    Attributes:
        search: the neighbor search: auto, vesin, torch or torch_cluster.
        sums: sums over edges: torch or torch_scatter.
    """

    search: Literal["auto", "vesin", "torch", "torch_cluster"] = "auto"
    sums: SumsName = "torch"


def build(
    spec: Spec,
    *,
    extra: Mapping[str, type] | None = None,
    allow_imports: bool = False,
    execution: Execution | None = None,
    seed: int | None = None,
) -> GemNet:
    """Make the model that a spec describes, with initial weights.

    Args:
        spec: the architecture.
        extra: your own parts by the name that `type` gives them: subclasses of `Interaction`, `RadialBasis`,
            `CircularBasis`, `SphericalBasis`, `Envelope` or `ReadOut`.
        allow_imports: whether types like `my_lab.blocks:GatedTriplet` may be imported; only for specs that you trust.
        execution: how it is computed.
        seed: makes the initial weights reproducible without touching torch's global generator; None draws from it.

    Raises:
        SpecError: a part is unknown, or does not fit the others.
        ImportError: the execution needs a package that is not installed.
    """
    catalog = Catalog(extra, allow_imports)
    if any(isinstance(part, Unresolved) for part in _parts(spec)):
        spec = validate(Document(spec.to_dict()), catalog)
    if seed is None:
        return _Builder(spec, catalog, execution or Execution()).model()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _Builder(spec, catalog, execution or Execution()).model()


def _parts(spec: Spec) -> list[Options]:
    bases = spec.bases
    chosen = [bases.radial, bases.angular_radial, bases.envelope, bases.circular, bases.spherical, spec.read_out]
    return [part for part in (*chosen, *spec.interactions.values()) if part is not None]


@final
class _Context(BuildContext):
    """A spec as interactions see it."""

    def __init__(self, builder: _Builder) -> None:
        self._builder = builder
        self.sizes = builder.spec.sizes
        self.activation = builder.spec.activation
        self.sums = builder.sums
        self.radial_count = builder.radial_basis(1.0, angular=False).count
        self.angular_radial_count = builder.radial_basis(1.0, angular=True).count

    def circular_basis(self) -> CircularBasis | ScaledBasis:
        basis: CircularBasis = self._builder.scaled(self._circular())
        return basis

    def spherical_basis(self) -> SphericalBasis | ScaledBasis:
        basis: SphericalBasis = self._builder.scaled(self._spherical())
        return basis

    @property
    def circular_count(self) -> int:
        return self._circular().count

    @property
    def spherical_count(self) -> int:
        return self._spherical().size

    def _circular(self) -> CircularBasis:
        return self._builder.part(CIRCULAR, self._builder.spec.bases.circular, "bases.circular")

    def _spherical(self) -> SphericalBasis:
        options = self._builder.spec.bases.spherical
        if options is None:
            raise SpecError("bases.spherical: an interaction needs it and it is not given")
        return self._builder.part(SPHERICAL, options, "bases.spherical")


class _Builder:
    """Makes the parts of one model."""

    def __init__(self, spec: Spec, catalog: Catalog, execution: Execution) -> None:
        self.spec, self.catalog, self.execution = spec, catalog, execution
        self.sums: Sums = sums(execution.sums)

    def model(self) -> GemNet:
        spec = self.spec
        context = _Context(self)
        classes: dict[str, type[Interaction[Any]]] = {
            name: self.find(INTERACTION, options, f"interactions.{name}") for name, options in spec.interactions.items()
        }
        shared = {name: part.shared_geometry(spec.interactions[name], context) for name, part in classes.items()}
        geometry = self.geometry(shared, context)
        graphs = self.graphs(shared)
        sizes, activation = spec.sizes, spec.activation
        atom_embedding = AtomEmbedding(spec.elements, sizes.atom)
        edge_embedding = EdgeEmbedding(sizes.atom, context.radial_count, sizes.edge, activation)
        blocks = [
            Block(
                sizes,
                spec.blocks,
                {name: part.from_options(spec.interactions[name], context) for name, part in classes.items()},
                self.sums,
                activation,
            )
            for _ in range(spec.blocks.count)
        ]
        forces = spec.heads.forces
        direct = isinstance(forces, DirectForcesOptions)
        read_out_context = ReadOutContext(sizes, activation, spec.blocks.count + 1, direct, self.sums)
        read_out_class = self.find(READ_OUT, spec.read_out, "read_out")
        output_blocks = [read_out_class.output_block(spec.read_out, read_out_context) for _ in range(len(blocks) + 1)]
        head: DirectForces | GradientForces | None = None
        if isinstance(forces, DirectForcesOptions):
            head = DirectForces(forces.coupled, self.sums)
        elif forces is not None:
            head = GradientForces(forces.dynamic_scaling)
        return GemNet(
            Trunk(graphs, geometry, atom_embedding, edge_embedding, blocks, output_blocks),
            read_out_class.from_options(spec.read_out, read_out_context),
            Energy(spec.heads.energy.reduce, self.sums),
            head,
        )

    def graphs(self, shared: Mapping[str, InteractionGeometry[Any]]) -> GraphBuilder:
        spec = self.spec
        for name, part in shared.items():
            for edge_set in part.edge_sets:
                if edge_set not in spec.graphs:
                    raise SpecError(f"interactions.{name}: unknown edge set {edge_set!r}")
        return GraphBuilder(
            spec.graphs,
            measured=[edge_set for part in shared.values() for edge_set in part.edge_sets],
            requests=[request for part in shared.values() for request in part.requests],
            search=neighbor_search(self.execution.search),
            ties=spec.neighbors.ties,
            tie_tolerance=spec.neighbors.tie_tolerance,
            periodic=spec.neighbors.periodic,
            element_count=spec.elements,
        )

    def geometry(self, shared: Mapping[str, InteractionGeometry[Any]], context: _Context) -> GeometryEncoder:
        radial_on = dict.fromkeys((MAIN, *(name for part in shared.values() for name in part.radial_on)))
        angular_on = dict.fromkeys(name for part in shared.values() for name in part.angular_radial_on)
        cutoffs = {name: rule.cutoff for name, rule in self.spec.graphs.items()}
        bases = RadialBases(
            {name: self.scaled(self.radial_basis(cutoffs[name], angular=False)) for name in radial_on},
            {name: self.scaled(self.radial_basis(cutoffs[name], angular=True)) for name in angular_on},
        )
        return GeometryEncoder(bases, context.radial_count, self.spec.sizes.radial, shared)

    def radial_basis(self, cutoff: float, angular: bool) -> RadialBasis:
        bases = self.spec.bases
        field = "angular_radial" if angular and bases.angular_radial is not None else "radial"
        options = getattr(bases, field)
        envelope = self.part(ENVELOPE, bases.envelope, "bases.envelope")
        return self.part(RADIAL, options, f"bases.{field}", cutoff, envelope)

    def scaled(self, basis: nn.Module) -> Any:
        return ScaledBasis(basis) if self.spec.bases.scale else basis

    def part(self, kind: str, options: Options, path: str, *arguments: Any) -> Any:
        return self.find(kind, options, path).from_options(options, *arguments)

    def find(self, kind: str, options: Options, path: str) -> Any:
        name: str = options.type  # type: ignore[attr-defined]
        part = self.catalog.find(kind, name)
        if part is None:
            raise SpecError(f"{path}.type: {self.catalog.unknown(kind, name)}")
        return part
