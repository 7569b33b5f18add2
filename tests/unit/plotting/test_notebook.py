"""Values in notebooks: short text, and HTML in which all text is escaped."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
import torch
from ase.build import bulk, molecule
from potentials import REFERENCES

from gemnet_blocks import Prediction, Structures
from gemnet_blocks.graph import build_graphs
from gemnet_blocks.plotting.notebook import html
from gemnet_blocks.potential import Potential
from gemnet_blocks.spec import Spec, build, load_spec
from gemnet_blocks.util.html import ROWS, table

VOID = ("rect", "path", "circle", "line", "br", "polygon", "polyline")


class Elements(HTMLParser):
    """The elements and the text of HTML whose tags must match."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.text = ""
        self.page = ""
        self._open: list[str] = []
        self.feed(content)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.page += dict(attrs).get("srcdoc") or ""
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


STRUCTURES = Structures.from_ase([bulk("Cu"), molecule("CH3OH")])
HOSTILE = "<script>alert('&')</script>"


def small(**changes: Any) -> Spec:
    shallow = {"interactions.quadruplet": None, "blocks.count": 1, "sizes.atom": 8, "sizes.edge": 8}
    return load_spec("symmetric", {**shallow, **changes})


def test_specs_show_their_sections_and_their_drawing() -> None:
    spec = small()
    found = Elements(spec._repr_html_())
    assert {"details", "summary", "pre", "svg"} <= set(found.names)
    assert "interactions: triplet, atom_edge, edge_atom, atom_atom" in found.text
    assert "cutoff: 4.5" in found.text
    assert repr(spec) == str(spec) == f"Spec(triplet, atom_edge, edge_atom, atom_atom; {spec.content_hash[:12]})"


def test_differences_of_specs() -> None:
    spec = small()
    difference = spec.diff(spec.patch({"sizes.edge": 12, "interactions.atom_atom": None}))
    assert [change.path for change in difference] == ["sizes.edge", "interactions.atom_atom"]
    assert repr(difference).startswith("sizes.edge: 8 → 12\ninteractions.atom_atom: {type: atom_atom")
    found = Elements(difference._repr_html_())
    assert "2 fields differ" in found.text
    assert "svg" in found.names
    assert repr(spec.diff(spec)) == "no field differs"
    assert "No field differs" in Elements(spec.diff(spec)._repr_html_()).text
    assert not spec.diff(spec)


def test_parts_that_cannot_be_built_are_only_text() -> None:
    spec = small(**{"interactions.far": {"type": HOSTILE}})
    for value in (spec, small().diff(spec)):
        found = Elements(value._repr_html_())
        assert HOSTILE in found.text
        assert not {"script", "svg"} & set(found.names)
        assert "the model cannot be built" in found.text


def test_models_structures_predictions_graphs_and_estimates() -> None:
    model = build(small(), seed=0)
    potential = Potential(model, small(), REFERENCES)
    prediction = potential(STRUCTURES)
    graphs = build_graphs(STRUCTURES, {"near": {"cutoff": 3.0}, HOSTILE: {"cutoff": 2.0}})
    parameters = sum(parameter.numel() for parameter in model.parameters())
    shown: list[tuple[Any, str]] = [
        (model, f"{parameters:,} parameters"),
        (potential, "atomic reference energies"),
        (STRUCTURES, "CH4O"),
        (prediction, f"{prediction.energy[0].item():.6f}"),
        (graphs, "near: 42 edges, 6.0 neighbors per atom (5 to 12)"),
        (model.estimate(STRUCTURES), "GFLOP"),
    ]
    for value, text in shown:
        found = Elements(value._repr_html_())
        assert text in found.text
        assert "script" not in found.names
        assert "\n" not in repr(value)
        assert len(repr(value)) < 200
    assert HOSTILE in Elements(graphs._repr_html_()).text
    assert "X3D" in Elements(STRUCTURES._repr_html_()).page


def test_empty_and_odd_batches_are_shown() -> None:
    nothing = Structures.from_ase([])
    assert "0 structures" in Elements(nothing._repr_html_()).text
    assert "0 edges of main" in Elements(build_graphs(nothing, {"main": {"cutoff": 3.0}})._repr_html_()).text
    unknown = replace(STRUCTURES, numbers=torch.full_like(STRUCTURES.numbers, 200))
    assert "iframe" not in Elements(unknown._repr_html_()).names
    several = Structures.from_ase([bulk("Cu")] * (ROWS + 3))
    assert "… and 3 more" in Elements(several._repr_html_()).text
    empty = Prediction(torch.zeros(0), torch.zeros(0, 3))
    assert repr(empty) == "Prediction(energy (0,), forces (0, 3))"
    Elements(empty._repr_html_())


def test_tables_escape_and_count() -> None:
    found = Elements(table(("a", HOSTILE), [(HOSTILE, "1")] * (ROWS + 2)))
    assert found.text.count(HOSTILE) == ROWS + 1
    assert "… and 2 more" in found.text
    with pytest.raises(TypeError, match="expected a spec, model, structures"):
        html(3)
