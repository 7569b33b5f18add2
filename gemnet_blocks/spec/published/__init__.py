"""Conversion between specs and the keyword arguments of the published GemNet models."""

from gemnet_blocks.spec.published.arguments import DEFAULTS, REQUIRED, check_names, output_initialization
from gemnet_blocks.spec.published.limits import cutoffs, neighbor_cap, neighbor_caps
from gemnet_blocks.spec.published.reading import from_published
from gemnet_blocks.spec.published.writing import to_published

__all__ = [
    "DEFAULTS",
    "REQUIRED",
    "check_names",
    "cutoffs",
    "from_published",
    "neighbor_cap",
    "neighbor_caps",
    "output_initialization",
    "to_published",
]
