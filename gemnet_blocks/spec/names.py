"""The names in a spec refer upward: interactions to graphs and bases, graphs to graphs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from gemnet_blocks.errors import SpecError
from gemnet_blocks.graph.builder import MAIN
from gemnet_blocks.interactions.interaction import InteractionOptions
from gemnet_blocks.interactions.quadruplet import QuadrupletOptions
from gemnet_blocks.options import Options
from gemnet_blocks.spec.catalog import INTERACTION, Catalog, did_you_mean, options_class
from gemnet_blocks.spec.document import Document, Problem, Route


def problems_with_names(document: Document, catalog: Catalog) -> Iterator[Problem]:
    """What is wrong with the names of a document, whatever else is wrong with it.

    Reads plain data instead of a validated spec, so that one error can list everything.
    """
    graphs, interactions = (_mapping(document.data.get(section)) for section in ("graphs", "interactions"))
    for section, entries in (("graphs", graphs), ("interactions", interactions)):
        yield from (Problem((section, name), why) for name in entries if (why := _no_name(name)))
    if graphs and MAIN not in graphs:
        near = did_you_mean(MAIN, graphs)
        yield Problem(("graphs",), f"needs an edge set {MAIN!r}, which carries edge embeddings{near}")
    for name, rule in graphs.items():
        rule = _mapping(rule)
        if name != MAIN and rule.get("symmetrize") is not None:
            yield Problem(("graphs", name, "symmetrize"), f"only {MAIN!r} is symmetrized: remove this field")
        yield from _missing(("graphs", name, "within"), rule.get("within"), document)
        circle = _circle(name, graphs)
        if circle and name == min(circle):
            yield Problem(("graphs", name, "within"), f"edge sets are within each other: {' → '.join(circle)}")
    for name, entry in interactions.items():
        options = _unchecked(name, _mapping(entry), catalog)
        for field, edge_set in _named(options).items():
            yield from _missing(("interactions", name, field), edge_set, document)
        if isinstance(options, QuadrupletOptions) and _mapping(document.data.get("bases")).get("spherical") is None:
            yield Problem(("interactions", name), "needs bases.spherical, which is not given")


def _missing(route: Route, edge_set: Any, document: Document) -> Iterator[Problem]:
    graphs = document.data.get("graphs")
    if isinstance(edge_set, str) and isinstance(graphs, Mapping) and edge_set not in graphs:
        # a route whose entry is gone: it was removed there
        removed = document.places.get(("graphs", edge_set))
        hint = f"; removed in {removed}" if removed else did_you_mean(edge_set, graphs)
        yield Problem(route, f"there is no edge set {edge_set!r}{hint}")


def _circle(name: str, graphs: Mapping[str, Any]) -> list[str]:
    """The edge sets from one to itself, each within the next; empty where it is in no circle."""
    chain = [name]
    while (parent := _mapping(graphs.get(chain[-1])).get("within")) not in (None, *chain):
        chain.append(str(parent))
    return [*chain, name] if parent == name else []


def _unchecked(name: str, entry: Mapping[str, Any], catalog: Catalog) -> Options | None:
    """The options of an interaction, with values of any type; None where its class is not known."""
    kind = entry.get("type", name)
    try:
        part = catalog.find(INTERACTION, kind) if isinstance(kind, str) else None
    except SpecError:
        part = None
    if part is None:
        return None
    options = options_class(part)
    return options.model_construct(**{field: value for field, value in entry.items() if field in options.model_fields})


def _named(options: Options | None) -> dict[str, str]:
    try:
        return options.edge_sets() if isinstance(options, InteractionOptions) else {}
    except (AttributeError, TypeError):  # it reads a field that is missing or of another type, reported elsewhere
        return {}


def _no_name(name: str) -> str | None:
    if "." in name:
        return "is no name: dotted paths are for patches; in a file, write one mapping inside the other"
    if not name.isidentifier():
        return "is no name: use letters, digits and underscores"
    if hasattr(nn.ModuleDict(), name):
        return f"is a name that torch modules use themselves: call it {name}_ or the like"
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
