"""Simulations: an ASE calculator, relaxations and, in `calculator.torchsim`, a TorchSim model.

>>> from ase.build import bulk
>>> from gemnet_blocks.calculator import GemNetCalculator, relax
>>> from gemnet_blocks.potential import Potential, References
>>> from gemnet_blocks.spec import build, load_spec
>>> spec = load_spec("symmetric")
>>> references = References(per_element={29: 0.0}, scale=1.0, meaning="total")
>>> calculator = GemNetCalculator(Potential(build(spec, seed=0), spec, references))  # or the path of a model file
>>> atoms = bulk("Cu", cubic=True)
>>> atoms.calc = calculator
>>> atoms.get_forces().shape
(4, 3)
>>> [step.number for step in relax(atoms, calculator, steps=2, fmax=1e-6)]
[0, 1, 2]
"""

from gemnet_blocks.calculator.ase import GemNetCalculator
from gemnet_blocks.calculator.relaxation import relax

__all__ = ["GemNetCalculator", "relax"]
