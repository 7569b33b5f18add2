"""Labelled structures from files: reading, checking, splitting and batching them."""

from gemnet_blocks.data.opening import open_data
from gemnet_blocks.data.options import DataOptions

__all__ = ["DataOptions", "open_data"]
