"""Topology as integers: neighbor search, edge sets, triplets and quadruplets.

>>> import torch
>>> from ase.build import bulk
>>> from gemnet_blocks import Structures
>>> from gemnet_blocks.graph import neighbor_search
>>> neighbor_search()(Structures.from_ase(bulk("Cu")), cutoff=3.0).source.shape
torch.Size([12])
"""

from gemnet_blocks.graph.builder import EdgeSetOptions, GraphBuilder
from gemnet_blocks.graph.neighbor_list import neighbor_search
from gemnet_blocks.graph.topology import Topology

__all__ = ["EdgeSetOptions", "GraphBuilder", "Topology", "neighbor_search"]
