"""The base of the published classes of GemNet-OC and GemNet-T."""

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
from gemnet_blocks.model.gemnet import Trunk
from gemnet_blocks.published.dictionaries import GraphData, every_stored_pair, graph_data
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.structures import Structures
from gemnet_blocks.util.weights import WeightedModule

_WITHOUT_DECAY = ("embedding", "frequencies", "bias")
"""Published models exclude weights from weight decay whose names contain one of these."""


class RadialAngularBasis(nn.Module):
    """A radial basis and a circular or spherical one, which published models hold in one layer.

    Args:
        radial_basis: of distances.
        angular_basis: of the cosine of an angle; spherical bases also of a dihedral angle.
    """

    def __init__(self, radial_basis: nn.Module, angular_basis: nn.Module) -> None:
        super().__init__()
        self.radial_basis = radial_basis
        self.angular_basis = angular_basis

    def forward(self, distance: Tensor, cosine: Tensor, *dihedral: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate both bases.

        Args:
            distance: of each edge, in Å.
            cosine: cos φ of each triplet or quadruplet.
            dihedral: θ of each quadruplet in radians, for spherical bases.
        """
        azimuths = [Azimuth(angle.cos(), angle.sin()) for angle in dihedral]
        return self.radial_basis(distance), self.angular_basis(cosine, *azimuths)


def geometry_part(*paths: str) -> Any:
    """Give a published name to a basis or a projection that all blocks share.

    The attribute is missing where the model does not have the interaction, as in published models. State dictionaries
    do not contain it, since the geometry stores the weights.

    Args:
        paths: of the module in the geometry, or those of a radial and an angular basis.
    """

    def part(model: PublishedClass) -> nn.Module:
        found = [model.trunk.geometry.get_submodule(path) for path in paths]
        return found[0] if len(found) == 1 else RadialAngularBasis(*found)

    return property(part)


class PublishedClass(WeightedModule, ABC):
    """A model under the names of the published implementation, whose attributes are the constructor's arguments."""

    spec: Spec
    """The architecture that the arguments describe."""
    trunk: Trunk
    """The graphs, bases, embeddings and blocks, up to the readout."""
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
    def num_params(self) -> int:
        """The number of parameters, scale factors included."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def shared_parameters(self) -> list[tuple[nn.Parameter, int]]:
        """The projections that all blocks share, and how often a forward pass uses each."""
        geometry = self.trunk.geometry
        return [
            (weight, self.num_blocks + int(weight is geometry.output_radial.weight))
            for name, weight in geometry.named_parameters()
            if name.endswith(".weight")
        ]

    def no_weight_decay(self) -> list[str]:
        """The names of weights that published models are trained without weight decay of: embeddings of elements and
        frequencies of Bessel functions."""
        suffixes = shared_suffixes(self)
        return [
            key
            for key, _ in self.named_parameters()
            if any(part in name for name in published_names(key, suffixes) for part in _WITHOUT_DECAY)
        ]

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
        """The edges of a batch: those that it brings, or the nearest neighbors of each atom within a cutoff.

        Args:
            data: `Structures` or a batch.
            cutoff: in Å; None, here and below: the attribute of the model.
            max_neighbors: of each target atom; 0: as many as there are.
            use_pbc: whether structures are periodic.
            otf_graph: search for edges even where the batch brings `edge_index` and `cell_offsets`.
            enforce_max_neighbors_strictly: exactly so many, instead of including neighbors at the same distance.
            use_pbc_single: accepted; results do not depend on it.
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
            pairs = self.trunk.graphs.search(structures, float(self.cutoff if cutoff is None else cutoff))
            pairs = pairs.select(nearest(pairs, structures, cap, ties, squared=True))
        return graph_data(pairs, structures, self.trunk.dtype)

    @property
    def _ties(self) -> Ties:
        ties = self.spec.neighbors.ties
        assert ties != "smooth"  # published models exclude neighbors
        return ties

    def _structures(self, data: Any, periodic: bool | None = None) -> Structures:
        periodic = self.use_pbc if periodic is None else periodic
        if not isinstance(data, Structures):
            return Structures.from_batch(data, periodic)
        return data if periodic else replace(data, periodic=torch.zeros_like(data.periodic))


def nearest(pairs: Pairs, structures: Structures, cap: int, ties: Ties, squared: bool) -> Tensor:
    """Which pairs, sorted by target and distance, are among the nearest of their target."""
    if cap <= 0:
        return torch.ones_like(pairs.target, dtype=torch.bool)
    return within_cap(pairs, structures.atom_count, cap, ties, squared=squared)
