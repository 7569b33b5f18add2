"""Base of the classes with the published interfaces of GemNet models."""

from __future__ import annotations

from abc import ABC
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gemnet_blocks.checkpoints.fairchem_keys import published_names, shared_suffixes
from gemnet_blocks.geometry.angles import Azimuth
from gemnet_blocks.graph.max_neighbors import Ties, within_cap
from gemnet_blocks.graph.pairs import Pairs
from gemnet_blocks.model.gemnet import Backbone, GemNet
from gemnet_blocks.published.dictionaries import GraphData, every_stored_pair, graph_data, stored_pairs
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.structures import Structures
from gemnet_blocks.util.weights import WeightedModule

_WITHOUT_DECAY = ("embedding", "frequencies", "bias")
"""Published models do not apply weight decay to parameters whose names contain one of these."""


class RadialAngularBasis(nn.Module):
    """A radial basis combined with a circular or spherical basis, as one layer of published models.

    Args:
        radial_basis: basis of distances.
        angular_basis: basis of the cosine of an angle and, if spherical, of a dihedral angle.
    """

    def __init__(self, radial_basis: nn.Module, angular_basis: nn.Module) -> None:
        super().__init__()
        self.radial_basis = radial_basis
        self.angular_basis = angular_basis

    def forward(self, distance: Tensor, cosine: Tensor, *dihedral: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate both bases.

        Args:
            distance: length of each edge in Å.
            cosine: cos φ of each triplet or quadruplet.
            dihedral: dihedral angle θ of each quadruplet in radians, for spherical bases.
        """
        azimuths = [Azimuth(angle.cos(), angle.sin()) for angle in dihedral]
        return self.radial_basis(distance), self.angular_basis(cosine, *azimuths)


def submodule(*paths: str) -> Any:
    """Give a submodule its published name; two paths stand for a radial and an angular basis.

    As in published models, the attribute is missing if the model does not have the submodule. State dictionaries
    contain weights under their own names only.
    """

    def found(module: nn.Module) -> nn.Module:
        modules = [module.get_submodule(path) for path in paths]
        return modules[0] if len(modules) == 1 else RadialAngularBasis(*modules)

    return property(found)


def geometry_part(*paths: str) -> Any:
    """Give a basis or a projection that all blocks share its published name."""
    return submodule(*(f"backbone.geometry.{path}" for path in paths))


class PublishedClass(WeightedModule, ABC):
    """A model with the interface of the published implementation: constructor arguments become attributes."""

    model: GemNet
    spec: Spec
    """The architecture that the arguments describe."""
    num_blocks: int
    regress_forces: bool
    direct_forces: bool
    use_pbc: bool
    use_pbc_single: bool
    otf_graph: bool
    extensive: bool
    activation: str | None
    cutoff: float
    max_neighbors: int

    @property
    def backbone(self) -> Backbone:
        """The graphs, bases, embeddings and blocks, up to the readout."""
        return self.model.backbone

    @property
    def num_params(self) -> int:
        """The number of parameters, including scale factors."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def shared_parameters(self) -> list[tuple[nn.Parameter, int]]:
        """The projections that all blocks share, each with the number of times that a forward pass uses it."""
        geometry = self.backbone.geometry
        return [
            (weight, self.num_blocks + int(weight is geometry.output_radial.weight))
            for name, weight in geometry.named_parameters()
            if name.endswith(".weight")
        ]

    def no_weight_decay(self) -> list[str]:
        """Return the names of parameters to which published training applies no weight decay.

        These are the embeddings of elements and the frequencies of Bessel functions.
        """
        suffixes = shared_suffixes(self)
        return [
            key
            for key, _ in self.named_parameters()
            if any(part in name for name in published_names(key, suffixes) for part in _WITHOUT_DECAY)
        ]

    atom_emb = submodule("backbone.atom_embedding")
    edge_emb = submodule("backbone.edge_embedding")
    int_blocks = submodule("backbone.blocks")
    out_blocks = submodule("backbone.output_blocks")
    radial_basis = geometry_part("bases.radial.main")
    mlp_rbf_h = geometry_part("update_radial")
    mlp_rbf_out = geometry_part("output_radial")

    def generate_graph(
        self,
        data: Any,
        cutoff: float | None = None,
        max_neighbors: int | None = None,
        use_pbc: bool | None = None,
        otf_graph: bool | None = None,
        enforce_max_neighbors_strictly: bool | None = None,
        use_pbc_single: bool = False,
    ) -> GraphData:
        """Return the edges stored in a batch, or search for the nearest neighbors of each atom within a cutoff.

        Args:
            data: `Structures` or a batch.
            cutoff: cutoff in Å; None, here and below: the attribute of the model.
            max_neighbors: maximum number of neighbors per target atom; 0: no limit.
            use_pbc: use the periodic boundary conditions of the structures.
            otf_graph: search for neighbors even if the batch contains `edge_index` and `cell_offsets`.
            enforce_max_neighbors_strictly: keep exactly `max_neighbors` neighbors instead of including all neighbors
                that are as far as the last one.
            use_pbc_single: accepted for compatibility; results do not depend on it.
        """
        periodic = self.use_pbc if use_pbc is None else use_pbc
        structures = self._structures(data, periodic)
        pairs = None
        if not (self.otf_graph if otf_graph is None else otf_graph):
            pairs = every_stored_pair(data, structures, periodic)
        if pairs is None:
            strict = enforce_max_neighbors_strictly
            ties = self._ties if strict is None else "strict" if strict else "inclusive_next"
            cap = self.max_neighbors if max_neighbors is None else max_neighbors
            pairs = self.backbone.graphs.search(structures, float(self.cutoff if cutoff is None else cutoff))
            pairs = pairs.select(nearest(pairs, structures, cap, ties, squared=True))
        return graph_data(pairs, structures, self.backbone.dtype)

    def forward(self, data: Any) -> dict[str, Tensor]:
        """Predict energies (S,) and forces (N, 3) as a dictionary with the keys "energy" and "forces".

        Raises:
            StructureError: a structure cannot be computed.
        """
        structures = self._structures(data)
        prediction = self.model(structures, self._stored_pairs(data, structures, *self._widest_graph))
        result = {"energy": prediction.energy}
        if self.regress_forces and prediction.forces is not None:
            result["forces"] = prediction.forces
        return result

    @property
    def _widest_graph(self) -> tuple[float, int]:
        """The cutoff and the maximum number of neighbors of the graph that contains all others."""
        return self.cutoff, self.max_neighbors

    def _stored_pairs(self, data: Any, structures: Structures, cutoff: float, max_neighbors: int) -> Pairs | None:
        if self.otf_graph:
            return None
        return stored_pairs(data, structures, cutoff, max_neighbors, self._ties, self.use_pbc)

    @property
    def _ties(self) -> Ties:
        ties = self.spec.neighbors.ties
        assert ties != "smooth"  # published models never use smooth limits
        return ties

    def _structures(self, data: Any, periodic: bool | None = None) -> Structures:
        periodic = self.use_pbc if periodic is None else periodic
        if not isinstance(data, Structures):
            return Structures.from_batch(data, periodic)
        return data if periodic else replace(data, periodic=torch.zeros_like(data.periodic))


def nearest(pairs: Pairs, structures: Structures, cap: int, ties: Ties, squared: bool) -> Tensor:
    """Return a mask of the nearest `cap` pairs of each target; pairs are sorted by target and distance."""
    if cap <= 0:
        return torch.ones_like(pairs.target, dtype=torch.bool)
    return within_cap(pairs, structures.atom_count, cap, ties, squared=squared)
