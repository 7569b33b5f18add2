"""Labelled structures from files: reading, checking, splitting and batching them.

>>> from pathlib import Path
>>> from gemnet_blocks.data import DataOptions, open_data
>>> from gemnet_blocks.examples import write_emt_slabs
>>> path = write_emt_slabs("slabs.extxyz", 10)
>>> split = {"type": "random", "validation": 2, "test": 3, "seed": 0}
>>> options = {"files": [str(path)], "units": "eV", "energy": "total", "split": split, "batch": {"structures": 4}}
>>> data = open_data(DataOptions.model_validate(options), folder=Path())
>>> len(data.train), len(data.validation), len(data.test)
(5, 2, 3)
"""

from gemnet_blocks.data.opening import open_data
from gemnet_blocks.data.options import DataOptions

__all__ = ["DataOptions", "open_data"]
