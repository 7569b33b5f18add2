"""GemNet-T and GemNet-dT with the constructor arguments and results of the published implementation.

A façade over specs, as `gemnet_oc`. New projects should use specs directly.
"""

from __future__ import annotations

from typing import Any, final

from gemnet_blocks.checkpoints.checkpoint_file import load_scales
from gemnet_blocks.options import plain
from gemnet_blocks.published.dictionaries import Dictionary
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
"""Constructor arguments that become attributes."""


@final
class GemNetT(PublishedClass):
    """GemNet-T or, with direct forces, GemNet-dT with its published arguments (Gasteiger et al., arXiv 2106.08903).

    `forward` takes `Structures`, or any batch object with the attributes `pos, atomic_numbers, batch, natoms` and
    optionally `cell, pbc, tags, fixed`. It returns `{"energy": (S,), "forces": (N, 3)}` in the units of the training
    data, for S structures with N atoms.

    Args:
        num_spherical: number of basis functions per angle, L; typically 7.
        num_radial: number of radial basis functions, N; typically 128.
        num_blocks: number of interaction blocks; typically 3 or 4.
        emb_size_atom: width of the atom embeddings.
        emb_size_edge: width of the edge embeddings; typically 512.
        emb_size_trip: width of triplet messages before the aggregation.
        emb_size_rbf: width of the projected radial basis.
        emb_size_cbf: width of the projected circular basis (radial × one angle).
        emb_size_bil_trip: width of triplet messages after the aggregation.
        num_before_skip: number of residual layers before the skip connection of a block.
        num_after_skip: number of residual layers after the skip connection of a block.
        num_concat: number of residual layers after the concatenation of atom and edge embeddings.
        num_atom: number of residual layers in atom updates and output blocks.
        regress_forces: predict forces.
        direct_forces: predict forces from edge embeddings instead of the gradient of the energy (GemNet-dT).
        cutoff: cutoff of the graph in Å.
        max_neighbors: maximum number of neighbors per atom; 0 means no limit.
        rbf: radial basis: {"name": "gaussian", "spherical_bessel" or "bernstein", …}; None: gaussian.
        envelope: cutoff envelope: {"name": "polynomial", "exponent": 5} (default) or {"name": "exponential"}.
        cbf: circular basis: {"name": "spherical_harmonics"} (default) or {"name": "gaussian"}.
        extensive: sum the energy over atoms instead of averaging it.
        otf_graph: search for neighbors even if the batch contains `edge_index`, `cell_offsets` and `neighbors`. Graphs
            with a cutoff above 6 Å or more than 50 neighbors are always searched for.
        use_pbc: use the periodic boundary conditions of the structures.
        use_pbc_single: accepted for compatibility; results do not depend on it.
        output_init: initialization of the last layers: "HeOrthogonal", "zeros", "grid" or "loggrid".
        activation: "swish" (or its other name "silu"); None: linear layers only.
        num_elements: largest supported atomic number.
        scale_file: fitted scale factors: a .json or .pt file, or a dictionary.

    Raises:
        SpecError: an argument has an invalid value.
        StateError: the scale file does not fit the model.
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
