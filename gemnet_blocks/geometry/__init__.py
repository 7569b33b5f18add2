"""Geometry: distances, directions and angles as differentiable functions of positions and cells.

>>> from ase.build import molecule
>>> from gemnet_blocks.graph import build_graphs
>>> edges = build_graphs(molecule("H2O"), {"near": {"cutoff": 1.2}})["near"]
>>> edges.distance.shape, edges.direction.shape
(torch.Size([4]), torch.Size([4, 3]))
"""
