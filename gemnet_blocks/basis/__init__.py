"""Basis functions of distances and angles as independent layers.

    >>> import torch
    >>> from gemnet_blocks.basis import radial
    >>> radial.Gaussian(cutoff=6, count=32)(torch.rand(10)).shape
    torch.Size([10, 32])

The module `symbolic` defines the same functions as sympy expressions. It must be imported explicitly, because importing
sympy takes time.
"""

from gemnet_blocks.basis import circular, envelopes, radial, spherical

__all__ = ["circular", "envelopes", "radial", "spherical"]
