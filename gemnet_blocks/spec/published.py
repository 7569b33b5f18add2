"""Specs from and to the keyword arguments of the published models, GemNet-OC and GemNet-T."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from gemnet_blocks.blocks.summed import SummedOptions
from gemnet_blocks.errors import ArgumentError, SpecError
from gemnet_blocks.heads import DirectForcesOptions, GradientForcesOptions
from gemnet_blocks.initialization import OutputInitialization
from gemnet_blocks.spec import published_t as gemnet_t
from gemnet_blocks.spec.catalog import Catalog, did_you_mean
from gemnet_blocks.spec.document import Document, Route
from gemnet_blocks.spec.resolve import validate
from gemnet_blocks.spec.schema import Spec

DEFAULTS: Mapping[str, Any] = {
    "num_atom_emb_layers": 0,
    "num_global_out_layers": 2,
    "regress_forces": True,
    "direct_forces": False,
    "use_pbc": True,
    "scale_backprop_forces": False,
    "cutoff": 6.0,
    "cutoff_qint": None,
    "cutoff_aeaint": None,
    "cutoff_aint": None,
    "max_neighbors": 50,
    "max_neighbors_qint": None,
    "max_neighbors_aeaint": None,
    "max_neighbors_aint": None,
    "enforce_max_neighbors_strictly": True,
    "rbf": None,
    "rbf_spherical": None,
    "envelope": None,
    "cbf": None,
    "sbf": None,
    "extensive": True,
    "forces_coupled": False,
    "output_init": "HeOrthogonal",
    "activation": "silu",
    "quad_interaction": False,
    "atom_edge_interaction": False,
    "edge_atom_interaction": False,
    "atom_interaction": False,
    "scale_basis": False,
    "qint_tags": None,
    "num_elements": 83,
}
"""The optional arguments that define an architecture, and the values that published models take for them."""

REQUIRED = (
    "num_spherical",
    "num_radial",
    "num_blocks",
    "emb_size_atom",
    "emb_size_edge",
    "emb_size_trip_in",
    "emb_size_trip_out",
    "emb_size_quad_in",
    "emb_size_quad_out",
    "emb_size_aint_in",
    "emb_size_aint_out",
    "emb_size_rbf",
    "emb_size_cbf",
    "emb_size_sbf",
    "num_before_skip",
    "num_after_skip",
    "num_concat",
    "num_atom",
    "num_output_afteratom",
)

NO_ARCHITECTURE = ("use_pbc_single", "otf_graph", "scale_file")
"""Arguments of published models that say nothing about the architecture."""

DEPRECATED = {
    "num_atoms": "it was never used",
    "bond_feat_dim": "it was never used",
    "num_targets": "there is one target, the energy",
    "name": "it named the model class",
}
"""Arguments of older versions that are accepted with a warning, and why they are not needed."""

ROUTES: Mapping[str, Route] = {
    "num_elements": ("elements",),
    "emb_size_atom": ("sizes", "atom"),
    "emb_size_edge": ("sizes", "edge"),
    "emb_size_rbf": ("sizes", "radial"),
    "emb_size_cbf": ("sizes", "circular"),
    "emb_size_sbf": ("sizes", "spherical"),
    "cutoff": ("graphs", "main", "cutoff"),
    "max_neighbors": ("graphs", "main", "max_neighbors"),
    "cutoff_qint": ("graphs", "quad", "cutoff"),
    "max_neighbors_qint": ("graphs", "quad", "max_neighbors"),
    "cutoff_aeaint": ("graphs", "atom_edge", "cutoff"),
    "max_neighbors_aeaint": ("graphs", "atom_edge", "max_neighbors"),
    "cutoff_aint": ("graphs", "atom", "cutoff"),
    "max_neighbors_aint": ("graphs", "atom", "max_neighbors"),
    "qint_tags": ("graphs", "quad", "tags"),
    "rbf": ("bases", "radial"),
    "num_radial": ("bases", "radial", "count"),
    "rbf_spherical": ("bases", "angular_radial"),
    "envelope": ("bases", "envelope"),
    "cbf": ("bases", "circular"),
    "num_spherical": ("bases", "circular", "count"),
    "sbf": ("bases", "spherical"),
    "num_blocks": ("blocks", "count"),
    "num_before_skip": ("blocks", "before_skip"),
    "num_after_skip": ("blocks", "after_skip"),
    "num_concat": ("blocks", "concatenation"),
    "num_atom": ("blocks", "update"),
    "num_atom_emb_layers": ("blocks", "atom"),
    "emb_size_trip_in": ("interactions", "triplet", "down"),
    "emb_size_trip_out": ("interactions", "triplet", "up"),
    "emb_size_quad_in": ("interactions", "quadruplet", "down"),
    "emb_size_quad_out": ("interactions", "quadruplet", "up"),
    "emb_size_aint_in": ("interactions", "atom_atom", "down"),
    "emb_size_aint_out": ("interactions", "atom_atom", "up"),
    "num_output_afteratom": ("read_out", "after_atom"),
    "num_global_out_layers": ("read_out", "network"),
}
"""Where arguments stand in a spec, so that errors can name them."""

CIRCULAR_NAMES = {"spherical_harmonics": "legendre", "gaussian": "gaussian"}
SPHERICAL_NAMES = {
    "spherical_harmonics": "real_harmonics",
    "legendre_outer": "legendre_outer",
    "gaussian_outer": "gaussian_outer",
}
INITIALIZATION_NAMES = {"heorthogonal": "he_orthogonal", "zeros": "zeros", "grid": "grid", "loggrid": "loggrid"}
ACTIVATION_NAMES = {"silu": "silu", "swish": "silu"}
FIELD_NAMES = {"pregamma_initial": "gamma_raw"}
PUBLISHED_DEFAULTS = {"trainable": False, "gamma_raw": 0.45264}
"""Fields of bases that published arguments leave out where they have these values."""


def output_initialization(output_init: str) -> OutputInitialization:
    """The initial weights of last layers that a published name chooses.

    Raises:
        SpecError: there is none of this name.
    """
    choice: OutputInitialization = _name("output_init", output_init, INITIALIZATION_NAMES)
    return choice


def cutoffs(arguments: Mapping[str, Any]) -> dict[str, float]:
    """The cutoff of each edge set: main, quad, atom_edge and atom.

    One that is not given, or whose interaction is off, is main's; that of the atom set is then the greatest of all.

    Raises:
        SpecError: one exceeds that of the atom set.
    """
    return _per_edge_set(arguments, "cutoff")


def neighbor_caps(arguments: Mapping[str, Any]) -> dict[str, int]:
    """The greatest number of neighbors in each edge set, by the rules of `cutoffs`; 0: as many as there are.

    Raises:
        SpecError: one exceeds that of the atom set.
    """
    return _per_edge_set(arguments, "max_neighbors")


def neighbor_cap(count: int) -> int | None:
    """A published number of neighbors as specs write it: 0 means no cap."""
    return count if count > 0 else None


def _per_edge_set(arguments: Mapping[str, Any], name: str) -> dict[str, Any]:
    def given(suffix: str, on: bool) -> Any:
        value = arguments[f"{name}{suffix}"]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise SpecError(f"{name}{suffix} must be a number, got {value!r}")
        return value if on else None

    main = given("", True)
    if main is None:
        raise SpecError(f"{name} must be a number, got None")
    quad = given("_qint", arguments["quad_interaction"])
    atom_edge = given("_aeaint", arguments["atom_edge_interaction"] or arguments["edge_atom_interaction"])
    values = {
        "main": main,
        "quad": main if quad is None else quad,
        "atom_edge": main if atom_edge is None else atom_edge,
    }
    atom = given("_aint", arguments["atom_interaction"])
    widest = max(values.values())
    if atom is not None and 0 < atom < widest:
        suffix = {"main": "", "quad": "_qint", "atom_edge": "_aeaint"}[max(values, key=lambda key: values[key])]
        raise SpecError(
            f"{name}{suffix}={widest} exceeds {name}_aint={atom}: the edges of atom_interaction must include all others"
        )
    return values | {"atom": widest if atom is None else atom}


def from_published(arguments: Mapping[str, Any]) -> Spec:
    """The spec of the model that published keyword arguments describe, with all rules of the published models.

    Args:
        arguments: the keyword arguments of GemNet-OC, or of GemNet-T, which are known by `emb_size_bil_trip`; optional
            ones may be left out. Those that say nothing about the architecture (`use_pbc_single`, `otf_graph`,
            `scale_file`) are ignored, deprecated ones with a warning.

    Raises:
        SpecError: an argument is missing, unknown or invalid.
    """
    if gemnet_t.is_gemnet_t(arguments):
        given = _complete(arguments, gemnet_t.REQUIRED, gemnet_t.DEFAULTS, "GemNet-T")
        data = gemnet_t.with_summed_read_out(_data({**DEFAULTS, **gemnet_t.as_gemnet_oc(given)}))
        names = {theirs: ours for ours, theirs in gemnet_t.NAMES.items()}
    else:
        data, names = _data(_complete(arguments, REQUIRED, DEFAULTS, "GemNet-OC")), {}
    places = {route: f"argument {names.get(name, name)}" for name, route in ROUTES.items()}
    return validate(Document(data, {(): "published arguments", **places}), Catalog())


def _complete(
    arguments: Mapping[str, Any], required: Sequence[str], defaults: Mapping[str, Any], owner: str
) -> dict[str, Any]:
    """The arguments with default values, where names and switches are right."""
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
    """The spec that complete arguments of GemNet-OC describe, as plain mappings."""
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
        else _name("activation", given["activation"], ACTIVATION_NAMES),
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
        "read_out": {
            "type": "concatenated",
            "layers": given["num_atom"],
            "after_atom": given["num_output_afteratom"],
            "network": given["num_global_out_layers"],
            "initialization": output_initialization(given["output_init"]),
        },
        "heads": {"energy": {"reduce": "sum" if given["extensive"] else "mean"}, "forces": _forces(given)},
    }


KNOWN = (*REQUIRED, *DEFAULTS, *NO_ARCHITECTURE)
"""All arguments of GemNet-OC."""


def check_names(arguments: Mapping[str, Any], owner: str, known: Sequence[str] = KNOWN) -> None:
    """Refuse arguments that published models do not take, and warn of those that they no longer take.

    Args:
        arguments: by name.
        owner: what is said to take them.
        known: those that it takes.

    Raises:
        ArgumentError: an argument is unknown; suggests the right one.
    """
    unknown = [name for name in arguments if name not in known and name not in DEPRECATED]
    lines = [f"{owner} does not take the argument {name!r}{did_you_mean(name, known)}" for name in unknown]
    if arguments.get("num_targets", 1) != 1:
        lines.append(f"{owner} does not take num_targets={arguments['num_targets']!r}; only 1 is possible")
    if lines:
        raise ArgumentError("\n".join(lines))
    for name in DEPRECATED.keys() & arguments.keys():
        warnings.warn(
            f"the argument {name!r} of {owner} is deprecated: {DEPRECATED[name]}", DeprecationWarning, stacklevel=4
        )


def to_published(spec: Spec) -> dict[str, Any]:
    """The published keyword arguments that describe the same architecture: of GemNet-T where read-outs are summed.

    Raises:
        SpecError: there are none: the spec has what published models have not.
    """
    interactions = {name: options.model_dump() for name, options in spec.interactions.items()}
    triplet = interactions.get("triplet", {})
    # the widths of an absent interaction mean nothing; any will do
    quad_widths = interactions.get("quadruplet", triplet)
    atom_widths = interactions.get("atom_atom", triplet)
    graphs, forces = spec.graphs, spec.heads.forces
    read_out = spec.read_out.model_dump()
    summed = isinstance(spec.read_out, SummedOptions)
    if summed:
        read_out |= {"after_atom": 0, "network": 0}
    bases = spec.bases.model_dump()
    try:
        arguments = {
            "num_spherical": bases["circular"]["count"],
            "num_radial": bases["radial"]["count"],
            "num_blocks": spec.blocks.count,
            "emb_size_atom": spec.sizes.atom,
            "emb_size_edge": spec.sizes.edge,
            "emb_size_trip_in": triplet["down"],
            "emb_size_trip_out": triplet["up"],
            "emb_size_quad_in": quad_widths["down"],
            "emb_size_quad_out": quad_widths["up"],
            "emb_size_aint_in": atom_widths["down"],
            "emb_size_aint_out": atom_widths["up"],
            "emb_size_rbf": spec.sizes.radial,
            "emb_size_cbf": spec.sizes.circular,
            "emb_size_sbf": spec.sizes.spherical,
            "num_before_skip": spec.blocks.before_skip,
            "num_after_skip": spec.blocks.after_skip,
            "num_concat": spec.blocks.concatenation,
            "num_atom": spec.blocks.update,
            "num_output_afteratom": read_out["after_atom"],
            "num_atom_emb_layers": spec.blocks.atom,
            "num_global_out_layers": read_out["network"],
            "regress_forces": forces is not None,
            "direct_forces": isinstance(forces, DirectForcesOptions),
            "use_pbc": spec.neighbors.periodic,
            "scale_backprop_forces": isinstance(forces, GradientForcesOptions) and forces.dynamic_scaling,
            "cutoff": graphs["main"].cutoff,
            "max_neighbors": graphs["main"].max_neighbors or 0,
            "enforce_max_neighbors_strictly": spec.neighbors.ties == "strict",
            "rbf": _published_part(bases["radial"], {}),
            "rbf_spherical": bases["angular_radial"] and _published_part(bases["angular_radial"], {}),
            "envelope": _published_part(bases["envelope"], {}),
            "cbf": _published_part(bases["circular"], CIRCULAR_NAMES),
            "sbf": bases["spherical"] and _published_part(bases["spherical"], SPHERICAL_NAMES),
            "extensive": spec.heads.energy.reduce == "sum",
            "forces_coupled": isinstance(forces, DirectForcesOptions) and forces.coupled,
            "output_init": "HeOrthogonal"
            if read_out["initialization"] == "he_orthogonal"
            else read_out["initialization"],
            "activation": None if spec.activation == "identity" else spec.activation,
            "quad_interaction": "quadruplet" in interactions,
            "atom_edge_interaction": "atom_edge" in interactions,
            "edge_atom_interaction": "edge_atom" in interactions,
            "atom_interaction": "atom_atom" in interactions,
            "scale_basis": spec.bases.scale,
            "num_elements": spec.elements,
        }
        for name, suffix, used in (
            ("quad", "qint", "quadruplet" in interactions),
            ("atom_edge", "aeaint", "atom_edge" in interactions or "edge_atom" in interactions),
            ("atom", "aint", "atom_atom" in interactions),
        ):
            rule = graphs[name] if used else None
            arguments[f"cutoff_{suffix}"] = rule and rule.cutoff
            arguments[f"max_neighbors_{suffix}"] = rule and (rule.max_neighbors or 0)
        tags = graphs["quad"].tags if "quadruplet" in interactions else None
        arguments["qint_tags"] = tags and list(tags)
    except KeyError as error:
        raise SpecError(f"no published arguments describe this spec: it has no {error.args[0]!r}") from error
    if summed:
        arguments = gemnet_t.from_gemnet_oc(arguments)
    again = from_published(arguments)
    if "quadruplet" not in interactions:  # nothing reads dihedral angles then
        unread: dict[str, Any] = {"bases.spherical": None, "bases.collinear": {"type": "right_angle"}}
        if summed:
            unread["sizes.spherical"] = 1
        again, spec = (one.patch(unread) for one in (again, spec))
    if again.content_hash != spec.content_hash:
        differences = ", ".join(_differences(again.to_dict(), spec.to_dict(), ()))
        raise SpecError(f"no published arguments describe this spec; they have no way to say: {differences}")
    return arguments


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
    """Tags as specs write them: all three are all atoms, and then structures need none."""
    try:
        numbers = [operator.index(tag) for tag in tags]
    except TypeError:
        raise SpecError(f"qint_tags must be a list of whole numbers or None, got {tags!r}") from None
    return None if set(numbers) >= {0, 1, 2} else numbers


def _bases(given: Mapping[str, Any]) -> dict[str, Any]:
    radial = _part("rbf", given["rbf"] or {"name": "gaussian"}, {}) | {"count": given["num_radial"]}
    angular = given["rbf_spherical"]
    count = {"count": given["num_spherical"]}
    spherical = _part("sbf", given["sbf"] or {"name": "spherical_harmonics"}, SPHERICAL_NAMES) | count
    # one angle alone leaves some bases undefined, which does not matter where nothing reads them
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
    """The interactions that are on. Those between atoms and edges have the widths of triplets."""
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
    """A published {"name": …, …} as a part of a spec."""
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise SpecError(f"{argument} must be a dictionary with an entry 'name', got {value!r}")
    fields: dict[str, Any] = {
        FIELD_NAMES.get(str(key), str(key)): entry for key, entry in value.items() if key != "name"
    }
    if isinstance(fields.get("exponent"), float) and fields["exponent"].is_integer():
        fields["exponent"] = int(fields["exponent"])
    name = value["name"].lower()
    return {"type": _name(f"{argument}['name']", name, names) if names else name, **fields}


def _published_part(part: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    published = {ours: theirs for theirs, ours in names.items()}
    published_fields = {ours: theirs for theirs, ours in FIELD_NAMES.items()}
    fields = {
        published_fields.get(key, key): entry
        for key, entry in part.items()
        if key not in ("type", "count") and (key, entry) not in PUBLISHED_DEFAULTS.items()
    }
    return {"name": published.get(part["type"], part["type"]), **fields}


def _name(argument: str, value: Any, names: Mapping[str, str]) -> Any:
    if not isinstance(value, str) or value.lower() not in names:
        raise SpecError(f"{argument}={value!r} is unknown{did_you_mean(str(value), names)}")
    return names[value.lower()]


def _differences(ours: Any, theirs: Any, route: tuple[str, ...]) -> list[str]:
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        keys = dict.fromkeys((*ours, *theirs))
        return [line for key in keys for line in _differences(ours.get(key), theirs.get(key), (*route, key))]
    return [] if ours == theirs else [".".join(route)]
