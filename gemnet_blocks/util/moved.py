"""Imports of modules by their names in earlier versions, with a deprecation warning."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGE = "gemnet_blocks"

MOVED: Mapping[str, tuple[str, ...]] = {
    "ablation.learners": ("ablation.learner",),
    "angular": (),
    "angular.angular_sum": ("aggregation.angular_sum", "aggregation.method"),
    "batches": ("structures",),
    "basis.geometry": ("layers.projection", "layers.radial_bases"),
    "blocks": (),
    "blocks.activations": ("layers.activations",),
    "blocks.atom_atom": ("interactions.atom_atom",),
    "blocks.atom_edge": ("interactions.triplet",),
    "blocks.atom_embedding": ("layers.embeddings",),
    "blocks.block": ("model.block",),
    "blocks.dense": ("layers.dense", "layers.residual"),
    "blocks.edge_atom": ("interactions.triplet",),
    "blocks.edge_embedding": ("layers.embeddings",),
    "blocks.interaction": ("interactions.interaction",),
    "blocks.message": ("interactions.message",),
    "blocks.output": ("model.readout",),
    "blocks.quadruplet": ("interactions.quadruplet",),
    "blocks.read_out": ("model.readout",),
    "blocks.summed": ("model.readout",),
    "blocks.triplet": ("interactions.triplet",),
    "blocks.triplet_sum": ("interactions.triplet",),
    "blocks.update": ("model.block",),
    "data.edge_counts": ("data.neighbor_cache",),
    "demo": ("examples", "cli.demo"),
    "estimate": ("model.estimate",),
    "frames": ("util.ase_io",),
    "gemnet_oc": ("published.gemnet_oc",),
    "gemnet_t": ("published.gemnet_t",),
    "graph.angles": ("geometry.angles",),
    "graph.caps": ("graph.max_neighbors",),
    "graph.edge_sets": ("graph.builder",),
    "graph.edges": ("geometry.edges",),
    "graph.neighbors": ("graph.neighbor_list",),
    "graph.soft_caps": ("graph.max_neighbors",),
    "heads": ("model.heads",),
    "initialization": ("layers.initialization",),
    "model_file": ("potential.model_file",),
    "plotting.neighbors": ("plotting.edge_sets",),
    "precision": ("util.precision",),
    "references": ("potential.references", "training.references"),
    "relaxation": ("calculator.relaxation",),
    "sample_data": ("examples",),
    "scaling": ("layers.scaling", "model.scale_fitting"),
    "skin": ("graph.verlet_list",),
    "strain": ("structures",),
    "summary": ("model.summary",),
    "sums": ("aggregation.scatter",),
    "terminal": ("cli.tables",),
    "timing": ("model.profiler",),
    "torchsim": ("calculator.torchsim",),
    "trunk": ("model.gemnet",),
}
"""The modules that contain the names of each earlier module; empty for folders."""


class _Finder(MetaPathFinder, Loader):
    """Finder of modules by their earlier names, which is last in the search path."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        name = fullname.removeprefix(f"{PACKAGE}.")
        if name == fullname or name not in MOVED:
            return None
        return ModuleSpec(fullname, self, is_package=not MOVED[name])

    def exec_module(self, module: ModuleType) -> None:
        """Make the module look up its attributes in their present modules."""
        name = module.__name__.removeprefix(f"{PACKAGE}.")

        def __getattr__(attribute: str) -> Any:  # noqa: N807
            for place in MOVED[name]:
                now = importlib.import_module(f"{PACKAGE}.{place}")
                if not attribute.startswith("__") and hasattr(now, attribute):
                    warnings.warn(
                        f"{module.__name__}.{attribute} has moved: import it from {now.__name__}",
                        DeprecationWarning,
                        stacklevel=2,
                    )
                    return getattr(now, attribute)
            raise AttributeError(f"module {module.__name__!r} has no attribute {attribute!r}")

        module.__getattr__ = __getattr__  # type: ignore[method-assign]


def find_moved_modules() -> None:
    """Make Python find modules by their earlier names."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
