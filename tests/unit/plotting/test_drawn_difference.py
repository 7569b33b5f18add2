"""What one spec changes in another: fields, and marks in the drawing."""

from drawings import CONFIGS, SYMMETRIC, assert_drawn

from gemnet_blocks.plotting.architecture import read_architecture
from gemnet_blocks.plotting.diagram import draw_architecture
from gemnet_blocks.plotting.difference import compare, difference
from gemnet_blocks.spec import load_spec

BASE = SYMMETRIC


def marks(changes):
    new = BASE.patch(changes)
    found = difference(read_architecture(BASE), read_architecture(new), compare(BASE, new))
    assert_drawn(draw_architecture(new, BASE))
    return found


def test_no_difference():
    found = marks({})
    assert not found.marks
    assert not found.changes
    drawn = draw_architecture(BASE, BASE)
    assert "the same" in drawn.svg
    assert ">none<" in drawn.svg


def test_removed():
    found = marks({"interactions.quadruplet": None})
    assert found.marks["interactions.quadruplet"] == "removed"
    assert found.marks["projections of interactions.quadruplet"] == "removed"
    assert found.marks["bases.spherical"] == "removed"
    assert found.marks["graphs.quad"] == "changed"  # nothing reads it any more
    assert "interactions.triplet" not in found.marks
    (change,) = found.changes
    assert change.path == "interactions.quadruplet"
    fields = "graph: quad, down: 16, up: 16, scale_factor: true, symmetric: true"
    assert change.old == f"{{type: quadruplet, blocks: all, {fields}}}"
    assert change.new == "–"
    svg = draw_architecture(BASE.patch({"interactions.quadruplet": None}), BASE).svg
    assert ">removed<" in svg  # not only by colour
    assert "interactions.quadruplet: {type" in svg


def test_removed_nodes_stay_where_they_were():
    keys = [node.key for node in marks({"interactions.quadruplet": None}).nodes]
    assert keys == [node.key for node in read_architecture(BASE).nodes]


def test_added():
    found = marks({"interactions": {"second": {"type": "triplet", "down": 4, "up": 4}}})
    assert found.marks == {
        "interactions.second": "added",
        "projections of interactions.second": "added",
    }


def test_changed_fields_and_their_earlier_values():
    found = marks({"bases.radial.type": "spherical_bessel", "graphs.main.cutoff": 4.25})
    assert found.marks["bases.radial"] == "changed"
    assert found.marks["graphs.main"] == "changed"
    assert [str(change) for change in found.changes] == [
        "graphs.main.cutoff: 4.5 → 4.25",
        "bases.radial.type: gaussian → spherical_bessel",
        "bases.radial.trainable: false → –",
    ]
    svg = draw_architecture(BASE.patch({"graphs.main.cutoff": 4.25}), BASE).svg
    assert "before: up to 4.5 Å, symmetrized by union" in svg


def test_resized():
    found = marks({"sizes.edge": 32})
    assert found.marks["interactions.triplet"] == "resized"
    assert found.marks["embeddings.edges"] == "changed"
    assert "interactions.atom_atom" not in found.marks


def test_number_of_blocks():
    svg = draw_architecture(BASE.patch({"blocks.count": 3}), BASE).svg
    assert "block × 2 → 3 (changed)" in svg
    assert "output block × 4" in svg
    assert_drawn(draw_architecture(BASE.patch({"blocks.count": 0}), BASE))
    assert_drawn(draw_architecture(BASE, BASE.patch({"blocks.count": 0})))


def test_other_heads_and_read_out():
    found = marks({"heads.forces": None, "read_out": {"type": "summed", "layers": 1}})
    assert found.marks["heads.forces"] == "removed"
    assert found.marks["read_out"] == "changed"


def test_many_changes_are_counted():
    new = load_spec(CONFIGS / "gemnet-dt.yaml", {"graphs": {f"set{n}": {"cutoff": 5.0} for n in range(80)}})
    assert "and " in draw_architecture(new, BASE).svg.split("changed fields")[1]
