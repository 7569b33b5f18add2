"""Simulations: an ASE calculator, relaxations and, in `calculator.torchsim`, a TorchSim model."""

from gemnet_blocks.calculator.ase import GemNetCalculator
from gemnet_blocks.calculator.relaxation import relax

__all__ = ["GemNetCalculator", "relax"]
