"""HTML of specs, models, structures, graphs, predictions and estimates in notebooks."""

from __future__ import annotations

from collections import defaultdict
from functools import singledispatch
from io import StringIO
from typing import Any

import torch
from ase.data import chemical_symbols
from ase.formula import Formula
from ase.io.x3d import write_x3d
from torch import Tensor

from gemnet_blocks.errors import SpecError
from gemnet_blocks.geometry.graphs import Graphs
from gemnet_blocks.model.costs import Estimate
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.summary import Layer, execution, layers, parameter_count
from gemnet_blocks.plotting.diagram import draw_architecture
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.spec.difference import SpecDifference
from gemnet_blocks.spec.document import dump
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.spec.schema import SpecFields
from gemnet_blocks.structures import Prediction, Structures, to_ase
from gemnet_blocks.util.html import ROWS, bars, block, collapsible, listing, page, table

LARGEST_VIEW = 500
"""Number of atoms up to which a structure has a view in three dimensions."""


@singledispatch
def html(value: Any) -> str:
    """Show a value as HTML in which all text is escaped."""
    raise TypeError(f"expected a spec, model, structures, graphs, prediction or estimate, got {type(value).__name__}")


@html.register
def _(spec: Spec) -> str:
    sections = [
        collapsible(f"{name}: {', '.join(entry)}", listing(dump({name: entry})))
        if isinstance(entry, dict) and entry
        else listing(dump({name: entry}).rstrip())
        for name, entry in spec.to_dict().items()
    ]
    return block(f"Spec {spec.content_hash[:12]}", *sections, _drawing(spec))


@html.register
def _(difference: SpecDifference) -> str:
    rows = [(change.path, change.old, change.new) for change in difference]
    if not rows:
        return block("No field differs")
    title = f"{len(rows)} {'field differs' if len(rows) == 1 else 'fields differ'}"
    return block(title, table(("field", "old", "new"), rows, words=3), _drawing(difference.new, difference.old))


@html.register
def _(model: GemNet) -> str:
    headings = ("layer", "kind", "reads", "writes", "×", "parameters")
    parts: defaultdict[str, list[Layer]] = defaultdict(list)
    for layer in layers(model):
        parts[layer.part].append(layer)
    sections = []
    for part, of_part in parts.items():
        rows = [(one.name, one.kind, one.reads, one.writes, str(one.count), f"{one.parameters:,}") for one in of_part]
        count = sum(one.parameters for one in of_part)
        title = f"{part}: {count:,} parameters" if count else part
        sections.append(collapsible(title, table(headings, rows, words=4)))
    computed = collapsible("computation", table(("", ""), list(execution(model).items()), words=2))
    return block(f"GemNet with {parameter_count(model):,} parameters", *sections, computed)


@html.register
def _(potential: Potential) -> str:
    references = potential.references
    rows = [(chemical_symbols[number], f"{energy:.6f}") for number, energy in references.per_element.items()]
    normalization = f"scale {references.scale:.6g} eV, offset {references.offset:.6g} eV"
    energies = collapsible("atomic reference energies", table(("element", "eV"), rows)) if rows else ""
    return block(f"Potential: {potential.meaning} energies in eV; {normalization}", energies, html(potential.model))


@html.register
def _(structures: Structures) -> str:
    rows = []
    for index in range(min(len(structures), ROWS)):
        one = structures[index].to("cpu")
        periodic = "".join(axis for axis, flag in zip("abc", one.periodic[0].tolist(), strict=True) if flag) or "–"
        states = [str(int(value)) if value is not None else "–" for value in (one.charge, one.spin)]
        rows.append((str(index), _formula(one.numbers), periodic, str(one.atom_count), *states))
    more = f"<p>… and {len(structures) - ROWS:,} more</p>" if len(structures) > ROWS else ""
    headings = ("structure", "formula", "periodic along", "atoms", "charge", "multiplicity")
    return block(repr(structures), table(headings, rows, words=3), more, _view(structures))


@html.register
def _(graphs: Graphs) -> str:
    sections = []
    for name, edges in graphs.edge_sets.items():
        degrees = edges.degree.detach().cpu()
        summary = f"{name}: {edges.count:,} edges"
        if len(degrees):
            mean, low, high = float(degrees.double().mean()), int(degrees.min()), int(degrees.max())
            summary += f", {mean:.1f} neighbors per atom ({low} to {high})"
        picture = bars(torch.bincount(degrees, minlength=1).tolist(), f"numbers of neighbors in {name}")
        sections.append(collapsible(summary, f"<p>atoms by number of neighbors, from 0:</p>{picture}", opened=True))
    return block(repr(graphs), *sections)


@html.register
def _(prediction: Prediction) -> str:
    energies = prediction.energy.detach().cpu().tolist()
    shown = table(("structure", "energy"), [(str(index), f"{one:.6f}") for index, one in enumerate(energies)])
    facts = []
    if prediction.forces is not None and len(prediction.forces):
        norms = prediction.forces.detach().norm(dim=-1)
        facts.append(("mean |force|, largest |force|", f"{float(norms.mean()):.4f}, {float(norms.max()):.4f}"))
    others: dict[str, Tensor | None] = {"stress": prediction.stress, "atom energies": prediction.atom_energies}
    for name, value in {**others, **prediction.properties}.items():
        if value is not None:
            facts.append((name, " × ".join(map(str, value.shape)) + " numbers"))
    return block(repr(prediction), shown, table(("further results", ""), facts) if facts else "")


@html.register
def _(estimate: Estimate) -> str:
    rows = [
        (part.name, f"{part.flops / 1e9:,.3f}", f"{part.peak_bytes / 1e6:,.1f}", f"{part.held_bytes / 1e6:,.1f}")
        for part in estimate.parts
    ]
    counts = table(("in the batch", ""), [(name, f"{count:,}") for name, count in estimate.counts.items()])
    parts = table(("part", "GFLOP", "MB in use", "MB at the peak"), rows)
    return block(repr(estimate), counts, collapsible("parts", parts, opened=True))


def _drawing(spec: SpecFields, against: SpecFields | None = None) -> str:
    assert isinstance(spec, Spec)
    assert against is None or isinstance(against, Spec)
    try:
        drawn = draw_architecture(spec, against).content("svg").decode()
    except SpecError as error:
        return collapsible("drawing", listing(f"the model cannot be built: {error}"))
    return collapsible("drawing", drawn)


def _formula(numbers: Tensor) -> str:
    from ase.symbols import Symbols

    known = numbers[(numbers >= 0) & (numbers < 119)]  # others are refused by models
    return str(Formula(str(Symbols(known.numpy()))).format("hill")) if len(known) else "–"


def _view(structures: Structures) -> str:
    """A view of the first structure in three dimensions by ASE, whose script is loaded when the reader opens it."""
    if not len(structures):
        return ""
    first = structures[0]
    if not 0 < first.atom_count <= LARGEST_VIEW or int(first.numbers.max()) > 118:
        return ""
    written = StringIO()
    write_x3d(written, to_ase(first)[0], format="X3DOM", style={"width": "400px", "height": "300px"})
    return collapsible("structure 0 in three dimensions", page(written.getvalue(), "320px", scripts=True))
