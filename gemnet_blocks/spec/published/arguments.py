"""Keyword arguments of the published GemNet-OC: names, values and routes in a spec."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from gemnet_blocks.errors import ArgumentError, SpecError
from gemnet_blocks.layers.initialization import OutputInitialization
from gemnet_blocks.spec.catalog import did_you_mean
from gemnet_blocks.spec.document import Route

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
"""Optional arguments of the architecture with their published default values."""

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
"""Arguments of the architecture without default values."""

NO_ARCHITECTURE = ("use_pbc_single", "otf_graph", "scale_file")
"""Arguments that do not affect the architecture."""

DEPRECATED = {
    "num_atoms": "it was never used",
    "bond_feat_dim": "it was never used",
    "num_targets": "there is one target, the energy",
    "name": "it named the model class",
}
"""Arguments of older versions, accepted with a warning, and the reason why they are not needed."""

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
    "num_output_afteratom": ("readout", "after_atom"),
    "num_global_out_layers": ("readout", "network"),
}
"""Routes of the arguments in a spec, so that errors can name the arguments."""

# Names in specs by published names
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
"""Values of basis fields that published arguments omit."""

KNOWN = (*REQUIRED, *DEFAULTS, *NO_ARCHITECTURE)
"""All arguments of GemNet-OC."""


def check_names(arguments: Mapping[str, Any], owner: str, known: Sequence[str] = KNOWN) -> None:
    """Refuse unknown arguments, and warn of deprecated ones.

    Args:
        arguments: the arguments by name.
        owner: the class, for messages.
        known: the names of its arguments.

    Raises:
        ArgumentError: an argument is unknown; suggests a similar one.
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


def output_initialization(output_init: str) -> OutputInitialization:
    """Translate the published name of the initialization of last layers.

    Raises:
        SpecError: the name is unknown.
    """
    choice: OutputInitialization = translated("output_init", output_init, INITIALIZATION_NAMES)
    return choice


def translated(argument: str, value: Any, names: Mapping[str, str]) -> Any:
    """Translate the value of a published argument to its name in specs.

    Args:
        argument: the argument, for errors.
        value: a published name in upper or lower case.
        names: names in specs by published names.

    Raises:
        SpecError: the name is unknown; suggests a similar one.
    """
    if not isinstance(value, str) or value.lower() not in names:
        raise SpecError(f"{argument}={value!r} is unknown{did_you_mean(str(value), names)}")
    return names[value.lower()]
