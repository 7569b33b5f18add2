"""GemNet-OC with the constructor arguments, attributes, methods and results of the published implementation.

A façade: it translates the arguments into a spec, builds the model of the spec, and converts between typed values and
the dictionaries of the published code. New projects should use specs directly.
"""

from __future__ import annotations

import warnings
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
from gemnet_blocks.layers.initialization import with_single_precision_draws
from gemnet_blocks.model.gemnet import Backbone, GemNet, differentiable
from gemnet_blocks.model.heads import DirectForces, DynamicScale, Energy, GradientForces
from gemnet_blocks.model.readout import BackboneOutput, OutputNetwork
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
    symmetrized,
)
from gemnet_blocks.published.published_class import PublishedClass, geometry_part, nearest, submodule
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
"""The index sets of triplet, atom–edge, edge–atom and quadruplet interactions."""

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
"""Constructor arguments that become attributes; `set_cutoffs` and `set_max_neighbors` set the others."""


class GemNetOC(PublishedClass):
    """GemNet-OC with its published arguments (Gasteiger et al., TMLR 2022, arXiv 2204.02782).

    `forward` takes `Structures`, or any batch object with the attributes `pos, atomic_numbers, batch, natoms` and
    optionally `cell, pbc, tags, fixed`. It returns `{"energy": (S,), "forces": (N, 3)}` in the units of the training
    data, for S structures with N atoms.

    Args:
        num_spherical: number of basis functions per angle, L; typically 7.
        num_radial: number of radial basis functions, N; typically 128.
        num_blocks: number of interaction blocks; typically 4 to 6.
        emb_size_atom: width of the atom embeddings; typically 256.
        emb_size_edge: width of the edge embeddings; typically 512.
        emb_size_trip_in: width of triplet messages before the aggregation.
        emb_size_trip_out: width of triplet messages after the aggregation.
        emb_size_quad_in: width of quadruplet messages before the aggregation.
        emb_size_quad_out: width of quadruplet messages after the aggregation.
        emb_size_aint_in: width of messages before the aggregation in the interactions with atoms.
        emb_size_aint_out: width of messages after the aggregation in the interactions with atoms.
        emb_size_rbf: width of the projected radial basis.
        emb_size_cbf: width of the projected circular basis (radial × one angle).
        emb_size_sbf: width of the projected spherical basis (radial × two angles).
        num_before_skip: number of residual layers before the skip connection of a block.
        num_after_skip: number of residual layers after the skip connection of a block.
        num_concat: number of residual layers after the concatenation of atom and edge embeddings.
        num_atom: number of residual layers in atom updates and output blocks.
        num_output_afteratom: number of residual layers in output blocks after the atom embedding is added.
        num_atom_emb_layers: number of residual layers on the atom embeddings in each block.
        num_global_out_layers: number of residual layers in the readout of all output blocks.
        regress_forces: predict forces.
        direct_forces: predict forces from edge embeddings instead of the gradient of the energy.
        use_pbc: use the periodic boundary conditions of the structures.
        use_pbc_single: accepted for compatibility; results do not depend on it.
        scale_backprop_forces: scale the energy dynamically before differentiation, for half precision.
        cutoff: cutoff of the main graph in Å.
        cutoff_qint: cutoff of the middle edges of quadruplets in Å; None: `cutoff`.
        cutoff_aeaint: cutoff of the atom–edge and edge–atom interactions in Å; None: `cutoff`.
        cutoff_aint: cutoff of the atom–atom interaction in Å; None: the largest of the other cutoffs.
        max_neighbors: maximum number of neighbors per atom in the main graph; here and below, 0 means no limit.
        max_neighbors_qint: maximum number of middle edges of quadruplets per atom.
        max_neighbors_aeaint: maximum number of neighbors in the atom–edge and edge–atom interactions.
        max_neighbors_aint: maximum number of neighbors in the atom–atom interaction.
        enforce_max_neighbors_strictly: keep exactly `max_neighbors` neighbors instead of including all neighbors that
            are as far as the last one.
        rbf: radial basis: {"name": "gaussian", "spherical_bessel" or "bernstein", …}; None: gaussian.
        rbf_spherical: radial part of the circular and spherical bases; None: the same as `rbf`.
        envelope: cutoff envelope: {"name": "polynomial", "exponent": 5} (default) or {"name": "exponential"}.
        cbf: circular basis: {"name": "spherical_harmonics"} (default) or {"name": "gaussian"}.
        sbf: spherical basis: {"name": "spherical_harmonics"} (default), "legendre_outer" or "gaussian_outer".
        extensive: sum the energy over atoms instead of averaging it.
        forces_coupled: average the direct forces of opposite edges, which conserves momentum.
        output_init: initialization of the last layers: "HeOrthogonal", "zeros", "grid" or "loggrid".
        activation: "silu" (or its other name "swish"); None: linear layers only.
        quad_interaction: include quadruplet interactions (GemNet-Q).
        atom_edge_interaction: include atom–edge interactions.
        edge_atom_interaction: include edge–atom interactions.
        atom_interaction: include atom–atom interactions.
        scale_basis: multiply every basis by a fitted scale factor.
        qint_tags: tags of the atoms around which quadruplets are formed, for example [1, 2]; None: all atoms.
        num_elements: largest supported atomic number.
        otf_graph: search for neighbors even if the batch contains `edge_index`, `cell_offsets` and `neighbors`. Graphs
            with a cutoff above 6 Å or more than 50 neighbors are always searched for.
        scale_file: fitted scale factors: a .pt or .json file, or a dictionary.

    Raises:
        ArgumentError: an argument is unknown; the message suggests a similar one.
        SpecError: an argument has an invalid value.
        StateError: the scale file does not fit the model.
    """

    atom_edge_interaction: bool
    edge_atom_interaction: bool
    atom_interaction: bool
    quad_interaction: bool
    enforce_max_neighbors_strictly: bool
    forces_coupled: bool
    force_scaler: DynamicScale
    """Dynamic scaling of gradient forces; disabled unless `scale_backprop_forces` is set."""

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

    out_mlp_E = submodule("model.read_out.atoms.layers")  # noqa: N815
    out_energy = submodule("model.read_out.atoms.last")
    out_mlp_F = submodule("model.read_out.edges.layers")  # noqa: N815
    out_forces = submodule("model.read_out.edges.last")

    @property
    def radial_basis_aeaint(self) -> nn.Module:
        """The radial basis of atom–edge interactions, which published models always have."""
        kind = "radial" if self.atom_edge_interaction else "angular"
        return self.backbone.geometry.get_submodule(f"bases.{kind}.atom_edge")

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
        self._set_model(model)
        self.set_cutoffs(cutoff, cutoff_qint, cutoff_aeaint, cutoff_aint)
        self.set_max_neighbors(max_neighbors, max_neighbors_qint, max_neighbors_aeaint, max_neighbors_aint)
        if scale_file is not None:
            load_scales(self, scale_file)

    def _set_model(self, model: GemNet) -> None:
        self.model = model

    @property
    def num_params(self) -> int:
        """The number of parameters including scale factors; a basis that published models never use counts too."""
        unused = self.edge_atom_interaction and not self.atom_edge_interaction
        counted = [*self.parameters(), *(self.backbone.geometry.bases.radial["main"].parameters() if unused else ())]
        return sum(parameter.numel() for parameter in counted)

    def set_cutoffs(
        self, cutoff: float, cutoff_qint: float | None, cutoff_aeaint: float | None, cutoff_aint: float | None
    ) -> None:
        """Set the cutoffs of the graphs in Å; None: the constructor's defaults. Bases and `spec` do not change."""
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
        """Set the maximum numbers of neighbors; None stands for the constructor's defaults, 0 for no limit."""
        given = locals()
        values = neighbor_caps(self._change_rules(given))
        self.max_neighbors, self.max_neighbors_qint = values["main"], values["quad"]
        self.max_neighbors_aeaint, self.max_neighbors_aint = values["atom_edge"], values["atom"]

    def _changed_arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the constructor's arguments, updated by the arguments of another method."""
        return {name: plain(given.get(name, value)) for name, value in self._arguments.items()}

    def _change_rules(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Apply new cutoffs or maximum numbers of neighbors to the graphs, after checking them."""
        arguments = self._changed_arguments(given)
        rules, graphs = from_published(arguments).graphs, self.backbone.graphs
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
        """Replace the bases; keep the projections whose shapes still fit."""
        given = locals()
        self._replace_geometry(given, keep_projections=True)

    def init_shared_basis_layers(
        self, num_radial: int, num_spherical: int, emb_size_rbf: int, emb_size_cbf: int, emb_size_sbf: int
    ) -> None:
        """Replace the basis projections that all blocks share; keep the bases whose shapes still fit."""
        given = locals()
        self._replace_geometry(given, keep_projections=False)

    @ordinary_tensors()
    def _replace_geometry(self, given: Mapping[str, Any], keep_projections: bool) -> None:
        arguments = self._changed_arguments(given)
        self.spec = from_published(arguments)
        self._arguments = arguments
        like, old = next(self.parameters()), self.backbone.geometry.state_dict()
        built = build(self.spec).backbone
        geometry = built.geometry.to(device=like.device, dtype=self.backbone.dtype)
        kept = {
            name: old[name]
            for name, value in geometry.state_dict().items()
            if name in old and old[name].shape == value.shape and name.endswith(".weight") == keep_projections
        }
        geometry.load_state_dict(kept, strict=False)
        self.backbone.geometry, self.backbone.graphs = geometry, built.graphs

    def calculate_quad_angles(
        self, V_st: Tensor, V_qint_st: Tensor, quad_idx: Dictionary
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute cos φ_cab per triplet c→a←b, cos φ_abd per triplet d→b→a and θ_cabd per quadruplet."""
        angles = quadruplet_angles(V_st, V_qint_st, quadruplets_of(quad_idx), RightAngle())
        dihedral = torch.atan2(angles.dihedral.sine, angles.dihedral.cosine)
        return angles.cos_at_target, angles.cos_at_source, dihedral

    def select_symmetric_edges(self, tensor: Tensor, mask: Tensor, reorder_idx: Tensor, opposite_neg: bool) -> Tensor:
        """Select rows by `mask`, append them (negated if `opposite_neg`) for the opposite edges, and reorder."""
        kept = tensor[mask]
        return torch.cat([kept, -kept if opposite_neg else kept])[reorder_idx]

    def symmetrize_edges(self, graph: Dictionary, batch_idx: Tensor) -> tuple[Dictionary, Tensor]:
        """Return the graph with the opposite of every edge, and the index of the opposite of each edge."""
        return symmetrized(graph, batch_idx, "lower_index")

    def subselect_edges(
        self, data: Any, graph: Dictionary, cutoff: float | None = None, max_neighbors: int | None = None
    ) -> Dictionary:
        """Select the edges within a cutoff, then the nearest `max_neighbors` of each target atom."""
        structures, pairs = self._structures(data), pairs_of(graph)
        rows = pairs.canonical_order()
        if cutoff is not None:
            rows = rows[pairs.distance[rows] <= cutoff]
        rows = rows[nearest(pairs.select(rows), structures, max_neighbors or 0, self._ties, squared=False)]
        return chosen_edges(graph, rows, structures)

    def generate_graph_dict(self, data: Any, cutoff: float, max_neighbors: int) -> Dictionary:
        """Build the graph of the nearest `max_neighbors` neighbors within a cutoff.

        Two faults of the published search are not reproduced: with `use_pbc=False` it keeps arbitrary neighbors
        instead of the nearest ones, and it misses neighbors of atoms a lattice vector or more outside the cell.
        """
        structures, builder = self._structures(data), self.backbone.graphs
        pairs = self._stored_pairs(data, structures, cutoff, max_neighbors)
        if pairs is None:
            pairs = builder.search(builder.as_periodic(structures), cutoff)
            pairs = pairs.select(nearest(pairs, structures, max_neighbors, self._ties, squared=True))
        dictionary = graph_dictionary(measure(pairs, structures, self.backbone.dtype), structures)
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
        """Select a graph with a smaller cutoff or fewer neighbors from a larger graph."""
        return self.subselect_edges(
            data,
            graph,
            None if cutoff == cutoff_orig else cutoff,
            None if max_neighbors == max_neighbors_orig else max_neighbors,
        )

    def get_graphs_and_indices(self, data: Any) -> tuple[Any, ...]:
        """Build all graphs and index sets of a batch.

        The atom and atom_edge graphs are built if any of the three interactions with atoms is enabled.

        Returns:
            The graphs main, atom, atom_edge and quad; the index of the opposite of each main edge; the indices of
            triplets, atom–edge triplets, edge–atom triplets and quadruplets. Absent ones are empty dictionaries.
        """
        structures = self._structures(data)
        topology = self._every_graph()(
            structures, self.backbone.dtype, self._stored_pairs(data, structures, *self._widest_graph)
        )
        graphs = measured_graphs(structures, topology, self.backbone.dtype)
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
        """Evaluate the radial basis, its projections, and the bases of each interaction.

        Returns:
            The radial basis of the main graph, its projections for atom updates and for output blocks, and the bases
            of the quadruplet, triplet, atom–edge, edge–atom and atom–atom interactions in the form that
            `dictionaries.bases_of` describes. Absent interactions have an empty dictionary, or None for atom–atom.
        """
        geometry = self.backbone.geometry
        graphs = {"main": main_graph, "atom": a2a_graph, "atom_edge": a2ee2a_graph, "quad": qint_graph}
        indices = {
            "triplet": trip_idx_e2e,
            "atom_edge": trip_idx_a2e,
            "edge_atom": trip_idx_e2a,
            "quadruplet": quad_idx,
        }
        found = bases_of(geometry, graphs, indices, num_atoms)
        assert geometry.update_radial is not None
        assert geometry.output_radial is not None
        raw = geometry.bases.radial["main"](main_graph["distance"])
        edges = (found.get(name, {}) for name in ("quadruplet", "triplet", "atom_edge", "edge_atom"))
        return (raw, geometry.update_radial(raw), geometry.output_radial(raw), *edges, found.get("atom_atom"))

    def _every_graph(self) -> GraphBuilder:
        """Return a builder of every graph that published models build, including those that no interaction reads."""
        builder = self.backbone.graphs
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

    @property
    def _widest_graph(self) -> tuple[float, int]:
        if "atom" in self.backbone.graphs.rules:
            return self.cutoff_aint, self.max_neighbors_aint
        return self.cutoff, self.max_neighbors


@final
class GemNetOCBackbone(GemNetOC):
    """GemNet-OC without heads, with the arguments of `GemNetOC`; `forward` returns the embeddings for the heads.

    Attributes:
        out_mlp_E: None; `out_mlp_E`, `out_energy`, `out_mlp_F` and `out_forces` belong to the heads.
        out_energy: None.
        out_mlp_F: None.
        out_forces: None.
    """

    out_mlp_E = out_energy = out_mlp_F = out_forces = None  # noqa: N815

    def _set_model(self, model: GemNet) -> None:
        self._modules["trunk"] = model.backbone

    @property
    def backbone(self) -> Backbone:
        trunk = self._modules["trunk"]
        assert isinstance(trunk, Backbone)
        return trunk

    def forward(self, data: Any) -> Dictionary:
        """Compute the embeddings of atoms and edges.

        Returns:
            xs_E: atom features of every output block, (N, emb_size_atom); xs_F: edge features, (E, emb_size_edge), or
            None; edge_vec: unit vectors along the edges, (E, 3); edge_idx: target atom of each edge; num_neighbors:
            number of edges of each structure; edge_reverse: index of the opposite of each edge; positions: the tensor
            with respect to which gradient forces differentiate the energy.

        Raises:
            StructureError: a structure cannot be computed.
        """
        structures = self._structures(data)
        topology = self.backbone.topology(structures, self._stored_pairs(data, structures, *self._widest_graph))
        if self.direct_forces or not self.regress_forces:
            return self._embeddings(self.backbone(structures, topology), structures)
        with torch.inference_mode(False), torch.enable_grad():
            structures = differentiable(structures)
            return self._embeddings(self.backbone(structures, topology), structures)

    def _embeddings(self, features: BackboneOutput, structures: Structures) -> Dictionary:
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
    """Energy head, which also computes gradient forces for backbones without direct forces.

    Args:
        backbone: the backbone whose embeddings the head reads.
        num_global_out_layers: number of residual layers; typically 2.
        output_init: initialization of the last layer.

    Attributes:
        extensive: True if the energy is a sum over atoms, False if it is their mean.
        force_scaler: dynamic scaling of gradient forces, shared with the backbone.
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

    out_mlp_E = submodule("read_out.atoms.layers")  # noqa: N815
    out_energy = submodule("read_out.atoms.last")

    def forward(self, data: Any, emb: Dictionary) -> dict[str, Tensor]:
        """Return {"energy": (S,)} and, with gradient forces, also "forces": (N, 3)."""
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
    """Direct-force head; it returns an empty dictionary for a backbone without direct forces.

    Args:
        backbone: the backbone whose embeddings the head reads.
        num_global_out_layers: number of residual layers; typically 2.
        output_init: initialization of the last layer.
    """

    def __init__(
        self, backbone: GemNetOCBackbone, num_global_out_layers: int, output_init: str = "HeOrthogonal"
    ) -> None:
        super().__init__()
        self.direct_forces = backbone.direct_forces
        self.forces_coupled = backbone.forces_coupled
        if not self.direct_forces:
            warnings.warn(
                "GemNetOCForceHead predicts nothing without direct_forces=True: use GemNetOCEnergyAndGradForceHead "
                "for gradient forces",
                stacklevel=2,
            )
            return
        network = _network(backbone, backbone.spec.sizes.edge, num_global_out_layers, output_init)
        self.read_out = nn.ModuleDict({"edges": network})
        self.forces = DirectForces(self.forces_coupled, Sums())

    out_mlp_F = submodule("read_out.edges.layers")  # noqa: N815
    out_forces = submodule("read_out.edges.last")

    def forward(self, data: Any, emb: Dictionary) -> dict[str, Tensor]:
        """Return {"forces": (N, 3)}."""
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
