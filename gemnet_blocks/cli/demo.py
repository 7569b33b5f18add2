"""The command `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    structures: Annotated[
        Path | None, typer.Option(help="Structures in any file that ASE reads, instead of a Pt(111) + methanol slab.")
    ] = None,
    specs: Annotated[
        Path | None, typer.Option(help="The folder of the published specs; by default the one that comes along.")
    ] = None,
) -> None:
    """Build GemNet-OC and a variant without quadruplets from spec files, and run both."""
    from gemnet_blocks.demo import run

    run(structures, specs)
