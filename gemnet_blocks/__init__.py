"""GemNet-OC and GemNet-T as independent layers, put together by a declarative spec."""

from gemnet_blocks.published.gemnet_oc import (
    GemNetOC,
    GemNetOCBackbone,
    GemNetOCEnergyAndGradForceHead,
    GemNetOCForceHead,
)
from gemnet_blocks.published.gemnet_t import GemNetT
from gemnet_blocks.structures import Prediction, Structures

__all__ = [
    "GemNetOC",
    "GemNetOCBackbone",
    "GemNetOCEnergyAndGradForceHead",
    "GemNetOCForceHead",
    "GemNetT",
    "Prediction",
    "Structures",
]
__version__ = "0.1.0"
