"""What reads what, found from specs, and the drawing of it."""

import pytest
import torch
from drawings import CONFIGS, SYMMETRIC, assert_drawn
from torch import nn

from gemnet_blocks.errors import SpecError
from gemnet_blocks.interactions.interaction import Interaction, InteractionGeometry, InteractionOptions
from gemnet_blocks.model.summary import parameter_count
from gemnet_blocks.plotting.architecture import read_architecture
from gemnet_blocks.plotting.canvas import STYLES
from gemnet_blocks.plotting.diagram import draw_architecture, wires
from gemnet_blocks.spec import build, load_spec

ALL = sorted((*CONFIGS.glob("*.yaml"), *CONFIGS.glob("bridge/*.yaml")))
HOSTILE = "<script>alert('$x$')</script> & \"quotes\" \x00\x1b[31m"


def nodes(spec, **options):
    return {node.key: node for node in read_architecture(spec, **options).nodes}


class StrangeOptions(InteractionOptions):
    """Options of an interaction that reads the edge set `quad` and no basis."""

    gate: str = "tanh"


class StrangeGeometry(InteractionGeometry):
    """Distances of `quad`."""

    edge_sets = ("quad",)

    def forward(self, graphs, radial):
        return graphs.edge_sets["quad"].distance


class Strange(Interaction):
    """An interaction that looks at its own weights while it is made."""

    Options, writes, reads = StrangeOptions, "atoms", "atoms, moods"

    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.mean = self.weight.mean().item()

    @classmethod
    def shared_geometry(cls, options, context):
        return StrangeGeometry()

    @classmethod
    def from_options(cls, options, context):
        return cls(context.sizes.atom)

    def forward(self, embeddings, geometry):
        return embeddings.atoms * self.weight


STRANGE = SYMMETRIC.patch({"interactions.strange": {"type": "strange", "gate": "relu"}})


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_every_published_architecture(path):
    spec = load_spec(path)
    drawn = draw_architecture(spec, title=path.name)
    assert_drawn(drawn)
    for name in (path.name, *spec.interactions, *spec.graphs):
        assert f">{name}<" in drawn.svg


@pytest.mark.parametrize("name", ["gemnet-oc", "gemnet-dt", "symmetric"])
def test_nothing_is_left_out(name):
    spec = load_spec(CONFIGS / f"{name}.yaml")
    found = read_architecture(spec)
    assert sum(node.parameters for node in found.nodes) == found.parameters
    names = {node.key.removeprefix("interactions.") for node in found.nodes if node.key.startswith("interactions.")}
    assert names == set(spec.interactions)
    assert f"{found.parameters:,} parameters" in draw_architecture(spec).svg


def test_parameters_are_those_of_the_model():
    found = read_architecture(SYMMETRIC)
    assert found.parameters == parameter_count(build(SYMMETRIC))
    assert found.content_hash == SYMMETRIC.content_hash


def test_what_interactions_read_and_write():
    found = nodes(SYMMETRIC)
    assert found["interactions.quadruplet"].writes == ("edges",)
    assert found["interactions.edge_atom"].writes == ("atoms",)
    assert "edges" in found["interactions.edge_atom"].reads
    assert "atoms" not in found["interactions.edge_atom"].reads
    reads = {name: set(found[f"projections of interactions.{name}"].reads) for name in SYMMETRIC.interactions}
    assert reads["quadruplet"] >= {"edges of main", "edges of quad", "circular", "spherical", "angular radial"}
    assert reads["triplet"] == {"edges of main", "radial", "angular radial", "circular"}
    assert reads["atom_atom"] == {"edges of atom", "radial"}
    assert found["heads.forces"].reads == ("energy", "structures")


def test_bases_and_senders_of_single_interactions():
    changes = {
        "graphs": {"near": {"cutoff": 3.0, "within": "main"}, "far": {"cutoff": 7.0}},
        "interactions.triplet": {"bases": {"radial": {"type": "spherical_bessel", "count": 6}}, "symmetric": False},
        "interactions.near": {"type": "triplet", "graph": "near", "down": 8, "up": 8, "scale_factor": False},
        "interactions.near.bases": {"circular": {"type": "gaussian", "count": 5}},
        "interactions.far": {"type": "triplet", "graph": "far", "down": 8, "up": 8},
    }
    found = nodes(SYMMETRIC.patch(changes))
    own = found["interactions.triplet.bases.radial"]
    assert (own.title, own.reads, own.writes) == (
        "radial of triplet: spherical_bessel",
        ("edges of main",),
        ("radial of triplet",),
    )
    assert {"radial of triplet", "angular radial of triplet", "circular"} <= set(
        found["projections of interactions.triplet"].reads
    )
    assert {"radial", "angular radial", "circular of near"} <= set(found["projections of interactions.near"].reads)
    assert found["interactions.near.bases.circular"].title == "circular of near: gaussian"
    assert "symmetric false" in found["interactions.triplet"].details[0]
    assert "scale_factor false" in found["interactions.near"].details[0]
    assert found["interactions.far"].reads[1:] == ("atoms",)
    assert found["interactions.near"].reads[1:] == ("edges",)
    drawn = draw_architecture(SYMMETRIC.patch(changes), SYMMETRIC)
    assert "radial of triplet" in drawn.svg
    assert any("interactions.triplet.bases" in change for change in drawn.changes)


def test_direct_and_no_forces():
    direct = nodes(SYMMETRIC.patch({"heads.forces": {"type": "direct"}}))
    assert direct["heads.forces"].reads == ("numbers", "edges of main")
    without = SYMMETRIC.patch({"heads.forces": None})
    assert "heads.forces" not in nodes(without)
    assert_drawn(draw_architecture(without))


def test_no_blocks_and_no_interactions():
    for changes in ({"blocks.count": 0}, {"interactions": dict.fromkeys(SYMMETRIC.interactions)}):
        spec = SYMMETRIC.patch(changes)
        assert_drawn(draw_architecture(spec))
        assert "blocks.none" in nodes(spec) or "blocks.edges" in nodes(spec)
    assert "block × 0" in draw_architecture(SYMMETRIC.patch({"blocks.count": 0})).svg


def test_unread_edge_sets_are_marked():
    node = nodes(SYMMETRIC.patch({"interactions.quadruplet": None}))["graphs.quad"]
    assert not node.used
    assert not node.reads
    assert not node.writes
    assert "unused" in node.details


def test_own_interactions():
    found = nodes(STRANGE, extra={"strange": Strange})
    assert found["interactions.strange"].writes == ("atoms",)
    assert "gate relu" in found["interactions.strange"].details
    assert found["projections of interactions.strange"].reads == ("edges of quad",)
    assert found["interactions.strange"].parameters == SYMMETRIC.blocks.count * SYMMETRIC.sizes.atom
    assert_drawn(draw_architecture(STRANGE, extra={"strange": Strange}))


def test_unknown_parts_are_refused():
    with pytest.raises(SpecError, match="unknown interaction 'strange'"):
        draw_architecture(STRANGE)


def test_text_is_escaped():
    spec = STRANGE.patch({"interactions.strange.gate": HOSTILE})
    drawn = draw_architecture(spec, title=HOSTILE, extra={"strange": Strange})
    assert_drawn(drawn)
    assert drawn.svg.count("&lt;script&gt;") >= 2
    assert "<script" not in drawn.svg
    assert "\x1b" not in drawn.svg
    assert drawn.content("png").startswith(b"\x89PNG")


def test_long_names_are_cut():
    spec = SYMMETRIC.patch(interactions={"w" * 300: {"type": "triplet", "down": 4, "up": 4}})
    assert_drawn(draw_architecture(spec, title="long " * 100))


def test_names_of_interactions_may_be_those_of_layers():
    spec = SYMMETRIC.patch(interactions={"output": {"type": "triplet", "down": 4, "up": 4}})
    assert_drawn(draw_architecture(spec))


def test_drawings_are_the_same_every_time():
    assert draw_architecture(SYMMETRIC).svg == draw_architecture(load_spec(CONFIGS / "symmetric.yaml")).svg


def test_both_screens():
    svg = draw_architecture(SYMMETRIC).svg
    assert "@media (prefers-color-scheme:dark)" in svg
    assert "var(" not in svg  # which other programs than browsers do not know


def luminance(color):
    parts = (int(color[place : place + 2], 16) / 255 for place in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("screen", [0, 1])
def test_text_stands_out_from_what_is_behind_it(screen):
    behind = [style.fill[screen] for style in STYLES.values() if style.fill and not style.size]
    for name, style in STYLES.items():
        if style.size:
            kind = name.split()[0]
            own = STYLES.get(kind) if name != kind else None
            places = [own.fill[screen], STYLES["background"].fill[screen]] if own else behind
            assert min(contrast(style.fill[screen], place) for place in places) >= 4.5, name
        elif style.stroke and name.startswith("wire"):
            assert contrast(style.stroke[screen], STYLES["background"].fill[screen]) >= 4.5, name


def test_wires_in_one_lane_do_not_meet():
    found = wires(read_architecture(load_spec(CONFIGS / "gemnet-oc.yaml")).nodes, 8)
    for number, one in enumerate(found):
        for other in found[:number]:
            if (one.side, one.lane) == (other.side, other.lane):
                assert one.last < other.first or other.last < one.first
    assert all(min(wire.writers) <= min(wire.readers) for wire in found)
