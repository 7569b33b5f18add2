"""Layers that interactions and blocks consist of: dense and residual layers, activation functions, scale factors.

>>> import torch
>>> from gemnet_blocks.layers import Dense, ScaledSiLU, linear
>>> linear(16, 32)(torch.ones(10, 16)).shape
torch.Size([10, 32])
>>> Dense(16, 32, ScaledSiLU())(torch.ones(10, 16)).shape
torch.Size([10, 32])
"""

from gemnet_blocks.layers.activations import Activation, ScaledSiLU, SiQU, activation_module
from gemnet_blocks.layers.dense import Dense, linear
from gemnet_blocks.layers.projection import RadialAngularProjection
from gemnet_blocks.layers.residual import Residual, residuals
from gemnet_blocks.layers.scaling import ScaleFactor

__all__ = [
    "Activation",
    "Dense",
    "RadialAngularProjection",
    "Residual",
    "ScaleFactor",
    "ScaledSiLU",
    "SiQU",
    "activation_module",
    "linear",
    "residuals",
]
