"""What tests of drawings share."""

import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

from gemnet_blocks.plotting.canvas import STYLES, Box, Label, width
from gemnet_blocks.spec import load_spec

CONFIGS = Path(__file__).parents[3] / "paper_configs"
SYMMETRIC = load_spec(CONFIGS / "symmetric.yaml")


def assert_drawn(drawn):
    """A well-formed picture in which all text is inside of it, and boxes neither overlap nor leave it."""
    canvas = drawn.canvas
    root = ElementTree.fromstring(drawn.svg)
    assert root.tag.endswith("svg")
    texts = ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == [shape.text for shape in canvas.shapes if isinstance(shape, Label)]
    for shape in canvas.shapes:
        if isinstance(shape, Label):
            style = STYLES[shape.style]
            length = width(shape.text, style.size, style.bold)
            left = shape.x - {"start": 0, "middle": length / 2, "end": length}[shape.anchor]
            assert left >= 0
            assert left + length <= canvas.width
            assert 0 < shape.y < canvas.height
    boxes = [shape for shape in canvas.shapes if isinstance(shape, Box) and shape.radius == 5.0]
    assert boxes
    for above, below in pairwise(boxes):
        assert above.y + above.height < below.y
    assert boxes[-1].y + boxes[-1].height < canvas.height
