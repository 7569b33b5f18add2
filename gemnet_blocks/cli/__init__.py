"""The command line, with one file per command or group of similar commands."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NoReturn

import typer
from rich.text import Text

from gemnet_blocks.cli.ablate import ablate
from gemnet_blocks.cli.bisect import bisect
from gemnet_blocks.cli.convert import convert
from gemnet_blocks.cli.demo import demo
from gemnet_blocks.cli.describe import describe
from gemnet_blocks.cli.draw import draw
from gemnet_blocks.cli.ensemble import ensemble
from gemnet_blocks.cli.evaluate import evaluate
from gemnet_blocks.cli.export import export
from gemnet_blocks.cli.models import estimate, predict, profile, summary
from gemnet_blocks.cli.relax import relax
from gemnet_blocks.cli.specs import schema, specs
from gemnet_blocks.cli.train import train
from gemnet_blocks.cli.where import where
from gemnet_blocks.errors import SpecError, StateError, StructureError, is_out_of_memory
from gemnet_blocks.util.console import plain_console, replace_unencodable
from gemnet_blocks.util.version import LIBRARY_VERSION

app = typer.Typer(
    help="GemNet-OC as independent layers, combined by a declarative spec.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
EXAMPLES: Mapping[Callable[..., None], str] = {
    specs: "specs 'bridge/*'",
    summary: "summary gemnet-oc --set interactions.quadruplet=null",
    draw: "draw gemnet-oc --against gemnet-dt --output difference.svg",
    describe: "describe gemnet-oc --latex",
    predict: "predict symmetric 'slabs/*.cif' --output predicted.xyz",
    estimate: "estimate gemnet-oc slab.cif --default-tag 2 --task train",
    profile: "profile symmetric slab.cif --plot profile.png",
    train: "train train.yaml --set training.steps=1000",
    evaluate: "evaluate runs/first test.xyz --units eV --energy total",
    ensemble: "ensemble study/runs/base/* --output ensemble.safetensors",
    relax: "relax runs/first slab.cif --output relaxed.xyz",
    convert: "convert checkpoint.pt model.safetensors --meaning adsorption",
    export: "export runs/first --output model.pt2",
    ablate: "ablate studies/neighbors --set seeds=8 --check",
    where: "where study --variant 'no quadruplets' --by coordination",
    bisect: "bisect gemnet-oc gradient-forces --study quadruplets.yaml",
    demo: "demo --structures slab.cif",
    schema: "schema training > training.schema.json",
}
"""All commands with an example of each, which its help shows at the end."""

for command, example in EXAMPLES.items():
    app.command(epilog=f"Example:\n\ngemnet-blocks {example}")(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gemnet_blocks {LIBRARY_VERSION}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options of the program itself."""


def main() -> None:
    """Run the command line, and print errors of the input and warnings as one message without a traceback."""
    replace_unencodable()
    warnings.showwarning = _show_warning
    try:
        app()
    except (SpecError, StateError, StructureError, ImportError) as error:
        _fail(str(error))
    except OSError as error:  # a full disk, a file without permission
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        _fail("out of memory: compute fewer structures at once, or set `--execution memory_budget=BYTES`")


def _fail(message: str) -> NoReturn:
    _tell(Text("error:", "red"), message)
    sys.exit(1)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    _tell(Text("warning:", "yellow"), str(message))


def _tell(kind: Text, message: str) -> None:
    plain_console(stderr=True).print(kind, message, soft_wrap=True)
