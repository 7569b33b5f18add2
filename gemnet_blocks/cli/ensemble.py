"""The command `ensemble`: one model file from several models, with calibrated uncertainty."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gemnet_blocks.cli.arguments import AllowImports, Split, check_writable, part_of_config
from gemnet_blocks.cli.completion import config_names
from gemnet_blocks.cli.console import announce, console, print_written
from gemnet_blocks.errors import SpecError


def ensemble(
    models: Annotated[
        list[Path],
        typer.Argument(
            help="Two or more model files (.safetensors) or folders of training runs, such as study/runs/base/*, the "
            "runs of one variant of a study with all seeds.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option(help="The file to write, such as ensemble.safetensors.", show_default=False)],
    calibrate: Annotated[
        Path | None,
        typer.Option(
            help="A training config (a file or a shipped name) with labelled structures that no model was trained on: "
            "intervals are fitted to the errors of one part of its data.",
            show_default=False,
            autocompletion=config_names,
        ),
    ] = None,
    split: Annotated[Split, typer.Option(help="The part of the data that intervals are fitted to.")] = Split.validation,
    level: Annotated[float, typer.Option(help="The probability with which an interval contains the label.")] = 0.9,
    device: Annotated[str, typer.Option(help="The device: cpu, cuda, ...")] = "cpu",
    allow_imports: AllowImports = False,
) -> None:
    """Join models to one file that predicts their mean, standard deviations and, if calibrated, intervals."""
    announce(f"reading {len(models)} models")
    from gemnet_blocks.evaluation.calibration import calibrate as calibrated
    from gemnet_blocks.potential.calibration import least_structures
    from gemnet_blocks.potential.ensemble import Ensemble
    from gemnet_blocks.potential.ensemble_file import save_ensemble
    from gemnet_blocks.potential.model_file import load_potential

    check_writable(output)
    try:
        least_structures(level)
    except ValueError as error:
        raise SpecError(f"--level: {error}") from error
    members = [load_potential(path, device=device, allow_imports=allow_imports) for path in models]
    try:
        joined = Ensemble(members).eval()
    except ValueError as error:
        raise SpecError(f"{error} ({', '.join(map(str, models))})") from error
    if calibrate is not None:
        dataset, meaning = part_of_config(calibrate, split, allow_imports, joined.model)
        if joined.meaning not in (meaning, "unknown"):
            raise SpecError(
                f"expected {joined.meaning} energies, which the models predict, found {meaning} in {calibrate}"
            )
        joined = calibrated(joined, dataset, level, progress=True)
        console.print(
            f"calibrated on {len(dataset):,} structures: intervals contain labels with a probability of {level:g}"
        )
    save_ensemble(joined, output)
    print_written(output)
