"""Keyword arguments of the published GemNet-T and GemNet-dT, translated to those of GemNet-OC.

GemNet-T is GemNet-OC with triplet interactions only, without residual layers on atoms, and with two features that
GemNet-OC has no arguments for: update layers always start with a dense layer, and output blocks are summed.
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
"""Optional arguments of the architecture with their published default values."""

NAMES: Mapping[str, str] = {"emb_size_trip": "emb_size_trip_in", "emb_size_bil_trip": "emb_size_trip_out"}
"""Names of arguments in GemNet-OC, if they differ."""


def is_gemnet_t(arguments: Mapping[str, Any]) -> bool:
    """Return whether the arguments are those of GemNet-T, by a name that GemNet-OC does not have."""
    return "emb_size_bil_trip" in arguments


def as_gemnet_oc(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the complete arguments of GemNet-T to those of GemNet-OC, up to `with_summed_readout`."""
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
    """Replace the readout of a GemNet-OC spec, as plain data, by that of GemNet-T."""
    old = data["readout"]
    return {
        **data,
        "blocks": {**data["blocks"], "update_projection": "always"},
        "readout": {"type": "summed", "layers": old["layers"], "initialization": old["initialization"]},
    }


def from_gemnet_oc(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Select the arguments of GemNet-OC that GemNet-T has, under GemNet-T's names."""
    return {name: arguments[NAMES.get(name, name)] for name in (*REQUIRED, *DEFAULTS)}
