"""An evaluation as a folder of files: a summary, predictions, and a plot."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gemnet_blocks.errors import StructureError
from gemnet_blocks.evaluation.evaluate import Evaluation
from gemnet_blocks.util.files import replacing

SUMMARY, PREDICTIONS, ATOMS, PLOT = "summary.json", "predictions.csv", "atoms.csv", "parity.png"
"""The files of a report."""


def write_report(
    evaluation: Evaluation,
    folder: Path,
    about: Mapping[str, Any] | None = None,
    plot: bool = False,
    atoms: bool = False,
) -> list[Path]:
    """Write summary.json and predictions.csv, and if asked for parity.png and atoms.csv.

    All files are made first and then put in place: a folder that is new appears whole, files that were there before are
    replaced one by one, the summary last.

    Args:
        evaluation: what is written.
        folder: where to; made if it does not exist.
        about: what else the summary says, such as names of model and data.
        plot: whether parity.png is drawn.
        atoms: whether atoms.csv is written, the forces of every atom; needs `keep_atoms`.

    Returns:
        The files.

    Raises:
        StructureError: the folder cannot be written.
        SpecError: there is nothing to draw.
        ImportError: a plot needs matplotlib.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise StructureError(f"{folder}: cannot be written: {error.strerror or error}") from error
    try:
        names = _write(evaluation, made, about or {}, plot, atoms)
        made.chmod(0o755)  # temporary folders are private
        if folder.exists():
            for name in names:
                os.replace(made / name, folder / name)
        else:
            os.replace(made, folder)
    except OSError as error:
        name = Path(error.filename).name if error.filename else ""
        raise StructureError(f"{folder / name}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return [folder / name for name in names]


def _write(evaluation: Evaluation, folder: Path, about: Mapping[str, Any], plot: bool, atoms: bool) -> list[str]:
    """Write the files and return their names, the summary last."""
    names = [PREDICTIONS]
    evaluation.predictions.write_csv(folder / PREDICTIONS)
    if atoms:
        evaluation.predictions.write_atoms_csv(folder / ATOMS)
        names.append(ATOMS)
    if plot:
        from gemnet_blocks.evaluation.plots import plot_parity

        plot_parity(evaluation, folder / PLOT)
        names.append(PLOT)
    summary = {**about, **evaluation.to_dict()}
    text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    with replacing(folder / SUMMARY) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    return [*names, SUMMARY]
