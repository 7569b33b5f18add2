"""The model that a spec describes: blocks, readout, heads, and what it costs to compute.

structures → topology → geometry → bases → blocks → readout → heads → Prediction
"""

from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.property_heads import HeadContext, PropertyHead, PropertyHeadOptions
from gemnet_blocks.model.readout import BackboneOutput

__all__ = ["BackboneOutput", "GemNet", "HeadContext", "PropertyHead", "PropertyHeadOptions"]
