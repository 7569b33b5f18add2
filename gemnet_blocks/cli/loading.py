"""From what the command line names to models and structures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gemnet_blocks.cli.arguments import AngularName
from gemnet_blocks.errors import StructureError
from gemnet_blocks.frames import read_frames, with_tag
from gemnet_blocks.terminal import console


def build_model(spec: Path, assignments: list[str] | None, seed: int, angular: AngularName = AngularName.auto) -> Any:
    """The model of a spec file, changed by assignments, in evaluation mode."""
    from gemnet_blocks.spec import build, load_spec
    from gemnet_blocks.spec.build import Execution
    from gemnet_blocks.spec.resolve import parse_assignment

    loaded = load_spec(spec, dict(map(parse_assignment, assignments or [])))
    return build(loaded, seed=seed, execution=Execution(angular=angular.value)).eval()


def frames_of(structures: Path, index: str, default_tag: int | None) -> list[Any]:
    """Frames of a file; atoms without tags get the default, if there is one."""
    frames = read_frames(structures, index)
    return frames if default_tag is None else [with_tag(frame, default_tag) for frame in frames]


def batch_of(structures: Path, index: str, default_tag: int | None) -> Any:
    """Frames of a file as one batch."""
    from gemnet_blocks.structures import Structures

    return Structures.from_ase(frames_of(structures, index, default_tag))


def check_writable(path: Path) -> None:
    """Raise before anything is computed if a file could not be written."""
    if path.is_dir() or not path.parent.is_dir():
        raise StructureError(f"{path}: cannot be written: give a file in a folder that exists")


def load_weights(model: Any, path: Path) -> None:
    """Load a published state dictionary, read without running code, and say what became of its keys."""
    from gemnet_blocks.checkpoints import load_fairchem_state
    from gemnet_blocks.checkpoints.checkpoint_file import read_checkpoint

    console.print(f"weights: {path}: {load_fairchem_state(model, read_checkpoint(path).state)}")
