"""A single interaction on structures of your choice, without a model around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor

from gemnet_blocks.geometry.graphs import Graphs, measured_graphs
from gemnet_blocks.graph.builder import MAIN
from gemnet_blocks.graph.topology import Topology
from gemnet_blocks.interactions.interaction import (
    Embeddings,
    Interaction,
    InteractionGeometry,
    InteractionOptions,
    Sizes,
)
from gemnet_blocks.layers.irreps import irreps
from gemnet_blocks.model.block import Block
from gemnet_blocks.model.geometry_encoder import GeometryEncoder
from gemnet_blocks.options import positive_number
from gemnet_blocks.spec.build import build
from gemnet_blocks.spec.catalog import BUILT_IN, INTERACTION
from gemnet_blocks.spec.execution import Execution
from gemnet_blocks.spec.names import named_edge_sets, unchecked_options
from gemnet_blocks.spec.resolve import Spec, load_spec
from gemnet_blocks.structures import Structures, as_structures
from gemnet_blocks.util.precision import at_least_single

if TYPE_CHECKING:
    from ase import Atoms

DEFAULTS = "symmetric"
"""The spec whose sizes, edge sets and bases are the defaults of an interaction alone."""

WIDTH = 16
"""Default of options of an interaction that are integers and have no default of their own."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class InteractionAlone:
    """An interaction with all its input; calling it returns the message.

    Every call recomputes everything after the topology, so that the message can be differentiated any number
    of times with respect to embeddings, weights, positions and cells. `dataclasses.replace` exchanges the input:
    `replace(alone, embeddings=replace(alone.embeddings, edges=edges))()`.

    Attributes:
        interaction: the interaction of one block.
        encoder: evaluates the bases and the shared geometry.
        structures: the structures. New ones need a new topology if neighbors change.
        topology: the edge sets, triplets and quadruplets of the structures.
        embeddings: random embeddings and feature streams with variance 1, which require gradients.
        spec: the spec of a model with this interaction alone. `build(spec, seed=...)` gives it the same weights.
    """

    interaction: Interaction[Any]
    encoder: GeometryEncoder
    structures: Structures
    topology: Topology
    embeddings: Embeddings
    spec: Spec

    def __repr__(self) -> str:
        counts = {"atoms": self.structures.atom_count, **self.topology.counts()}
        counted = ", ".join(f"{count} {what}" for what, count in counts.items())
        return f"{type(self.interaction).__name__} alone ({counted})"

    def __call__(self) -> Any:
        """Compute the message: a row for each main edge or each atom, as `interaction.writes` says.

        An interaction that writes several feature streams returns the messages by stream.
        """
        return self.interaction(self.embeddings, self.geometry)

    @property
    def shared_geometry(self) -> InteractionGeometry[Any]:
        """The part of the interaction that all blocks of a model share."""
        (shared,) = self.encoder.interactions.values()
        assert isinstance(shared, InteractionGeometry)
        return shared

    @property
    def geometry(self) -> Any:
        """The shared geometry of these structures."""
        (geometry,) = self.encoder(self.structures, self.topology).interactions.values()
        return geometry

    @property
    def graphs(self) -> Graphs:
        """The edge sets with distances and directions, and the index sets."""
        return measured_graphs(self.structures, self.topology, at_least_single(self.encoder.dtype))


def alone(
    interaction: type[Interaction[Any]],
    structures: Structures | Atoms | Sequence[Atoms],
    options: Mapping[str, Any] | InteractionOptions | None = None,
    *,
    sizes: Mapping[str, int] | Sizes | None = None,
    cutoff: float | None = None,
    graphs: Mapping[str, Any] | None = None,
    bases: Mapping[str, Any] | None = None,
    neighbors: Mapping[str, Any] | None = None,
    streams: Mapping[str, Any] | None = None,
    extra: Mapping[str, type] | None = None,
    execution: Execution | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> InteractionAlone:
    """Build an interaction with its bases, the graphs of structures, and random embeddings.

    >>> from ase.build import molecule
    >>> from gemnet_blocks.interactions import TripletInteraction
    >>> TripletInteraction.alone(molecule("C2H6"), {"down": 8}, sizes={"edge": 32})().shape
    torch.Size([56, 32])

    Arguments are sections of a spec. They change the defaults, which are those of the spec `symmetric`: cutoffs of 3.5
    to 5 Å, embeddings of width 64, Gaussians and Legendre polynomials.

    Args:
        interaction: a built-in or custom subclass of `Interaction`.
        structures: structures or ASE atoms. The message carries gradients to the positions and cells of `Structures`.
        options: options of the interaction; integers without a default are 16.
        sizes: widths of embeddings and projections, such as `{"edge": 32}`.
        cutoff: cutoff of all edge sets in Å, such as 6.0, as far as `graphs` does not give another one.
        graphs: options of edge sets by name, such as `{"main": {"max_neighbors": 30}}`.
        bases: options of bases, such as `{"circular": {"type": "gaussian", "count": 7}}`.
        neighbors: rules for all edge sets, such as `{"ties": "smooth"}`.
        streams: further feature streams by name, such as `{"vectors": {"irreps": "8x1o"}}`.
        extra: custom bases by the name that `type` gives them.
        execution: options of the computation, such as `Execution(angular="explicit")`; None for the defaults.
        seed: the seed of the weights and the embeddings. The embeddings do not depend on the weights.
        dtype: the floating-point type of the weights, the embeddings and the message.

    Raises:
        SpecError: an option is invalid, or the parts do not fit together.
        StructureError: a structure cannot be computed.
        TypeError: an argument has another type.
    """
    name = type_name(interaction)
    base = load_spec(DEFAULTS, extra={**(extra or {}), **as_extra(interaction, name)})
    given = {**completed_options(interaction, name, options, WIDTH), "blocks": "all"}  # there is one block
    read = named_edge_sets(unchecked_options(name, given, base.catalog)).values()
    cutoffs = dict.fromkeys(read, base.graphs[MAIN].cutoff) | {key: rule.cutoff for key, rule in base.graphs.items()}
    if cutoff is not None:
        cutoffs = dict.fromkeys(cutoffs, positive_number("alone", "cutoff", cutoff, unit="Å"))
    without_others = base.patch(
        interactions=dict.fromkeys(base.interactions),
        graphs={edge_set: {"cutoff": reach} for edge_set, reach in cutoffs.items()},
        blocks={"count": 1, "before_skip": 0, "after_skip": 0, "concatenation": 0, "update": 0, "atom": 0},
    )
    sections = {
        "sizes": sizes,
        "graphs": graphs,
        "bases": bases,
        "neighbors": neighbors,
        "streams": streams,
        "interactions": {name: given},
    }
    spec = without_others.patch({section: changes for section, changes in sections.items() if changes is not None})
    structures = as_structures(structures)
    backbone = build(spec, execution=execution, seed=seed).to(structures.positions.device, dtype).backbone
    (block,) = backbone.blocks
    assert isinstance(block, Block)
    layer = block.interactions[name]
    assert isinstance(layer, Interaction)
    topology = backbone.topology(structures)
    embeddings = _random_embeddings(spec, structures, topology, seed, dtype)
    return InteractionAlone(layer, backbone.geometry, structures, topology, embeddings, spec)


def type_name(interaction: type[Interaction[Any]], default: str = "custom") -> str:
    """Return the `type` that the options of an interaction prescribe, or the default if they allow any."""
    fields = getattr(getattr(interaction, "Options", None), "model_fields", {})
    choices = get_args(fields["type"].annotation) if "type" in fields else ()
    return str(choices[0]) if choices else default


def as_extra(interaction: type[Interaction[Any]], name: str) -> dict[str, type]:
    """Return the argument `extra` of `build` for an interaction, which is empty for built-in ones."""
    return {} if BUILT_IN[INTERACTION].get(name) is interaction else {name: interaction}


def completed_options(
    interaction: type[Interaction[Any]], name: str, options: Mapping[str, Any] | InteractionOptions | None, size: int
) -> dict[str, Any]:
    """Return the options of an interaction as in a spec, with `size` for missing integers without a default.

    Raises:
        TypeError: the options are not a mapping.
    """
    fields = interaction.Options.model_fields.items()
    missing = {field: size for field, info in fields if info.is_required() and info.annotation is int}
    given = options.model_dump() if isinstance(options, InteractionOptions) else options or {}
    if not isinstance(given, Mapping):
        raise TypeError(f"expected options such as {{'down': 16}}, got {options!r:.80}")
    return {**missing, "type": name, **given}


def _random_embeddings(
    spec: Spec, structures: Structures, topology: Topology, seed: int, dtype: torch.dtype
) -> Embeddings:
    generator = torch.Generator().manual_seed(seed)

    def draw(rows: int, size: int) -> Tensor:
        drawn = torch.randn(rows, size, generator=generator, dtype=torch.float64, device="cpu")
        return drawn.to(structures.positions.device, dtype).requires_grad_()

    rows = {"atoms": structures.atom_count, "edges": topology.edges[MAIN].count, "structures": len(structures)}
    return Embeddings(
        draw(rows["atoms"], spec.sizes.atom),
        draw(rows["edges"], spec.sizes.edge),
        {name: draw(rows[one.on], irreps(one.irreps).dim) for name, one in spec.all_streams().items()},
    )
