"""Trained models with units and atomic reference energies, ensembles of them, and the files that hold them."""

from gemnet_blocks.potential.calibration import Calibration
from gemnet_blocks.potential.ensemble import Ensemble
from gemnet_blocks.potential.ensemble_file import load_ensemble, load_potential_or_ensemble, save_ensemble
from gemnet_blocks.potential.model_file import load_potential, save_potential
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.potential.references import References

__all__ = [
    "Calibration",
    "Ensemble",
    "Potential",
    "References",
    "load_ensemble",
    "load_potential",
    "load_potential_or_ensemble",
    "save_ensemble",
    "save_potential",
]
