"""The kinds of parts in a spec, and the classes behind their names.

To add a part to the library, write its class with its options and append a line here.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from gemnet_blocks.basis import circular, envelopes, fourier_bessel, radial, spherical
from gemnet_blocks.errors import SpecError, told
from gemnet_blocks.interactions.atom_atom import AtomAtomInteraction
from gemnet_blocks.interactions.interaction import Interaction, InteractionOptions
from gemnet_blocks.interactions.painn import PaiNNInteraction
from gemnet_blocks.interactions.quadruplet import QuadrupletInteraction
from gemnet_blocks.interactions.tensor_product import TensorProductInteraction
from gemnet_blocks.interactions.triplet import AtomEdgeInteraction, EdgeAtomInteraction, TripletInteraction
from gemnet_blocks.layers.embeddings import AtomEmbedding, ElementEmbedding, PeriodicTableEmbedding
from gemnet_blocks.layers.stream_updates import GatedUpdate, NoUpdate, ResidualUpdate, StreamUpdate
from gemnet_blocks.model.atom_readout import AtomReadout
from gemnet_blocks.model.product_readout import SummedProductReadout
from gemnet_blocks.model.property_heads import Dipole, Property, PropertyHead, PropertyHeadOptions
from gemnet_blocks.model.readout import ConcatenatedReadout, Readout, SummedReadout
from gemnet_blocks.options import Options

INTERACTION, ATOM_EMBEDDING, RADIAL, ENVELOPE, CIRCULAR, SPHERICAL, READOUT, STREAM_UPDATE, HEAD = (
    "interaction",
    "atom embedding",
    "radial basis",
    "envelope",
    "circular basis",
    "spherical basis",
    "readout",
    "stream update",
    "head",
)

BASE_CLASSES: Mapping[str, type] = {
    INTERACTION: Interaction,
    ATOM_EMBEDDING: AtomEmbedding,
    RADIAL: radial.RadialBasis,
    ENVELOPE: envelopes.Envelope,
    CIRCULAR: circular.CircularBasis,
    SPHERICAL: spherical.SphericalBasis,
    READOUT: Readout,
    STREAM_UPDATE: StreamUpdate,
    HEAD: PropertyHead,
}

BUILT_IN: Mapping[str, Mapping[str, Any]] = {
    INTERACTION: {
        "triplet": TripletInteraction,
        "quadruplet": QuadrupletInteraction,
        "atom_edge": AtomEdgeInteraction,
        "edge_atom": EdgeAtomInteraction,
        "atom_atom": AtomAtomInteraction,
        "painn": PaiNNInteraction,
        "tensor_product": TensorProductInteraction,
    },
    ATOM_EMBEDDING: {"element": ElementEmbedding, "periodic_table": PeriodicTableEmbedding},
    RADIAL: {
        "gaussian": radial.Gaussian,
        "spherical_bessel": radial.SphericalBessel,
        "bernstein": radial.Bernstein,
        "fourier_bessel": fourier_bessel.FourierBessel,
    },
    ENVELOPE: {"polynomial": envelopes.Polynomial, "exponential": envelopes.Exponential},
    CIRCULAR: {"legendre": circular.Legendre, "gaussian": circular.Gaussian},
    SPHERICAL: {
        "legendre_outer": spherical.LegendreOuter,
        "gaussian_outer": spherical.GaussianOuter,
        "real_harmonics": spherical.RealHarmonics,
    },
    READOUT: {
        "concatenated": ConcatenatedReadout,
        "summed": SummedReadout,
        "summed_product": SummedProductReadout,
        "atoms": AtomReadout,
    },
    STREAM_UPDATE: {"none": NoUpdate, "residual": ResidualUpdate, "gated": GatedUpdate},
    HEAD: {"property": Property, "dipole": Dipole},
}


_BASE_OPTIONS: Mapping[type, type[Options]] = {Interaction: InteractionOptions, PropertyHead: PropertyHeadOptions}
"""Base classes of parts whose options have fields besides `type`."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """The built-in parts and the custom ones.

    Attributes:
        extra: custom classes by name, subclasses of the base classes.
        allow_imports: whether a type like `my_lab.blocks:GatedTriplet` may import code.
    """

    extra: Mapping[str, type] = field(default_factory=dict)
    allow_imports: bool = False

    def __post_init__(self) -> None:
        for name, part in self.extra.items():
            _check_own(f"extra[{name!r}]", name, part, tuple(BASE_CLASSES.values()))
            if any(name in BUILT_IN[kind] and issubclass(part, base) for kind, base in BASE_CLASSES.items()):
                raise SpecError(f"extra[{name!r}]: a built-in part has this name: choose another")

    def plus(self, extra: Mapping[str, type] | None, allow_imports: bool) -> Catalog:
        """Return the catalog with further custom classes."""
        return Catalog({**self.extra, **(extra or {})}, self.allow_imports or allow_imports)

    def find(self, kind: str, name: str) -> Any | None:
        """Return the class of a part, or None if the name is neither built in, passed nor allowed to be imported.

        Raises:
            SpecError: an import fails, or finds a class of another kind.
        """
        base = BASE_CLASSES[kind]
        part: Any = self.extra.get(name)
        if part is None and ":" in name and self.allow_imports:
            part = import_class(name)
            _check_own(name, name, part, (base,))
        if part is not None and issubclass(part, base):
            return part
        return BUILT_IN[kind].get(name)

    def names(self, kind: str) -> list[str]:
        """List the names of the parts of a kind."""
        extra = [name for name, part in self.extra.items() if issubclass(part, BASE_CLASSES[kind])]
        return list(dict.fromkeys((*BUILT_IN[kind], *extra)))

    def unknown(self, kind: str, name: str) -> str:
        """Describe a name that `find` does not know, for an error."""
        if ":" in name:
            return (
                f"{name} would import code from the module {name.partition(':')[0]}: if you trust the author of this "
                "file, allow it with `--allow-imports`, in Python with allow_imports=True; or pass the class with "
                f"extra={{{name!r}: ...}}"
            )
        for other, parts in BUILT_IN.items():
            if name in parts and other != kind:
                return f"{name!r} is of the kind {other}, not {kind}; known: {', '.join(self.names(kind))}"
        return (
            f"unknown {kind} {name!r} (for a custom class, write `type: module:Class` and allow imports, or pass "
            f"extra={{{name!r}: ...}}){did_you_mean(name, self.names(kind))}"
        )


def options_class(part: Any) -> type[Options]:
    """Return the options class of a part."""
    options: type[Options] = part.Options
    return options


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """End an error message with the most similar known name, or with all known names."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(known)}" if known else ""


def near(name: str, known: Iterable[str]) -> str:
    """End an error message with the most similar known name, or with nothing."""
    hint = did_you_mean(name, known)
    return hint if "did you mean" in hint else ""


def _check_own(place: str, name: str, part: Any, bases: tuple[type, ...]) -> None:
    """Check that a custom class can be used under a name, and raise an error that says what the class lacks."""
    if not isinstance(part, type) or not issubclass(part, bases):
        known = " or ".join(base.__name__ for base in bases)
        raise SpecError(f"{place} is {part!r}: expected a subclass of {known}")
    missing = sorted(getattr(part, "__abstractmethods__", ()))
    if missing:
        raise SpecError(f"{place}: the class {part.__name__} is abstract: implement {', '.join(missing)}")
    base = next((one for kind, one in _BASE_OPTIONS.items() if issubclass(part, kind)), Options)
    options = getattr(part, "Options", None)
    if not (isinstance(options, type) and issubclass(options, base) and "type" in options.model_fields):
        raise SpecError(
            f"{place}: the class {part.__name__} needs an attribute `Options`: a subclass of "
            f"{base.__module__}.{base.__name__} with a field `type: str`"
        )
    choices = get_args(options.model_fields["type"].annotation)
    if choices and name not in choices:
        raise SpecError(
            f"{place}: the field `type` of {options.__name__} takes {' or '.join(map(repr, choices))} only, not "
            f"{name!r}: declare it as `type: str`"
        )
    if issubclass(part, Interaction) and not _are_names(getattr(part, "writes", None)):
        raise SpecError(
            f"{place}: the class {part.__name__} needs an attribute `writes`, 'edges' or 'atoms' or the name of a "
            "feature stream, or a tuple of such names"
        )


def _are_names(writes: Any) -> bool:
    names = (writes,) if isinstance(writes, str) else writes
    named = isinstance(names, tuple) and bool(names) and all(isinstance(name, str) and name for name in names)
    return named and not {"edge", "atom"} & {*names}  # misspelled


def search_beside(path: Path) -> None:
    """Let Python import modules from the folder of a file and from the current folder.

    Both folders come last in the search path, so that their modules do not hide installed ones. The worker processes of
    a study inherit the search path.
    """
    for folder in (str(path.parent.resolve()), str(Path.cwd())):
        if folder not in sys.path:
            sys.path.append(folder)


def import_class(path: str) -> Any:
    """Import the class at `module:Class`.

    Raises:
        SpecError: the import fails.
    """
    module, _, name = path.partition(":")
    if module not in sys.modules:
        importlib.invalidate_caches()  # the module may have been written a moment ago
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # the imported code may raise anything
        absent = isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]
        hint = ": put it beside the file, in the current folder or on PYTHONPATH" if absent else ""
        raise SpecError(f"{path} cannot be imported: {told(error)}{hint}") from error
