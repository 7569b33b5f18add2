"""Translation of published keyword arguments to specs."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from gemnet_blocks.errors import SpecError
from gemnet_blocks.options import plain
from gemnet_blocks.spec.catalog import Catalog
from gemnet_blocks.spec.document import Document, Route
from gemnet_blocks.spec.published import gemnet_2021, gemnet_t
from gemnet_blocks.spec.published.arguments import (
    ACTIVATION_NAMES,
    CIRCULAR_NAMES,
    DEFAULTS,
    FIELD_NAMES,
    NO_ARCHITECTURE,
    REQUIRED,
    ROUTES,
    SPHERICAL_NAMES,
    check_names,
    output_initialization,
    translated,
)
from gemnet_blocks.spec.published.limits import cutoffs, neighbor_cap, neighbor_caps
from gemnet_blocks.spec.resolve import Spec, validate


def from_published(arguments: Mapping[str, Any]) -> Spec:
    """Translate published keyword arguments to a spec that follows all rules of the published models.

    Args:
        arguments: the keyword arguments of GemNet-OC; of GemNet-T of Open Catalyst, recognized by `emb_size_bil_trip`;
            or of GemNet-Q or GemNet-T of 2021, recognized by `triplets_only`. Arguments that do not affect the
            architecture (`use_pbc_single`, `otf_graph`, `scale_file`) are ignored, deprecated ones with a warning.

    Raises:
        SpecError: an argument is missing, unknown or invalid.
    """
    arguments = {name: plain(value) for name, value in arguments.items()}
    routes: Mapping[str, Route] = ROUTES
    if gemnet_2021.is_gemnet_2021(arguments):
        data, names, routes = gemnet_2021.data(gemnet_2021.complete(arguments)), {}, gemnet_2021.ROUTES
    elif gemnet_t.is_gemnet_t(arguments):
        given = _complete(arguments, gemnet_t.REQUIRED, gemnet_t.DEFAULTS, "GemNet-T")
        data = gemnet_t.with_summed_readout(_data({**DEFAULTS, **gemnet_t.as_gemnet_oc(given)}))
        names = {theirs: ours for ours, theirs in gemnet_t.NAMES.items()}
    else:
        data, names = _data(_complete(arguments, REQUIRED, DEFAULTS, "GemNet-OC")), {}
    places = {route: f"argument {names.get(name, name)}" for name, route in routes.items()}
    return validate(Document(data, {(): "published arguments", **places}), Catalog())


def _complete(
    arguments: Mapping[str, Any], required: Sequence[str], defaults: Mapping[str, Any], owner: str
) -> dict[str, Any]:
    """Check names and booleans, and add default values."""
    check_names(arguments, owner, (*required, *defaults, *NO_ARCHITECTURE))
    missing = [name for name in required if name not in arguments]
    if missing:
        raise SpecError(f"missing arguments: {', '.join(missing)}")
    given = {**defaults, **arguments}
    for name, default in defaults.items():
        if isinstance(default, bool) and not isinstance(given[name], bool):
            raise SpecError(f"{name} must be True or False, got {given[name]!r}")
    return given


def _data(given: Mapping[str, Any]) -> dict[str, Any]:
    """Translate complete arguments of GemNet-OC to the plain data of a spec."""
    return {
        "elements": given["num_elements"],
        "sizes": {
            "atom": given["emb_size_atom"],
            "edge": given["emb_size_edge"],
            "radial": given["emb_size_rbf"],
            "circular": given["emb_size_cbf"],
            "spherical": given["emb_size_sbf"],
        },
        "activation": "identity"
        if given["activation"] is None
        else translated("activation", given["activation"], ACTIVATION_NAMES),
        "neighbors": {
            "ties": "strict" if given["enforce_max_neighbors_strictly"] else "inclusive_next",
            "periodic": given["use_pbc"],
        },
        "graphs": _graphs(given),
        "bases": _bases(given),
        "blocks": {
            "count": given["num_blocks"],
            "before_skip": given["num_before_skip"],
            "after_skip": given["num_after_skip"],
            "concatenation": given["num_concat"],
            "update": given["num_atom"],
            "atom": given["num_atom_emb_layers"],
        },
        "interactions": _interactions(given),
        "readout": {
            "type": "concatenated",
            "layers": given["num_atom"],
            "after_atom": given["num_output_afteratom"],
            "network": given["num_global_out_layers"],
            "initialization": output_initialization(given["output_init"]),
        },
        "heads": {"energy": {"reduce": "sum" if given["extensive"] else "mean"}, "forces": _forces(given)},
    }


def _graphs(given: Mapping[str, Any]) -> dict[str, Any]:
    cutoff, cap = cutoffs(given), neighbor_caps(given)

    def rule(name: str, within: str | None) -> dict[str, Any]:
        return {"cutoff": cutoff[name], "max_neighbors": neighbor_cap(cap[name]), "within": within}

    mixed = given["atom_edge_interaction"] or given["edge_atom_interaction"]
    root = "atom" if mixed or given["atom_interaction"] else None
    graphs = {"atom": rule("atom", None)} if root else {}
    graphs["main"] = rule("main", root) | {"symmetrize": "lower_index"}
    if mixed:
        graphs["atom_edge"] = rule("atom_edge", root)
    if given["quad_interaction"]:
        tags = given["qint_tags"]
        tags = None if tags is None else _tags(tags)
        graphs["quad"] = rule("quad", root or "main") | {"tags": tags}
    return graphs


def _tags(tags: Any) -> list[int] | None:
    """Translate tags; all three of them select all atoms, for which structures need no tags."""
    try:
        numbers = [operator.index(tag) for tag in tags]
    except TypeError:
        raise SpecError(f"qint_tags must be a list of integers or None, got {tags!r}") from None
    return None if set(numbers) >= {0, 1, 2} else numbers


def _bases(given: Mapping[str, Any]) -> dict[str, Any]:
    radial = _part("rbf", given["rbf"] or {"name": "gaussian"}, {}) | {"count": given["num_radial"]}
    angular = given["rbf_spherical"]
    count = {"count": given["num_spherical"]}
    spherical = _part("sbf", given["sbf"] or {"name": "spherical_harmonics"}, SPHERICAL_NAMES) | count
    # some spherical bases need two functions; without quadruplets no layer reads them
    unread = given["num_spherical"] == 1 and not given["quad_interaction"]
    return {
        "radial": radial,
        "angular_radial": angular and _part("rbf_spherical", angular, {}) | {"count": given["num_radial"]},
        "envelope": _part("envelope", given["envelope"] or {"name": "polynomial", "exponent": 5}, {}),
        "circular": _part("cbf", given["cbf"] or {"name": "spherical_harmonics"}, CIRCULAR_NAMES) | count,
        "spherical": None if unread else spherical,
        "collinear": {"type": "right_angle"},
        "scale": given["scale_basis"],
    }


def _interactions(given: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the enabled interactions; atom-edge and edge-atom have the sizes of triplets."""
    switches = {
        "triplet": ("trip", True),
        "quadruplet": ("quad", given["quad_interaction"]),
        "atom_edge": ("trip", given["atom_edge_interaction"]),
        "edge_atom": ("trip", given["edge_atom_interaction"]),
        "atom_atom": ("aint", given["atom_interaction"]),
    }
    return {
        name: {"down": given[f"emb_size_{width}_in"], "up": given[f"emb_size_{width}_out"]}
        for name, (width, on) in switches.items()
        if on
    }


def _forces(given: Mapping[str, Any]) -> dict[str, Any] | None:
    if given["direct_forces"]:
        return {"type": "direct", "coupled": given["forces_coupled"]}
    if given["regress_forces"]:
        return {"type": "gradient", "dynamic_scaling": given["scale_backprop_forces"]}
    return None


def _part(argument: str, value: Any, names: Mapping[str, str]) -> dict[str, Any]:
    """Translate a published {"name": …, …} to a part of a spec."""
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise SpecError(f"{argument} must be a dictionary with an entry 'name', got {value!r}")
    fields: dict[str, Any] = {
        FIELD_NAMES.get(str(key), str(key)): entry for key, entry in value.items() if key != "name"
    }
    if isinstance(fields.get("exponent"), float) and fields["exponent"].is_integer():
        fields["exponent"] = int(fields["exponent"])
    name = value["name"].lower()
    if name == "fourier_bessel":
        raise SpecError(f"{argument}['name']={name!r} is a basis of specs, and of GemNet-Q and GemNet-T of 2021, only")
    return {"type": translated(f"{argument}['name']", name, names) if names else name, **fields}
