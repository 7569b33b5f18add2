"""The model that a spec describes: blocks, readout, heads, and what it costs to compute.

structures → topology → geometry → bases → blocks → readout → heads → Prediction

    >>> from ase.build import bulk
    >>> from gemnet_blocks import Structures
    >>> from gemnet_blocks.spec import build, load_spec
    >>> model = build(load_spec("symmetric"), seed=0)
    >>> copper = Structures.from_ase([bulk("Cu"), bulk("Cu", cubic=True)])
    >>> model(copper)
    Prediction(energy (2,), forces (5, 3))
    >>> model.estimate(copper).counts["edges of main"]
    210
    >>> model.embeddings(copper)[-1].atoms.shape
    torch.Size([5, 64])
"""

from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.property_heads import HeadContext, PropertyHead, PropertyHeadOptions
from gemnet_blocks.model.readout import BackboneOutput

__all__ = ["BackboneOutput", "GemNet", "HeadContext", "PropertyHead", "PropertyHeadOptions"]
