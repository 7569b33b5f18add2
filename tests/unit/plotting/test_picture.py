"""Files of pictures: formats, errors, and that they are the same every time."""

import sys

import pytest
from drawings import SYMMETRIC

from gemnet_blocks.errors import SpecError
from gemnet_blocks.plotting import draw_architecture, draw_bases

BEGINS = {"svg": b"<", "png": b"\x89PNG", "pdf": b"%PDF"}
FEW = SYMMETRIC.patch({"bases.spherical.count": 2, "bases.circular.count": 3})
"""A spec with few basis functions, which are drawn quickly."""


@pytest.mark.parametrize("ending", BEGINS)
@pytest.mark.parametrize("draw", [draw_architecture, draw_bases])
def test_formats(tmp_path, draw, ending):
    path = draw(FEW).save(tmp_path / f"picture.{ending}")
    content = path.read_bytes()
    assert content.startswith(BEGINS[ending])
    assert list(tmp_path.iterdir()) == [path]
    assert draw(FEW).content(ending) == content


@pytest.mark.parametrize("name", ["picture.bmp", "picture", "missing/picture.svg", "."])
def test_places_that_are_no_picture(tmp_path, name):
    with pytest.raises(SpecError, match=r"\.svg, \.png or \.pdf|folder that exists"):
        draw_architecture(SYMMETRIC).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_failed_drawing_keeps_the_earlier_file(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    path.write_text("before")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    drawn = draw_architecture(SYMMETRIC)
    with pytest.raises(ImportError, match=r"gemnet_blocks\[plot\]"):
        drawn.save(path)
    assert path.read_text() == "before"
    assert drawn.save(tmp_path / "picture.svg").read_text() == drawn.svg  # needs nothing


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"gemnet_blocks\[plot\]"):
        draw_bases(FEW)


def test_notebooks_show_them():
    assert draw_architecture(SYMMETRIC)._repr_svg_().startswith("<svg")
    assert draw_bases(FEW)._repr_png_().startswith(b"\x89PNG")
    assert "0x" not in repr(draw_architecture(SYMMETRIC))
