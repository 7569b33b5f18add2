"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

SpecPath = Annotated[Path, typer.Argument(help="A spec file.", show_default=False)]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change the spec: path=value, such as interactions.quadruplet=null. Repeatable."),
]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the initial weights.")]
Weights = Annotated[
    Path | None,
    typer.Option(help="Weights of a published model (.pt with a state dictionary, read without running code)."),
]
DefaultTag = Annotated[
    int | None,
    typer.Option(min=0, max=2, help="Tag of atoms that have none: 0 below the surface, 1 surface, 2 adsorbate."),
]
AllowImports = Annotated[
    bool,
    typer.Option(
        "--allow-imports",
        help="Import custom parts that the file names as `type: module:Class`, which runs their code. Modules are "
        "found where Python finds them, beside the file and in the current folder.",
    ),
]
StructuresPath = Annotated[
    Path,
    typer.Argument(
        help="Structures in any file that models are trained on, or a pattern such as 'runs/*.xyz'.", show_default=False
    ),
]
Index = Annotated[str, typer.Option(help="Which frames of the file, as ASE writes slices.")]


class TaskName(str, Enum):
    """What a model is used for."""

    energy = "energy"
    predict = "predict"
    train = "train"


TaskOption = Annotated[
    TaskName,
    typer.Option(
        "--task",
        help="energy: energies alone; predict: energies and forces; train: and the gradient of a loss to the weights.",
    ),
]
ExecutionAssignments = Annotated[
    list[str] | None,
    typer.Option(
        "--execution",
        help="Change how the model is computed: angular=explicit, memory_budget=2e9, matmul=bfloat16, "
        "atoms_at_most=32, compile=true, ... (the fields of Execution). Repeatable.",
    ),
]
