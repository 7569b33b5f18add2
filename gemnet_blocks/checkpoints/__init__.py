"""Weights and scale factors from files and from the published implementation."""

from gemnet_blocks.checkpoints.checkpoint_file import load_scales, read_scale_file
from gemnet_blocks.checkpoints.convert import convert_checkpoint, model_arguments
from gemnet_blocks.checkpoints.fairchem import LoadReport, fairchem_state, load_fairchem_state

__all__ = [
    "LoadReport",
    "convert_checkpoint",
    "fairchem_state",
    "load_fairchem_state",
    "load_scales",
    "model_arguments",
    "read_scale_file",
]
