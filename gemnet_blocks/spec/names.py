"""Checks of the names in a spec by which interactions refer to graphs and bases, and graphs to graphs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from gemnet_blocks.basis.fourier_bessel import DegreeRadialBasis
from gemnet_blocks.errors import SpecError
from gemnet_blocks.graph.builder import MAIN
from gemnet_blocks.interactions.interaction import InteractionOptions
from gemnet_blocks.interactions.quadruplet import QuadrupletOptions
from gemnet_blocks.options import Options
from gemnet_blocks.spec.catalog import INTERACTION, RADIAL, Catalog, did_you_mean, options_class
from gemnet_blocks.spec.document import Document, Problem, Route
from gemnet_blocks.spec.explain import is_property_head


def problems_with_names(document: Document, catalog: Catalog) -> Iterator[Problem]:
    """Find wrong names in a document that may have other problems too, so that one error can list all of them."""
    graphs, interactions = (_mapping(document.data.get(section)) for section in ("graphs", "interactions"))
    heads = {name: None for name in _mapping(document.data.get("heads")) if is_property_head(("heads", name))}
    for section, entries in (("graphs", graphs), ("interactions", interactions), ("heads", heads)):
        yield from (Problem((section, name), why) for name in entries if (why := _invalid_name(name)))
    if graphs and MAIN not in graphs:
        near = did_you_mean(MAIN, graphs)
        yield Problem(("graphs",), f"needs an edge set {MAIN!r}, which carries edge embeddings{near}")
    yield from (Problem(("heads", name), why) for name in heads if (why := _invalid_head(name)))
    for name, rule in graphs.items():
        rule = _mapping(rule)
        if name != MAIN and rule.get("symmetrize") is not None:
            yield Problem(("graphs", name, "symmetrize"), f"only {MAIN!r} can be symmetrized: remove this field")
        yield from _missing(("graphs", name, "within"), rule.get("within"), document)
        circle = _circle(name, graphs)
        if circle and name == min(circle):
            yield Problem(("graphs", name, "within"), f"edge sets are within each other: {' → '.join(circle)}")
    yield from _radial_of_a_degree((), document.data, catalog)
    for name, entry in interactions.items():
        options = unchecked_options(name, _mapping(entry), catalog)
        yield from _radial_of_a_degree(("interactions", name), _mapping(entry), catalog)
        for field, edge_set in named_edge_sets(options).items():
            yield from _missing(("interactions", name, field), edge_set, document)
        yield from _missing_blocks(name, options, document)
        bases = (_mapping(section.get("bases")) for section in (document.data, _mapping(entry)))
        if isinstance(options, QuadrupletOptions) and all(one.get("spherical") is None for one in bases):
            yield Problem(("interactions", name), "needs bases.spherical, which is missing")


def _radial_of_a_degree(owner: Route, section: Mapping[str, Any], catalog: Catalog) -> Iterator[Problem]:
    """Refuse a basis of distances alone whose functions depend on the degree of a function of angles."""
    radial = _mapping(_mapping(section.get("bases")).get("radial")).get("type")
    if issubclass(_found(RADIAL, radial, catalog) or object, DegreeRadialBasis):
        yield Problem(
            (*owner, "bases", "radial"),
            f"the functions of {radial!r} depend on the degree of an angular function, and distances alone have none: "
            "name it in bases.angular_radial and choose another bases.radial",
        )


def _missing(route: Route, edge_set: Any, document: Document) -> Iterator[Problem]:
    graphs = document.data.get("graphs")
    if isinstance(edge_set, str) and isinstance(graphs, Mapping) and edge_set not in graphs:
        removed = document.places.get(("graphs", edge_set))  # the place of the null that removed it
        hint = f"; removed in {removed}" if removed else did_you_mean(edge_set, graphs)
        yield Problem(route, f"unknown edge set {edge_set!r}{hint}")


def _missing_blocks(name: str, options: Options | None, document: Document) -> Iterator[Problem]:
    chosen, count = getattr(options, "blocks", None), _block_count(document.data.get("blocks"))
    if not isinstance(options, InteractionOptions) or not isinstance(chosen, list) or type(count) is not int:
        return
    missing = [number for number in chosen if type(number) is int and number >= count]
    if missing:
        numbered = f"{count} blocks, numbered from 0 to {count - 1}" if count else "no blocks"
        yield Problem(("interactions", name, "blocks"), f"there is no block {missing[0]}: the model has {numbered}")


def _block_count(blocks: Any) -> Any:
    if isinstance(blocks, list):
        repeats = [_mapping(block).get("repeat", 1) for block in blocks]
        return sum(repeats) if all(type(repeat) is int for repeat in repeats) else None
    return _mapping(blocks).get("count")


def _circle(name: str, graphs: Mapping[str, Any]) -> list[str]:
    """Follow `within` from an edge set back to itself; empty if the chain ends."""
    chain = [name]
    while (parent := _mapping(graphs.get(chain[-1])).get("within")) not in (None, *chain):
        chain.append(str(parent))
    return [*chain, name] if parent == name else []


def unchecked_options(name: str, entry: Mapping[str, Any], catalog: Catalog) -> Options | None:
    """Create the options of an interaction without validation; None if its class is unknown."""
    part = _found(INTERACTION, entry.get("type", name), catalog)
    if part is None:
        return None
    options = options_class(part)
    return options.model_construct(**{field: value for field, value in entry.items() if field in options.model_fields})


def _found(kind: str, name: Any, catalog: Catalog) -> Any | None:
    """Find the class of a part; None if it is unknown or cannot be imported."""
    try:
        return catalog.find(kind, name) if isinstance(name, str) else None
    except SpecError:
        return None


def named_edge_sets(options: Options | None) -> dict[str, str]:
    """Return the edge sets that the options of an interaction name, by field; none if the options are incomplete."""
    try:
        return options.edge_sets() if isinstance(options, InteractionOptions) else {}
    except (AttributeError, TypeError):  # a field is missing or mistyped, which validation reports
        return {}


def _invalid_name(name: str) -> str | None:
    if "." in name:
        return "is not a name: in a file, write nested mappings instead of dotted paths"
    if not name.isidentifier():
        return "is not a name: use letters, digits and underscores"
    if hasattr(nn.ModuleDict(), name):
        return f"is an attribute of torch modules: choose another name, such as {name}_"
    return None


_OUTPUTS = ("atom_energies", "energies", "free_energy", "loss")
"""Names of other results of predictions, calculators and training."""


def _invalid_head(name: str) -> str | None:
    if name in _OUTPUTS:
        return f"is the name of another result: choose another name, such as {name}_"
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
