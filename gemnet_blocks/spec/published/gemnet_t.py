"""The keyword arguments of the published GemNet-T and GemNet-dT, as those of GemNet-OC, which say more.

GemNet-T is GemNet-OC with triplets alone, no residual layers on atoms, and two things that GemNet-OC has no arguments
for: stacks that always start with a dense layer, and numbers of output blocks that are added up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REQUIRED = (
    "num_spherical",
    "num_radial",
    "num_blocks",
    "emb_size_atom",
    "emb_size_edge",
    "emb_size_trip",
    "emb_size_rbf",
    "emb_size_cbf",
    "emb_size_bil_trip",
    "num_before_skip",
    "num_after_skip",
    "num_concat",
    "num_atom",
)

DEFAULTS: Mapping[str, Any] = {
    "regress_forces": True,
    "direct_forces": False,
    "use_pbc": True,
    "cutoff": 6.0,
    "max_neighbors": 50,
    "rbf": None,
    "envelope": None,
    "cbf": None,
    "extensive": True,
    "output_init": "HeOrthogonal",
    "activation": "swish",
    "num_elements": 83,
}
"""The optional arguments that define an architecture, and the values that published models take for them."""

NAMES: Mapping[str, str] = {"emb_size_trip": "emb_size_trip_in", "emb_size_bil_trip": "emb_size_trip_out"}
"""What GemNet-OC calls some of the arguments."""


def is_gemnet_t(arguments: Mapping[str, Any]) -> bool:
    """Whether arguments are of GemNet-T: GemNet-OC has another name for one of them."""
    return "emb_size_bil_trip" in arguments


def as_gemnet_oc(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of GemNet-OC that describe the same model, but for what `with_summed_readout` changes.

    Args:
        arguments: all those of GemNet-T.
    """
    width = arguments["emb_size_trip"]
    unread = dict.fromkeys(("emb_size_quad_in", "emb_size_quad_out", "emb_size_aint_in", "emb_size_aint_out"), width)
    return {
        **unread,
        "emb_size_sbf": arguments["emb_size_cbf"],
        "num_output_afteratom": 0,
        "sbf": {"name": "legendre_outer"},
        **{NAMES.get(name, name): value for name, value in arguments.items()},
    }


def with_summed_readout(data: Mapping[str, Any]) -> dict[str, Any]:
    """A spec of GemNet-OC, as plain mappings, with the reading-out of GemNet-T."""
    old = data["readout"]
    return {
        **data,
        "blocks": {**data["blocks"], "update_projection": "always"},
        "readout": {"type": "summed", "layers": old["layers"], "initialization": old["initialization"]},
    }


def from_gemnet_oc(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those arguments of GemNet-OC that GemNet-T has too, under its names."""
    return {name: arguments[NAMES.get(name, name)] for name in (*REQUIRED, *DEFAULTS)}
