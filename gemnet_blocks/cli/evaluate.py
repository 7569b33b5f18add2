"""The command `evaluate`: errors of a trained potential on labelled structures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gemnet_blocks.cli.arguments import AllowImports, Split, as_file, is_config, part_of_config
from gemnet_blocks.cli.completion import config_names
from gemnet_blocks.cli.console import announce, console, print_written
from gemnet_blocks.errors import SpecError

if TYPE_CHECKING:
    from gemnet_blocks.data.dataset import LabelledDataset
    from gemnet_blocks.data.options import DataOptions
    from gemnet_blocks.data.trained_frames import Overlap
    from gemnet_blocks.potential.ensemble import Ensemble
    from gemnet_blocks.potential.potential import Potential
    from gemnet_blocks.spec.document import Problem
    from gemnet_blocks.structures import EnergyMeaning


class Meaning(str, Enum):
    """The reference of energies."""

    total = "total"
    adsorption = "adsorption"
    atomisation = "atomisation"


def evaluate(
    context: typer.Context,
    model: Annotated[
        Path, typer.Argument(help="A model file (.safetensors), or the folder of a training run.", show_default=False)
    ],
    data: Annotated[
        Path,
        typer.Argument(
            help="A training config (a file or a shipped name), whose data are evaluated; or structures with labels: a "
            "file, a pattern such as 'runs/*.xyz', or - for extended XYZ from standard input.",
            show_default=False,
            autocompletion=config_names,
        ),
    ],
    split: Annotated[
        Split | None, typer.Option(help="The part of a training config's data; by default the test part.")
    ] = None,
    units: Annotated[str | None, typer.Option(help="Unit of energy of a file of structures: eV, kcal/mol, ...")] = None,
    length: Annotated[str | None, typer.Option(help="Unit of length of a file of structures; by default Å.")] = None,
    energy: Annotated[
        Meaning | None, typer.Option(help="The reference of the energies in a file of structures.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Labels of a file of structures: energy, forces, stress, heads; by default energy,forces."),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(help="The name of a label in a file of structures: energy=REF_energy. Repeatable."),
    ] = None,
    stress: Annotated[
        list[str] | None,
        typer.Option(
            help="Conventions of stresses in a file of structures, as in `data.stress` of a training config: unit=GPa, "
            "sign=compressive, 'order=xx yy zz xy yz xz', kind=virial. Repeatable."
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(help="Also print the errors of each group of structures with the same value of this key."),
    ] = None,
    group_pattern: Annotated[
        str | None,
        typer.Option(help="A regular expression, whose first parenthesis, matched with the value, is the group."),
    ] = None,
    free_atoms: Annotated[bool, typer.Option("--free-atoms", help="Omit fixed atoms from errors of forces.")] = False,
    batch_atoms: Annotated[int, typer.Option(min=1, help="Number of atoms that are predicted together.")] = 512,
    device: Annotated[str, typer.Option(help="The device: cpu, cuda, ...")] = "cpu",
    output: Annotated[
        Path | None, typer.Option(help="Write summary.json and predictions.csv into this folder.")
    ] = None,
    atoms: Annotated[bool, typer.Option("--atoms", help="Also write the forces of every atom to atoms.csv.")] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Also draw predictions against labels as parity.png.")] = False,
    allow_overlap: Annotated[
        bool,
        typer.Option("--allow-overlap", help="Also evaluate structures that the model was trained or validated on."),
    ] = False,
    allow_imports: AllowImports = False,
) -> None:
    """Compute errors of predicted energies, forces, stresses and further properties, as tables, files and a plot."""
    announce(f"evaluating {model} on {data}: reading model and structures")
    from gemnet_blocks.data.batching import BatchOptions
    from gemnet_blocks.evaluation.evaluate import evaluate as run
    from gemnet_blocks.evaluation.report import parts_table, summary_table, uncertainty_table, write_report
    from gemnet_blocks.plotting.picture import require_matplotlib
    from gemnet_blocks.potential.ensemble_file import load_potential_or_ensemble
    from gemnet_blocks.spec.catalog import search_beside
    from gemnet_blocks.util.locks import only_writer_to_folder

    described = DescribedFile(units, length, None if energy is None else energy.value, labels, key or [], stress or [])
    if group_pattern is not None and group is None:
        raise SpecError("--group-pattern needs the key whose values it matches: give --group KEY")
    if (plot or atoms) and output is None:
        raise SpecError("--plot and --atoms need a folder to write to: give --output FOLDER")
    if output is not None and output.exists() and not output.is_dir():
        raise SpecError(f"--output {output}: is a file: give a folder to write to")
    if plot:
        require_matplotlib()
    if output is not None:
        context.with_resource(only_writer_to_folder(output, "--output"))
    if allow_imports:
        search_beside(data)  # custom components may be in the folder of a config
    potential = load_potential_or_ensemble(model, device=device, allow_imports=allow_imports)
    allowed: bool | Literal["validation"] = allow_overlap
    overlap: Overlap | None = None
    if is_config(data):
        if given := described.given():
            raise SpecError(f"{data}: {given} is only for files of structures: change `data` of the training config")
        dataset, meaning = part_of_config(data, split or Split.test, allow_imports, potential.model)
        # a part that the user names is evaluated even if the model was trained on it
        allowed = allowed or split is Split.train or ("validation" if split is Split.validation else False)
    else:
        if split is not None:
            raise SpecError(f"{data}: --split is only for training configs: all structures of a file are evaluated")
        dataset, meaning, overlap = dataset_of_file(as_file(data), described, potential)
    if potential.meaning not in (meaning, "unknown"):
        raise SpecError(
            f"expected {potential.meaning} energies, which {model} predicts, found {meaning} energies in {data}: they "
            "cannot be compared"
        )
    predicted = {"energy", *potential.property_kinds} | ({"forces"} if potential.model.forces is not None else set())
    predicted |= {"stress"} if potential.has_stress else set()
    if not dataset.labels & predicted:
        raise SpecError(
            f"{data}: expected labels of {', '.join(sorted(predicted))}, which {model} predicts, found "
            f"{', '.join(sorted(dataset.labels))}: name other labels with --labels"
        )
    print(f"evaluating {model} on {len(dataset):,} structures", flush=True)
    evaluation = run(
        potential,
        dataset,
        BatchOptions(atoms=batch_atoms),
        groups=None if group is None else _groups(dataset, group, group_pattern),
        atoms="free" if free_atoms else "all",
        keep_atoms=plot or atoms,
        progress=True,
        allow_overlap=allowed,
        overlap=overlap,
    )
    about = {"model": str(model), "data": str(data)}
    written = [] if output is None else write_report(evaluation, output, about, plot, atoms)
    _print_overlap(evaluation.overlap)
    console.print(summary_table(evaluation))
    if (uncertainty := uncertainty_table(evaluation)) is not None:
        console.print(uncertainty)
    console.print(parts_table(evaluation, "element"))
    if group is not None:
        console.print(parts_table(evaluation, "group"))
    for path in written:
        print_written(path)


def _groups(dataset: LabelledDataset, key: str, pattern: str | None) -> list[str]:
    """The group of each structure; errors name the option."""
    try:
        return dataset.groups(key, pattern)
    except SpecError as error:
        text = str(error)
        raise SpecError(f"--group{text.removeprefix('key') if text.startswith('key') else f'-{text}'}") from None


def _print_overlap(overlap: Overlap | None) -> None:
    text = (
        "The model file has no record of its training structures: an overlap with the evaluated structures cannot be "
        "checked."
        if overlap is None
        else f"{overlap}. {overlap.limits}."
    )
    fine = overlap is not None and overlap.complete and not overlap.first
    console.print(text, style=None if fine else "yellow", highlight=False)


@dataclass(frozen=True, slots=True)
class DescribedFile:
    """The options that describe the numbers in a file of structures."""

    units: str | None
    length: str | None
    energy: str | None
    labels: str | None
    key: Sequence[str]
    stress: Sequence[str]

    def given(self) -> str:
        """The first option that the user gave; empty if none."""
        return next((f"--{field.name}" for field in fields(self) if getattr(self, field.name)), "")

    def options(self, path: Path) -> DataOptions:
        """Convert to data options.

        Raises:
            SpecError: an option is missing, or has a wrong value; names it.
        """
        from pydantic import ValidationError

        from gemnet_blocks.data.options import DataOptions
        from gemnet_blocks.spec.document import Document
        from gemnet_blocks.spec.explain import OptionsTree, problems_of
        from gemnet_blocks.spec.resolve import parse_assignment

        if self.units is None or self.energy is None:
            raise SpecError(
                f"{path}: give the unit and the reference of its energies, which are never guessed: --units eV (or "
                "kcal/mol, ...) and --energy total (or adsorption, atomisation)"
            )
        data = {
            "files": [str(path)],
            "units": {"energy": self.units, "length": self.length or "Å"},
            "energy": self.energy,
            "keys": dict(map(parse_assignment, self.key)),
            "stress": dict(map(parse_assignment, self.stress)),
            "labels": [name.strip() for name in (self.labels or "energy,forces").split(",")],
            "periodicity": "mixed",
            "batch": {"structures": 1},
        }
        try:
            return DataOptions.model_validate(data)
        except ValidationError as error:
            problems = problems_of(error, Document(data), OptionsTree(DataOptions))
            raise SpecError("\n".join(dict.fromkeys(map(_named, problems)))) from error


_OPTIONS = {("units", "length"): "length", ("units",): "units", ("keys",): "key"}
"""Options of the command line whose data options have other names."""


def _named(problem: Problem) -> str:
    """A problem of the data options as a problem of the command line."""
    route = problem.route
    option = _OPTIONS.get(route[:2]) or _OPTIONS.get(route[:1]) or route[0]
    inside = f" {route[1]}" if option in ("key", "stress") and len(route) > 1 else ""
    return f"--{option}{inside}: {problem.message}"


def dataset_of_file(
    path: Path, described: DescribedFile, potential: Potential | Ensemble
) -> tuple[LabelledDataset, EnergyMeaning, Overlap | None]:
    """The structures of a file, the reference of their energies, and their overlap with the training of a model."""
    from gemnet_blocks.data.leakage import summarize
    from gemnet_blocks.data.opening import open_files, unknown_labels
    from gemnet_blocks.data.trained_frames import OverlapCounter
    from gemnet_blocks.spec.document import Problem
    from gemnet_blocks.util.file_kinds import mistaken

    if other := mistaken(path, "a file of structures"):
        raise SpecError(f"{path}: expected a training config or structures, but this {other}")
    options, kinds = described.options(path), potential.property_kinds
    if problems := unknown_labels(options, kinds):
        raise SpecError("\n".join(_named(Problem(tuple(place.split(".")), why)) for place, why in problems.items()))
    reads = potential.model.reads
    dataset = open_files([str(path)], options, Path(), charged="warn", properties=kinds, reads=reads)
    counter = None if potential.frames is None else OverlapCounter(potential.frames, dataset)
    summary = summarize(dataset, range(len(dataset)), None if counter is None else counter.add)
    print(f"{path}: {summary.line()}")
    return dataset, options.energy, None if counter is None else counter.overlap()
