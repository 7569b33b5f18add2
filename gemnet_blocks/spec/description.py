"""Descriptions of architectures for papers: a paragraph, equations, a table of sizes and citations."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sympy

from gemnet_blocks.basis import symbolic
from gemnet_blocks.basis.radial import spherical_bessel_zeros
from gemnet_blocks.graph.builder import MAIN, EdgeSetOptions
from gemnet_blocks.model.heads import GradientForcesOptions
from gemnet_blocks.model.short_range import REACH
from gemnet_blocks.spec.catalog import CIRCULAR, ENVELOPE, INTERACTION, RADIAL, SPHERICAL
from gemnet_blocks.spec.references import REFERENCES, Reference
from gemnet_blocks.spec.schema import SpecFields
from gemnet_blocks.util.latex import escaped

X, Z, PHI, THETA = sympy.Symbol("x"), sympy.Symbol("z"), sympy.Symbol("varphi"), sympy.Symbol("theta")
"""The arguments of basis functions: x = d/cutoff, z = cos φ, and the angles φ and θ."""

SHOWN = 3
"""The number of functions of each basis that are printed with the numbers of the spec."""


@dataclass(frozen=True, slots=True)
class Equation:
    """An equation of a description.

    Attributes:
        name: the part that it defines, such as "radial basis" or "triplet interaction".
        latex: the equation in LaTeX, without delimiters; for a basis, followed by its first functions.
        functions: all functions of a basis as expressions of x, z, φ and θ; empty for interactions and custom parts.
    """

    name: str
    latex: str
    functions: tuple[sympy.Expr, ...] = ()


@dataclass(frozen=True, slots=True)
class Description:
    """The description of an architecture.

    Attributes:
        sentences: the paragraph for a methods section, in which [key] cites a reference.
        equations: those of the bases and interactions of the spec.
        sizes: the rows of the table of sizes.
        references: the cited papers by key.
    """

    sentences: tuple[str, ...]
    equations: tuple[Equation, ...]
    sizes: Mapping[str, str]
    references: Mapping[str, Reference]

    def markdown(self) -> str:
        """Return the description as Markdown with equations in LaTeX."""
        parts = [" ".join(self.sentences)]
        for one in self.equations:
            title = f"**{one.name[:1].upper()}{one.name[1:]}**"
            parts.append(f"{title}\n\n$$\\begin{{gathered}}\n{one.latex}\n\\end{{gathered}}$$")
        rows = [f"| {name} | {value} |" for name, value in self.sizes.items()]
        parts.append("\n".join(["| quantity | value |", "|---|---|", *rows]))
        parts.append("\n".join(f"- [{key}] {one.text}" for key, one in self.references.items()))
        return "\n\n".join(part.rstrip() for part in parts) + "\n"

    def latex(self) -> str:
        """Return the description as LaTeX for a document with amsmath and booktabs."""
        parts = [re.sub(r"\[(\w+)\]", r"\\cite{\1}", escaped(" ".join(self.sentences)))]
        for one in self.equations:
            parts.append(f"% {one.name}\n\\begin{{gather*}}\n{one.latex}\n\\end{{gather*}}")
        rows = [f"  {escaped(name)} & {escaped(value)} \\\\" for name, value in self.sizes.items()]
        head = "\\begin{tabular}{ll}\n  \\toprule\n  quantity & value \\\\\n  \\midrule"
        parts.append("\n".join([head, *rows, "  \\bottomrule\n\\end{tabular}"]))
        return "\n\n".join(parts) + "\n"

    def bibtex(self) -> str:
        """Return the cited papers as BibTeX entries."""
        return "\n".join(one.bibtex(key) for key, one in self.references.items())

    def _repr_markdown_(self) -> str:
        return self.markdown()


def describe(spec: SpecFields, parameters: int | None = None) -> Description:
    """Describe an architecture for a paper.

    Args:
        spec: the architecture.
        parameters: its number of parameters, for the table of sizes; None to leave it out.
    """
    sentences = (*_family(spec), *_graphs(spec), *_bases(spec), *_interactions(spec), *_outputs(spec))
    equations = (*_basis_equations(spec), *_interaction_equations(spec))
    keys = dict.fromkeys(re.findall(r"\[(\w+)\]", " ".join(sentences)))
    return Description(sentences, equations, _sizes(spec, parameters), {key: REFERENCES[key] for key in keys})


# -- sentences --------------------------------------------------------------------------------------------------------


def _family(spec: SpecFields) -> Iterator[str]:
    count = len(spec.block_layers)
    yield (
        f"The model is a graph network of the layers of GemNet-OC [gasteiger2022] with {_number(count, 'block')}."
        if spec.edge_embedding
        else f"The model is a graph network with {_number(count, 'block')} and no embeddings of edges."
    )
    embedded = f"Atoms have embeddings of {spec.sizes.atom} features"
    yield embedded + (f" and edges have embeddings of {spec.sizes.edge}." if spec.edge_embedding else ".")
    for state in sorted(spec.reads):
        yield f"The total {state} of each structure is embedded and added to its atoms."
    for name, stream in spec.all_streams().items():
        yield f"The stream {name} holds features with irreps {stream.irreps} on {stream.on} [geiger2022]."


def _graphs(spec: SpecFields) -> Iterator[str]:
    used = spec.graphs_in_use()
    for name, options in spec.graphs.items():
        if name in used:
            yield _edge_set(name, options, spec)


def _edge_set(name: str, options: EdgeSetOptions, spec: SpecFields) -> str:
    text = f"The edge set {name} connects atoms within {options.cutoff:g} Å"
    if options.within is not None:
        text += f" that are connected in {options.within}"
    if options.max_neighbors is not None:
        text += f", at most the {options.max_neighbors} nearest neighbors of each atom{_TIES[spec.neighbors.ties]}"
    if options.tags is not None:
        text += f", if one of them has a tag among {', '.join(map(str, options.tags))}"
    if options.symmetrize is not None:
        text += f"; {_SYMMETRIZED[options.symmetrize]}"
    return f"{text}."


_TIES: Mapping[str, str] = {
    "strict": "",
    "inclusive": " and those as far as the last one",
    "inclusive_next": " and those as far as the next one",
    "smooth": ", the farthest of which fade out",
}
_SYMMETRIZED: Mapping[str, str] = {
    "union": "the reverse of every edge is added",
    "lower_index": "edges from the atom of lower index are kept and reversed",
}


_BASIS_WORDS: Mapping[str, str] = {
    "gaussian": "{count} Gaussians",
    "spherical_bessel": "{count} spherical Bessel functions with trainable frequencies [gasteiger2020]",
    "bernstein": "{count} Bernstein polynomials [unke2021]",
    "fourier_bessel": "{count} spherical Bessel functions of each degree [gasteiger2020]",
    "polynomial": "a polynomial envelope of exponent {exponent} [gasteiger2020]",
    "exponential": "an exponential envelope [unke2021]",
    "legendre": "{count} Legendre polynomials",
    "legendre_outer": "outer products of {count} and {count} Legendre polynomials [gasteiger2022]",
    "gaussian_outer": "outer products of {count} and {count} Gaussians [gasteiger2022]",
    "real_harmonics": "real spherical harmonics of degrees below {count} [gasteiger2021]",
}


def _words(options: Any) -> str:
    """Describe a basis; a custom one by its type."""
    template = _BASIS_WORDS.get(options.type)
    return template.format_map(options.model_dump()) if template else f"functions of the type {options.type}"


def _bases(spec: SpecFields) -> Iterator[str]:
    bases = spec.bases
    yield f"Distances are expanded in {_words(bases.radial)}, multiplied by {_words(bases.envelope)}."
    if bases.angular_radial is not None and _over_angles(spec):
        yield f"Next to functions of angles, they are expanded in {_words(bases.angular_radial)}."
    if _over_angles(spec):
        yield f"Angles are expanded in {_words(bases.circular)}."
    if bases.spherical is not None and _has(spec, "quadruplet"):
        yield f"Angles and dihedral angles are expanded in {_words(bases.spherical)}."


_INTERACTION_WORDS: Mapping[str, str] = {
    "triplet": "triplet interaction: edges receive messages from the edges into their target atom [gasteiger2021]",
    "quadruplet": "quadruplet interaction: edges receive messages from edges two steps away [gasteiger2021]",
    "atom_edge": "atom-edge interaction: edges receive messages from atoms [gasteiger2022]",
    "edge_atom": "edge-atom interaction: atoms receive messages from edges [gasteiger2022]",
    "atom_atom": "atom-atom interaction: atoms receive messages from atoms [gasteiger2022]",
    "painn": "interaction of PaiNN: atoms exchange scalars and vectors [schutt2021]",
    "tensor_product": "interaction of NequIP: atoms exchange equivariant features by tensor products [batzner2022]",
}


def _interactions(spec: SpecFields) -> Iterator[str]:
    for name, options in spec.interactions.items():
        kind = options.type  # type: ignore[attr-defined]
        text = _INTERACTION_WORDS.get(kind, f"interaction of the type {kind}")
        named = "" if name == kind else f" ({name})"
        widths = {field: getattr(options, field, None) for field in _WIDTHS}
        details = [f"{width} features {_WIDTHS[field]}" for field, width in widths.items() if width]
        sizes = f", with {' and '.join(details)}" if details else ""
        graph = getattr(options, "graph", None)
        reads = f" on the edge set {graph}" if graph else ""
        yield f"{_which_blocks(getattr(options, 'blocks', 'all'))} one {text}{named}{reads}{sizes}."
        yield from _own_bases(name, spec)


def _which_blocks(blocks: Any) -> str:
    if isinstance(blocks, str):
        return "Every block has" if blocks == "all" else f"The {blocks} block has"
    named = " and ".join(str(index) for index in blocks)
    return f"Block {named} (from 0) has" if len(blocks) == 1 else f"Blocks {named} (from 0) each have"


def _own_bases(name: str, spec: SpecFields) -> Iterator[str]:
    bases = spec.bases_of(name)
    fields = {"radial": "Distances", "circular": "Angles", "spherical": "Angles and dihedral angles"}
    for field, quantity in fields.items():
        own = getattr(bases, field)
        if own is not None and own != getattr(spec.bases, field):
            yield f"{quantity} are expanded in {_words(own)} in it."


_WIDTHS = {"down": "that are summed", "up": "after the sum"}


def _outputs(spec: SpecFields) -> Iterator[str]:
    yield (
        f"The energy is the {spec.heads.energy.reduce} of atomic energies"
        f"{' from all blocks' if spec.readout.type != 'atoms' else ''}."  # type: ignore[attr-defined]
    )
    if spec.heads.energy.short_range is not None:
        yield (
            f"Atoms that are nearer than the sum of {REACH:g} times their covalent radii (of hydrogen, the covalent "
            "radius) repel each other by the potential of Ziegler, Biersack and Littmark, which is added to atomic "
            "energies."
        )
    forces = spec.heads.forces
    if forces is None:
        yield "Forces are not predicted."
    elif isinstance(forces, GradientForcesOptions):
        yield "Forces are the negative gradient of the energy with respect to the positions."
    else:
        yield "Forces are predicted directly from edge embeddings, as sums of vectors along the edges."
    for name, kind in spec.heads.kinds().items():
        yield f"A further head predicts {name}, a {kind.shape} of each {kind.per}."


def _has(spec: SpecFields, *kinds: str) -> bool:
    return any(options.type in kinds for options in spec.interactions.values())  # type: ignore[attr-defined]


def _over_angles(spec: SpecFields) -> bool:
    return _has(spec, "triplet", "quadruplet", "atom_edge", "edge_atom")


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


# -- equations --------------------------------------------------------------------------------------------------------


def _basis_equations(spec: SpecFields) -> Iterator[Equation]:
    bases, cutoff = spec.bases, spec.graphs[MAIN].cutoff
    yield _basis("envelope", ENVELOPE, bases.envelope, cutoff, spec)
    yield _basis("radial basis", RADIAL, bases.radial, cutoff, spec)
    if _over_angles(spec):
        if bases.angular_radial is not None:
            yield _basis("radial basis next to functions of angles", RADIAL, bases.angular_radial, cutoff, spec)
        yield _basis("circular basis", CIRCULAR, bases.circular, cutoff, spec)
    if bases.spherical is not None and _has(spec, "quadruplet"):
        yield _basis("spherical basis", SPHERICAL, bases.spherical, cutoff, spec)


def _basis(name: str, kind: str, options: Any, cutoff: float, spec: SpecFields) -> Equation:
    """Return the equation of a basis and the functions with the numbers of the spec, the first of which are printed."""
    make = _FUNCTIONS.get((kind, options.type))
    functions = tuple(make(options, cutoff)) if make else ()
    shown = ", \\qquad ".join(sympy.latex(_inside(one)) for one in functions[:SHOWN])
    general = _equation(spec.catalog.find(kind, options.type))
    more = r", \quad \dots" if len(functions) > SHOWN else ""
    return Equation(name, " \\\\\n".join(part for part in (general, shown + more) if part), functions)


def _inside(function: sympy.Expr) -> sympy.Expr:
    """Return a function of the distance inside the cutoff, beyond which envelopes are zero."""
    return function.args[0][0] if isinstance(function, sympy.Piecewise) else function


def _zeros(degree: int, count: int) -> list[float]:
    return [float(zero) for zero in spherical_bessel_zeros(degree, count)]


def _gaussians(count: int, x: sympy.Expr) -> list[sympy.Expr]:
    return [symbolic.gaussian(k, count, x, low=-1) for k in range(count)]


_FUNCTIONS: Mapping[tuple[str, str], Callable[[Any, float], Iterable[sympy.Expr]]] = {
    (ENVELOPE, "polynomial"): lambda o, c: [symbolic.polynomial_envelope(o.exponent, X)],
    (ENVELOPE, "exponential"): lambda o, c: [symbolic.exponential_envelope(X)],
    (RADIAL, "gaussian"): lambda o, c: [symbolic.gaussian(k, o.count, X) for k in range(o.count)],
    (RADIAL, "spherical_bessel"): lambda o, c: [
        symbolic.spherical_bessel(n, sympy.nsimplify(c), X) for n in range(1, o.count + 1)
    ],
    (RADIAL, "bernstein"): lambda o, c: [
        symbolic.bernstein(k, o.count, symbolic.softplus(sympy.nsimplify(o.gamma_raw)), X) for k in range(o.count)
    ],
    (RADIAL, "fourier_bessel"): lambda o, c: [
        symbolic.fourier_bessel(0, zero, sympy.nsimplify(c), X) for zero in _zeros(0, o.count)
    ],
    (CIRCULAR, "legendre"): lambda o, c: [symbolic.zonal_harmonic(degree, Z) for degree in range(o.count)],
    (CIRCULAR, "gaussian"): lambda o, c: _gaussians(o.count, Z),
    (SPHERICAL, "legendre_outer"): lambda o, c: [
        symbolic.legendre_outer(i, k, PHI, THETA) for i in range(o.count) for k in range(o.count)
    ],
    (SPHERICAL, "gaussian_outer"): lambda o, c: [
        symbolic.gaussian_outer(i, k, o.count, PHI, THETA) for i in range(o.count) for k in range(o.count)
    ],
    (SPHERICAL, "real_harmonics"): lambda o, c: [
        symbolic.real_harmonic(degree, m, PHI, THETA) for degree, m in symbolic.harmonic_orders(o.count)
    ],
}
"""The functions of each basis, in the order of the columns of the basis; of all degrees, the first."""


def _interaction_equations(spec: SpecFields) -> Iterator[Equation]:
    """Yield each equation once, with the kinds of interactions that have it."""
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    for kind in dict.fromkeys(options.type for options in spec.interactions.values()):  # type: ignore[attr-defined]
        kinds[_equation(spec.catalog.find(INTERACTION, kind))].append(kind.replace("_", "-"))
    for equation, names in kinds.items():
        if equation:
            yield Equation(f"{', '.join(names)} interaction{'s' if len(names) > 1 else ''}", equation)


def _equation(part: type | None) -> str:
    """Return the displayed equations in the docstring of a class, or of the base class that has one."""
    for one in () if part is None else part.__mro__:
        blocks = re.findall(r"\$\$(.+?)\$\$", vars(one).get("__doc__") or "", re.DOTALL)
        if blocks:
            lines = (" ".join(block.split()).rstrip(",.").replace(r"\\\\", r"\\\\ ") for block in blocks)
            return " \\\\\n".join(_in_latex(line) for line in lines)
    return ""


_SYMBOLS: Mapping[str, str] = {
    "⊙": r"\odot", "⊗": r"\otimes", "→": r"\to", "⟨": r"\langle", "⟩": r"\rangle", "φ": r"\varphi", "θ": r"\theta",
    "Δ": r"\Delta", "Σ": r"\sum", "·": r"\cdot", "₁": "_1", "₂": "_2", "π": r"\pi", "γ": r"\gamma", "σ": r"\sigma",
}  # fmt: skip
"""The LaTeX commands of characters in docstrings."""


def _in_latex(text: str) -> str:
    return "".join(f"{_SYMBOLS[character]} " if character in _SYMBOLS else character for character in text)


# -- sizes ------------------------------------------------------------------------------------------------------------


def _sizes(spec: SpecFields, parameters: int | None) -> dict[str, str]:
    rows = {"blocks": str(len(spec.block_layers)), "atom embedding": str(spec.sizes.atom)}
    if spec.edge_embedding:
        rows["edge embedding"] = str(spec.sizes.edge)
    rows |= {f"stream {name}": stream.irreps for name, stream in spec.all_streams().items()}
    for name, options in spec.interactions.items():
        values = options.model_dump(include={*_WIDTHS, "size", "degree"}, exclude_none=True)
        if values:
            rows[f"{name} interaction"] = ", ".join(f"{field} {value}" for field, value in values.items())
    used = spec.graphs_in_use()
    for name, graph in spec.graphs.items():
        if name in used:
            most = "" if graph.max_neighbors is None else f", at most {graph.max_neighbors} neighbors"
            rows[f"edge set {name}"] = f"{graph.cutoff:g} Å{most}"
    if parameters is not None:
        rows["parameters"] = f"{parameters:,}"
    return rows
