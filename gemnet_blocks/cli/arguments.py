"""Arguments and options that several commands share."""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
import warnings
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemnet_blocks.cli.completion import spec_names
from gemnet_blocks.cli.console import console
from gemnet_blocks.errors import SpecError, StructureError
from gemnet_blocks.util.shipped import shipped_file

if TYPE_CHECKING:
    from gemnet_blocks.data.dataset import LabelledDataset
    from gemnet_blocks.model.gemnet import GemNet
    from gemnet_blocks.spec import Spec

SpecPath = Annotated[
    Path,
    typer.Argument(
        help="A spec file, the name of a shipped spec such as gemnet-oc, or - for standard input.",
        show_default=False,
        autocompletion=spec_names,
    ),
]
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
    typer.Option(min=0, max=2, help="Tag of atoms without tags: 0 below the surface, 1 surface, 2 adsorbate."),
]
AllowImports = Annotated[
    bool,
    typer.Option(
        "--allow-imports",
        help="Import custom components that the file names as `type: module:Class`, which runs their code. Modules are "
        "searched for on Python's path, in the folder of the file and in the current folder.",
    ),
]
StructuresPath = Annotated[
    Path,
    typer.Argument(
        help="Structures in any format of training data, a pattern such as 'runs/*.xyz', or - for extended XYZ from "
        "standard input.",
        show_default=False,
    ),
]
STANDARD_INPUT = Path("-")
"""The path that stands for standard input."""

Index = Annotated[str, typer.Option(help="Frames of the file: a number or a slice, such as -1 or 0:10.")]


class Split(str, Enum):
    """A part of the data of a training config."""

    train = "train"
    validation = "validation"
    test = "test"


def part_of_config(path: Path, split: Split, allow_imports: bool, model: GemNet) -> tuple[LabelledDataset, str]:
    """A part of the data of a training config, with labels that a model predicts, and the reference of its energies.

    Raises:
        SpecError: the config is wrong, or its data do not have this part.
    """
    from gemnet_blocks.data.opening import open_data
    from gemnet_blocks.training.config_file import load_config

    without: dict[str, Any] = {"loggers": [], "callbacks": []}  # which need not be installed here
    config = load_config(path, without, allow_imports=allow_imports)
    with config.naming_places():
        kinds = {**config.model.heads.kinds(), **model.property_kinds}
        splits = open_data(config.data, config.folder, charged="warn", properties=kinds, reads=model.reads)
    chosen: LabelledDataset | None = getattr(splits, split.value)
    if chosen is None:
        raise SpecError(f"{path}: data has no {split.value} part: choose another with --split")
    return chosen, splits.meaning


class TaskName(str, Enum):
    """The task of a model."""

    energy = "energy"
    predict = "predict"
    train = "train"


TaskOption = Annotated[
    TaskName,
    typer.Option(
        "--task",
        help="energy: energies only; predict: energies and forces; train: also the gradient of a loss.",
    ),
]
ExecutionAssignments = Annotated[
    list[str] | None,
    typer.Option(
        "--execution",
        help="Change the computation of the model: angular=explicit, memory_budget=2e9, matmul=bfloat16, "
        "atoms_at_most=32, compile=true, ... (the fields of Execution). Repeatable.",
    ),
]


def build_model(
    spec: Path,
    assignments: list[str] | None,
    execution: list[str] | None,
    seed: int,
    initial_values: bool = True,
    allow_imports: bool = False,
) -> Any:
    """Build the model of a spec file, in evaluation mode.

    Args:
        spec: the spec file.
        assignments: changes of the spec.
        execution: changes of the computation of the model.
        seed: seed of the initial weights.
        initial_values: whether weights need initial values.
        allow_imports: whether the spec may name components by import path.
    """
    from gemnet_blocks.layers.initialization import without_initial_values
    from gemnet_blocks.spec import build

    loaded, chosen = spec_of(spec, assignments, allow_imports), execution_of(execution)
    with nullcontext() if initial_values else without_initial_values():
        return build(loaded, seed=seed, execution=chosen).eval()


def spec_of(path: Path, assignments: list[str] | None, allow_imports: bool) -> Spec:
    """Read a spec with the changes that assignments such as `sizes.edge=64` describe."""
    from gemnet_blocks.spec import load_spec
    from gemnet_blocks.spec.resolve import parse_assignment

    return load_spec(path, dict(map(parse_assignment, assignments or [])), allow_imports=allow_imports)


def execution_of(assignments: list[str] | None) -> Any:
    """Parse the execution that assignments such as `angular=explicit` describe."""
    from gemnet_blocks.spec.execution import Execution
    from gemnet_blocks.spec.resolve import parse_assignment
    from gemnet_blocks.util.allocator import return_freed_memory

    values = dict(map(parse_assignment, assignments or []))
    names = [field.name for field in fields(Execution)]
    if unknown := [name for name in values if name not in names]:
        raise SpecError(f"--execution {unknown[0]}: expected one of {', '.join(names)}")
    try:
        execution = Execution(**values)
    except (TypeError, ValueError) as error:
        raise SpecError(f"--{error}") from error
    if execution.memory_budget is not None:
        return_freed_memory()
    return execution


def frames_of(
    structures: Path, index: str, default_tag: int | None, format: str | None = None, length: str = "Å"
) -> list[Any]:
    """Read frames of a file or pattern, and set the default tag, if given, on atoms without tags."""
    from gemnet_blocks.data.opening import read_atoms
    from gemnet_blocks.data.units import length_unit
    from gemnet_blocks.util.ase_io import with_tag

    try:
        unit = length_unit(length)
    except ValueError as error:
        raise SpecError(f"--length: {error}") from None
    frames = read_atoms(as_file(structures), index, format, unit)
    return frames if default_tag is None else [with_tag(frame, default_tag) for frame in frames]


def is_config(data: Path) -> bool:
    """Return whether an argument names a training config and not structures."""
    shipped = not data.exists() and shipped_file(data.as_posix()) is not None
    return data.suffix in (".yaml", ".yml") or shipped


def as_file(path: Path) -> Path:
    """Return the path of structures; those from standard input (`-`) are written to a temporary file."""
    if path != STANDARD_INPUT:
        return path
    content = sys.stdin.buffer.read()
    if not content.strip():
        raise StructureError("standard input is empty: expected structures as extended XYZ")
    folder = Path(tempfile.mkdtemp(prefix="gemnet-blocks-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    file = folder / "standard-input.extxyz"
    file.write_bytes(content)
    return file


def one_file(structure: Path) -> Path:
    """The file that a path or pattern names.

    Raises:
        StructureError: several files match the pattern.
    """
    from gemnet_blocks.data.options import matching

    found = matching(str(structure), Path())
    if len(found) > 1:
        raise StructureError(f"{structure}: expected one file, found {len(found)} matching files: name one of them")
    return Path(next(iter(found), structure))


def batch_of(structures: Path, index: str, default_tag: int | None) -> Any:
    """Read frames of a file as one batch."""
    from gemnet_blocks.structures import Structures
    from gemnet_blocks.util.charges import QUANTITIES

    # charges, which models do not read, do not affect the cost
    return Structures.from_ase(frames_of(structures, index, default_tag), ignore=QUANTITIES)


def warn_of_frames(frames: list[Any], structures: Path, index: str, reads: Collection[str] = ()) -> None:
    """Warn of frames with a charge or spin that the model does not read, and of coinciding atoms.

    Args:
        frames: the frames.
        structures: their file.
        index: the index at which they are in the file.
        reads: whichever of charge and spin the model reads.
    """
    from gemnet_blocks.graph.coinciding import coinciding_atoms, coinciding_message
    from gemnet_blocks.structures import Structures
    from gemnet_blocks.util.charges import QUANTITIES, described, unread_of_atoms

    def place(number: int) -> str:
        return f"{structures}, frame {number}{'' if index == ':' else f' of those at index {index}'}"

    if unread := {place(i): found for i, frame in enumerate(frames) if (found := unread_of_atoms(frame, reads))}:
        warnings.warn(described(unread, len(frames)), stacklevel=2)
    batch = Structures.from_ase(frames, ignore=QUANTITIES)
    if coinciding := coinciding_atoms(batch).by_structure(batch, place):
        warnings.warn(coinciding_message(coinciding, len(frames)), stacklevel=2)


def check_writable(path: Path) -> None:
    """Check, before anything is computed, that a file can be written."""
    if path.is_dir() or not path.parent.is_dir():
        raise StructureError(f"{path}: cannot be written: give a file in a folder that exists")


def check_trace(path: Path) -> None:
    """Check, before anything is computed, that viewers of traces will know the file by its name."""
    if not path.name.endswith((".json", ".json.gz")):
        raise StructureError(f"{path}: expected a trace named *.json or *.json.gz, by which viewers know its format")
    check_writable(path)


def load_weights(model: Any, path: Path) -> None:
    """Load a published state dictionary, read without running code, and print a report of its keys."""
    from gemnet_blocks.checkpoints import load_fairchem_state
    from gemnet_blocks.checkpoints.checkpoint_file import read_checkpoint

    console.print(f"weights: {path}: {load_fairchem_state(model, read_checkpoint(path).state)}", soft_wrap=True)
