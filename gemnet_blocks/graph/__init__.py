"""Topology as integers: neighbor search, edge sets, triplets and quadruplets.

`build_graphs` also measures distances and directions; it is defined in `gemnet_blocks.geometry.graphs`.

>>> import torch
>>> from ase.build import bulk
>>> from gemnet_blocks import Structures
>>> from gemnet_blocks.graph import neighbor_search
>>> neighbor_search()(Structures.from_ase(bulk("Cu")), cutoff=3.0).source.shape
torch.Size([12])
"""

from typing import TYPE_CHECKING, Any

from gemnet_blocks.graph.builder import EdgeSetOptions, GraphBuilder
from gemnet_blocks.graph.neighbor_list import neighbor_search
from gemnet_blocks.graph.topology import Topology

if TYPE_CHECKING:
    from gemnet_blocks.geometry.graphs import build_graphs

__all__ = ["EdgeSetOptions", "GraphBuilder", "Topology", "build_graphs", "neighbor_search"]


def __getattr__(name: str) -> Any:
    """Import `build_graphs` from the layer above at its first use, which needs this package."""
    if name != "build_graphs":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gemnet_blocks.geometry.graphs import build_graphs

    return build_graphs
