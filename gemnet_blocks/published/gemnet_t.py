"""GemNet-T and GemNet-dT under their published names: the same constructor arguments and results.

A thin façade over specs, as `gemnet_oc`. New work is better off with specs.
"""

from __future__ import annotations

from typing import Any, final

from torch import Tensor

from gemnet_blocks.checkpoints.checkpoint_file import load_scales
from gemnet_blocks.model.gemnet import Trunk
from gemnet_blocks.options import plain
from gemnet_blocks.published.dictionaries import Dictionary, stored_pairs
from gemnet_blocks.published.published_class import PublishedClass, geometry_part
from gemnet_blocks.spec.build import build
from gemnet_blocks.spec.published import from_published
from gemnet_blocks.spec.published.gemnet_t import DEFAULTS, REQUIRED

_STORED = (
    "num_blocks",
    "regress_forces",
    "direct_forces",
    "cutoff",
    "max_neighbors",
    "extensive",
    "use_pbc",
    "activation",
)
"""Arguments that are attributes."""


@final
class GemNetT(PublishedClass):
    """GemNet-T, or with direct forces GemNet-dT, with its published arguments (Gasteiger et al., arXiv 2106.08903).

    `forward` takes `Structures` or any batch object with `pos, atomic_numbers, batch, natoms` and, where present,
    `cell, pbc, tags, fixed`, and returns `{"energy": (S,), "forces": (N, 3)}`.

    Args:
        num_spherical: functions of each angle, L.
        num_radial: functions of distances, N.
        num_blocks: blocks.
        emb_size_atom: width of atom embeddings.
        emb_size_edge: width of edge embeddings.
        emb_size_trip: width summed over triplets.
        emb_size_rbf: width of projected radial functions.
        emb_size_cbf: width of projected radial × circular functions.
        emb_size_bil_trip: width after the sum over triplets.
        num_before_skip: residual layers before the skip connection of a block.
        num_after_skip: residual layers behind it.
        num_concat: residual layers in the concatenation layer.
        num_atom: residual layers of atom updates and output blocks.
        regress_forces: whether forces are predicted.
        direct_forces: forces from edges instead of the energy's gradient.
        cutoff: of the edges, in Å.
        max_neighbors: of each atom; 0 means no limit.
        rbf: {"name": "gaussian", "spherical_bessel" or "bernstein", …}; None: gaussian.
        envelope: {"name": "polynomial", "exponent": 5} (also None) or {"name": "exponential"}.
        cbf: {"name": "spherical_harmonics"} (also None) or {"name": "gaussian"}.
        extensive: the energy is a sum over atoms, not a mean.
        otf_graph: build graphs even where the batch brings `edge_index`, `cell_offsets` and `neighbors`. With a cutoff
            above 6 Å or more than 50 neighbors, graphs are built anyway.
        use_pbc: whether structures are periodic.
        use_pbc_single: accepted; results do not depend on it.
        output_init: "HeOrthogonal", "zeros", "grid" or "loggrid".
        activation: "swish" (also "silu") or None.
        num_elements: the greatest atomic number.
        scale_file: scale factors: .json, .pt or a dictionary.

    Raises:
        SpecError: an argument has no valid value.
        StateError: the scale file does not fit.
    """

    cbf_basis3 = geometry_part("bases.angular.main", "interactions.triplet.triplet_sum.circular")
    mlp_rbf3 = geometry_part("interactions.triplet.radial")
    mlp_cbf3 = geometry_part("interactions.triplet.triplet_sum.projection")

    def __init__(
        self,
        num_spherical: int,
        num_radial: int,
        num_blocks: int,
        emb_size_atom: int,
        emb_size_edge: int,
        emb_size_trip: int,
        emb_size_rbf: int,
        emb_size_cbf: int,
        emb_size_bil_trip: int,
        num_before_skip: int,
        num_after_skip: int,
        num_concat: int,
        num_atom: int,
        regress_forces: bool = True,
        direct_forces: bool = False,
        cutoff: float = 6.0,
        max_neighbors: int = 50,
        rbf: Dictionary | None = None,
        envelope: Dictionary | None = None,
        cbf: Dictionary | None = None,
        extensive: bool = True,
        otf_graph: bool = False,
        use_pbc: bool = True,
        use_pbc_single: bool = False,
        output_init: str = "HeOrthogonal",
        activation: str | None = "swish",
        num_elements: int = 83,
        scale_file: Any = None,
    ) -> None:
        given = locals()
        super().__init__()
        arguments = {name: plain(given[name]) for name in (*REQUIRED, *DEFAULTS)}
        self.spec = from_published(arguments)
        for name in _STORED:
            setattr(self, name, arguments[name])
        self.otf_graph, self.use_pbc_single = bool(otf_graph), bool(use_pbc_single)
        self.model = build(self.spec)
        if scale_file is not None:
            load_scales(self, scale_file)

    @property
    def trunk(self) -> Trunk:  # type: ignore[override]
        """Everything in front of the read-out."""
        return self.model.trunk

    def forward(self, data: Any) -> dict[str, Tensor]:
        """Energies and forces.

        Raises:
            StructureError: a structure cannot be computed.
        """
        structures, given = self._structures(data), None
        if not self.otf_graph:
            given = stored_pairs(data, structures, self.cutoff, self.max_neighbors, self._ties, self.use_pbc)
        prediction = self.model(structures, given)
        result = {"energy": prediction.energy}
        if self.regress_forces and prediction.forces is not None:
            result["forces"] = prediction.forces
        return result
