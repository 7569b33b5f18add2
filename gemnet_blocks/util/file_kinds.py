"""Detection of the kind of a file by its content, for errors about files of another kind than expected."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

MODEL_FORMAT = "gemnet_blocks potential"
"""The entry `format` in the metadata of model files."""

ENSEMBLE_FORMAT = "gemnet_blocks ensemble"
"""The entry `format` in the metadata of files that hold an ensemble of models."""

MODELS_OF_RUNS = ("best.safetensors", "last.safetensors")
"""The model files in the folder of a training run, in order of preference."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of document: the keys that no other kind has, and a sentence on its use."""

    keys: tuple[str, ...]
    use: str


KINDS: Mapping[str, Kind] = {
    "a spec": Kind(
        ("sizes", "graphs", "bases", "blocks", "interactions", "readout", "read_out", "heads"),
        "`gemnet-blocks summary` shows its model; name it as `model` in a training config, or as `base` in a study",
    ),
    "a training config": Kind(("model", "loss", "optimizer", "schedule", "scales"), "`gemnet-blocks train` takes it"),
    "a study": Kind(("base", "variants", "budget"), "`gemnet-blocks ablate` takes it"),
}
"""Kinds of YAML documents by name."""


def kind_of_document(keys: Collection[str]) -> str | None:
    """Return the kind of document with such keys; None if it is unknown."""
    return next((name for name, kind in KINDS.items() if not set(kind.keys).isdisjoint(keys)), None)


def models_of_run(folder: Path) -> list[Path]:
    """List the model files in the folder of a training run in order of preference."""
    return [folder / name for name in MODELS_OF_RUNS if (folder / name).is_file()]


def mistaken(path: Path, wanted: str) -> str | None:
    """Describe a file of another kind than expected, and name the command that takes it.

    Args:
        path: the file.
        wanted: expected kind, such as `a model file` or `a file of structures`.

    Returns:
        The end of a sentence such as `is a study: ...`; None if the file is of the expected kind or of unknown kind.
    """
    for kind, use in (_folder(path), _model_file(path), _checkpoint(path), _document(path), _structures(path)):
        if kind:
            return None if kind == wanted else f"is {kind}: {use}"
    return None


def _folder(path: Path) -> tuple[str | None, str]:
    models = models_of_run(path)
    return ("the folder of a training run", f"its model is {models[0]}") if models else (None, "")


def _model_file(path: Path) -> tuple[str | None, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            ours = (file.metadata() or {}).get("format") in (MODEL_FORMAT, ENSEMBLE_FORMAT)
    except (OSError, SafetensorError):
        ours = False
    return ("a model file" if ours else None), "`gemnet-blocks evaluate`, `relax` and `predict` take it"


def _checkpoint(path: Path) -> tuple[str | None, str]:
    """Detect files of torch.save; those of a training run have model files beside them."""
    try:
        with zipfile.ZipFile(path) as archive:
            saved = any(name.endswith("/data.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile, ValueError, RuntimeError, NotImplementedError):
        saved = False
    beside = models_of_run(path.parent) if path.suffix == ".ckpt" else []
    if saved and beside:
        return "the checkpoint of a training run", f"name the model file beside it, {beside[0]}"
    return ("a checkpoint" if saved else None), "`gemnet-blocks convert` makes a model file of a published one"


def _document(path: Path) -> tuple[str | None, str]:
    """Detect YAML files by their name and their top-level keys."""
    if path.suffix not in (".yaml", ".yml"):
        return None, ""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        node = None
    keys = {str(key.value) for key, _ in node.value} if isinstance(node, yaml.MappingNode) else set()
    kind = kind_of_document(keys)
    return ("a YAML file", "give it to a command that takes one") if kind is None else (kind, KINDS[kind].use)


def _structures(path: Path) -> tuple[str | None, str]:
    """Detect files of structures by their name or, for formats of ASE, by their content."""
    from ase.io.formats import filetype

    use = "`gemnet-blocks evaluate`, `relax` and `predict` take it after a model or spec; name it in `data` of a config"
    if path.suffix in (".npz", ".lmdb", ".aselmdb", ".db"):
        return "a file of structures", use
    if path.suffix == ".json":  # which is used for more than ASE databases
        return None, ""
    try:
        filetype(str(path), guess=False)
    except Exception:  # decompression may raise anything
        return None, ""
    return "a file of structures", use
