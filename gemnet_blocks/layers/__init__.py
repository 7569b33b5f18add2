"""Layers that interactions and blocks are made of: dense and residual layers, embeddings, scale factors."""

from gemnet_blocks.layers.dense import Dense, Residual, linear, residuals
from gemnet_blocks.layers.scaling import ScaleFactor

__all__ = ["Dense", "Residual", "ScaleFactor", "linear", "residuals"]
