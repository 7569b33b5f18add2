"""GemNet-OC, GemNet-Q and GemNet-T as independent layers that a declarative spec combines."""

from gemnet_blocks.published.gemnet_2021 import GemNet2021
from gemnet_blocks.published.gemnet_oc import (
    GemNetOC,
    GemNetOCBackbone,
    GemNetOCEnergyAndGradForceHead,
    GemNetOCForceHead,
)
from gemnet_blocks.published.gemnet_t import GemNetT
from gemnet_blocks.structures import Prediction, Structures
from gemnet_blocks.util.moved import find_moved_modules
from gemnet_blocks.util.version import LIBRARY_VERSION

find_moved_modules()

__version__ = LIBRARY_VERSION

__all__ = [
    "GemNet2021",
    "GemNetOC",
    "GemNetOCBackbone",
    "GemNetOCEnergyAndGradForceHead",
    "GemNetOCForceHead",
    "GemNetT",
    "Prediction",
    "Structures",
    "__version__",
]
