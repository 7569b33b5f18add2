"""GemNet-OC under its published names: the same constructor arguments, attributes, methods and results.

A thin façade over specs: it turns the arguments into a spec, builds it, and speaks dictionaries and tuples at its
border. New work is better off with specs.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from gemnet_blocks.blocks.output import OutputNetwork
from gemnet_blocks.checkpoints.scale_files import load_scales
from gemnet_blocks.errors import ArgumentError
from gemnet_blocks.graph.angles import quadruplet_angles
from gemnet_blocks.graph.caps import within_cap
from gemnet_blocks.graph.edge_sets import Graphs
from gemnet_blocks.graph.edges import EdgeSet, SymmetricEdges, measure
from gemnet_blocks.graph.index_sets import IndexSet, QuadrupletRequest, TripletRequest
from gemnet_blocks.graph.neighbors import Pairs
from gemnet_blocks.graph.quadruplets import Quadruplets
from gemnet_blocks.graph.ragged import row_pointers
from gemnet_blocks.graph.symmetrize import symmetrize
from gemnet_blocks.graph.triplets import Triplets
from gemnet_blocks.heads import DirectForces, Energy, GradientForces
from gemnet_blocks.model import Trunk, TrunkOutput, differentiable
from gemnet_blocks.spec.build import build
from gemnet_blocks.spec.catalog import did_you_mean
from gemnet_blocks.spec.published import (
    DEFAULTS,
    REQUIRED,
    cutoffs,
    from_published,
    neighbor_caps,
    output_initialization,
)
from gemnet_blocks.structures import Structures
from gemnet_blocks.sums import sums

DEPRECATED = {
    "num_atoms": "it was never used",
    "bond_feat_dim": "it was never used",
    "num_targets": "there is one target, the energy",
    "name": "it named the model class",
}
"""Arguments of older versions that are accepted with a warning, and why they are not needed."""

TRIPLETS = TripletRequest("main", "main")
ATOM_EDGE_TRIPLETS = TripletRequest("main", "atom_edge")
EDGE_ATOM_TRIPLETS = TripletRequest("atom_edge", "main")
QUADRUPLETS = QuadrupletRequest("main", "quad")

Dictionary = dict[str, Any]


class _Published(nn.Module):
    """What the single model and the backbone have in common. Subclasses own the trunk."""

    trunk: Trunk

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.spec = from_published({name: arguments[name] for name in (*REQUIRED, *DEFAULTS)})
        self._arguments = dict(arguments)
        self.num_blocks = arguments["num_blocks"]
        self.extensive = arguments["extensive"]
        self.activation = arguments["activation"]
        self.atom_edge_interaction = arguments["atom_edge_interaction"]
        self.edge_atom_interaction = arguments["edge_atom_interaction"]
        self.atom_interaction = arguments["atom_interaction"]
        self.quad_interaction = arguments["quad_interaction"]
        tags = arguments["qint_tags"]
        self.qint_tags = torch.tensor([0, 1, 2] if tags is None else list(tags))
        self.otf_graph = arguments["otf_graph"]
        self.enforce_max_neighbors_strictly = arguments["enforce_max_neighbors_strictly"]
        self.use_pbc = arguments["use_pbc"]
        self.use_pbc_single = arguments["use_pbc_single"]
        self.direct_forces = arguments["direct_forces"]
        self.forces_coupled = arguments["forces_coupled"]
        self.regress_forces = arguments["regress_forces"]
        self.set_cutoffs(*(arguments[f"cutoff{suffix}"] for suffix in ("", "_qint", "_aeaint", "_aint")))
        self.set_max_neighbors(*(arguments[f"max_neighbors{suffix}"] for suffix in ("", "_qint", "_aeaint", "_aint")))

    @property
    def num_params(self) -> int:
        """The number of parameters, scale factors included."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def atom_emb(self) -> nn.Module:
        """The first embeddings of atoms."""
        return self.trunk.atom_embedding

    @property
    def edge_emb(self) -> nn.Module:
        """The first embeddings of edges."""
        return self.trunk.edge_embedding

    @property
    def int_blocks(self) -> nn.ModuleList:
        """The blocks."""
        return self.trunk.blocks

    @property
    def out_blocks(self) -> nn.ModuleList:
        """The output blocks."""
        return self.trunk.output_blocks

    def set_cutoffs(
        self,
        cutoff: float,
        cutoff_qint: float | None,
        cutoff_aeaint: float | None,
        cutoff_aint: float | None,
    ) -> None:
        """Set the cutoffs of the graphs in Å; None: by the rules of published models. Bases keep theirs."""
        given = {
            "cutoff": cutoff,
            "cutoff_qint": cutoff_qint,
            "cutoff_aeaint": cutoff_aeaint,
            "cutoff_aint": cutoff_aint,
        }
        values = cutoffs({**self._arguments, **given})
        self.cutoff, self.cutoff_qint = values["main"], values["quad"]
        self.cutoff_aeaint, self.cutoff_aint = values["atom_edge"], values["atom"]
        self._change_rules("cutoff", values)

    def set_max_neighbors(
        self,
        max_neighbors: int,
        max_neighbors_qint: int | None,
        max_neighbors_aeaint: int | None,
        max_neighbors_aint: int | None,
    ) -> None:
        """Set the greatest numbers of neighbors of the graphs; None: by the rules of published models."""
        given = {
            "max_neighbors": max_neighbors,
            "max_neighbors_qint": max_neighbors_qint,
            "max_neighbors_aeaint": max_neighbors_aeaint,
            "max_neighbors_aint": max_neighbors_aint,
        }
        values = neighbor_caps({**self._arguments, **given})
        self.max_neighbors, self.max_neighbors_qint = values["main"], values["quad"]
        self.max_neighbors_aeaint, self.max_neighbors_aint = values["atom_edge"], values["atom"]
        self._change_rules("max_neighbors", values)

    def _change_rules(self, field: str, values: Mapping[str, Any]) -> None:
        if "trunk" in self._modules or "model" in self._modules:
            rules = self.trunk.graphs.rules
            self.trunk.graphs.rules = {
                name: rule.model_copy(update={field: values[name]}) for name, rule in rules.items()
            }

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
        """Replace the bases, and with them their projections, by new ones."""
        self._replace_geometry(
            num_radial=num_radial,
            num_spherical=num_spherical,
            rbf=rbf,
            rbf_spherical=rbf_spherical,
            envelope=envelope,
            cbf=cbf,
            sbf=sbf,
            scale_basis=scale_basis,
        )

    def init_shared_basis_layers(
        self, num_radial: int, num_spherical: int, emb_size_rbf: int, emb_size_cbf: int, emb_size_sbf: int
    ) -> None:
        """Replace the projections that all blocks share by new ones."""
        self._replace_geometry(
            num_radial=num_radial,
            num_spherical=num_spherical,
            emb_size_rbf=emb_size_rbf,
            emb_size_cbf=emb_size_cbf,
            emb_size_sbf=emb_size_sbf,
        )

    def _replace_geometry(self, **changes: Any) -> None:
        self._arguments |= changes
        self.spec = from_published({name: self._arguments[name] for name in (*REQUIRED, *DEFAULTS)})
        like = next(self.parameters())
        self.trunk.geometry = build(self.spec).trunk.geometry.to(device=like.device, dtype=like.dtype)

    def calculate_quad_angles(
        self,
        V_st: Tensor,
        V_qint_st: Tensor,
        quad_idx: Dictionary,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """cos φ_cab per triplet c→a←b, cos φ_abd per triplet d→b→a and θ_cabd per quadruplet."""
        angles = quadruplet_angles(V_st, V_qint_st, _quadruplets(quad_idx))
        dihedral = torch.atan2(angles.sin_dihedral, angles.cos_dihedral)
        return angles.cos_at_target, angles.cos_at_source, dihedral

    def select_symmetric_edges(self, tensor: Tensor, mask: Tensor, reorder_idx: Tensor, opposite_neg: bool) -> Tensor:
        """The rows that `mask` keeps, then the same for the opposite edges (negated if asked), reordered."""
        kept = tensor[mask]
        return torch.cat([kept, -kept if opposite_neg else kept])[reorder_idx]

    def symmetrize_edges(self, graph: Dictionary, batch_idx: Tensor) -> tuple[Dictionary, Tensor]:
        """The graph with every edge's opposite, and the index of each edge's opposite."""
        found = symmetrize(_pairs(graph), self.spec.graphs["main"].symmetrize or "lower_index")
        vector = graph["vector"][found.origin]
        symmetric = {
            "edge_index": torch.stack([found.pairs.source, found.pairs.target]),
            "cell_offset": found.pairs.shift,
            "distance": graph["distance"][found.origin],
            "vector": torch.where(found.flipped[:, None], -vector, vector),
            "num_neighbors": _per_structure(found.pairs.target, batch_idx),
        }
        return symmetric, found.reverse

    def subselect_edges(
        self, data: Any, graph: Dictionary, cutoff: float | None = None, max_neighbors: int | None = None
    ) -> Dictionary:
        """The edges of a graph within a cutoff, then the nearest ones of each target."""
        structures = self._structures(data)
        pairs, rows = _pairs(graph), torch.arange(graph["distance"].shape[0], device=graph["distance"].device)
        if cutoff is not None:
            rows = rows[pairs.distance <= cutoff]
        if max_neighbors is not None:
            ordered = pairs.select(rows).canonical_order()
            rows = rows[ordered]
            ties = self.spec.neighbors.ties
            rows = rows[within_cap(pairs.select(rows), structures.atom_count, max_neighbors, ties)]
        chosen = {key: graph[key][rows] for key in ("distance", "vector", "cell_offset")}
        edge_index = graph["edge_index"][:, rows]
        return chosen | {
            "edge_index": edge_index,
            "num_neighbors": _per_structure(edge_index[1], structures.structure, len(structures)),
        }

    def generate_graph_dict(self, data: Any, cutoff: float, max_neighbors: int) -> Dictionary:
        """All edges within a cutoff, the nearest ones of each target, as published models search them."""
        structures = self._structures(data)
        pairs = self._given(data, structures)
        if pairs is None:
            builder = self.trunk.graphs
            pairs = builder.search(builder.as_periodic(structures), cutoff)
            pairs = pairs.select(
                within_cap(pairs, structures.atom_count, max_neighbors, self.spec.neighbors.ties, squared=True)
            )
        return _dictionary(measure(pairs, structures, self._dtype), structures)

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
            cutoff if cutoff != cutoff_orig else None,
            max_neighbors if max_neighbors != max_neighbors_orig else None,
        )

    def get_graphs_and_indices(self, data: Any) -> tuple[Any, ...]:
        """Graphs main, atom, atom_edge and quad; opposite edges; indices of triplets, mixed triplets and quadruplets.

        What no interaction reads is an empty dictionary.
        """
        structures = self._structures(data)
        graphs = self.trunk.graphs(structures, self._dtype, self._given(data, structures))
        sets = {name: _dictionary(edges, structures) for name, edges in graphs.edge_sets.items()}
        triplets = [
            _triplet_dictionary(graphs.indices.get(request))
            for request in (TRIPLETS, ATOM_EDGE_TRIPLETS, EDGE_ATOM_TRIPLETS)
        ]
        return (
            *(sets.get(name, {}) for name in ("main", "atom", "atom_edge", "quad")),
            graphs.main.reverse,
            *triplets,
            _quadruplet_dictionary(graphs.indices.get(QUADRUPLETS)),
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
        """Raw radial functions, their projections for updates and outputs, and what each interaction reads.

        The order is: raw, atom update, output, quadruplet, triplet, atom–edge, edge–atom, atom–atom; None where an
        interaction is absent.
        """
        dictionaries = {"main": main_graph, "atom": a2a_graph, "atom_edge": a2ee2a_graph, "quad": qint_graph}
        sets = {name: _edge_set(graph, num_atoms) for name, graph in dictionaries.items() if graph}
        found = {TRIPLETS: trip_idx_e2e, ATOM_EDGE_TRIPLETS: trip_idx_a2e, EDGE_ATOM_TRIPLETS: trip_idx_e2a}
        indices: dict[Any, IndexSet] = {
            request: Triplets(index["out"], index["in"]) for request, index in found.items() if index
        }
        if quad_idx:
            indices[QUADRUPLETS] = _quadruplets(quad_idx)
        pairs = _pairs(main_graph)
        reverse = symmetrize(pairs, "union").reverse
        structures = Structures.from_ase([])
        geometry = self.trunk.geometry(Graphs(structures, SymmetricEdges(sets["main"], reverse), sets, indices))
        names = ("quadruplet", "triplet", "atom_edge", "edge_atom", "atom_atom")
        return (
            geometry.radial,
            geometry.update_radial,
            geometry.output_radial,
            *(geometry.interactions.get(name) for name in names),
        )

    @property
    def _dtype(self) -> torch.dtype:
        return self.trunk.edge_embedding.dense.linear.weight.dtype

    def _structures(self, data: Any) -> Structures:
        return data if isinstance(data, Structures) else Structures.from_batch(data, self.use_pbc)

    def _given(self, data: Any, structures: Structures) -> Pairs | None:
        """The edges that the batch brings, unless graphs are to be built on the fly or it brings none."""
        edge_index = None if self.otf_graph else getattr(data, "edge_index", None)
        if edge_index is None:
            return None
        offsets = getattr(data, "cell_offsets", None)
        shift = torch.zeros_like(edge_index.T[:, :1]).expand(-1, 3) if offsets is None else offsets
        zeros = torch.zeros(edge_index.shape[1], dtype=torch.float64, device=edge_index.device)
        pairs = Pairs(edge_index[0].long(), edge_index[1].long(), shift.long(), zeros)
        order = pairs.target.sort(stable=True).indices
        pairs = pairs.select(order)
        with torch.no_grad():
            distance = measure(pairs, structures.to(dtype=torch.float64), torch.float64).distance
        pairs = Pairs(pairs.source, pairs.target, pairs.shift, distance)
        return pairs.select(pairs.canonical_order())


@final
class GemNetOC(_Published):
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
        max_neighbors: of the main edges.
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
        otf_graph: build graphs even where the batch brings `edge_index`, `cell_offsets` and `neighbors`.
        scale_file: scale factors: .pt, .json or a dictionary.

    Raises:
        ArgumentError: an unknown argument; suggests the right one.
        SpecError: an argument has no valid value.
        StateError: the scale file does not fit.
    """

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
        arguments = _arguments(locals())
        super().__init__(arguments)
        self.model = build(self.spec)
        if scale_file is not None:
            load_scales(self.model, scale_file)

    @property
    def trunk(self) -> Trunk:  # type: ignore[override]
        """Everything in front of the read-out."""
        return self.model.trunk

    @property
    def force_scaler(self) -> Any:
        """The dynamic scale of gradient forces; None without."""
        return self.model.forces.scale if isinstance(self.model.forces, GradientForces) else None

    @property
    def out_mlp_E(self) -> nn.Module:
        """The layers that read all outputs of atoms."""
        return self.model.read_out.atoms.layers  # type: ignore[union-attr,return-value]

    @property
    def out_energy(self) -> nn.Module:
        """The last layer of the energy."""
        return self.model.read_out.atoms.last  # type: ignore[union-attr,return-value]

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
class GemNetOCBackbone(_Published):
    """GemNet-OC without heads; takes the arguments of `GemNetOC`.

    `forward` returns the embeddings that the heads read.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        arguments = _bind(args, kwargs)
        super().__init__(arguments)
        self.trunk = build(self.spec).trunk
        self.force_scaler = GradientForces(arguments["scale_backprop_forces"]).scale
        if arguments["scale_file"] is not None:
            load_scales(self, arguments["scale_file"])

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
        if self.direct_forces or not self.regress_forces:
            return self._embeddings(self.trunk(structures, self._given(data, structures)), structures)
        with torch.inference_mode(False), torch.enable_grad():
            structures = differentiable(structures)
            return self._embeddings(self.trunk(structures, self._given(data, structures)), structures)

    def _embeddings(self, features: TrunkOutput, structures: Structures) -> Dictionary:
        main = features.graphs.main
        return {
            "xs_E": [output.atoms for output in features.outputs],
            "xs_F": [output.edges for output in features.outputs],
            "edge_vec": main.edges.direction,
            "edge_idx": main.edges.target,
            "num_neighbors": _per_structure(main.edges.target, structures.structure, len(structures)),
            "edge_reverse": main.reverse,
            "positions": structures.positions,
        }


@final
class GemNetOCEnergyAndGradForceHead(nn.Module):
    """Energies and, for models without direct forces, their gradients as forces.

    Args:
        backbone: what it reads.
        num_global_out_layers: residual layers.
        output_init: initial weights of the last layer.
    """

    def __init__(
        self, backbone: GemNetOCBackbone, num_global_out_layers: int, output_init: str = "HeOrthogonal"
    ) -> None:
        super().__init__()
        self.read_out = nn.ModuleDict(
            {"atoms": _network(backbone, backbone.spec.sizes.atom, num_global_out_layers, output_init)}
        )
        self.regress_forces = backbone.regress_forces
        self.direct_forces = backbone.direct_forces
        self.energy = Energy("sum" if backbone.extensive else "mean", sums())
        self.forces = GradientForces()
        self.forces.scale = backbone.force_scaler

    def forward(self, data: Any, emb: Dictionary) -> dict[str, Tensor]:
        """{"energy": (S,)} and, with gradient forces, {"forces": (N, 3)}."""
        structures = data if isinstance(data, Structures) else Structures.from_batch(data)
        create_graph = torch.is_grad_enabled()
        gradient = self.regress_forces and not self.direct_forces
        with torch.set_grad_enabled(create_graph or gradient):
            per_atom = self.read_out["atoms"](emb["xs_E"])
            energy = self.energy(per_atom, structures.structure, len(structures))
            if not gradient:
                return {"energy": energy}
            forces = self.forces(energy, emb["positions"], create_graph).to(energy.dtype)
        return {"energy": energy if create_graph else energy.detach(), "forces": forces}


@final
class GemNetOCForceHead(nn.Module):
    """Direct forces from edges.

    Args:
        backbone: what it reads; must have direct forces.
        num_global_out_layers: residual layers.
        output_init: initial weights of the last layer.
    """

    def __init__(
        self, backbone: GemNetOCBackbone, num_global_out_layers: int, output_init: str = "HeOrthogonal"
    ) -> None:
        super().__init__()
        if not backbone.direct_forces:
            raise ArgumentError(
                "GemNetOCForceHead needs a backbone with direct_forces=True; gradient forces come from "
                "GemNetOCEnergyAndGradForceHead"
            )
        self.read_out = nn.ModuleDict(
            {"edges": _network(backbone, backbone.spec.sizes.edge, num_global_out_layers, output_init)}
        )
        self.forces = DirectForces(backbone.forces_coupled, sums())

    def forward(self, data: Any, emb: Dictionary) -> dict[str, Tensor]:
        """{"forces": (N, 3)}."""
        magnitude = self.read_out["edges"](emb["xs_F"])
        count = emb["xs_E"][0].shape[0]
        forces = self.forces.along(magnitude, emb["edge_vec"], emb["edge_idx"], emb["edge_reverse"], count)
        return {"forces": forces}


def _network(backbone: GemNetOCBackbone, size: int, residual_count: int, output_init: str) -> OutputNetwork:
    in_size = size * (backbone.num_blocks + 1)
    initialization = output_initialization(output_init)
    return OutputNetwork(in_size, size, residual_count, backbone.spec.activation, initialization)


def _arguments(given: Mapping[str, Any]) -> Dictionary:
    """All arguments of the constructor of `GemNetOC`, once unknown ones are refused and deprecated ones warned of."""
    names = [name for name in inspect.signature(GemNetOC).parameters if name != "kwargs"]
    for name, value in given["kwargs"].items():
        if name not in DEPRECATED or (name == "num_targets" and value != 1):
            reason = "; only 1 is possible" if name == "num_targets" else did_you_mean(name, names)
            raise ArgumentError(f"GemNetOC does not take the argument {name}={value!r}{reason}")
        warnings.warn(
            f"GemNetOC's argument {name!r} is deprecated: {DEPRECATED[name]}", DeprecationWarning, stacklevel=3
        )
    return {name: given[name] for name in names}


def _bind(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Dictionary:
    """The arguments of a call as `GemNetOC` would take them."""
    try:
        bound = inspect.signature(GemNetOC).bind(*args, **kwargs)
    except TypeError as error:
        raise ArgumentError(f"GemNetOCBackbone: {error}") from error
    bound.apply_defaults()
    return _arguments(bound.arguments)


def _dictionary(edges: EdgeSet, structures: Structures) -> Dictionary:
    return {
        "edge_index": torch.stack([edges.source, edges.target]),
        "distance": edges.distance,
        "vector": edges.direction,
        "cell_offset": edges.shift,
        "num_neighbors": _per_structure(edges.target, structures.structure, len(structures)),
    }


def _edge_set(graph: Dictionary, atom_count: int) -> EdgeSet:
    source, target = graph["edge_index"]
    first = row_pointers(target, atom_count)
    return EdgeSet(source, target, graph["cell_offset"].long(), graph["distance"], graph["vector"], first)


def _pairs(graph: Dictionary) -> Pairs:
    source, target = graph["edge_index"]
    return Pairs(source, target, graph["cell_offset"].long(), graph["distance"].detach().double())


def _triplet_dictionary(index: IndexSet | None) -> Dictionary:
    if not isinstance(index, Triplets):
        return {}
    first = torch.searchsorted(index.outer, index.outer)
    return {"in": index.inner, "out": index.outer, "out_agg": torch.arange(index.count, device=first.device) - first}


def _quadruplet_dictionary(index: IndexSet | None) -> Dictionary:
    if not isinstance(index, Quadruplets):
        return {}
    first = torch.searchsorted(index.outer, index.outer)
    return {
        "triplet_in": {"in": index.around_source.inner, "out": index.around_source.outer},
        "triplet_out": {"in": index.around_target.inner, "out": index.around_target.outer},
        "out": index.outer,
        "trip_in_to_quad": index.source_triplet,
        "trip_out_to_quad": index.target_triplet,
        "out_agg": torch.arange(index.count, device=first.device) - first,
    }


def _quadruplets(quad_idx: Dictionary) -> Quadruplets:
    around_source = Triplets(quad_idx["triplet_in"]["out"], quad_idx["triplet_in"]["in"])
    around_target = Triplets(quad_idx["triplet_out"]["out"], quad_idx["triplet_out"]["in"])
    return Quadruplets(around_source, around_target, quad_idx["trip_in_to_quad"], quad_idx["trip_out_to_quad"])


def _per_structure(target: Tensor, structure: Tensor, count: int | None = None) -> Tensor:
    """The number of edges of each structure."""
    count = int(structure.max()) + 1 if count is None else count
    return torch.bincount(structure[target], minlength=count)
