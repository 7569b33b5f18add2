"""Weights from files and from other implementations."""

from gemnet_blocks.checkpoints.fairchem import LoadReport, fairchem_state, load_fairchem_state
from gemnet_blocks.checkpoints.scale_files import load_scales, read_scale_file

__all__ = ["LoadReport", "fairchem_state", "load_fairchem_state", "load_scales", "read_scale_file"]
