"""Hypothesis strategy of specs with feature streams, further heads, charges and spins, or without edge embeddings."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from gemnet_blocks.model.block import BlockOptions
from gemnet_blocks.spec import Spec
from gemnet_blocks.testing.strategies.specs import COUNTS, INITIALIZATIONS, SELECTIONS, small_spec, specs

_SMALL = st.integers(1, 3)
_COMBINATIONS = st.sampled_from(("skip", "add"))


def further_specs(base: Spec | None = None, max_cutoff: float = 6.0, min_elements: int = 83) -> st.SearchStrategy[Spec]:
    """Draw valid specs with the parts that `specs` leaves out, since `oracles.model` does not define them.

    These are feature streams with their updates and interactions, further heads and stresses, embeddings of charges and
    spins, and models without edge embeddings.

    Args:
        base: spec to change; None: `small_spec()`.
        max_cutoff: maximum cutoff in Å; structures with small cells have very many neighbors within a large cutoff.
        min_elements: minimum of `elements`, so that models support all elements of the structures.
    """
    return _with_further_parts(specs(small_spec() if base is None else base, max_cutoff, min_elements))


@st.composite
def _with_further_parts(draw: st.DrawFn, plain: st.SearchStrategy[Spec]) -> Spec:
    spec = draw(plain)
    without_edges = isinstance(spec.blocks, BlockOptions) and draw(st.sampled_from((False, False, True)))
    changes: dict[str, Any] = draw(_streams(sorted(spec.graphs), required=without_edges))
    if without_edges:
        changes |= draw(_without_edges(spec))
    elif isinstance(spec.blocks, BlockOptions):
        changes["blocks.combine"] = draw(_COMBINATIONS)
    changes |= {f"atom_embedding.{state}": draw(st.booleans()) for state in ("charge", "spin")}
    reads = ["atoms"] if without_edges else ["atoms", "edges"]
    reads += ["vectors"] if "interactions.vectors" in changes else []
    if draw(st.booleans()):
        changes["heads.further"] = draw(_heads(st.sampled_from(reads)))
    forces = changes.get("heads.forces", spec.heads.forces)
    if forces is not None and (forces if isinstance(forces, dict) else forces.model_dump())["type"] == "gradient":
        changes["heads.stress"] = {} if spec.neighbors.periodic and draw(st.booleans()) else None
    return spec.patch(changes)


@st.composite
def _streams(draw: st.DrawFn, graphs: list[str], required: bool) -> dict[str, Any]:
    """Draw interactions that write streams, at least one if required, and declarations of their streams."""
    names = draw(st.sets(st.sampled_from(("vectors", "tensors")), min_size=int(required)))
    changes: dict[str, Any] = {}
    options: dict[str, st.SearchStrategy[Any]]
    shared: dict[str, st.SearchStrategy[Any]] = {"graph": st.sampled_from(graphs), "blocks": SELECTIONS}
    declared: dict[str, st.SearchStrategy[Any]] = {
        "combine": _COMBINATIONS,
        "update": st.sampled_from(("none", "gated")),
    }
    if "vectors" in names:
        options = {"type": st.just("painn"), "writes": st.just("vectors"), **shared}
        changes["interactions.vectors"] = draw(st.fixed_dictionaries(options, optional={"size": _SMALL}))
        if "size" not in changes["interactions.vectors"] and draw(st.booleans()):
            changes["streams.vectors"] = _declared(draw(st.fixed_dictionaries(declared)), f"{draw(_SMALL)}x1o")
    if "tensors" in names:
        degree = draw(st.integers(1, 2))
        fixed = {"type": "tensor_product", "writes": "tensors", "degree": degree}
        options = {name: st.just(value) for name, value in fixed.items()}
        options |= {"radial": _SMALL, "radial_layers": COUNTS, **shared}
        changes["interactions.tensors"] = draw(st.fixed_dictionaries(options, optional={"size": _SMALL}))
        if "size" not in changes["interactions.tensors"] and draw(st.booleans()):
            irreps = "+".join(("2x1o", "1x2e")[:degree])
            changes["streams.tensors"] = _declared(draw(st.fixed_dictionaries(declared)), irreps)
    return changes


def _declared(options: dict[str, Any], irreps: str) -> dict[str, Any]:
    return {"irreps": irreps, "combine": options["combine"], "update": {"type": options["update"]}}


@st.composite
def _without_edges(draw: st.DrawFn, spec: Spec) -> dict[str, Any]:
    """Draw the changes that remove the embeddings of edges and all that reads them."""
    none = {name: None for name in ("concatenation", "update")}
    layers = {"before_skip": 0, "after_skip": 0, "combine": draw(_COMBINATIONS), **none}
    readout = {"layers": COUNTS, "size": st.none() | _SMALL, "initialization": INITIALIZATIONS}
    return {
        "edge_embedding": None,
        **{f"interactions.{name}": None for name in spec.interactions},
        **{f"blocks.{name}": value for name, value in layers.items()},
        "readout": draw(st.fixed_dictionaries({"type": st.just("atoms"), **readout})),
        "heads.forces": draw(st.none() | st.just({"type": "gradient", "dynamic_scaling": False})),
    }


@st.composite
def _heads(draw: st.DrawFn, reads: st.SearchStrategy[str]) -> Any:
    """Draw a head of a property."""
    options: dict[str, Any] = {"reads": draw(reads), "layers": draw(COUNTS), "initialization": draw(INITIALIZATIONS)}
    if options["reads"] != "vectors" and draw(st.sampled_from((False, False, True))):
        return {"type": "dipole", "atomic": draw(st.booleans()), **options}
    shapes = ("vector",) if options["reads"] == "vectors" else ("scalar", "vector", "tensor")
    per, shape = draw(st.sampled_from(("structure", "atom"))), draw(st.sampled_from(shapes))
    if per == "structure":
        options["reduce"] = draw(st.sampled_from(("sum", "mean")))
    return {"type": "property", "per": per, "shape": shape, **options}
