"""The command `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gemnet_blocks.cli.arguments import AllowImports, check_writable
from gemnet_blocks.cli.console import console, print_written
from gemnet_blocks.cli.relax import TypeChoice
from gemnet_blocks.errors import SpecError

TORCH_EXPORT = "torch-export"


def export(
    model: Annotated[
        Path, typer.Argument(help="A model file (.safetensors) or the folder of a training run.", show_default=False)
    ],
    output: Annotated[Path, typer.Option(help="The file to write, such as model.pt2.", show_default=False)],
    format: Annotated[str, typer.Option(help=f"The format of the file: {TORCH_EXPORT}.")] = TORCH_EXPORT,
    compile: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Also generate machine code for this machine (AOTInductor), which is faster and can be used from "
            "C++; takes minutes for large models.",
        ),
    ] = False,
    dtype: Annotated[
        TypeChoice | None, typer.Option(help="The floating-point type of the weights; by default the file's.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="The device of the program, such as cuda.")] = None,
    allow_imports: AllowImports = False,
) -> None:
    """Write a trained model as a program that runs without this library, from atoms and their pairs of neighbors."""
    _check_format(format)
    check_writable(output)
    from gemnet_blocks.potential.export import ProgramInputs, check_name, export_potential
    from gemnet_blocks.potential.model_file import load_potential

    check_name(output)
    potential = load_potential(
        model, dtype=None if dtype is None else dtype.value, device=device, allow_imports=allow_imports
    )
    export_potential(potential, output, compile)
    console.print(f"inputs: {', '.join(ProgramInputs.of(potential).names)}; cutoff: {potential.cutoff:g} Å")
    print_written(output)


def _check_format(format: str) -> None:
    """Refuse formats that cannot be written.

    Raises:
        SpecError: the format is not torch-export.
    """
    if format == "metatomic":
        raise SpecError(
            f"--format metatomic: metatomic only reads TorchScript, but models are exported by torch.export: choose "
            f"--format {TORCH_EXPORT}"
        )
    if format != TORCH_EXPORT:
        raise SpecError(f"--format {format}: expected {TORCH_EXPORT}")
