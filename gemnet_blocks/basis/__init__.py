"""Basis functions of distances and angles, as layers of their own.

    >>> import torch
    >>> from gemnet_blocks.basis import radial
    >>> radial.Gaussian(cutoff=6, count=32)(torch.rand(10)).shape
    torch.Size([10, 32])

`symbolic` has their definitions as sympy expressions; it is imported only on request.
"""

from gemnet_blocks.basis import circular, envelopes, radial, spherical

__all__ = ["circular", "envelopes", "radial", "spherical"]
