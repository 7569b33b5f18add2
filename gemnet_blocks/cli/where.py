"""The command `where`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gemnet_blocks.cli.arguments import AllowImports, Split, as_file, is_config, part_of_config
from gemnet_blocks.cli.console import announce, console, print_written
from gemnet_blocks.cli.evaluate import DescribedFile, Meaning, dataset_of_file
from gemnet_blocks.errors import SpecError

if TYPE_CHECKING:
    from gemnet_blocks.ablation.report.where_section import StudyDifferences


class GroupingChoice(str, Enum):
    """The property by which atoms and structures are grouped."""

    element = "element"
    coordination = "coordination"
    distance = "distance"
    force = "force"
    tag = "tag"
    composition = "composition"


def where(
    base: Annotated[
        Path,
        typer.Argument(
            help="The folder of a study; or a model (a file, or the folder of a training run), followed by another "
            "model and data.",
            show_default=False,
        ),
    ],
    other: Annotated[Path | None, typer.Argument(help="The model that is compared.", show_default=False)] = None,
    data: Annotated[
        Path | None,
        typer.Argument(
            help="A training config, whose data are predicted; or a file of structures with labels.", show_default=False
        ),
    ] = None,
    variant: Annotated[
        list[str] | None, typer.Option(help="Of a study: a variant; by default all. Repeatable.", show_default=False)
    ] = None,
    by: Annotated[
        list[GroupingChoice] | None,
        typer.Option(help="The property by which atoms are grouped; by default all. Repeatable.", show_default=False),
    ] = None,
    split: Annotated[
        Split | None, typer.Option(help="The part of a training config's data; by default the test part.")
    ] = None,
    units: Annotated[str | None, typer.Option(help="Unit of energy of a file of structures: eV, kcal/mol, ...")] = None,
    energy: Annotated[
        Meaning | None, typer.Option(help="The reference of the energies in a file of structures.")
    ] = None,
    free_atoms: Annotated[bool, typer.Option("--free-atoms", help="Of models: omit fixed atoms.")] = False,
    device: Annotated[str, typer.Option(help="Of models: the device, cpu, cuda, ...")] = "cpu",
    output: Annotated[
        Path | None,
        typer.Option(help="Write tables as CSV, figures of structures and a file for chemiscope into this folder."),
    ] = None,
    allow_imports: AllowImports = False,
) -> None:
    """Tell which atoms and structures a variant of a study, or another model, predicts better or worse.

    Errors are paired by atom, structure and seed; intervals are over structures.
    """
    announce(f"comparing errors of {base} atom by atom")
    from gemnet_blocks.ablation.report.content import write_where
    from gemnet_blocks.plotting.picture import require_matplotlib

    if output is not None:
        require_matplotlib()
        if output.exists() and not output.is_dir():
            raise SpecError(f"--output {output}: is a file: give a folder to write to")
    if other is None:
        differences = _of_study(base, variant or [])
    else:
        if data is None:
            raise SpecError(f"{base} and {other}: give the data for which the two models are compared")
        if variant:
            raise SpecError("--variant is only for studies: give the folder of a study alone")
        described = DescribedFile(units, None, None if energy is None else energy.value, None, [], [])
        differences = _of_models(base, other, data, split, described, free_atoms, device, allow_imports)
    _print(differences, [one.value for one in by or GroupingChoice])
    if output is not None:
        print_written(*write_where(differences, output, f"{base}: where errors differ"))


def _of_study(folder: Path, names: Sequence[str]) -> StudyDifferences:
    """Return the differences of variants of a study from its base."""
    from gemnet_blocks.ablation.report.where_section import StudyDifferences
    from gemnet_blocks.ablation.results import StudyResults
    from gemnet_blocks.ablation.study import RESULTS

    path = folder / RESULTS
    if not path.is_file():
        raise SpecError(
            f"{folder}: expected the folder of a study with {RESULTS}, or a model followed by another model and data"
        )
    try:
        results = StudyResults.load(path)
    except ValueError as error:
        raise SpecError(str(error)) from error
    known = [one.name for one in results.variants if one.name != results.base_name]
    if unknown := [name for name in names if name not in known]:
        raise SpecError(f"--variant {unknown[0]}: expected one of {', '.join(known)}")
    found = StudyDifferences.of(results, names or known)
    if not found.found:
        raise SpecError(
            f"{folder}: expected predictions that finished runs kept, found none: runs of earlier versions kept none"
        )
    return found


def _of_models(
    base: Path,
    other: Path,
    data: Path,
    split: Split | None,
    described: DescribedFile,
    free_atoms: bool,
    device: str,
    allow_imports: bool,
) -> StudyDifferences:
    """Return the differences of one model from another."""
    from gemnet_blocks.ablation.report.paired_errors import paired_errors
    from gemnet_blocks.ablation.report.where_section import StudyDifferences
    from gemnet_blocks.evaluation import keep_predictions
    from gemnet_blocks.potential.ensemble_file import load_potential_or_ensemble
    from gemnet_blocks.spec.catalog import search_beside

    if allow_imports:
        search_beside(data)  # custom components may be in the folder of a config
    models = [load_potential_or_ensemble(one, device=device, allow_imports=allow_imports) for one in (base, other)]
    if is_config(data):
        dataset, meaning = part_of_config(data, split or Split.test, allow_imports, models[0].model)
    else:
        if split is not None:
            raise SpecError(f"{data}: --split is only for training configs: all structures of a file are compared")
        dataset, meaning, _ = dataset_of_file(as_file(data), described, models[0])
    for path, model in zip((base, other), models, strict=True):
        if model.meaning not in (meaning, "unknown"):
            raise SpecError(
                f"expected {model.meaning} energies, which {path} predicts, found {meaning} energies in {data}"
            )
    first, second = (keep_predictions(one, dataset, atoms="free" if free_atoms else "all") for one in models)
    kinds = [one for one in first.quantities if second.owner(one) is not None]
    name = str(other)
    return StudyDifferences({kind: {name: paired_errors(first, second, kind)} for kind in kinds}, (name,))


def _print(differences: StudyDifferences, groupings: Sequence[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from gemnet_blocks.ablation.report.where_section import where_tables

    shown = [table for by in groupings for table in where_tables(differences, by)]
    if not shown:
        raise SpecError(f"--by: the structures cannot be grouped by {', '.join(groupings)}: choose another property")
    for one in shown:
        # names may contain square brackets, which are no markup
        table = Table(title=Text(one.caption), title_justify="left", box=SIMPLE_HEAD)
        for place, heading in enumerate(one.headings):
            table.add_column(Text(heading), justify="left" if place < one.words else "right")
        for row in one.rows:
            table.add_row(*map(Text, row))
        console.print(table)
        if one.note:
            console.print(Text(one.note))
