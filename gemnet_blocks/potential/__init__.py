"""Trained models with units and atomic reference energies, ensembles of them, and the files that hold them.

>>> from gemnet_blocks.potential import Potential, References, load_potential, save_potential
>>> from gemnet_blocks.spec import build, load_spec
>>> spec = load_spec("symmetric")
>>> references = References(per_element={29: 0.0}, scale=1.0, meaning="total")
>>> save_potential(Potential(build(spec, seed=0), spec, references), "untrained.safetensors")
>>> load_potential("untrained.safetensors").model
GemNet(2 blocks of triplet, quadruplet, atom_edge, edge_atom, atom_atom; 500,057 parameters)
"""

from gemnet_blocks.potential.calibration import Calibration
from gemnet_blocks.potential.ensemble import Ensemble
from gemnet_blocks.potential.ensemble_file import load_ensemble, load_potential_or_ensemble, save_ensemble
from gemnet_blocks.potential.export import export_potential
from gemnet_blocks.potential.model_file import load_potential, save_potential
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.potential.references import References

__all__ = [
    "Calibration",
    "Ensemble",
    "Potential",
    "References",
    "export_potential",
    "load_ensemble",
    "load_potential",
    "load_potential_or_ensemble",
    "save_ensemble",
    "save_potential",
]
