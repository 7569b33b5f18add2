"""The command `draw`, as a user calls it."""

import ase.io
import pytest
import typer
from ase.build import molecule
from drawings import CONFIGS
from typer.testing import CliRunner

from gemnet_blocks.cli.draw import draw
from gemnet_blocks.errors import SpecError, StructureError

SPEC = CONFIGS / "symmetric.yaml"
app = typer.Typer()
app.command()(draw)


def run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("what", ["architecture", "bases", "graphs", "neighbors", "quadruplet"])
def test_everything_that_can_be_drawn(tmp_path, what):
    few = ("--set", "bases.spherical.count=2")
    output = run(SPEC, *few, "--what", what, "--output", tmp_path / "picture.svg")
    assert "written" in output
    assert "<svg" in (tmp_path / "picture.svg").read_text()


def test_difference(tmp_path):
    output = run(
        *(SPEC, "--set", "interactions.quadruplet=null", "--against", SPEC, "--output", tmp_path / "difference.svg")
    )
    assert "interactions.quadruplet: {type: quadruplet" in output
    assert ">removed<" in (tmp_path / "difference.svg").read_text()


def test_structures_of_a_file(tmp_path):
    ase.io.write(tmp_path / "frames.xyz", [molecule("H2O"), molecule("CH3CH2OH")])
    arguments = (SPEC, "--structures", tmp_path / "frames.xyz", "--output", tmp_path / "picture.png")
    assert "edge set" in run(*arguments, "--what", "neighbors")
    run(*arguments, "--what", "graphs", "--index", "1", "--atom", "2", "--default-tag", "2")
    with pytest.raises(StructureError, match="expected one structure, found 2"):
        run(*arguments, "--what", "graphs", "--index", ":")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--what", "bases", "--against", SPEC], "--against compares architectures"),
        (["--structures", "frames.xyz"], "architecture does not use structures"),
        (["--what", "neighbors", "--atom", "1"], "--atom"),
        (["--set", "interactions.quadrplet=null"], "did you mean 'quadruplet'"),
    ],
    ids=str,
)
def test_one_clear_error(tmp_path, arguments, message):
    with pytest.raises(SpecError, match=message):
        run(SPEC, *arguments, "--output", tmp_path / "picture.svg")
    assert not list(tmp_path.iterdir())


def test_unknown_formats(tmp_path):
    with pytest.raises(SpecError, match=r"\.svg, \.png or \.pdf"):
        run(SPEC, "--output", tmp_path / "picture.gif")
