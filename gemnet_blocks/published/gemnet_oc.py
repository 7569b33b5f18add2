"""GemNet-OC under its published names: the same constructor arguments, attributes, methods and results.

A thin façade over specs: it turns the arguments into a spec, builds it, and speaks dictionaries and tuples at its
border. New work is better off with specs.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.checkpoints.checkpoint_file import load_scales
from gemnet_blocks.geometry.angles import RightAngle, quadruplet_angles
from gemnet_blocks.geometry.edges import measure
from gemnet_blocks.geometry.graphs import measured_graphs
from gemnet_blocks.graph.builder import EdgeSetOptions, GraphBuilder
from gemnet_blocks.graph.index_sets import QuadrupletRequest, TripletRequest
from gemnet_blocks.graph.neighbor_list import Pairs
from gemnet_blocks.layers.initialization import with_single_precision_draws
from gemnet_blocks.model.gemnet import GemNet, Trunk, TrunkOutput, differentiable
from gemnet_blocks.model.heads import DirectForces, DynamicScale, Energy, GradientForces
from gemnet_blocks.model.readout import OutputNetwork
from gemnet_blocks.options import plain, whole_number
from gemnet_blocks.published.dictionaries import (
    Dictionary,
    bases_of,
    chosen_edges,
    count_per_structure,
    graph_dictionary,
    index_dictionary,
    pairs_of,
    quadruplets_of,
    stored_pairs,
    symmetrized,
)
from gemnet_blocks.published.published_class import PublishedClass, geometry_part, nearest
from gemnet_blocks.spec.build import build
from gemnet_blocks.spec.published import (
    DEFAULTS,
    REQUIRED,
    check_names,
    cutoffs,
    from_published,
    neighbor_cap,
    neighbor_caps,
    output_initialization,
)
from gemnet_blocks.structures import Structures
from gemnet_blocks.util.charges import QUANTITIES
from gemnet_blocks.util.weights import WeightedModule, ordinary_tensors

INDICES = (
    TripletRequest("main", "main"),
    TripletRequest("main", "atom_edge"),
    TripletRequest("atom_edge", "main"),
    QuadrupletRequest("main", "quad"),
)
"""Triplets, those of atom–edge and of edge–atom interactions, quadruplets."""


_STORED = (
    "num_blocks",
    "extensive",
    "activation",
    "atom_edge_interaction",
    "edge_atom_interaction",
    "atom_interaction",
    "quad_interaction",
    "enforce_max_neighbors_strictly",
    "use_pbc",
    "direct_forces",
    "forces_coupled",
    "regress_forces",
)
"""Arguments that are attributes, besides cutoffs and numbers of neighbors."""


class PublishedModel(PublishedClass):
    """What the single model and the backbone have in common; the arguments are those of `GemNetOC`."""

    atom_edge_interaction: bool
    edge_atom_interaction: bool
    atom_interaction: bool
    quad_interaction: bool
    enforce_max_neighbors_strictly: bool
    forces_coupled: bool
    force_scaler: DynamicScale
    """The dynamic scale of gradient forces; disabled unless `scale_backprop_forces` is set."""

    radial_basis_aint = geometry_part("bases.radial.atom")
    cbf_basis_tint = geometry_part("bases.angular.main", "interactions.triplet.triplet_sum.circular")
    cbf_basis_aeint = geometry_part("bases.angular.main", "interactions.atom_edge.triplet_sum.circular")
    cbf_basis_eaint = geometry_part("bases.angular.atom_edge", "interactions.edge_atom.triplet_sum.circular")
    cbf_basis_qint = geometry_part("bases.angular.quad", "interactions.quadruplet.circular")
    sbf_basis_qint = geometry_part("bases.angular.main", "interactions.quadruplet.spherical")
    mlp_rbf_tint = geometry_part("interactions.triplet.radial")
    mlp_cbf_tint = geometry_part("interactions.triplet.triplet_sum.projection")
    mlp_rbf_aeint = geometry_part("interactions.atom_edge.radial")
    mlp_cbf_aeint = geometry_part("interactions.atom_edge.triplet_sum.projection")
    mlp_rbf_eaint = geometry_part("interactions.edge_atom.radial")
    mlp_cbf_eaint = geometry_part("interactions.edge_atom.triplet_sum.projection")
    mlp_rbf_aint = geometry_part("interactions.atom_atom.radial")
    mlp_rbf_qint = geometry_part("interactions.quadruplet.radial")
    mlp_cbf_qint = geometry_part("interactions.quadruplet.circular_projection")
    mlp_sbf_qint = geometry_part("interactions.quadruplet.spherical_projection")

    @property
    def radial_basis_aeaint(self) -> nn.Module:
        """The radial basis of atom–edge interactions; without these, published models have it but do not use it."""
        kind = "radial" if self.atom_edge_interaction else "angular"
        return self.trunk.geometry.get_submodule(f"bases.{kind}.atom_edge")

    def __init__(
        self,
        num_spherical: int,
        num_radial: int,
        num_blocks: int,
        emb_size_atom: int,
        emb_size_edge: int,
        emb_size_trip_in: int,
        emb_size_trip_out: int,
        emb_size_quad_in: int,
        emb_size_quad_out: int,
        emb_size_aint_in: int,
        emb_size_aint_out: int,
        emb_size_rbf: int,
        emb_size_cbf: int,
        emb_size_sbf: int,
        num_before_skip: int,
        num_after_skip: int,
        num_concat: int,
        num_atom: int,
        num_output_afteratom: int,
        num_atom_emb_layers: int = 0,
        num_global_out_layers: int = 2,
        regress_forces: bool = True,
        direct_forces: bool = False,
        use_pbc: bool = True,
        use_pbc_single: bool = False,
        scale_backprop_forces: bool = False,
        cutoff: float = 6.0,
        cutoff_qint: float | None = None,
        cutoff_aeaint: float | None = None,
        cutoff_aint: float | None = None,
        max_neighbors: int = 50,
        max_neighbors_qint: int | None = None,
        max_neighbors_aeaint: int | None = None,
        max_neighbors_aint: int | None = None,
        enforce_max_neighbors_strictly: bool = True,
        rbf: Dictionary | None = None,
        rbf_spherical: Dictionary | None = None,
        envelope: Dictionary | None = None,
        cbf: Dictionary | None = None,
        sbf: Dictionary | None = None,
        extensive: bool = True,
        forces_coupled: bool = False,
        output_init: str = "HeOrthogonal",
        activation: str | None = "silu",
        quad_interaction: bool = False,
        atom_edge_interaction: bool = False,
        edge_atom_interaction: bool = False,
        atom_interaction: bool = False,
        scale_basis: bool = False,
        qint_tags: list[int] | None = None,
        num_elements: int = 83,
        otf_graph: bool = False,
        scale_file: Any = None,
        **kwargs: Any,
    ) -> None:
        given = locals()
        super().__init__()
        check_names(kwargs, type(self).__name__)
        self._arguments = {name: plain(given[name]) for name in (*REQUIRED, *DEFAULTS)}
        self.spec = from_published(self._arguments)
        for name in _STORED:
            setattr(self, name, self._arguments[name])
        tags = self._arguments["qint_tags"]
        self.qint_tags = torch.tensor([0, 1, 2] if tags is None else list(tags))
        self.otf_graph, self.use_pbc_single = bool(otf_graph), bool(use_pbc_single)
        model = build(self.spec)
        scale = model.forces.scale if isinstance(model.forces, GradientForces) else None
        self.force_scaler = scale or DynamicScale(enabled=self._arguments["scale_backprop_forces"])
        self._own(model)
        self.set_cutoffs(cutoff, cutoff_qint, cutoff_aeaint, cutoff_aint)
        self.set_max_neighbors(max_neighbors, max_neighbors_qint, max_neighbors_aeaint, max_neighbors_aint)
        if scale_file is not None:
            load_scales(self, scale_file)

    @abstractmethod
    def _own(self, model: GemNet) -> None:
        """Take what belongs to this class of the model that the arguments describe."""

    @property
    def num_params(self) -> int:
        """The number of parameters, scale factors included; published models count a basis that they never use."""
        unused = self.edge_atom_interaction and not self.atom_edge_interaction
        counted = [*self.parameters(), *(self.trunk.geometry.bases.radial["main"].parameters() if unused else ())]
        return sum(parameter.numel() for parameter in counted)

    # -- settings -----------------------------------------------------------------------------------------------------

    def set_cutoffs(
        self, cutoff: float, cutoff_qint: float | None, cutoff_aeaint: float | None, cutoff_aint: float | None
    ) -> None:
        """Set the cutoffs of the graphs in Å; None: by the rules of published models. Bases and `spec` keep theirs."""
        given = locals()
        values = cutoffs(self._change_rules(given))
        self.cutoff, self.cutoff_qint = values["main"], values["quad"]
        self.cutoff_aeaint, self.cutoff_aint = values["atom_edge"], values["atom"]

    def set_max_neighbors(
        self,
        max_neighbors: int,
        max_neighbors_qint: int | None,
        max_neighbors_aeaint: int | None,
        max_neighbors_aint: int | None,
    ) -> None:
        """Set the greatest numbers of neighbors of the graphs; None: by the rules of published models; 0: no limit."""
        given = locals()
        values = neighbor_caps(self._change_rules(given))
        self.max_neighbors, self.max_neighbors_qint = values["main"], values["quad"]
        self.max_neighbors_aeaint, self.max_neighbors_aint = values["atom_edge"], values["atom"]

    def _changed_arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The constructor's arguments with those of another method in their place; what is no argument is left out."""
        return {name: plain(given.get(name, value)) for name, value in self._arguments.items()}

    def _change_rules(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Take over arguments of graphs; nothing is changed when they are invalid."""
        arguments = self._changed_arguments(given)
        rules, graphs = from_published(arguments).graphs, self.trunk.graphs
        graphs.rules = {name: rules[name] for name in graphs.rules}
        self._arguments = arguments
        return arguments

    def init_basis_functions(
        self,
        num_radial: int,
        num_spherical: int,
        rbf: Dictionary | None,
        rbf_spherical: Dictionary | None,
        envelope: Dictionary | None,
        cbf: Dictionary | None,
        sbf: Dictionary | None,
        scale_basis: bool,
    ) -> None:
        """Replace the bases by new ones; projections that still fit stay."""
        given = locals()
        self._replace_geometry(given, keep_projections=True)

    def init_shared_basis_layers(
        self, num_radial: int, num_spherical: int, emb_size_rbf: int, emb_size_cbf: int, emb_size_sbf: int
    ) -> None:
        """Replace the projections that all blocks share by new ones; bases that still fit stay."""
        given = locals()
        self._replace_geometry(given, keep_projections=False)

    @ordinary_tensors()
    def _replace_geometry(self, given: Mapping[str, Any], keep_projections: bool) -> None:
        arguments = self._changed_arguments(given)
        self.spec = from_published(arguments)
        self._arguments = arguments
        like, old = next(self.parameters()), self.trunk.geometry.state_dict()
        trunk = build(self.spec).trunk
        geometry = trunk.geometry.to(device=like.device, dtype=self.trunk.dtype)
        kept = {
            name: old[name]
            for name, value in geometry.state_dict().items()
            if name in old and old[name].shape == value.shape and name.endswith(".weight") == keep_projections
        }
        geometry.load_state_dict(kept, strict=False)
        self.trunk.geometry, self.trunk.graphs = geometry, trunk.graphs

    # -- graphs -------------------------------------------------------------------------------------------------------

    def calculate_quad_angles(
        self, V_st: Tensor, V_qint_st: Tensor, quad_idx: Dictionary
    ) -> tuple[Tensor, Tensor, Tensor]:
        """cos φ_cab per triplet c→a←b, cos φ_abd per triplet d→b→a and θ_cabd per quadruplet."""
        angles = quadruplet_angles(V_st, V_qint_st, quadruplets_of(quad_idx), RightAngle())
        dihedral = torch.atan2(angles.dihedral.sine, angles.dihedral.cosine)
        return angles.cos_at_target, angles.cos_at_source, dihedral

    def select_symmetric_edges(self, tensor: Tensor, mask: Tensor, reorder_idx: Tensor, opposite_neg: bool) -> Tensor:
        """The rows that `mask` keeps, then the same for the opposite edges (negated if asked), reordered."""
        kept = tensor[mask]
        return torch.cat([kept, -kept if opposite_neg else kept])[reorder_idx]

    def symmetrize_edges(self, graph: Dictionary, batch_idx: Tensor) -> tuple[Dictionary, Tensor]:
        """The graph with every edge's opposite, and the index of each edge's opposite."""
        return symmetrized(graph, batch_idx, "lower_index")

    def subselect_edges(
        self, data: Any, graph: Dictionary, cutoff: float | None = None, max_neighbors: int | None = None
    ) -> Dictionary:
        """The edges of a graph within a cutoff, then the nearest ones of each target."""
        structures, pairs = self._structures(data), pairs_of(graph)
        rows = pairs.canonical_order()
        if cutoff is not None:
            rows = rows[pairs.distance[rows] <= cutoff]
        rows = rows[nearest(pairs.select(rows), structures, max_neighbors or 0, self._ties, squared=False)]
        return chosen_edges(graph, rows, structures)

    def generate_graph_dict(self, data: Any, cutoff: float, max_neighbors: int) -> Dictionary:
        """All edges within a cutoff, the nearest ones of each target, as published models search them.

        The published search keeps arbitrary neighbors instead of the nearest ones where `max_neighbors` binds with
        `use_pbc=False`, and it loses neighbors of atoms that are a lattice vector or more outside the cell. Neither is
        copied here.
        """
        structures, builder = self._structures(data), self.trunk.graphs
        pairs = self._given(data, structures, cutoff, max_neighbors)
        if pairs is None:
            pairs = builder.search(builder.as_periodic(structures), cutoff)
            pairs = pairs.select(nearest(pairs, structures, max_neighbors, self._ties, squared=True))
        dictionary = graph_dictionary(measure(pairs, structures, self.trunk.dtype), structures)
        del dictionary["target_neighbor_idx"]
        return dictionary

    def subselect_graph(
        self,
        data: Any,
        graph: Dictionary,
        cutoff: float,
        max_neighbors: int,
        cutoff_orig: float,
        max_neighbors_orig: int,
    ) -> Dictionary:
        """A graph with a smaller cutoff or fewer neighbors, from one with greater ones."""
        return self.subselect_edges(
            data,
            graph,
            None if cutoff == cutoff_orig else cutoff,
            None if max_neighbors == max_neighbors_orig else max_neighbors,
        )

    def get_graphs_and_indices(self, data: Any) -> tuple[Any, ...]:
        """Graphs main, atom, atom_edge and quad; opposite edges; indices of triplets, mixed triplets and quadruplets.

        What published models do not build is an empty dictionary. They build the atom and atom_edge graphs when any of
        the three interactions with atoms is on.
        """
        structures = self._structures(data)
        topology = self._every_graph()(structures, self.trunk.dtype, self._given(data, structures))
        graphs = measured_graphs(structures, topology, self.trunk.dtype)
        sets = {name: graph_dictionary(edges, structures) for name, edges in graphs.edge_sets.items()}
        return (
            *(sets.get(name, {}) for name in ("main", "atom", "atom_edge", "quad")),
            graphs.main.reverse,
            *(index_dictionary(graphs.indices.get(request), graphs.edge_sets) for request in INDICES),
        )

    def get_bases(
        self,
        main_graph: Dictionary,
        a2a_graph: Dictionary,
        a2ee2a_graph: Dictionary,
        qint_graph: Dictionary,
        trip_idx_e2e: Dictionary,
        trip_idx_a2e: Dictionary,
        trip_idx_e2a: Dictionary,
        quad_idx: Dictionary,
        num_atoms: int,
    ) -> tuple[Any, ...]:
        """Raw radial functions, their projections for updates and outputs, and the bases of each interaction.

        The order is: raw, atom update, output, quadruplet, triplet, atom–edge, edge–atom, atom–atom; where an
        interaction is absent, an empty dictionary, or None for the last. See `dictionaries.bases_of` for their form.
        """
        geometry = self.trunk.geometry
        graphs = {"main": main_graph, "atom": a2a_graph, "atom_edge": a2ee2a_graph, "quad": qint_graph}
        indices = {
            "triplet": trip_idx_e2e,
            "atom_edge": trip_idx_a2e,
            "edge_atom": trip_idx_e2a,
            "quadruplet": quad_idx,
        }
        found = bases_of(geometry, graphs, indices, num_atoms)
        raw = geometry.bases.radial["main"](main_graph["distance"])
        edges = (found.get(name, {}) for name in ("quadruplet", "triplet", "atom_edge", "edge_atom"))
        return (raw, geometry.update_radial(raw), geometry.output_radial(raw), *edges, found.get("atom_atom"))

    def _every_graph(self) -> GraphBuilder:
        """A builder of every graph that published models build, also of those that no interaction reads."""
        builder = self.trunk.graphs
        rules = dict(builder.rules)
        if "atom" in rules:
            cap = neighbor_cap(self.max_neighbors_aeaint)
            rules["atom_edge"] = EdgeSetOptions(cutoff=self.cutoff_aeaint, max_neighbors=cap, within="atom")
        return GraphBuilder(
            rules,
            tuple(rules),
            [request.listed for request in builder.requests],
            builder.search,
            builder.ties,
            builder.tie_tolerance,
            periodic=builder.periodic,
            element_count=builder.element_count,
        )

    def _given(
        self, data: Any, structures: Structures, cutoff: float | None = None, cap: int | None = None
    ) -> Pairs | None:
        """The edges that the batch brings, within a cutoff and cap (of the widest graph); None where they are searched.

        They are searched when `otf_graph` is on, the batch brings none, or the graph is greater than stored ones are.
        """
        atoms_on = "atom" in self.trunk.graphs.rules
        if cutoff is None:
            cutoff = self.cutoff_aint if atoms_on else self.cutoff
        if cap is None:
            cap = self.max_neighbors_aint if atoms_on else self.max_neighbors
        if self.otf_graph:
            return None
        return stored_pairs(data, structures, cutoff, cap, self._ties, self.use_pbc)


class GemNetOC(PublishedModel):
    """GemNet-OC with its published arguments (Gasteiger et al., TMLR 2022, arXiv 2204.02782).

    `forward` takes `Structures` or any batch object with `pos, atomic_numbers, batch, natoms` and, where present,
    `cell, pbc, tags, fixed`, and returns `{"energy": (S,), "forces": (N, 3)}`.

    Args:
        num_spherical: functions of each angle, L.
        num_radial: functions of distances, N.
        num_blocks: blocks.
        emb_size_atom: width of atom embeddings.
        emb_size_edge: width of edge embeddings.
        emb_size_trip_in: width summed over triplets.
        emb_size_trip_out: width after that sum.
        emb_size_quad_in: width summed over quadruplets.
        emb_size_quad_out: width after that sum.
        emb_size_aint_in: width summed in interactions with atoms.
        emb_size_aint_out: width after these sums.
        emb_size_rbf: width of projected radial functions.
        emb_size_cbf: width of projected radial × circular functions.
        emb_size_sbf: width of projected radial × spherical functions.
        num_before_skip: residual layers before the skip connection of a block.
        num_after_skip: residual layers behind it.
        num_concat: residual layers in the concatenation layer.
        num_atom: residual layers of atom updates and output blocks.
        num_output_afteratom: residual layers of output blocks behind the sum with the atom embedding.
        num_atom_emb_layers: residual layers on atoms in each block.
        num_global_out_layers: residual layers of the network that reads all outputs.
        regress_forces: whether forces are predicted.
        direct_forces: forces from edges instead of the energy's gradient.
        use_pbc: whether structures are periodic.
        use_pbc_single: accepted; results do not depend on it.
        scale_backprop_forces: scale the energy dynamically before differentiation.
        cutoff: of the main edges, in Å.
        cutoff_qint: of the middle edges of quadruplets; None: `cutoff`.
        cutoff_aeaint: of atom–edge and edge–atom interactions; None: `cutoff`.
        cutoff_aint: of the atom–atom interaction; None: the greatest of the others.
        max_neighbors: of the main edges; here and below, 0 means no limit.
        max_neighbors_qint: of the middle edges of quadruplets.
        max_neighbors_aeaint: of atom–edge and edge–atom interactions.
        max_neighbors_aint: of the atom–atom interaction.
        enforce_max_neighbors_strictly: exactly so many, instead of including ties.
        rbf: {"name": "gaussian", "spherical_bessel" or "bernstein", …}; None: gaussian.
        rbf_spherical: the radial basis next to angular ones; None: as `rbf`.
        envelope: {"name": "polynomial", "exponent": 5} (also None) or {"name": "exponential"}.
        cbf: {"name": "spherical_harmonics"} (also None) or {"name": "gaussian"}.
        sbf: {"name": "spherical_harmonics"} (also None), "legendre_outer" or "gaussian_outer".
        extensive: the energy is a sum over atoms, not a mean.
        forces_coupled: direct forces of opposite edges are averaged.
        output_init: "HeOrthogonal", "zeros", "grid" or "loggrid".
        activation: "silu" (also "swish") or None.
        quad_interaction: whether there are quadruplet interactions.
        atom_edge_interaction: whether there are atom–edge interactions.
        edge_atom_interaction: whether there are edge–atom interactions.
        atom_interaction: whether there are atom–atom interactions.
        scale_basis: a scale factor for every basis.
        qint_tags: tags of atoms around which quadruplets are formed; None: all.
        num_elements: the greatest atomic number.
        otf_graph: build graphs even where the batch brings `edge_index`, `cell_offsets` and `neighbors`. Where cutoffs
            above 6 Å or more than 50 neighbors are wanted, graphs are built anyway.
        scale_file: scale factors: .pt, .json or a dictionary.

    Raises:
        ArgumentError: an unknown argument; suggests the right one.
        SpecError: an argument has no valid value.
        StateError: the scale file does not fit.
    """

    model: GemNet

    def _own(self, model: GemNet) -> None:
        self.model = model

    @property
    def trunk(self) -> Trunk:  # type: ignore[override]
        """Everything in front of the read-out."""
        return self.model.trunk

    @property
    def out_mlp_E(self) -> nn.Module:
        """The layers that read all outputs of atoms."""
        return self.model.read_out.get_submodule("atoms.layers")

    @property
    def out_energy(self) -> nn.Module:
        """The last layer of the energy."""
        return self.model.read_out.get_submodule("atoms.last")

    @property
    def out_mlp_F(self) -> nn.Module:
        """The layers that read all outputs of edges; only with direct forces."""
        return self.model.read_out.get_submodule("edges.layers")

    @property
    def out_forces(self) -> nn.Module:
        """The last layer of direct forces; only with these."""
        return self.model.read_out.get_submodule("edges.last")

    def forward(self, data: Any) -> dict[str, Tensor]:
        """Energies and forces.

        Raises:
            StructureError: a structure cannot be computed.
        """
        structures = self._structures(data)
        prediction = self.model(structures, self._given(data, structures))
        result = {"energy": prediction.energy}
        if self.regress_forces and prediction.forces is not None:
            result["forces"] = prediction.forces
        return result


@final
class GemNetOCBackbone(GemNetOC):
    """GemNet-OC without heads; takes the arguments of `GemNetOC`.

    `forward` returns the embeddings that the heads read.

    Attributes:
        out_mlp_E: None, like the other layers that belong to heads; heads of other libraries may set it.
        out_energy: likewise.
        out_mlp_F: likewise.
        out_forces: likewise.
    """

    out_mlp_E = out_energy = out_mlp_F = out_forces = None  # type: ignore[assignment]  # noqa: N815

    def _own(self, model: GemNet) -> None:
        self._modules["trunk"] = model.trunk

    @property
    def trunk(self) -> Trunk:  # type: ignore[override]
        """Everything in front of the read-out."""
        trunk = self._modules["trunk"]
        assert isinstance(trunk, Trunk)
        return trunk

    def forward(self, data: Any) -> Dictionary:
        """The embeddings of atoms and edges.

        Returns:
            xs_E: features of atoms, (N, emb_size_atom), of every output block; xs_F: of edges, (E, emb_size_edge), or
            None; edge_vec: directions, (E, 3); edge_idx: the target atom of each edge; num_neighbors: edges of each
            structure; edge_reverse: the opposite of each edge; positions: what gradient forces are a gradient to.

        Raises:
            StructureError: a structure cannot be computed.
        """
        structures = self._structures(data)
        topology = self.trunk.topology(structures, self._given(data, structures))
        if self.direct_forces or not self.regress_forces:
            return self._embeddings(self.trunk(structures, topology), structures)
        with torch.inference_mode(False), torch.enable_grad():
            structures = differentiable(structures)
            return self._embeddings(self.trunk(structures, topology), structures)

    def _embeddings(self, features: TrunkOutput, structures: Structures) -> Dictionary:
        edges = features.main.edges
        return {
            "xs_E": [output.atoms for output in features.outputs],
            "xs_F": [output.edges for output in features.outputs],
            "edge_vec": edges.direction,
            "edge_idx": edges.target,
            "num_neighbors": count_per_structure(edges.target, structures.structure, len(structures)),
            "edge_reverse": features.main.reverse,
            "positions": structures.positions,
        }


@final
class GemNetOCEnergyAndGradForceHead(WeightedModule):
    """Energies and, for models without direct forces, their gradients as forces.

    Args:
        backbone: what it reads.
        num_global_out_layers: residual layers.
        output_init: initial weights of the last layer.

    Attributes:
        extensive: whether the energy is a sum over atoms.
        force_scaler: the dynamic scale of gradient forces, that of the backbone.
    """

    def __init__(
        self, backbone: GemNetOCBackbone, num_global_out_layers: int, output_init: str = "HeOrthogonal"
    ) -> None:
        super().__init__()
        network = _network(backbone, backbone.spec.sizes.atom, num_global_out_layers, output_init)
        self.read_out = nn.ModuleDict({"atoms": network})
        self.regress_forces = backbone.regress_forces
        self.direct_forces = backbone.direct_forces
        self.extensive = backbone.extensive
        self.force_scaler = backbone.force_scaler
        self.energy = Energy("sum" if self.extensive else "mean", Sums())
        self.forces = GradientForces()
        self.forces.scale = self.force_scaler

    @property
    def out_mlp_E(self) -> nn.Module:
        """The layers that read all outputs of atoms."""
        return self.read_out.get_submodule("atoms.layers")

    @property
    def out_energy(self) -> nn.Module:
        """The last layer of the energy."""
        return self.read_out.get_submodule("atoms.last")

    def forward(self, data: Any, emb: Dictionary) -> dict[str, Tensor]:
        """{"energy": (S,)} and, with gradient forces, {"forces": (N, 3)}."""
        structures = data if isinstance(data, Structures) else Structures.from_batch(data, False, QUANTITIES)
        create_graph = torch.is_grad_enabled()
        gradient = self.regress_forces and not self.direct_forces
        with torch.inference_mode(torch.is_inference_mode_enabled() and not gradient):
            return self._predict(structures, emb, create_graph, gradient)

    def _predict(
        self, structures: Structures, emb: Dictionary, create_graph: bool, gradient: bool
    ) -> dict[str, Tensor]:
        with torch.set_grad_enabled(create_graph or gradient):
            per_atom = self.read_out["atoms"](emb["xs_E"])
            energy = self.energy(per_atom, structures.structure, len(structures))
            if not gradient:
                return {"energy": energy}
            forces = self.forces(energy, emb["positions"], create_graph).to(energy.dtype)
        return {"energy": energy if create_graph else energy.detach(), "forces": forces}


@final
class GemNetOCForceHead(WeightedModule):
    """Direct forces from edges; nothing for a backbone without direct forces.

    Args:
        backbone: what it reads.
        num_global_out_layers: residual layers.
        output_init: initial weights of the last layer.
    """

    def __init__(
        self, backbone: GemNetOCBackbone, num_global_out_layers: int, output_init: str = "HeOrthogonal"
    ) -> None:
        super().__init__()
        self.direct_forces = backbone.direct_forces
        self.forces_coupled = backbone.forces_coupled
        if not self.direct_forces:
            warnings.warn(
                "GemNetOCForceHead predicts nothing without direct_forces=True: gradient forces come from "
                "GemNetOCEnergyAndGradForceHead",
                stacklevel=2,
            )
            return
        network = _network(backbone, backbone.spec.sizes.edge, num_global_out_layers, output_init)
        self.read_out = nn.ModuleDict({"edges": network})
        self.forces = DirectForces(self.forces_coupled, Sums())

    @property
    def out_mlp_F(self) -> nn.Module:
        """The layers that read all outputs of edges; only with direct forces."""
        return self.read_out.get_submodule("edges.layers")

    @property
    def out_forces(self) -> nn.Module:
        """The last layer of direct forces; only with these."""
        return self.read_out.get_submodule("edges.last")

    def forward(self, data: Any, emb: Dictionary) -> dict[str, Tensor]:
        """{"forces": (N, 3)}."""
        if not self.direct_forces:
            return {}
        magnitude = self.read_out["edges"](emb["xs_F"])
        count = emb["xs_E"][0].shape[0]
        forces = self.forces.along(magnitude, emb["edge_vec"], emb["edge_idx"], emb["edge_reverse"], count)
        return {"forces": forces}


@ordinary_tensors()
def _network(backbone: GemNetOCBackbone, size: int, residual_count: int, output_init: str) -> OutputNetwork:
    in_size = size * (backbone.num_blocks + 1)
    count = whole_number("head", "num_global_out_layers", residual_count, least=0)
    activation, initialization = backbone.spec.activation, output_initialization(output_init)
    return with_single_precision_draws(lambda: OutputNetwork(in_size, size, count, activation, initialization))
