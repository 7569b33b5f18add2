"""GemNet-Q, -dQ, -T and -dT of 2021 with the constructor arguments and results of the published implementation.

A façade over specs, as `gemnet_oc`. New projects should use specs directly.
"""

from __future__ import annotations

from typing import Any, final

from gemnet_blocks.checkpoints.checkpoint_file import load_scales
from gemnet_blocks.options import plain
from gemnet_blocks.published.published_class import PublishedClass, geometry_part
from gemnet_blocks.spec.build import build
from gemnet_blocks.spec.published import from_published
from gemnet_blocks.spec.published.gemnet_2021 import DEFAULTS, REQUIRED

_STORED = (
    "num_blocks",
    "triplets_only",
    "direct_forces",
    "cutoff",
    "int_cutoff",
    "extensive",
    "forces_coupled",
    "activation",
)
"""Constructor arguments that become attributes."""


@final
class GemNet2021(PublishedClass):
    """GemNet-Q, -dQ, -T or -dT with their published arguments (Gasteiger et al., NeurIPS 2021, arXiv 2106.08903).

    `GemNetT` is the later GemNet-T of Open Catalyst, whose bases, readout of forces and weights differ.

    `forward` takes `Structures`, or any batch object with the attributes `pos, atomic_numbers, batch, natoms`, and
    ignores periodicity. It returns `{"energy": (S,), "forces": (N, 3)}` in the units of the training data, for S
    structures with N atoms. The code of 2021 had an axis of targets too, of length 1.

    Args:
        num_spherical: number of degrees of spherical functions, L; typically 7.
        num_radial: number of radial basis functions, N; typically 6.
        num_blocks: number of interaction blocks; typically 4.
        emb_size_atom: width of the atom embeddings; typically 128.
        emb_size_edge: width of the edge embeddings; typically 128.
        emb_size_trip: width of triplet messages before the aggregation.
        emb_size_quad: width of quadruplet messages before the aggregation; without effect for triplets only.
        emb_size_rbf: width of the projected radial basis.
        emb_size_cbf: width of the projected circular basis (radial × one angle).
        emb_size_sbf: width of the projected spherical basis (radial × two angles); without effect for triplets only.
        emb_size_bil_quad: width of quadruplet messages after the aggregation; without effect for triplets only.
        emb_size_bil_trip: width of triplet messages after the aggregation.
        num_before_skip: number of residual layers before the skip connection of a block.
        num_after_skip: number of residual layers after the skip connection of a block.
        num_concat: number of residual layers after the concatenation of atom and edge embeddings.
        num_atom: number of residual layers in atom updates and output blocks.
        triplets_only: leave quadruplets out (GemNet-T and GemNet-dT).
        num_targets: number of predicted energies; only 1 is possible.
        direct_forces: predict forces from edge embeddings instead of the gradient of the energy (GemNet-dQ, GemNet-dT).
        cutoff: cutoff of the graph in Å.
        int_cutoff: cutoff of the middle edges of quadruplets in Å.
        envelope_exponent: exponent of the polynomial cutoff envelope.
        extensive: sum the energy over atoms instead of averaging it.
        forces_coupled: average the direct forces of opposite edges, which conserves momentum.
        output_init: initialization of the last layers: "HeOrthogonal" or "zeros".
        activation: "swish" (or its other name "silu"); None: linear layers only.
        scale_file: fitted scale factors: a .json or .pt file, or a dictionary; factors that it lacks are 1.
        name: accepted for compatibility, as are all other keywords.

    Raises:
        SpecError: an argument has an invalid value.
        StateError: the scale file cannot be read.
    """

    triplets_only: bool
    int_cutoff: float
    forces_coupled: bool

    rbf_basis = geometry_part("bases.radial.main")
    cbf_basis3 = geometry_part("bases.angular.main", "interactions.triplet.triplet_sum.circular")
    cbf_basis = geometry_part("bases.angular.quad", "interactions.quadruplet.circular")
    sbf_basis = geometry_part("bases.angular.main", "interactions.quadruplet.spherical")
    mlp_rbf3 = geometry_part("interactions.triplet.radial")
    mlp_cbf3 = geometry_part("interactions.triplet.triplet_sum.projection")
    mlp_rbf4 = geometry_part("interactions.quadruplet.radial")
    mlp_cbf4 = geometry_part("interactions.quadruplet.circular_projection")
    mlp_sbf4 = geometry_part("interactions.quadruplet.spherical_projection")

    def __init__(
        self,
        num_spherical: int,
        num_radial: int,
        num_blocks: int,
        emb_size_atom: int,
        emb_size_edge: int,
        emb_size_trip: int,
        emb_size_quad: int,
        emb_size_rbf: int,
        emb_size_cbf: int,
        emb_size_sbf: int,
        emb_size_bil_quad: int,
        emb_size_bil_trip: int,
        num_before_skip: int,
        num_after_skip: int,
        num_concat: int,
        num_atom: int,
        triplets_only: bool,
        num_targets: int = 1,
        direct_forces: bool = False,
        cutoff: float = 5.0,
        int_cutoff: float = 10.0,
        envelope_exponent: int = 5,
        extensive: bool = True,
        forces_coupled: bool = False,
        output_init: str = "HeOrthogonal",
        activation: str | None = "swish",
        scale_file: Any = None,
        name: str = "gemnet",
        **kwargs: Any,
    ) -> None:
        given = locals()
        super().__init__()
        arguments = {name: plain(given[name]) for name in (*REQUIRED, *DEFAULTS, "num_targets")}
        self.spec = from_published(arguments)
        for stored in _STORED:
            setattr(self, stored, arguments[stored])
        self.num_targets, self.regress_forces = 1, True
        # neighbors are always searched for, without limit and without periodicity
        self.max_neighbors, self.use_pbc, self.use_pbc_single, self.otf_graph = 0, False, False, True
        self.model = build(self.spec)
        if scale_file is not None:
            load_scales(self, scale_file)
