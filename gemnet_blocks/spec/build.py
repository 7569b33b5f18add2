"""Building models from specs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import nn

from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.basis.circular import CircularBasis
from gemnet_blocks.basis.fourier_bessel import DegreeRadialBasis, degree_count
from gemnet_blocks.basis.radial import RadialBasis
from gemnet_blocks.basis.spherical import SphericalBasis
from gemnet_blocks.errors import SpecError, is_out_of_memory
from gemnet_blocks.geometry.angles import collinear_rule
from gemnet_blocks.graph.builder import MAIN, GraphBuilder, reach_of
from gemnet_blocks.graph.neighbor_list import neighbor_search
from gemnet_blocks.interactions.interaction import (
    BuildContext,
    Interaction,
    InteractionGeometry,
    InteractionOptions,
    inputs_in,
)
from gemnet_blocks.layers.embeddings import EdgeEmbedding
from gemnet_blocks.layers.initialization import with_single_precision_draws, without_initial_values
from gemnet_blocks.layers.irreps import Stream
from gemnet_blocks.layers.radial_bases import RadialBases, edge_set_of
from gemnet_blocks.layers.scaled_basis import ScaledBasis
from gemnet_blocks.layers.state_embedding import StateEmbedding
from gemnet_blocks.model.block import Block, BlockLayers
from gemnet_blocks.model.estimate import estimate
from gemnet_blocks.model.gemnet import Backbone, GemNet
from gemnet_blocks.model.geometry_encoder import GeometryEncoder
from gemnet_blocks.model.heads import DirectForces, DirectForcesOptions, Energy, GradientForces
from gemnet_blocks.model.property_heads import HeadContext
from gemnet_blocks.model.readout import Readout, ReadoutContext
from gemnet_blocks.model.short_range import Zbl
from gemnet_blocks.model.streams import InitialStream, StreamLayer
from gemnet_blocks.options import Options
from gemnet_blocks.spec.bases import RadialPlan, depends_on_degree, own_names, place_of, radial_plan
from gemnet_blocks.spec.catalog import (
    ATOM_EMBEDDING,
    CIRCULAR,
    ENVELOPE,
    HEAD,
    INTERACTION,
    RADIAL,
    READOUT,
    SPHERICAL,
    STREAM_UPDATE,
    Catalog,
    did_you_mean,
)
from gemnet_blocks.spec.execution import Execution
from gemnet_blocks.spec.resolve import Spec, check_known, validate
from gemnet_blocks.spec.schema import BasisOptions
from gemnet_blocks.util.precision import products
from gemnet_blocks.util.weights import ordinary_tensors


@ordinary_tensors()
def build(
    spec: Spec,
    *,
    extra: Mapping[str, type] | None = None,
    allow_imports: bool = False,
    execution: Execution | None = None,
    seed: int | None = None,
) -> GemNet:
    """Build the model that a spec describes, with weights of torch's default floating-point type.

    Args:
        spec: the architecture.
        extra: custom parts by the name that `type` gives them: subclasses of `Interaction`, `AtomEmbedding`,
            `RadialBasis`, `CircularBasis`, `SphericalBasis`, `Envelope`, `Readout` or `PropertyHead`.
        allow_imports: whether types like `my_lab.blocks:GatedTriplet` may be imported; only for specs that you trust.
        execution: options of the computation; None for the defaults.
        seed: the seed of the initial weights, which do not depend on torch's default type; torch's global random state
            stays unchanged. None: draw from the global random state.

    Raises:
        SpecError: a part is unknown or does not fit the others, or memory does not suffice.
        ImportError: the execution needs a package that is not installed.
    """
    if not isinstance(spec, Spec):
        raise TypeError(f"build takes a Spec, not {type(spec).__name__}: read one with load_spec(path)")
    if not isinstance(execution, Execution | None):
        raise TypeError(f"build takes an Execution, not {execution!r}: write execution=Execution(angular=...)")
    catalog = spec.catalog.plus(extra, allow_imports)
    # custom classes may be known only now
    spec = validate(spec.document(), catalog)
    check_known(spec, catalog)
    builder = _Builder(spec, catalog, execution or Execution())
    try:
        if seed is None:
            return with_single_precision_draws(builder.model)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return with_single_precision_draws(builder.model)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise SpecError(
            "the weights do not fit in memory: lower elements, sizes, blocks.count or the counts of bases"
        ) from error


def build_shapes(
    spec: Spec,
    *,
    extra: Mapping[str, type] | None = None,
    allow_imports: bool = False,
    execution: Execution | None = None,
) -> GemNet:
    """Build a model on the meta device, whose weights take neither time nor memory.

    Arguments and errors are those of `build`. If a custom part reads its weights during construction, the weights are
    real but uninitialized.
    """
    try:
        with torch.device("meta"):
            return build(spec, extra=extra, allow_imports=allow_imports, execution=execution, seed=0)
    except (SpecError, TypeError, ImportError):
        raise
    except Exception:  # custom parts may raise anything
        with without_initial_values():
            return build(spec, extra=extra, allow_imports=allow_imports, execution=execution, seed=0)


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Prefix errors during the construction of a part with its path."""
    try:
        yield
    except ValueError as error:
        raise SpecError(f"{path}: {error}") from error


@final
class _Context(BuildContext):
    """The build context of one interaction."""

    def __init__(self, builder: _Builder, name: str) -> None:
        self._builder, self._name = builder, name
        self.angular = builder.execution.plan(name)
        self.sizes = builder.spec.sizes
        self.activation = builder.spec.activation
        self.collinear = collinear_rule(builder.spec.bases.collinear)
        self.sums = builder.sums
        self.streams = builder.streams
        self.radial_count = builder.radial_basis(1.0, angular=False, interaction=name).count
        angular_radial = builder.radial_basis(1.0, angular=True, interaction=name)
        self.angular_radial_count = angular_radial.count
        if isinstance(angular_radial, DegreeRadialBasis):
            self.degree_count = angular_radial.degree_count

    def reaches_beyond_main(self, edge_set: str) -> bool:
        rules = self._builder.spec.graphs
        return reach_of(edge_set, rules) > reach_of(MAIN, rules)

    def circular_basis(self) -> CircularBasis | ScaledBasis:
        return self._builder.scaled(self._circular())

    def spherical_basis(self) -> SphericalBasis | ScaledBasis:
        return self._builder.scaled(self._spherical())

    @property
    def circular_count(self) -> int:
        return self._circular().count

    @property
    def spherical_count(self) -> int:
        return self._spherical().size

    @property
    def circular_degrees(self) -> tuple[int, ...] | None:
        return self._circular().degrees

    @property
    def spherical_degrees(self) -> tuple[int, ...] | None:
        return self._spherical().degrees

    def _circular(self) -> CircularBasis:
        return self._builder.circular(self._name)

    def _spherical(self) -> SphericalBasis:
        found = self._builder.spherical(self._name)
        if found is None:
            raise SpecError("needs bases.spherical, which is missing")
        return found


class _Builder:
    """Builder of the parts of one model."""

    def __init__(self, spec: Spec, catalog: Catalog, execution: Execution) -> None:
        self.spec, self.catalog, self.execution = spec, catalog, execution
        self.products = products(execution.matmul)
        self.sums = Sums(execution.sums, self.products)
        self.stream_options = spec.all_streams()
        self.streams = {name: Stream(name, one.on, one.irreps) for name, one in self.stream_options.items()}
        self.edges = spec.edge_embedding is not None

    def model(self) -> GemNet:
        spec = self.spec
        if isinstance(self.execution.angular, Mapping):
            for name in self.execution.angular:
                if name not in spec.interactions:
                    raise SpecError(
                        f"execution: angular: unknown interaction {name!r}{did_you_mean(name, spec.interactions)}"
                    )
        contexts = {name: _Context(self, name) for name in spec.interactions}
        shared = {name: self.shared_geometry(name, contexts[name]) for name in spec.interactions}
        geometry = self.geometry(shared)
        graphs = self.graphs(shared)
        sizes, activation = spec.sizes, spec.activation
        atom_embedding = self.part(ATOM_EMBEDDING, spec.atom_embedding, "atom_embedding", spec.elements, sizes.atom)
        reads = spec.reads
        state_embedding = StateEmbedding(sizes.atom, "charge" in reads, "spin" in reads) if reads else None
        edge_embedding = None
        if self.edges:
            edge_embedding = EdgeEmbedding(sizes.atom, self.radial_count, sizes.edge, activation)
        initial_streams = {name: self.initial_stream(name) for name in self.streams}
        blocks = [
            Block(
                sizes,
                layers,
                self.interactions(contexts, number),
                self.sums,
                activation,
                self.edges,
                {name: self.stream_layer(name, layers) for name in self.streams},
            )
            for number, layers in enumerate(spec.block_layers)
        ]
        self.check_streams(blocks)
        forces = spec.heads.forces
        direct = isinstance(forces, DirectForcesOptions)
        context = ReadoutContext(sizes, activation, len(blocks) + 1, direct, self.sums)
        readout_class = self.find(READOUT, spec.readout)
        with _named("readout"):
            self.check_readout(readout_class, direct)
            output_blocks = [readout_class.output_block(spec.readout, context) for _ in (None, *blocks)]
            readout = readout_class.from_options(spec.readout, context)
        head: DirectForces | GradientForces | None = None
        if isinstance(forces, DirectForcesOptions):
            head = DirectForces(forces.coupled, self.sums)
        elif forces is not None:
            head = GradientForces(forces.dynamic_scaling, spec.heads.stress is not None)
        short_range = Zbl(spec.graphs[MAIN].cutoff, self.sums) if spec.heads.energy.short_range == "zbl" else None
        head_context = HeadContext(sizes, activation, self.sums, self.streams)
        heads = {
            name: self.part(HEAD, options, f"heads.{name}", head_context)
            for name, options in spec.heads.properties.items()
        }
        return GemNet(
            Backbone(
                graphs,
                geometry,
                atom_embedding,
                edge_embedding,
                blocks,
                output_blocks,
                initial_streams,
                state_embedding,
            ),
            readout,
            Energy(spec.heads.energy.reduce, self.sums),
            head,
            self.execution.memory_budget,
            self.products,
            self.execution.compile,
            estimate,
            heads,
            short_range,
        )

    def graphs(self, shared: Mapping[str, InteractionGeometry[Any]]) -> GraphBuilder:
        spec = self.spec
        return GraphBuilder(
            spec.graphs,
            measured=[edge_set for part in shared.values() for edge_set in _edge_sets(part)],
            requests=[request for part in shared.values() for request in part.requests],
            search=neighbor_search(self.execution.search),
            ties=spec.neighbors.ties,
            tie_tolerance=spec.neighbors.tie_tolerance,
            fade_width=spec.neighbors.fade_width,
            periodic=spec.neighbors.periodic,
            element_count=spec.elements,
            reads=spec.reads,
        )

    def geometry(self, shared: Mapping[str, InteractionGeometry[Any]]) -> GeometryEncoder:
        radial, angular = (radial_plan(self.spec, shared, angular) for angular in (False, True))
        cutoffs = {name: rule.cutoff for name, rule in self.spec.graphs.items()}

        def built(plan: RadialPlan, angular: bool) -> dict[str, nn.Module]:
            return {
                name: self.scaled(self.radial_basis(cutoffs[edge_set_of(name)], angular, interaction))
                for name, interaction in plan.owner.items()
            }

        bases = RadialBases(built(radial, angular=False), built(angular, angular=True))
        sizes = self.radial_count, self.spec.sizes.radial
        # further heads may read edges although the readout does not
        output = self.find(READOUT, self.spec.readout).reads_edges or bool(self.spec.heads.properties)
        return GeometryEncoder(bases, *sizes, shared, own_names(radial, angular), self.edges, output)

    def radial_basis(self, cutoff: float, angular: bool, interaction: str | None = None) -> RadialBasis:
        bases = self.bases(interaction)
        field = "angular_radial" if angular and bases.angular_radial is not None else "radial"
        options, of_degree = getattr(bases, field), list[int]()
        envelope = self.part(ENVELOPE, bases.envelope, place_of(self.spec, interaction, "envelope"))
        if depends_on_degree(options, self.catalog):
            of_degree.append(degree_count(self.circular(interaction), self.spherical(interaction)))
        return self.part(RADIAL, options, place_of(self.spec, interaction, field), cutoff, envelope, *of_degree)

    def circular(self, interaction: str | None = None) -> CircularBasis:
        return self.part(CIRCULAR, self.bases(interaction).circular, place_of(self.spec, interaction, "circular"))

    def spherical(self, interaction: str | None = None) -> SphericalBasis | None:
        options = self.bases(interaction).spherical
        place = place_of(self.spec, interaction, "spherical")
        return None if options is None else self.part(SPHERICAL, options, place)

    def bases(self, interaction: str | None) -> BasisOptions:
        return self.spec.bases if interaction is None else self.spec.bases_of(interaction)

    def scaled(self, basis: nn.Module) -> Any:
        return ScaledBasis(basis) if self.spec.bases.scale else basis

    def part(self, kind: str, options: Options, path: str, *arguments: Any) -> Any:
        with _named(path):
            return self.find(kind, options).from_options(options, *arguments)

    @property
    def radial_count(self) -> int:
        return self.radial_basis(1.0, angular=False).count

    def scalar_size(self, stream: Stream) -> int:
        return self.spec.sizes.edge * self.edges if stream.on == "edges" else self.spec.sizes.atom

    def initial_stream(self, name: str) -> InitialStream:
        stream = self.streams[name]
        embedded = self.stream_options[name].initial == "embedding"
        if embedded and not self.scalar_size(stream):
            raise SpecError(f"streams.{name}.initial: edges have no embeddings with edge_embedding: null: choose zeros")
        return InitialStream(stream, self.scalar_size(stream) if embedded else None, self.sums)

    def stream_layer(self, name: str, layers: BlockLayers) -> StreamLayer:
        stream, options = self.streams[name], self.stream_options[name]
        path = f"streams.{name}.update"
        update = self.part(STREAM_UPDATE, options.update, path, stream, self.scalar_size(stream), self.spec.activation)
        divisor = None if layers.divisors is None else layers.divisors.streams.get(name)
        return StreamLayer(stream, options.combine, update, self.sums, divisor)

    def check_streams(self, blocks: Sequence[Block]) -> None:
        """Check that the streams of all interactions exist, and warn of streams that no interaction writes."""
        if not self.edges and any(_layers_on_edges(layers) for layers in self.spec.block_layers):
            raise SpecError(
                "blocks: edges have no embeddings with edge_embedding: null: set concatenation and update to null, and "
                "before_skip and after_skip to 0"
            )
        for number, layers in enumerate(self.spec.block_layers):
            for stream in layers.divisors.streams if layers.divisors else ():
                if stream not in self.streams:
                    raise SpecError(
                        f"blocks: the divisors of block {number} name the unknown stream {stream!r}"
                        f"{did_you_mean(stream, self.streams)}"
                    )
        known, written = ["atoms", *["edges"] * self.edges, *self.streams], set[str]()
        for name, interaction in (item for block in blocks for item in block.interactions.items()):
            assert isinstance(interaction, Interaction)
            read = inputs_in(getattr(interaction, "reads", ""))
            if not self.edges and "edges" in (*interaction.receivers, *read):
                raise SpecError(
                    f"interactions.{name}: it needs edge embeddings, which edge_embedding: null removes: remove the "
                    "interaction, or set edge_embedding to radial"
                )
            for stream in interaction.receivers:
                if stream not in known:
                    raise SpecError(
                        f"interactions.{name}: writes the unknown stream {stream!r}{did_you_mean(stream, known)}"
                    )
            written.update(interaction.receivers)
        for stream in self.streams:
            if stream not in written and blocks:
                warnings.warn(
                    f"streams.{stream}: no interaction writes this stream: remove it, or name it in `writes` of an "
                    "interaction",
                    stacklevel=2,
                )

    def check_readout(self, readout: type[Readout], direct: bool) -> None:
        """Check that the edge embeddings exist that the readout reads, and that it reads those that forces need."""
        if direct and not readout.reads_edges:
            raise SpecError("it reads no edges, which direct forces need: set heads.forces.type to gradient")
        if readout.reads_edges and not self.edges:
            raise SpecError("it reads edges, which have no embeddings with edge_embedding: null: choose the type atoms")

    def interactions(self, contexts: Mapping[str, _Context], block: int) -> dict[str, Interaction[Any]]:
        count = len(self.spec.block_layers)
        return {
            name: self.part(INTERACTION, options, f"interactions.{name}", contexts[name])
            for name, options in self.spec.interactions.items()
            if not isinstance(options, InteractionOptions) or block in options.block_numbers(count)
        }

    def shared_geometry(self, name: str, context: _Context) -> InteractionGeometry[Any]:
        options = self.spec.interactions[name]
        with _named(f"interactions.{name}"):
            shared: InteractionGeometry[Any] = self.find(INTERACTION, options).shared_geometry(options, context)
            if not isinstance(shared, InteractionGeometry):
                raise SpecError(f"shared_geometry must return an InteractionGeometry, got {shared!r}")
            for edge_set in _edge_sets(shared):
                if edge_set not in self.spec.graphs:
                    raise SpecError(f"unknown edge set {edge_set!r}{did_you_mean(edge_set, self.spec.graphs)}")
            return shared

    def find(self, kind: str, options: Options) -> Any:
        return self.catalog.find(kind, options.type)  # type: ignore[attr-defined]


def _layers_on_edges(layers: BlockLayers) -> bool:
    """Return whether a block has layers on edge embeddings besides the interactions."""
    has_more = layers.update is not None or layers.concatenation is not None
    return has_more or bool(layers.before_skip or layers.after_skip)


def _edge_sets(shared: InteractionGeometry[Any]) -> tuple[str, ...]:
    """Return the edge sets that an interaction reads, itself or through their radial bases."""
    return (*shared.edge_sets, *shared.radial_on, *shared.angular_radial_on)
