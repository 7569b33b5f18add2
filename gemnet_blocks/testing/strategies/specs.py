"""Strategies of valid specs over all options of the schema, and of specs with one mistake."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from gemnet_blocks.model.block import BlockOptions
from gemnet_blocks.model.heads import DirectForcesOptions
from gemnet_blocks.spec import Spec
from gemnet_blocks.spec.catalog import BUILT_IN, INTERACTION, options_class

SMALL = """
elements: 83
sizes: {atom: 6, edge: 8, radial: 3, circular: 3, spherical: 4}
neighbors: {ties: inclusive}
graphs:
  atom: {cutoff: 5.0}
  main: {cutoff: 4.0, max_neighbors: 6, within: atom, symmetrize: union}
  atom_edge: {cutoff: 4.0, max_neighbors: 5, within: atom}
  quad: {cutoff: 3.0, max_neighbors: 3, within: atom}
bases:
  radial: {type: gaussian, count: 4}
  envelope: {type: polynomial, exponent: 5}
  circular: {type: legendre, count: 3}
  spherical: {type: legendre_outer, count: 2}
blocks: {count: 1, before_skip: 1, after_skip: 1, concatenation: 1, update: 1, atom: 1}
interactions:
  triplet: {down: 4, up: 4}
  quadruplet: {down: 4, up: 4}
  atom_edge: {down: 4, up: 4}
  edge_atom: {down: 4, up: 4}
  atom_atom: {down: 4, up: 4}
readout: {type: concatenated, layers: 1, after_atom: 1, network: 1}
heads: {forces: {type: direct}}
"""
"""GemNet-OC with all interactions and small sizes."""

Values = dict[str, st.SearchStrategy[Any]]
Patches = st.SearchStrategy[dict[str, Any]]

COUNTS = st.integers(0, 2)
"""Numbers of layers."""
SELECTIONS = st.sampled_from(("all", "first", "last"))
"""The blocks that an interaction takes part in."""
INITIALIZATIONS = st.sampled_from(("he_orthogonal", "zeros", "grid", "loggrid"))
"""Initial weights of the last layers."""
_SIZES, _FUNCTIONS = st.integers(1, 9), st.integers(2, 5)
_BLOCKS = ("count", "before_skip", "after_skip", "atom")
_INTERACTIONS = ("triplet", "quadruplet", "atom_edge", "edge_atom", "atom_atom")


def small_spec() -> Spec:
    """Return the spec that `specs` and `spec_patches` change by default."""
    return Spec.from_yaml(SMALL)


def spec_patches(base: Spec | None = None, max_cutoff: float = 6.0, min_elements: int = 83) -> Patches:
    """Draw changes of a spec by dotted path, such that `base.patch(changes)` is valid.

    Args:
        base: spec to change; None: `small_spec()`.
        max_cutoff: maximum cutoff in Å; structures with small cells have very many neighbors within a large cutoff.
        min_elements: minimum of `elements`, so that models support all elements of the structures.
    """
    base = small_spec() if base is None else base
    values = {
        "elements": st.integers(min_elements, max(118, min_elements)),
        "activation": st.sampled_from(("silu", "siqu", "identity")),
        **{f"sizes.{name}": _SIZES for name in ("atom", "edge", "radial", "circular", "spherical")},
        **_neighbors(),
        **_graphs(base, max_cutoff),
        **_bases(),
        "atom_embedding": _mapping("element") | _mapping("periodic_table"),
        **{f"blocks.{name}": COUNTS for name in _BLOCKS},
        **{f"blocks.{name}": st.none() | COUNTS for name in ("concatenation", "update")},
        "blocks.update_projection": st.sampled_from(("if_needed", "always")),
        **_interactions(base),
        "readout": _readouts(),
        "heads.energy.reduce": st.sampled_from(("sum", "mean")),
        "heads.forces": st.none()
        | _mapping("direct", coupled=st.booleans())
        | _mapping("gradient", dynamic_scaling=st.booleans()),
    }
    return _some_of(values)


def specs(base: Spec | None = None, max_cutoff: float = 6.0, min_elements: int = 83) -> st.SearchStrategy[Spec]:
    """Draw valid specs: a base with some options changed, and some unused graphs and bases removed.

    Args:
        base: spec to change; None: `small_spec()`, which is also the simplest example.
        max_cutoff: maximum cutoff in Å; structures with small cells have very many neighbors within a large cutoff.
        min_elements: minimum of `elements`, so that models support all elements of the structures.
    """
    base = small_spec() if base is None else base
    return _patched(base, spec_patches(base, max_cutoff, min_elements))


@st.composite
def _some_of(draw: st.DrawFn, values: Values) -> dict[str, Any]:
    """Draw some of the changes; shrinking can remove each of them separately."""
    changes = st.sampled_from(tuple(values)).flatmap(lambda path: st.tuples(st.just(path), values[path]))
    least = draw(st.sampled_from((0, 2, 5, 12)))
    return dict(draw(st.lists(changes, min_size=least, max_size=len(values), unique_by=lambda change: change[0])))


@st.composite
def _patched(draw: st.DrawFn, base: Spec, patches: Patches) -> Spec:
    changes = draw(patches)
    spec = base.patch(changes) if changes else base
    kinds = {kind_of(options) for options in spec.interactions.values()}
    replaced: dict[str, Any] = {}
    if isinstance(spec.blocks, BlockOptions) and draw(st.sampled_from((False, False, True))):
        replaced["blocks"] = draw(_differing(spec.blocks))
    if kinds <= set(_INTERACTIONS) - {"quadruplet"} and draw(st.booleans()):
        replaced["bases.spherical"] = None
    additive = spec.heads.energy.reduce == "sum" and not isinstance(spec.heads.forces, DirectForcesOptions)
    if additive and draw(st.sampled_from((False, False, False, True))):
        replaced["heads.energy.short_range"] = "zbl"
    unused = [name for name in spec.graphs if name not in spec.graphs_in_use()]
    if len(unused) > 0 and draw(st.booleans()):
        replaced |= {f"graphs.{name}": None for name in unused}
    if _has_degrees(spec) and draw(st.booleans()):
        zeros = st.sampled_from(("exact", "float32"))
        replaced["bases.angular_radial"] = draw(_mapping("fourier_bessel", count=_FUNCTIONS, zeros=zeros))
    return spec.patch(replaced) if replaced else spec


def _has_degrees(spec: Spec) -> bool:
    """Return whether all angular functions have a degree, on which radial functions may depend."""
    spherical = None if spec.bases.spherical is None else kind_of(spec.bases.spherical)
    shared = all(getattr(options, "bases", None) is None for options in spec.interactions.values())
    of_degree = kind_of(spec.bases.circular) == "legendre" and spherical in (None, "legendre_outer", "real_harmonics")
    return shared and of_degree


@st.composite
def _differing(draw: st.DrawFn, blocks: BlockOptions) -> list[dict[str, Any]]:
    """Draw a list of as many blocks, the last of which may differ."""
    layers = blocks.model_dump(exclude={"count"})
    entries = [layers | {"repeat": blocks.count - 1}] if blocks.count > 1 else []
    other = draw(st.fixed_dictionaries({"before_skip": COUNTS, "update": st.none() | COUNTS, "atom": COUNTS}))
    return [*entries, layers | other]


def kind_of(options: Any) -> str:
    """Return the `type` of options."""
    return str(options.type)


def _neighbors() -> Values:
    return {
        "neighbors.ties": st.sampled_from(("inclusive", "strict", "inclusive_next", "smooth")),
        "neighbors.tie_tolerance": st.floats(0, 1),
        "neighbors.fade_width": st.floats(0.01, 2),
        "neighbors.periodic": st.booleans(),
    }


def _graphs(base: Spec, max_cutoff: float) -> Values:
    """Draw options of edge sets; a set is within an earlier set or none, which excludes cycles."""
    names, cutoffs = list(base.graphs), st.floats(0.1, max_cutoff) | st.integers(1, max(1, int(max_cutoff)))
    values: Values = {
        "graphs.main.symmetrize": st.sampled_from(("union", "lower_index", None)),
        "graphs.unused": st.fixed_dictionaries({"cutoff": cutoffs}),
    }
    for index, name in enumerate(names):
        values[f"graphs.{name}.cutoff"] = cutoffs
        values[f"graphs.{name}.max_neighbors"] = st.none() | st.integers(0, 50)
        values[f"graphs.{name}.tags"] = st.none() | st.lists(st.integers(0, 3), max_size=3)
        values[f"graphs.{name}.within"] = st.sampled_from((None, *names[:index]))
    return values


def _functions() -> Values:
    """Draw bases, of a spec or of one interaction."""
    radial = (
        _mapping("gaussian", count=_FUNCTIONS, trainable=st.booleans())
        | _mapping("spherical_bessel", count=_FUNCTIONS)
        | _mapping("bernstein", count=_FUNCTIONS, gamma_raw=st.floats(-1, 2))
    )
    return {
        "radial": radial,
        "angular_radial": st.none() | radial,
        "envelope": _mapping("polynomial", exponent=st.integers(1, 8)) | _mapping("exponential"),
        "circular": _mapping("legendre", count=_FUNCTIONS) | _mapping("gaussian", count=_FUNCTIONS),
        "spherical": st.one_of(
            *(_mapping(name, count=_FUNCTIONS) for name in ("legendre_outer", "gaussian_outer", "real_harmonics"))
        ),
    }


def _bases() -> Values:
    return {
        **{f"bases.{field}": functions for field, functions in _functions().items()},
        "bases.scale": st.booleans(),
        "bases.collinear": _mapping("smooth", width=st.floats(0.01, 0.5)) | _mapping("right_angle"),
    }


def _readouts() -> Patches:
    counts = {name: COUNTS for name in ("layers", "after_atom", "network")}
    summed = {"layers": COUNTS, "projection": st.sampled_from(("if_needed", "always"))}
    return st.one_of(
        _mapping("concatenated", **counts, initialization=INITIALIZATIONS),
        *(_mapping(kind, **summed, initialization=INITIALIZATIONS) for kind in ("summed", "summed_product")),
    )


def _interactions(base: Spec) -> Values:
    """Draw interactions to remove or change, and one to add."""
    names = st.sampled_from(sorted(base.graphs))
    fields = {
        "down": _SIZES,
        "up": _SIZES,
        "graph": names,
        "senders": names,
        "blocks": SELECTIONS,
        "bases": st.none() | st.fixed_dictionaries({}, optional=_functions()),
        "symmetric": st.booleans(),
        "scale_factor": st.booleans(),
    }

    def of_kind(kind: str) -> Values:
        known = options_class(BUILT_IN[INTERACTION][kind]).model_fields if kind in _INTERACTIONS else {}
        return {field: drawn for field, drawn in fields.items() if field in known}

    values: Values = {
        f"interactions.{name}": st.none() | st.fixed_dictionaries({}, optional=of_kind(kind_of(options)))
        for name, options in base.interactions.items()
    }
    kinds = set(_INTERACTIONS) - ({"quadruplet"} if base.bases.spherical is None else set())
    again = [_mapping(kind, **of_kind(kind)) for kind in sorted(kinds)]
    return values | {"interactions.again": st.one_of(*again)}


def _mapping(kind: str, **fields: st.SearchStrategy[Any]) -> Patches:
    """Draw the options of a component of one type."""
    return st.fixed_dictionaries({"type": st.just(kind), **fields})


Route = tuple[str, ...]

POSITIVE = ("cutoff", "fade_width", "width", "tie_tolerance")
"""Fields whose values are real numbers that must not be negative."""
CHOICES = ("activation", "ties", "symmetrize", "reduce", "initialization", "update_projection")
"""Fields whose values are one of few words."""
PART_TYPES = ("radial", "angular_radial", "envelope", "circular", "spherical", "readout")


@dataclass(frozen=True, slots=True)
class BrokenSpec:
    """A document with one mistake.

    Attributes:
        document: content of a spec file as plain data.
        path: dotted path that the error must name.
    """

    document: dict[str, Any]
    path: str


@dataclass(frozen=True, slots=True)
class Mistake:
    """One invalid change of a document; the error must name the entry `blamed` (None: the changed entry)."""

    route: Route
    value: Any = None
    blamed: Route | None = None
    removes: bool = False


def broken_specs(base: Spec | None = None) -> st.SearchStrategy[BrokenSpec]:
    """Draw documents with one mistake: an unknown, missing or mistyped field, an invalid number or an unknown name.

    Args:
        base: spec from which the documents are made after random changes; None: `small_spec()`.
    """
    return _with_mistake(specs(base))


@st.composite
def _with_mistake(draw: st.DrawFn, valid: st.SearchStrategy[Spec]) -> BrokenSpec:
    spec = draw(valid)
    return plant(draw(st.sampled_from(list(mistakes(spec)))), spec)


def plant(mistake: Mistake, spec: Spec) -> BrokenSpec:
    """Return the document of a spec with one mistake."""
    document = copy.deepcopy(spec.to_dict())
    owner = document
    for key in mistake.route[:-1]:
        owner = owner[key]
    if mistake.removes:
        del owner[mistake.route[-1]]
    else:
        owner[mistake.route[-1]] = mistake.value
    return BrokenSpec(document, ".".join(mistake.blamed or mistake.route))


def mistakes(spec: Spec) -> Iterator[Mistake]:
    """Yield every mistake that can be made in a spec."""
    document = spec.to_dict()
    for route, value in _entries(document, ()):
        if isinstance(value, dict):
            yield from _in_mapping(route, value)
        else:
            yield from _in_value(route, value)
    yield from _in_sections(spec, document)
    yield from _in_names(spec)


def _entries(value: Any, route: Route) -> Iterator[tuple[Route, Any]]:
    """Yield every entry of a document, and the document itself."""
    yield route, value
    for key, entry in value.items() if isinstance(value, dict) else ():
        yield from _entries(entry, (*route, key))


def _in_mapping(route: Route, value: dict[str, Any]) -> Iterator[Mistake]:
    """Yield an unknown field, and values that are not mappings."""
    if route not in (("graphs",), ("interactions",)):
        yield Mistake((*route, "colour"), 3)
    if route:
        # blocks may be a list, whose first entry is wrong
        yield Mistake(route, [1, 2], blamed=("blocks", "0") if route == ("blocks",) else None)
        yield Mistake(route, "text")
        yield Mistake(route, True)


def _in_value(route: Route, value: Any) -> Iterator[Mistake]:
    """Yield values of the wrong type and invalid values."""
    name = route[-1]
    if isinstance(value, bool):
        yield from (Mistake(route, wrong) for wrong in ("yes", 1, None))
    elif isinstance(value, int):
        yield from (Mistake(route, wrong) for wrong in ("3", True, -1, 1.5, math.nan, 2**63, {"a": 1}))
    elif isinstance(value, float):
        yield from (Mistake(route, wrong) for wrong in ("0.5", False, None, math.nan, -math.inf, [1.0]))
        if name in POSITIVE:
            yield Mistake(route, -0.5)
        if name in ("cutoff", "fade_width", "width"):
            yield Mistake(route, 0)
    elif isinstance(value, str):
        yield from (Mistake(route, wrong) for wrong in (3, True, [value]))
        if name in CHOICES:
            yield Mistake(route, f"{value}x")
    elif name == "tags":
        yield Mistake(route, "surface")
        yield Mistake(route, 2)


def _in_sections(spec: Spec, document: dict[str, Any]) -> Iterator[Mistake]:
    """Yield missing sections and fields, and misspelled types of components."""
    for section, field in Spec.model_fields.items():
        if field.is_required():
            yield Mistake((section,), removes=True)
            yield Mistake((section,))
    for section in ("sizes", "blocks", "bases", "heads"):
        # a list of differing blocks has no fields
        for name, field in getattr(type(getattr(spec, section)), "model_fields", {}).items():
            if field.is_required():
                yield Mistake((section, name), removes=True)
    for route, value in _entries(document, ()):
        if route[-1:] == ("type",) and (route[0] == "interactions" or route[-2] in PART_TYPES):
            yield Mistake(route, value[:-1])  # close enough for a suggestion


def _in_names(spec: Spec) -> Iterator[Mistake]:
    """Yield names that are unknown, cyclic or not allowed."""
    for name, rule in spec.graphs.items():
        yield (
            Mistake(("graphs", name), removes=True, blamed=("graphs",))
            if name == "main"
            else Mistake(("graphs", name, "symmetrize"), "union")
        )
        yield Mistake(("graphs", name, "within"), "nowhere")
        yield Mistake(("graphs", name, "within"), name)
        if rule.within is not None:
            yield Mistake(("graphs", rule.within, "within"), name, blamed=("graphs", min(name, rule.within), "within"))
    for section in ("graphs", "interactions"):
        entry = next(iter(getattr(spec, section).values()), None)
        if entry is not None:
            yield Mistake((section, "my-own"), entry.model_dump(mode="json"))
    for name, options in spec.interactions.items():
        for field in ("graph", "senders"):
            if field in type(options).model_fields:
                yield Mistake(("interactions", name, field), "nowhere")
        yield from (Mistake(("interactions", name, field), removes=True) for field in ("down", "up"))
        if kind_of(options) == "quadruplet" and spec.bases_of(name).spherical == spec.bases.spherical:
            yield Mistake(("bases", "spherical"), blamed=("interactions", name))
