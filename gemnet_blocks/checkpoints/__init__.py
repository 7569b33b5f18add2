"""Checkpoints and scale files of the published implementation (fairchem)."""

from gemnet_blocks.checkpoints.checkpoint_file import load_scales, read_scale_file
from gemnet_blocks.checkpoints.fairchem import LoadReport, fairchem_state, load_fairchem_state

__all__ = ["LoadReport", "fairchem_state", "load_fairchem_state", "load_scales", "read_scale_file"]
