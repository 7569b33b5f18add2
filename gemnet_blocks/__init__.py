"""GemNet-OC, GemNet-Q and GemNet-T as independent layers that a declarative spec combines."""

import importlib
from typing import TYPE_CHECKING, Any

from gemnet_blocks.util.moved import find_moved_modules
from gemnet_blocks.util.version import LIBRARY_VERSION

if TYPE_CHECKING:
    from gemnet_blocks.published.gemnet_2021 import GemNet2021
    from gemnet_blocks.published.gemnet_oc import (
        GemNetOC,
        GemNetOCBackbone,
        GemNetOCEnergyAndGradForceHead,
        GemNetOCForceHead,
    )
    from gemnet_blocks.published.gemnet_t import GemNetT
    from gemnet_blocks.structures import Prediction, Structures

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

_PLACES = {
    "GemNet2021": "published.gemnet_2021",
    "GemNetOC": "published.gemnet_oc",
    "GemNetOCBackbone": "published.gemnet_oc",
    "GemNetOCEnergyAndGradForceHead": "published.gemnet_oc",
    "GemNetOCForceHead": "published.gemnet_oc",
    "GemNetT": "published.gemnet_t",
    "Prediction": "structures",
    "Structures": "structures",
}
"""The modules of the public names, which are imported at the first use: commands start without torch."""

_PARTS = (
    *("aggregation", "basis", "checkpoints", "data", "errors", "geometry", "graph", "interactions", "layers", "model"),
    *("options", "potential", "published", "spec", "structures", "util"),
)
"""Modules that are attributes of the package without an import of their own."""


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        found = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    elif name in _PARTS:
        found = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PARTS})
