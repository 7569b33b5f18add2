"""The models that properties are checked on, and ways to make several of them from one spec."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

from gemnet_blocks.aggregation.method import AngularMethod
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.spec import Spec, build, load_spec
from gemnet_blocks.spec.execution import Execution

CONFIGS = Path(__file__).parents[2] / "paper_configs"
INTERACTIONS = ("triplet", "quadruplet", "atom_edge", "edge_atom", "atom_atom")
SMALL = {
    "sizes": {"atom": 8, "edge": 10, "radial": 4, "circular": 3, "spherical": 4},
    "graphs": {
        "main": {"cutoff": 3.2},
        "atom": {"cutoff": 4.0},
        "atom_edge": {"cutoff": 3.4},
        "quad": {"cutoff": 2.9},
    },
    "bases": {"radial": {"count": 8}, "circular": {"count": 4}, "spherical": {"count": 3}},
    "blocks": {"count": 1, "before_skip": 1, "after_skip": 1, "concatenation": 1, "update": 1, "atom": 1},
    "interactions": {name: {"down": 5, "up": 6} for name in INTERACTIONS},
    "read_out": {"layers": 1, "after_atom": 1, "network": 1},
}
PUBLISHED_CAPS = {
    "graphs.atom": {"cutoff": 4.0, "max_neighbors": 40},
    "graphs.main": {"max_neighbors": 10},
    "graphs.atom_edge": {"max_neighbors": 8},
    "graphs.quad": {"max_neighbors": 4},
}
SMOOTH_CAPS = {
    "neighbors.ties": "smooth",
    "graphs.main.max_neighbors": 8,
    "graphs.atom": {"max_neighbors": 12},
    "graphs.atom_edge": {"max_neighbors": 6, "within": "atom"},
    "graphs.quad.max_neighbors": 3,
}
TIGHT_CAPS = {
    "neighbors.ties": "smooth",
    "graphs.main.max_neighbors": 2,
    "graphs.atom.max_neighbors": 2,
    "graphs.atom_edge": {"max_neighbors": 1, "within": "atom"},
    "graphs.quad.max_neighbors": 1,
}
"""Caps that bind in structures of a few atoms."""
INCLUSIVE_CAPS = SMOOTH_CAPS | {"neighbors.ties": "inclusive"}

PLANS: st.SearchStrategy[AngularMethod] = st.sampled_from(("factorized", "explicit"))
"""Sums over triplets and quadruplets in both ways."""


def symmetric_spec(**changes: Any) -> Spec:
    """symmetric.yaml with small sizes; `changes` as of `Spec.patch`."""
    return load_spec(CONFIGS / "symmetric.yaml", SMALL).patch(changes)


def published_spec(**changes: Any) -> Spec:
    """gemnet-oc.yaml with small sizes and cutoffs, with all rules of published models."""
    return load_spec(CONFIGS / "gemnet-oc.yaml", SMALL).patch(PUBLISHED_CAPS).patch(changes)


def gemnet_t_spec(**changes: Any) -> Spec:
    """gemnet-t.yaml with small sizes and cutoff, with all rules of published models."""
    small = {
        "sizes": SMALL["sizes"],
        "graphs.main": {"cutoff": 3.2, "max_neighbors": 10},
        "bases": SMALL["bases"],
        "blocks": {**SMALL["blocks"], "atom": 0},
        "interactions.triplet": {"down": 5, "up": 6},
        "read_out.layers": 1,
    }
    return load_spec(CONFIGS / "gemnet-t.yaml", small).patch(changes)


def alone(interaction: str) -> dict[str, Any]:
    """The change that leaves one interaction."""
    return {"interactions": {name: None for name in INTERACTIONS if name != interaction}}


@functools.cache
def model_of(spec: Spec, dtype: torch.dtype = torch.float64, plan: AngularMethod = "auto") -> GemNet:
    """The model of a spec, with scale factors of arbitrary values."""
    model = build(spec, seed=0, execution=Execution(angular=plan))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for module in model.modules():
            if isinstance(module, ScaleFactor):
                nn.init.uniform_(module.factor, 0.5, 1.5)
    return model.to(dtype)


def moderate(spec: Spec) -> Spec:
    """The spec without the activation x²σ(x), which layer after layer makes large numbers larger, up to infinity."""
    return spec.patch(activation="silu") if spec.activation == "siqu" else spec
