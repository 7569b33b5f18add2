"""Valid specs over all options of the schema."""

from __future__ import annotations

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
read_out: {type: concatenated, layers: 1, after_atom: 1, network: 1}
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
        "read_out": _read_outs(),
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


def _read_outs() -> Patches:
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
