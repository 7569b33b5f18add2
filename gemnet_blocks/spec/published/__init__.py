"""Conversion between specs and the keyword arguments of the published GemNet models.

>>> from gemnet_blocks.spec import load_spec
>>> from gemnet_blocks.spec.published import from_published, to_published
>>> arguments = to_published(load_spec("gemnet-oc"))
>>> arguments["emb_size_edge"]
512
>>> from_published({**arguments, "emb_size_edge": 64}).sizes.edge
64
"""

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
