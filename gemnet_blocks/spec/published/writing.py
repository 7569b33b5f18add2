"""Translation of specs to published keyword arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gemnet_blocks.errors import SpecError
from gemnet_blocks.model.block import BlockOptions
from gemnet_blocks.model.heads import DirectForcesOptions, GradientForcesOptions
from gemnet_blocks.model.product_readout import SummedProductOptions
from gemnet_blocks.model.readout import SummedOptions
from gemnet_blocks.spec.published import gemnet_2021, gemnet_t
from gemnet_blocks.spec.published.arguments import CIRCULAR_NAMES, FIELD_NAMES, PUBLISHED_DEFAULTS, SPHERICAL_NAMES
from gemnet_blocks.spec.published.reading import from_published
from gemnet_blocks.spec.resolve import Spec


def to_published(spec: Spec) -> dict[str, Any]:
    """Translate a spec to published keyword arguments, of the model that has its readout.

    For `summed_product`, they are those of GemNet-Q or GemNet-T of 2021; for `summed`, of GemNet-T of Open Catalyst;
    otherwise, of GemNet-OC.

    Raises:
        SpecError: the published models do not have a feature of the spec.
    """
    of_2021 = isinstance(spec.readout, SummedProductOptions)
    arguments = gemnet_2021.of_spec(spec) if of_2021 else _arguments(spec)
    again = from_published(arguments)
    if "quadruplet" not in spec.interactions:  # no layer reads dihedral angles
        unread: dict[str, Any] = {"bases.spherical": None, "bases.collinear": {"type": "right_angle"}}
        if isinstance(spec.readout, SummedOptions):
            unread["sizes.spherical"] = 1
        again, spec = (one.patch(unread) for one in (again, spec))
    if again.content_hash != spec.content_hash:
        differences = ", ".join(_differences(again.to_dict(), spec.to_dict(), ()))
        raise SpecError(f"published arguments cannot describe this spec, because they do not include {differences}")
    return arguments


def _arguments(spec: Spec) -> dict[str, Any]:
    """Translate a spec to arguments of GemNet-OC or of GemNet-T, without a check that they describe all of it."""
    interactions = {name: options.model_dump() for name, options in spec.interactions.items()}
    triplet = interactions.get("triplet", {})
    # the sizes of an absent interaction have no effect
    quad_widths = interactions.get("quadruplet", triplet)
    atom_widths = interactions.get("atom_atom", triplet)
    graphs, forces = spec.graphs, spec.heads.forces
    readout = spec.readout.model_dump()
    summed = isinstance(spec.readout, SummedOptions)
    if summed:
        readout |= {"after_atom": 0, "network": 0}
    bases, blocks = spec.bases.model_dump(), spec.blocks
    if not isinstance(blocks, BlockOptions) or blocks.update is None or blocks.concatenation is None:
        raise SpecError(
            "published arguments cannot describe this spec: `blocks` must be one description with an atom update and "
            "a concatenation"
        )
    try:
        arguments = {
            "num_spherical": bases["circular"]["count"],
            "num_radial": bases["radial"]["count"],
            "num_blocks": blocks.count,
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
            "num_before_skip": blocks.before_skip,
            "num_after_skip": blocks.after_skip,
            "num_concat": blocks.concatenation,
            "num_atom": blocks.update,
            "num_output_afteratom": readout["after_atom"],
            "num_atom_emb_layers": blocks.atom,
            "num_global_out_layers": readout["network"],
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
            if readout["initialization"] == "he_orthogonal"
            else readout["initialization"],
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
        raise SpecError(f"published arguments cannot describe this spec, which has no {error.args[0]!r}") from error
    return gemnet_t.from_gemnet_oc(arguments) if summed else arguments


def _published_part(part: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    published = {ours: theirs for theirs, ours in names.items()}
    published_fields = {ours: theirs for theirs, ours in FIELD_NAMES.items()}
    fields = {
        published_fields.get(key, key): entry
        for key, entry in part.items()
        if key not in ("type", "count") and (key, entry) not in PUBLISHED_DEFAULTS.items()
    }
    return {"name": published.get(part["type"], part["type"]), **fields}


def _differences(ours: Any, theirs: Any, route: tuple[str, ...]) -> list[str]:
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        keys = dict.fromkeys((*ours, *theirs))
        return [line for key in keys for line in _differences(ours.get(key), theirs.get(key), (*route, key))]
    return [] if ours == theirs else [".".join(route)]
