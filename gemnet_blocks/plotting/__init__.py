"""Drawings of architectures and their differences, bases, edge sets, quadruplets and numbers of neighbors.

    >>> from gemnet_blocks.plotting import draw_architecture
    >>> from gemnet_blocks.spec import load_spec
    >>> spec = load_spec("gemnet-oc")
    >>> draw_architecture(spec).save("gemnet-oc.svg")
    >>> draw_architecture(spec.patch({"interactions.quadruplet": None}), against=spec).save("difference.svg")

Every function returns a picture that a notebook displays and that `save` writes as .svg, .png or .pdf. All pictures
except architectures as .svg need matplotlib: `pip install 'gemnet_blocks[plot]'`.
"""

from gemnet_blocks.plotting.bases import draw_bases, draw_circular, draw_envelope, draw_radial, draw_spherical
from gemnet_blocks.plotting.diagram import draw_architecture
from gemnet_blocks.plotting.difference import Difference
from gemnet_blocks.plotting.edge_sets import NeighborCounts, draw_edge_sets, draw_neighbors, neighbor_counts
from gemnet_blocks.plotting.picture import Picture
from gemnet_blocks.plotting.quadruplet import draw_quadruplet
from gemnet_blocks.spec.difference import Change, compare

__all__ = [
    "Change",
    "Difference",
    "NeighborCounts",
    "Picture",
    "compare",
    "draw_architecture",
    "draw_bases",
    "draw_circular",
    "draw_edge_sets",
    "draw_envelope",
    "draw_neighbors",
    "draw_quadruplet",
    "draw_radial",
    "draw_spherical",
    "neighbor_counts",
]
