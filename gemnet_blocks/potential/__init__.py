"""Trained models with units and atomic reference energies, and the files that hold them."""

from gemnet_blocks.potential.model_file import load_potential, save_potential
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.potential.references import References

__all__ = ["Potential", "References", "load_potential", "save_potential"]
