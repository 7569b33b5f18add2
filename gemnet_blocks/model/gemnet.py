"""The model: structures → topology → geometry → blocks → readout → heads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemnet_blocks.errors import StructureError
from gemnet_blocks.graph.builder import GraphBuilder
from gemnet_blocks.graph.pairs import Neighbors, Pairs
from gemnet_blocks.graph.topology import Topology
from gemnet_blocks.interactions.interaction import Embeddings
from gemnet_blocks.layers.embeddings import AtomEmbedding, EdgeEmbedding
from gemnet_blocks.layers.state_embedding import StateEmbedding
from gemnet_blocks.model.block import Block
from gemnet_blocks.model.compilation import Compilable, Compilation
from gemnet_blocks.model.compiled_piece import Call
from gemnet_blocks.model.costs import Estimate, Task
from gemnet_blocks.model.geometry_encoder import Geometry, GeometryEncoder
from gemnet_blocks.model.heads import DirectForces, Energy, GradientForces
from gemnet_blocks.model.property_heads import PropertyHead
from gemnet_blocks.model.readout import BackboneOutput, Contributions, OutputBlock, Readout
from gemnet_blocks.model.short_range import Zbl
from gemnet_blocks.model.streams import InitialStream
from gemnet_blocks.options import byte_count
from gemnet_blocks.structures import Prediction, PropertyKind, Structures, strained
from gemnet_blocks.util.charges import Quantity
from gemnet_blocks.util.derivatives import (
    check_gradient_forces_can_be_computed,
    check_not_in_forward_mode,
    without_graph,
)
from gemnet_blocks.util.html import upper_layer
from gemnet_blocks.util.precision import PLAIN, Products, at_least_single, multiply_with, without_autocast
from gemnet_blocks.util.recompute import RECOMPUTED, STORED, Evaluation, evaluated_by, fixed
from gemnet_blocks.util.weights import WeightedModule

Estimator = Callable[["GemNet", Structures, Task], Estimate]
"""Estimates the cost of a model for structures, such as `gemnet_blocks.model.estimate.estimate`."""


@final
class Backbone(nn.Module):
    """The backbone: embeddings, blocks and output blocks, without readout and heads.

    Args:
        graphs: builds topologies.
        geometry: evaluates bases and shared projections.
        atom_embedding: initial embeddings of atoms.
        edge_embedding: initial embeddings of main edges; None: edges have no embeddings.
        blocks: the interaction blocks, in the order of computation.
        output_blocks: read the embeddings before the first block and after each block.
        streams: initial values of further feature streams, by name.
        state_embedding: adds the total charge and spin of structures to the embeddings of their atoms; None: models
            without it treat all structures as neutral singlets.
    """

    def __init__(
        self,
        graphs: GraphBuilder,
        geometry: GeometryEncoder,
        atom_embedding: AtomEmbedding,
        edge_embedding: EdgeEmbedding | None,
        blocks: Sequence[Block],
        output_blocks: Sequence[OutputBlock],
        streams: Mapping[str, InitialStream] | None = None,
        state_embedding: StateEmbedding | None = None,
    ) -> None:
        super().__init__()
        self.graphs = graphs
        self.geometry = geometry
        self.atom_embedding = atom_embedding
        self.state_embedding = state_embedding
        self.edge_embedding = edge_embedding
        self.blocks = nn.ModuleList(blocks)
        self.output_blocks = nn.ModuleList(output_blocks)
        self.streams = nn.ModuleDict(dict(streams or {}))
        self.evaluation: Evaluation = STORED

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the weights, and of embeddings; distances and angles are in float32 or wider."""
        return self.geometry.dtype

    def topology(self, structures: Structures, given: Pairs | Neighbors | None = None) -> Topology:
        """Build the topology of structures, see `GraphBuilder`; also in inference mode, for later gradients."""
        with torch.inference_mode(False):
            found: Topology = self.graphs(structures, at_least_single(self.dtype), given)
        return found

    def forward(self, structures: Structures, topology: Topology) -> BackboneOutput:
        """Compute features of atoms and edges.

        Args:
            structures: the batch.
            topology: the topology of the batch.
        """
        geometry, embeddings = self._start(structures, topology)
        outputs = [self.evaluation(self.output_blocks[0], embeddings, geometry)]
        for block, output_block in zip(self.blocks, self.output_blocks[1:], strict=True):
            embeddings = block(embeddings, geometry)
            outputs.append(self.evaluation(output_block, embeddings, geometry))
        return BackboneOutput(geometry.main, tuple(outputs), embeddings, geometry.output_radial)

    def embeddings(self, structures: Structures, topology: Topology) -> tuple[Embeddings, ...]:
        """Compute the embeddings before the first block and after each block, see `GemNet.embeddings`."""
        geometry, embeddings = self._start(structures, topology)
        found = [embeddings]
        for block in self.blocks:
            found.append(block(found[-1], geometry))
        return tuple(found)

    def _start(self, structures: Structures, topology: Topology) -> tuple[Geometry, Embeddings]:
        """Compute the geometry, and the embeddings before the first block."""
        with without_autocast(structures.positions.device):
            geometry = self.geometry(structures, topology)
        h = self.atom_embedding(structures.numbers)
        if self.state_embedding is not None:
            h = self.state_embedding(h, structures)
        embeddings = Embeddings(h, self._edges(h, geometry))
        streams = {name: initial(embeddings, geometry) for name, initial in self.streams.items()}
        return geometry, replace(embeddings, streams=streams)

    def _edges(self, h: Float[Tensor, "atoms atom_size"], geometry: Geometry) -> Float[Tensor, "edges edge_size"]:
        edges = geometry.main.edges
        if self.edge_embedding is None:
            return h.new_zeros(edges.count, 0)
        return self.evaluation(self.edge_embedding, h, geometry.radial, edges)


NEIGHBORS_WITHIN = 0.05
"""The relative change of the number of neighbors after which memory is estimated again."""


@final
class GemNet(WeightedModule, Compilable):
    """A model of energies, forces and other properties, built by `gemnet_blocks.spec.build`.

    Args:
        backbone: the backbone, from structures to features.
        readout: the readout, from features to numbers per atom and edge.
        energy: the energy head, from numbers per atom to energies.
        forces: the force head, from numbers per edge or from the gradient of the energy; None for no forces.
        memory_budget: the memory of a prediction in bytes, such as 8e9; None for no limit.
        products: how layers multiply matrices.
        compiled: compile the model at its first use, see `gemnet_blocks.model.compilation`; also copies of the model.
        estimator: estimates the memory of a prediction, for comparison with memory budgets.
        heads: the heads of other properties, by name.
        short_range: a repulsion that is added to the numbers per atom; None for none.
    """

    def __init__(
        self,
        backbone: Backbone,
        readout: Readout,
        energy: Energy,
        forces: DirectForces | GradientForces | None,
        memory_budget: float | None = None,
        products: Products = PLAIN,
        compiled: bool = False,
        estimator: Estimator | None = None,
        heads: Mapping[str, PropertyHead] | None = None,
        short_range: Zbl | None = None,
    ) -> None:
        super().__init__()
        self.trunk = backbone  # the keys of weights in model files begin with the names of these two attributes
        self.read_out = readout
        self.short_range = short_range
        self.energy = energy
        self.forces = forces
        self.heads = nn.ModuleDict(heads)
        self.memory_budget = memory_budget
        self.products = products
        self.compiled = compiled
        self.compilation = Compilation()
        self._estimator = estimator
        self._needed: dict[tuple[object, ...], _Needed] = {}
        multiply_with(self, products)

    @property
    def backbone(self) -> Backbone:
        """The backbone, from structures to features."""
        return self.trunk

    @property
    def readout(self) -> Readout:
        """The readout, from features to numbers per atom and edge."""
        return self.read_out

    @property
    def reads(self) -> frozenset[Quantity]:
        """Whichever of the total charge and spin of structures the model reads."""
        return self.backbone.graphs.reads

    @property
    def property_kinds(self) -> dict[str, PropertyKind]:
        """The kinds of the properties that further heads predict, by name."""
        return {name: head.kind for name, head in self.heads.items() if isinstance(head, PropertyHead)}

    def topology(self, structures: Structures, given: Pairs | Neighbors | None = None) -> Topology:
        """Build the topology of a batch: edges, triplets and all other indices of a prediction.

        Building it includes all searching, sorting and waiting for the device. A topology belongs to one batch of
        structures, and to the edge sets and interactions of this model.

        Args:
            structures: the batch, on the device of the model.
            given: pairs that replace the search and selection of edge sets, or neighbors that replace the search alone.

        Raises:
            StructureError: a structure cannot be computed.
        """
        check_structures(structures)
        return self.backbone.topology(structures, given)

    def forward(
        self,
        structures: Structures,
        topology: Topology | Pairs | Neighbors | None = None,
        memory_budget: float | None = None,
        stress: bool | None = None,
        given: Pairs | Neighbors | None = None,
    ) -> Prediction:
        """Predict energies, forces and the properties of further heads.

        With gradients enabled, all are differentiable functions of the weights, and gradient forces of the positions
        too. Under `torch.no_grad()`, gradient forces are computed all the same and carry no gradient.

        Args:
            structures: the batch, on the device of the model.
            topology: the topology of the batch, or pairs or neighbors to build it from, see `topology`; None: build it
                from a neighbor search.
            memory_budget: the memory of the prediction in bytes. A prediction that needs more recomputes intermediate
                results in the backward pass instead of storing them, which takes more time. None: the budget of the
                model.
            stress: whether stresses are computed, in the backward pass of gradient forces; None: if the spec has
                `heads.stress` and all structures are periodic in all three directions.
            given: the earlier name of `topology`, for pairs and neighbors.

        Raises:
            StructureError: a structure cannot be computed, or has no volume to divide a stress by.
            NotImplementedError: torch.func transforms the model, or a compiled model is differentiated in forward mode.
            ValueError: the model has no stresses, or the memory budget is not a number of bytes.
        """
        check_structures(structures)
        if self.compiled:
            check_not_in_forward_mode()
        if stress:
            self.check_stress()
        memory_budget = byte_count("predictions", "memory_budget", memory_budget)
        memory_budget = self.memory_budget if memory_budget is None else memory_budget
        topology = given if topology is None else topology
        if memory_budget and topology is None:  # the memory depends on the number of neighbors
            topology = self.backbone.graphs.neighbors(structures)
        short = self._exceeds(memory_budget, structures, topology)
        if not isinstance(topology, Topology):
            topology = self.topology(structures, topology)
        if stress is None:
            wanted = isinstance(self.forces, GradientForces) and self.forces.stress
            stress = wanted and topology.without_volume is None
        elif stress and topology.without_volume is not None:
            raise StructureError(
                "has no stress, as it is not periodic in all three directions and its volume is undefined: set its "
                "periodicity (pbc) and cell, or do not request stresses",
                structure=topology.without_volume,
            )
        backbone = evaluated_by(RECOMPUTED, self.backbone) if short else self.backbone
        if isinstance(self.forces, GradientForces):
            return self._with_gradient_forces(backbone, structures, topology, self.forces, stress)
        return self._evaluated(backbone, structures, topology, Call())

    def __repr__(self) -> str:
        interactions = ", ".join(self.backbone.geometry.interactions) or "no interactions"
        parameters = sum(parameter.numel() for parameter in self.parameters())
        return f"GemNet({len(self.backbone.blocks)} blocks of {interactions}; {parameters:,} parameters)"

    def _repr_html_(self) -> str:
        return upper_layer("plotting.notebook").html(self)

    def check_stress(self) -> None:
        """Check that the model can compute stresses.

        Raises:
            ValueError: it cannot; the message names the reason and the change that is needed.
        """
        if not isinstance(self.forces, GradientForces):
            raise ValueError(
                "stress needs gradient forces, and this model has "
                f"{'direct forces' if self.forces is not None else 'no forces'}: set `heads.forces.type: gradient` in "
                "the spec and retrain"
            )
        if not self.backbone.graphs.periodic:
            raise ValueError(
                "stress needs periodic structures, and this model treats all structures as isolated: remove "
                "`neighbors.periodic: false` from the spec and retrain"
            )

    def without_gradient_forces(self, backbone: Backbone, structures: Structures, topology: Topology) -> Prediction:
        """Predict everything but gradient forces and stresses: operations without branches on values of tensors."""
        features = backbone(structures, topology)
        contributions = self.readout(features.outputs)
        prediction = self._without_forces(contributions, features, structures, backbone.evaluation)
        if not isinstance(self.forces, DirectForces) or contributions.edges is None:
            return prediction
        return replace(prediction, forces=self.forces(contributions.edges, features.main))

    def _evaluated(self, backbone: Backbone, structures: Structures, topology: Topology, call: Call) -> Prediction:
        """Predict everything but gradient forces, by compiled code if the model is compiled and the batch allows it."""
        found = None
        if self.compiled and backbone is self.backbone:
            found = self.compilation.evaluated(self, structures, topology, call)
        return self.without_gradient_forces(backbone, structures, topology) if found is None else found

    def _without_forces(
        self, contributions: Contributions, features: BackboneOutput, structures: Structures, evaluation: Evaluation
    ) -> Prediction:
        """Predict energies and the properties of further heads."""
        atoms = contributions.atoms
        if self.short_range is not None:
            atoms = atoms + self.short_range(features.main.edges, structures.numbers).to(atoms.dtype)
        arguments = (atoms, structures.structure, structures.count)
        properties = {name: evaluation(head, features, structures) for name, head in self.heads.items()}
        return Prediction(
            self.energy(*arguments), None, atom_energies=self.energy.shares(*arguments), properties=properties
        )

    def _exceeds(
        self, memory_budget: float | None, structures: Structures, topology: Topology | Pairs | Neighbors | None
    ) -> bool:
        """Compare the memory of a prediction that stores its intermediate results with the budget.

        The memory is estimated again only if the number of atoms or neighbors changes, for fast molecular dynamics.
        """
        if memory_budget is None:
            return False
        if topology is None or memory_budget == 0:
            return True  # without an estimate: no prediction fits
        pairs = _pair_count(topology)
        task: Task = "train" if torch.is_grad_enabled() else "predict"
        autocast = torch.is_autocast_enabled(structures.positions.device.type)
        key = (task, structures.atom_count, len(structures), self.backbone.dtype, autocast)
        needed = self._needed.get(key)
        if needed is None or abs(pairs - needed.pairs) > NEIGHBORS_WITHIN * needed.pairs:
            # an estimate takes as long as a small prediction
            needed = self._needed[key] = _Needed(pairs, self.estimate(structures, task).peak_bytes)
        return needed.peak_bytes > memory_budget

    def embeddings(self, structures: Structures, topology: Topology | None = None) -> tuple[Embeddings, ...]:
        """Compute the embeddings of atoms, edges and feature streams in every layer.

        The first entry has the embeddings before the first block, and entry n those after block n. All are
        differentiable, and none of them is recomputed to save memory.

        >>> from ase.build import molecule
        >>> from gemnet_blocks import Structures
        >>> from gemnet_blocks.spec import build, load_spec
        >>> model = build(load_spec("symmetric"), seed=0)
        >>> [one.atoms.shape for one in model.embeddings(Structures.from_ase(molecule("H2O")))][-1]
        torch.Size([3, 64])

        Args:
            structures: the batch, on the device of the model.
            topology: the topology of the batch, see `topology`; None: build it from a neighbor search.

        Raises:
            StructureError: a structure cannot be computed.
        """
        check_structures(structures)
        topology = self.topology(structures) if topology is None else topology
        return self.backbone.embeddings(structures, topology)

    def estimate(self, structures: Structures, task: Task = "predict") -> Estimate:
        """Estimate the operations and memory of each part; see `gemnet_blocks.model.estimate`.

        Args:
            structures: one batch, on the device of the model.
            task: energy, predict or train.

        Raises:
            StructureError: a structure cannot be computed.
            ValueError: the model was built without an estimator.
        """
        if self._estimator is None:
            raise ValueError("this model has no estimator of costs: build it with gemnet_blocks.spec.build")
        return self._estimator(self, structures, task)

    def _with_gradient_forces(
        self, backbone: Backbone, structures: Structures, topology: Topology, head: GradientForces, stress: bool
    ) -> Prediction:
        create_graph = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.enable_grad(), nullcontext() if create_graph else fixed(self):
            structures = differentiable(structures)
            deformed = strained(structures) if stress else None
            inputs = structures if deformed is None else deformed.structures
            call = Call(twice=create_graph)
            prediction = self._evaluated(backbone, inputs, topology, call)
            with call.forces():
                if deformed is None:
                    found = {"forces": head(prediction.energy, structures.positions, create_graph)}
                else:
                    both = head.with_stress(prediction.energy, deformed, create_graph)
                    found = {"forces": both.forces, "stress": both.stress}
            found = {name: value.to(prediction.energy.dtype) for name, value in found.items()}
        prediction = replace(prediction, **found)
        return prediction if create_graph else detached(prediction)


@dataclass(frozen=True, slots=True)
class _Needed:
    """The estimated memory, and the number of neighbor pairs that it belongs to."""

    pairs: int
    peak_bytes: int


def _pair_count(found: Topology | Pairs | Neighbors) -> int:
    """Count pairs of neighbors, or edges."""
    if isinstance(found, Topology):
        return sum(edges.count for edges in found.edges.values())
    return len(found.pairs if isinstance(found, Neighbors) else found)


def check_structures(structures: object) -> None:
    """Check the type of a model's input.

    Raises:
        TypeError: the input is not an instance of Structures.
    """
    if not isinstance(structures, Structures):
        raise TypeError(
            f"expected Structures, got {type(structures).__name__}: convert it with Structures.from_ase(atoms) or "
            "Structures.from_batch(batch)"
        )


def detached(prediction: Prediction) -> Prediction:
    """Detach all values of a prediction."""
    values = {field.name: getattr(prediction, field.name) for field in fields(prediction)}
    properties = {name: without_graph(value) for name, value in values.pop("properties").items()}
    known = {name: without_graph(value) for name, value in values.items() if value is not None}
    return replace(prediction, properties=properties, **known)


def differentiable(structures: Structures) -> Structures:
    """Copy structures with positions that require gradients.

    Positions that already require gradients stay part of their graph, so that forces can be differentiated with respect
    to the inputs of that graph.

    Raises:
        NotImplementedError: torch.func transforms the model, whose forces would be wrong then.
    """
    check_gradient_forces_can_be_computed()
    structures = outside_inference(structures)
    # narrower positions and cells would accumulate derivatives in their own type
    positions = structures.positions.to(at_least_single(structures.positions.dtype))
    cells = structures.cells.to(at_least_single(structures.cells.dtype))
    if not positions.requires_grad:
        # a view of its own, as `requires_grad_` changes its tensor; it keeps the tangent of forward mode
        positions = positions.view_as(positions).requires_grad_(True)
    return replace(structures, positions=positions, cells=cells)


def outside_inference(structures: Structures) -> Structures:
    """Copy structures that were made in inference mode, so that gradients can be computed."""
    if not structures.positions.is_inference():
        return structures
    return structures.mapped(Tensor.clone)
