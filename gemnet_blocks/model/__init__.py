"""The model that a spec describes: blocks, readout, heads, and what it costs to compute.

structures → topology → geometry → bases → blocks → readout → heads → Prediction
"""

from gemnet_blocks.model.gemnet import GemNet

__all__ = ["GemNet"]
