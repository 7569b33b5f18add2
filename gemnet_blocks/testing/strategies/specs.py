"""Valid specs over all options of the schema."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from gemnet_blocks.interactions.interaction import InteractionOptions
from gemnet_blocks.spec import Spec

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
"""GemNet-OC with all its parts and small sizes."""

Values = dict[str, st.SearchStrategy[Any]]
Patches = st.SearchStrategy[dict[str, Any]]

_SIZES, _COUNTS, _FUNCTIONS = st.integers(1, 9), st.integers(0, 2), st.integers(2, 5)
_BLOCKS = ("count", "before_skip", "after_skip", "concatenation", "update", "atom")
_INTERACTIONS = ("triplet", "quadruplet", "atom_edge", "edge_atom", "atom_atom")


def small_spec() -> Spec:
    """The spec that `specs` and `spec_patches` change where they are given no other."""
    return Spec.from_yaml(SMALL)


def spec_patches(base: Spec | None = None, max_cutoff: float = 6.0, min_elements: int = 83) -> Patches:
    """Changes of a spec, each by dotted path, that make another valid spec together: `base.patch(changes)`.

    Args:
        base: what is changed; None for `small_spec()`.
        max_cutoff: the largest cutoff in Å; small cells have very many neighbors within a large one.
        min_elements: the smallest number of elements, so that models know all that structures are made of.
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
        **{f"blocks.{name}": _COUNTS for name in _BLOCKS},
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
    """Valid specs: a base with any options changed, and with interactions, graphs and bases removed that nothing needs.

    Args:
        base: what is changed; None for `small_spec()`, which is also the simplest example.
        max_cutoff: the largest cutoff in Å; small cells have very many neighbors within a large one.
        min_elements: the smallest number of elements, so that models know all that structures are made of.
    """
    base = small_spec() if base is None else base
    return _patched(base, spec_patches(base, max_cutoff, min_elements))


@st.composite
def _some_of(draw: st.DrawFn, values: Values) -> dict[str, Any]:
    """Some of the changes, each of which can be left out by itself when examples shrink."""
    changes = st.sampled_from(tuple(values)).flatmap(lambda path: st.tuples(st.just(path), values[path]))
    least = draw(st.sampled_from((0, 2, 5, 12)))
    return dict(draw(st.lists(changes, min_size=least, max_size=len(values), unique_by=lambda change: change[0])))


@st.composite
def _patched(draw: st.DrawFn, base: Spec, patches: Patches) -> Spec:
    changes = draw(patches)
    spec = base.patch(changes) if changes else base
    kinds = {kind_of(options) for options in spec.interactions.values()}
    removed: dict[str, Any] = {}
    if kinds <= set(_INTERACTIONS) - {"quadruplet"} and draw(st.booleans()):
        removed["bases.spherical"] = None
    unused = [name for name in spec.graphs if name not in spec.graphs_in_use()]
    if len(unused) > 0 and draw(st.booleans()):
        removed |= {f"graphs.{name}": None for name in unused}
    return spec.patch(removed) if removed else spec


def kind_of(options: Any) -> str:
    """The `type` of an interaction's options."""
    return str(options.type)


def _neighbors() -> Values:
    return {
        "neighbors.ties": st.sampled_from(("inclusive", "strict", "inclusive_next", "smooth")),
        "neighbors.tie_tolerance": st.floats(0, 1),
        "neighbors.fade_width": st.floats(0.01, 2),
        "neighbors.periodic": st.booleans(),
    }


def _graphs(base: Spec, max_cutoff: float) -> Values:
    """A set is within none or one of those before it, so that no circle arises."""
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


def _bases() -> Values:
    radial = (
        _mapping("gaussian", count=_FUNCTIONS, trainable=st.booleans())
        | _mapping("spherical_bessel", count=_FUNCTIONS)
        | _mapping("bernstein", count=_FUNCTIONS, gamma_raw=st.floats(-1, 2))
    )
    return {
        "bases.radial": radial,
        "bases.angular_radial": st.none() | radial,
        "bases.envelope": _mapping("polynomial", exponent=st.integers(1, 8)) | _mapping("exponential"),
        "bases.circular": _mapping("legendre", count=_FUNCTIONS) | _mapping("gaussian", count=_FUNCTIONS),
        "bases.spherical": st.one_of(
            *(_mapping(name, count=_FUNCTIONS) for name in ("legendre_outer", "gaussian_outer", "real_harmonics"))
        ),
        "bases.scale": st.booleans(),
        "bases.collinear": _mapping("smooth", width=st.floats(0.01, 0.5)) | _mapping("right_angle"),
    }


def _readouts() -> Patches:
    initialization = st.sampled_from(("he_orthogonal", "zeros", "grid", "loggrid"))
    counts = {name: _COUNTS for name in ("layers", "after_atom", "network")}
    summed = {"layers": _COUNTS, "projection": st.sampled_from(("if_needed", "always"))}
    return _mapping("concatenated", **counts, initialization=initialization) | _mapping(
        "summed", **summed, initialization=initialization
    )


def _interactions(base: Spec) -> Values:
    """Each is removed, or changed; another one is added, of a kind that is there already or not."""
    names = st.sampled_from(sorted(base.graphs))
    values: Values = {}
    for name, options in base.interactions.items():
        fields = {"down": _SIZES, "up": _SIZES, "graph": names}
        known = kind_of(options) in _INTERACTIONS and isinstance(options, InteractionOptions)
        changed = {field: fields[field] for field in fields if known and field in type(options).model_fields}
        values[f"interactions.{name}"] = st.none() | st.fixed_dictionaries({}, optional=changed)
    kinds = _INTERACTIONS if base.bases.spherical is not None else tuple(set(_INTERACTIONS) - {"quadruplet"})
    again = [
        _mapping(kind, down=_SIZES, up=_SIZES, **({} if kind == "triplet" else {"graph": names}))
        for kind in sorted(kinds)
    ]
    return values | {"interactions.again": st.one_of(*again)}


def _mapping(kind: str, **fields: st.SearchStrategy[Any]) -> Patches:
    """The options of one kind of part, all of them given."""
    return st.fixed_dictionaries({"type": st.just(kind), **fields})


Route = tuple[str, ...]

POSITIVE = ("cutoff", "fade_width", "width", "tie_tolerance")
"""Numbers that are no integers and must not be negative."""
CHOICES = ("activation", "ties", "symmetrize", "reduce", "initialization", "update_projection")
"""Text that must be one of few words."""
PART_TYPES = ("radial", "angular_radial", "envelope", "circular", "spherical", "readout")


@dataclass(frozen=True, slots=True)
class BrokenSpec:
    """A document with one mistake.

    Attributes:
        document: plain data, as a file would say it.
        path: the dotted path that the error must name.
    """

    document: dict[str, Any]
    path: str


@dataclass(frozen=True, slots=True)
class Mistake:
    """One change of a document.

    Attributes:
        route: the entry that is changed.
        value: its new value.
        blamed: the entry that the error must name; None for the one that is changed.
        removes: whether the entry is removed instead.
    """

    route: Route
    value: Any = None
    blamed: Route | None = None
    removes: bool = False


def broken_specs(base: Spec | None = None) -> st.SearchStrategy[BrokenSpec]:
    """Documents with one mistake each: an unknown, missing or mistyped field, an impossible number, a dangling name.

    Args:
        base: what the documents are made from, with any options changed; None for a small spec.
    """
    return _with_mistake(specs(base))


@st.composite
def _with_mistake(draw: st.DrawFn, valid: st.SearchStrategy[Spec]) -> BrokenSpec:
    spec = draw(valid)
    return plant(draw(st.sampled_from(list(mistakes(spec)))), spec)


def plant(mistake: Mistake, spec: Spec) -> BrokenSpec:
    """The document of a spec with a mistake in it."""
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
    """Every mistake that can be planted in a spec, one at a time."""
    document = spec.to_dict()
    for route, value in _entries(document, ()):
        if isinstance(value, dict):
            yield from _in_mapping(route, value)
        else:
            yield from _in_value(route, value)
    yield from _in_sections(spec, document)
    yield from _in_names(spec)


def _entries(value: Any, route: Route) -> Iterator[tuple[Route, Any]]:
    """Every entry of a document, and the document itself."""
    yield route, value
    for key, entry in value.items() if isinstance(value, dict) else ():
        yield from _entries(entry, (*route, key))


def _in_mapping(route: Route, value: dict[str, Any]) -> Iterator[Mistake]:
    """An unknown field, and something else than a mapping."""
    if route not in (("graphs",), ("interactions",)):
        yield Mistake((*route, "colour"), 3)
    if route:
        yield Mistake(route, [1, 2])
        yield Mistake(route, "text")
        yield Mistake(route, True)


def _in_value(route: Route, value: Any) -> Iterator[Mistake]:
    """Values of another type and impossible ones."""
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
    """Missing sections and fields, and misspelt types of parts."""
    for section, field in Spec.model_fields.items():
        if field.is_required():
            yield Mistake((section,), removes=True)
            yield Mistake((section,))
    for section in ("sizes", "blocks", "bases", "heads"):
        for name, field in type(getattr(spec, section)).model_fields.items():
            if field.is_required():
                yield Mistake((section, name), removes=True)
    for route, value in _entries(document, ()):
        if route[-1:] == ("type",) and (route[0] == "interactions" or route[-2] in PART_TYPES):
            yield Mistake(route, value[:-1])  # near enough to be a misspelt one


def _in_names(spec: Spec) -> Iterator[Mistake]:
    """Names that lead nowhere, in a circle, or to what they must not."""
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
        if "graph" in type(options).model_fields:
            yield Mistake(("interactions", name, "graph"), "nowhere")
        yield from (Mistake(("interactions", name, field), removes=True) for field in ("down", "up"))
        if kind_of(options) == "quadruplet":
            yield Mistake(("bases", "spherical"), blamed=("interactions", name))
