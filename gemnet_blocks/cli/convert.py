"""The command `convert`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gemnet_blocks.cli.arguments import check_writable
from gemnet_blocks.cli.console import console, print_written

if TYPE_CHECKING:
    from gemnet_blocks.checkpoints.convert import Conversion


class MeaningChoice(str, Enum):
    """The reference of energies."""

    total = "total"
    adsorption = "adsorption"
    atomisation = "atomisation"
    unknown = "unknown"


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="A fairchem checkpoint (.pt).", show_default=False)],
    output: Annotated[Path, typer.Argument(help="The model file to write.", show_default=False)],
    meaning: Annotated[
        MeaningChoice,
        typer.Option(
            help="The reference of the energies, which checkpoints do not contain: adsorption for OC20, total for "
            "OC22. It is stored, and shown with every result.",
        ),
    ] = MeaningChoice.unknown,
    kwargs: Annotated[
        Path | None,
        typer.Option(
            help="YAML with the model's keyword arguments, or a fairchem config with them; "
            "by default the checkpoint's own config.",
            show_default=False,
        ),
    ] = None,
    scales: Annotated[
        Path | None,
        typer.Option(
            help="Scale factors in a separate file (.pt or .json), as for older models.",
            show_default=False,
        ),
    ] = None,
    ema: Annotated[bool, typer.Option("--ema", help="Use the moving average of the weights.")] = False,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Also read pickled objects, which runs code that the file names."),
    ] = False,
    all_keys: Annotated[bool, typer.Option("--all-keys", help="Also list the loaded keys.")] = False,
) -> None:
    """Convert a published checkpoint to a model file, and report every key."""
    from gemnet_blocks.checkpoints.checkpoint_file import read_checkpoint, read_scale_file, with_scales
    from gemnet_blocks.checkpoints.convert import convert_checkpoint, read_arguments
    from gemnet_blocks.potential.model_file import save_potential

    check_writable(output)
    arguments = None if kwargs is None else read_arguments(kwargs)
    read = read_checkpoint(checkpoint, trust)
    if scales is not None:
        read = with_scales(read, read_scale_file(scales))
    converted = convert_checkpoint(read, arguments, meaning.value, ema)
    save_potential(converted.potential, output)
    _report(converted, all_keys)
    print_written(output)


def _report(converted: Conversion, all_keys: bool) -> None:
    keys = converted.keys
    for label, names in (
        ("loaded", keys.loaded),
        ("missing", keys.missing),
        ("unexpected", keys.unexpected),
        ("ignored, since the model does not use them", keys.ignored),
        ("sections ignored, which only training uses", converted.sections),
    ):
        listed = f": {', '.join(names)}" if names and (all_keys or label != "loaded") else ""
        console.print(f"{len(names)} {'' if 'sections' in label else 'keys '}{label}{listed}", soft_wrap=True)
    for note in converted.notes:
        console.print(note, soft_wrap=True)
    meaning = converted.potential.meaning
    hint = ": state their reference with --meaning" if meaning == "unknown" else ""
    console.print(f"energies: {meaning}, in eV{hint}")
