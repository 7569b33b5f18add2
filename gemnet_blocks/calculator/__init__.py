"""Models in simulations: an ASE calculator and relaxations; `calculator.torchsim` has an interface to TorchSim."""

from gemnet_blocks.calculator.ase import GemNetCalculator
from gemnet_blocks.calculator.relaxation import relax

__all__ = ["GemNetCalculator", "relax"]
