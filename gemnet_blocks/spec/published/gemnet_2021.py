"""Keyword arguments of the published GemNet-Q, -dQ, -T and -dT of 2021, translated to the plain data of a spec.

Gasteiger, Becker and Günnemann, NeurIPS 2021, arXiv 2106.08903: molecules with all neighbors within the cutoffs, radial
functions that depend on the degree of the angular function, and a summed readout.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gemnet_blocks.errors import SpecError
from gemnet_blocks.model.heads import DirectForcesOptions
from gemnet_blocks.spec.document import Route
from gemnet_blocks.spec.published.arguments import ACTIVATION_NAMES, output_initialization, translated
from gemnet_blocks.spec.published.arguments import ROUTES as SHARED_ROUTES
from gemnet_blocks.spec.resolve import Spec, as_document

REQUIRED = (
    "num_spherical",
    "num_radial",
    "num_blocks",
    "emb_size_atom",
    "emb_size_edge",
    "emb_size_trip",
    "emb_size_quad",
    "emb_size_rbf",
    "emb_size_cbf",
    "emb_size_sbf",
    "emb_size_bil_quad",
    "emb_size_bil_trip",
    "num_before_skip",
    "num_after_skip",
    "num_concat",
    "num_atom",
    "triplets_only",
)

DEFAULTS: Mapping[str, Any] = {
    "direct_forces": False,
    "cutoff": 5.0,
    "int_cutoff": 10.0,
    "envelope_exponent": 5,
    "extensive": True,
    "forces_coupled": False,
    "output_init": "HeOrthogonal",
    "activation": "swish",
}
"""Optional arguments of the architecture with their published default values."""

ROUTES: Mapping[str, Route] = {
    **{name: route for name, route in SHARED_ROUTES.items() if name in (*REQUIRED, *DEFAULTS)},
    "int_cutoff": ("graphs", "quad", "cutoff"),
    "envelope_exponent": ("bases", "envelope", "exponent"),
    "emb_size_trip": ("interactions", "triplet", "down"),
    "emb_size_bil_trip": ("interactions", "triplet", "up"),
    "emb_size_quad": ("interactions", "quadruplet", "down"),
    "emb_size_bil_quad": ("interactions", "quadruplet", "up"),
}
"""Routes of the arguments in a spec, so that errors can name the arguments."""

ELEMENTS = 93
"""Rows of the table of elements, which is not an argument."""


def is_gemnet_2021(arguments: Mapping[str, Any]) -> bool:
    """Return whether the arguments are those of a model of 2021, by a name that the other models do not have."""
    return "triplets_only" in arguments


def complete(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Check arguments and add default values; unknown ones are left out, as in the published implementation.

    Raises:
        SpecError: an argument is missing, or is not a Boolean where one is expected; there are several targets.
    """
    missing = [name for name in REQUIRED if name not in arguments]
    if missing:
        raise SpecError(f"missing arguments: {', '.join(missing)}")
    if arguments.get("num_targets", 1) != 1:
        raise SpecError(
            f"expected num_targets=1, the energy, got {arguments['num_targets']!r}: train a model per target"
        )
    given = {name: arguments.get(name, DEFAULTS.get(name)) for name in (*REQUIRED, *DEFAULTS)}
    for name in ("triplets_only", "direct_forces", "extensive", "forces_coupled"):
        if not isinstance(given[name], bool):
            raise SpecError(f"{name} must be True or False, got {given[name]!r}")
    return given


def data(given: Mapping[str, Any]) -> dict[str, Any]:
    """Translate complete arguments to the plain data of a spec; models without quadruplets ignore their arguments."""
    initialization = output_initialization(given["output_init"])
    no_activation = given["activation"] is None
    fields = {
        "elements": ELEMENTS,
        "activation": "identity" if no_activation else translated("activation", given["activation"], ACTIVATION_NAMES),
        "neighbors": {"ties": "strict", "periodic": False},
        "graphs.main.symmetrize": "union",
        "bases.radial.type": "spherical_bessel",
        "bases.angular_radial": {"type": "fourier_bessel", "zeros": "float32", "count": given["num_radial"]},
        "bases.envelope.type": "polynomial",
        "bases.circular.type": "legendre",
        "bases.spherical": {"type": "real_harmonics", "count": given["num_spherical"]},
        "bases.collinear.type": "right_angle",
        "blocks.update_projection": "always",
        "readout": {"type": "summed_product", "layers": given["num_atom"], "initialization": initialization},
        "heads.energy.reduce": "sum" if given["extensive"] else "mean",
        "heads.forces": {"type": "direct", "coupled": given["forces_coupled"]}
        if given["direct_forces"]
        else {"type": "gradient"},
    }
    routes = ROUTES if not given["triplets_only"] else _without_quadruplets()
    values = {".".join(route): given[name] for name, route in routes.items()}
    if given["triplets_only"]:  # a width that no layer reads
        values["sizes.spherical"] = given["emb_size_cbf"]
    return as_document(fields | values).data


def _without_quadruplets() -> dict[str, Route]:
    unread = ("int_cutoff", "emb_size_quad", "emb_size_bil_quad")
    return {name: route for name, route in ROUTES.items() if name not in unread}


def of_spec(spec: Spec) -> dict[str, Any]:
    """Translate a spec to arguments, as far as they describe it.

    Raises:
        SpecError: the spec lacks something that all of the models have.
    """
    document, forces = spec.to_dict(), spec.heads.forces
    quadruplets = "quadruplet" in spec.interactions
    routes = dict(ROUTES)
    if not quadruplets:  # widths without effect
        widths = {"emb_size_quad": ROUTES["emb_size_trip"], "emb_size_bil_quad": ROUTES["emb_size_bil_trip"]}
        routes = _without_quadruplets() | widths
    arguments: dict[str, Any] = dict(DEFAULTS)
    for name, route in routes.items():
        value: Any = document
        for key in route:
            if not isinstance(value, Mapping) or key not in value:
                raise SpecError(f"published arguments cannot describe this spec, which has no {'.'.join(route)!r}")
            value = value[key]
        arguments[name] = value
    direct = isinstance(forces, DirectForcesOptions)
    initialization = document["readout"]["initialization"]
    return arguments | {
        "triplets_only": not quadruplets,
        "direct_forces": direct,
        "forces_coupled": isinstance(forces, DirectForcesOptions) and forces.coupled,
        "extensive": spec.heads.energy.reduce == "sum",
        "output_init": "HeOrthogonal" if initialization == "he_orthogonal" else initialization,
        "activation": {"identity": None, "silu": "swish"}.get(spec.activation, spec.activation),
    }
