"""The command `relax`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from gemnet_blocks.cli.arguments import AllowImports, DefaultTag, StructuresPath, check_writable, frames_of, one_file
from gemnet_blocks.cli.console import console, print_written


class OptimizerChoice(str, Enum):
    """Optimizers of ASE."""

    fire = "fire"
    lbfgs = "lbfgs"
    bfgs = "bfgs"


class TypeChoice(str, Enum):
    """Floating-point types."""

    float32 = "float32"
    float64 = "float64"


def relax(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="A model file.", show_default=False)],
    structure: StructuresPath,
    fmax: Annotated[float, typer.Option(min=0, help="Largest force at convergence in eV/Å.")] = 0.05,
    steps: Annotated[int, typer.Option(min=0, help="Maximum number of steps.")] = 500,
    cell: Annotated[
        bool, typer.Option("--cell", help="Also relax the cell, which needs a model with gradient forces.")
    ] = False,
    optimizer: Annotated[OptimizerChoice, typer.Option(help="The optimizer of ASE.")] = OptimizerChoice.fire,
    output: Annotated[
        Path | None,
        typer.Option(
            help="The file of the relaxed structure, whose ending determines the format; by default "
            "STRUCTURE-relaxed.xyz."
        ),
    ] = None,
    trajectory: Annotated[
        Path | None, typer.Option(help="Also write all steps to this file, such as steps.xyz.")
    ] = None,
    index: Annotated[str, typer.Option(help="Frame of the file.")] = "-1",
    default_tag: DefaultTag = None,
    dtype: Annotated[
        TypeChoice | None, typer.Option(help="The floating-point type of the weights; by default the file's.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="The device, such as cuda; by default the CPU.")] = None,
    allow_coinciding: Annotated[bool, typer.Option("--allow-coinciding", help="Relax even if atoms coincide.")] = False,
    allow_imports: AllowImports = False,
) -> None:
    """Relax a structure with a trained potential. If interrupted, the last step is written."""
    import torch

    from gemnet_blocks.calculator.ase import GemNetCalculator
    from gemnet_blocks.calculator.relaxation import RelaxationStep
    from gemnet_blocks.calculator.relaxation import relax as run
    from gemnet_blocks.cli.tables import StepsTable
    from gemnet_blocks.errors import SpecError, StructureError
    from gemnet_blocks.util.ase_io import output_format, write_frames
    from gemnet_blocks.util.locks import only_writer_of_file

    structure = one_file(structure)
    output = Path(f"{structure.stem}-relaxed.xyz") if output is None else output
    if trajectory is not None and trajectory.resolve() == output.resolve():
        raise SpecError(f"--output and --trajectory are both {output}: give two files")
    for option, path in (("--output", output), *([("--trajectory", trajectory)] if trajectory else [])):
        check_writable(path)
        output_format(path, several=path == trajectory)
        context.with_resource(only_writer_of_file(path, option))
    frames = frames_of(structure, index, default_tag)
    if len(frames) != 1:
        raise StructureError(f"{structure}: {len(frames)} frames at index {index}: one is relaxed, such as --index -1")
    calculator = GemNetCalculator(
        model,
        dtype=None if dtype is None else getattr(torch, dtype.value),
        device=device,
        allow_coinciding=allow_coinciding,
        allow_imports=allow_imports,
    )
    console.print(f"energies: {calculator.meaning}, in eV")
    taken: list[RelaxationStep] = []
    interrupted = False
    with StepsTable(calculator.meaning, cell) as table:
        try:
            for step in run(frames[0], calculator, fmax, steps, cell, optimizer.value):
                # all of them only where they are asked for
                taken = [*taken, step] if trajectory else [step]
                table.add(step)
        except StructureError as error:
            raise (error if error.structure is None else error.at(f"{structure}, index {index}")) from None
        except KeyboardInterrupt:
            interrupted = True
        if not taken:
            raise typer.Exit(130)
        # here, as the table is printed at the end of this block
        write_frames(output, [taken[-1].atoms])
        if trajectory:
            write_frames(trajectory, [step.atoms for step in taken])
    last = taken[-1]
    console.print(
        Text("converged") if last.converged else Text("not converged", "yellow"),
        f"after {last.number} steps: energy ({calculator.meaning}) {last.energy:.6f} eV, largest force "
        f"{last.max_force:.4f} eV/Å",
    )
    print_written(output, *([trajectory] if trajectory else []))
    if not last.converged:
        raise typer.Exit(130 if interrupted else 1)
