"""The command `draw`: pictures of an architecture, its bases and its edge sets."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gemnet_blocks.cli.arguments import AllowImports, Assignments, DefaultTag, SpecPath, batch_of, spec_of
from gemnet_blocks.cli.console import console, print_written
from gemnet_blocks.errors import SpecError, StructureError

if TYPE_CHECKING:
    from gemnet_blocks.plotting import Picture
    from gemnet_blocks.spec import Spec
    from gemnet_blocks.structures import Structures


class Subject(str, Enum):
    """The subject of a picture."""

    architecture = "architecture"
    bases = "bases"
    graphs = "graphs"
    neighbors = "neighbors"
    quadruplet = "quadruplet"


def draw(
    spec: SpecPath,
    output: Annotated[Path, typer.Option(help="The picture to write: .svg, .png or .pdf.", show_default=False)],
    what: Annotated[
        Subject,
        typer.Option(
            help="architecture: the flow of data between parts; bases: functions of distances and angles, and their "
            "envelope; graphs: the neighbors of one atom in each edge set; neighbors: the distribution of numbers of "
            "neighbors; quadruplet: one quadruplet with its angles.",
        ),
    ] = Subject.architecture,
    against: Annotated[
        Path | None, typer.Option(help="Another spec file: mark the parts of it that SPEC removes, adds and changes.")
    ] = None,
    assignments: Assignments = None,
    structures: Annotated[
        Path | None, typer.Option(help="Structures in any format of training data; by default a slab with methanol.")
    ] = None,
    index: Annotated[
        str | None, typer.Option(help="Frames of the file: a number or a slice, such as -1 or 0:10.")
    ] = None,
    default_tag: DefaultTag = None,
    atom: Annotated[
        int | None, typer.Option(help="The central atom of graphs and quadruplets, counted from 0.")
    ] = None,
    allow_imports: AllowImports = False,
) -> None:
    """Draw the architecture of a spec, its changes of another spec, its bases, or its edge sets on a structure."""
    from gemnet_blocks.plotting.picture import format_of

    wanted = format_of(output)
    _check_combination(what, against, structures, atom)
    if what is not Subject.architecture or wanted != "svg":
        from gemnet_blocks.plotting.picture import require_matplotlib

        require_matplotlib()
    loaded = spec_of(spec, assignments, allow_imports)
    if what is Subject.architecture:
        picture = _architecture(loaded, spec, against, allow_imports)
    else:
        picture = _figure(loaded, what, structures, index, default_tag, atom)
    picture.save(output)
    print_written(output)


def _check_combination(what: Subject, against: Path | None, structures: Path | None, atom: int | None) -> None:
    """Refuse options that would be ignored."""
    if against is not None and what is not Subject.architecture:
        raise SpecError(f"--against compares architectures: leave it out, or leave out --what {what.value}")
    if structures is not None and what in (Subject.architecture, Subject.bases):
        raise SpecError(
            f"--structures: {what.value} does not use structures: add --what graphs, neighbors or quadruplet"
        )
    if atom is not None and what not in (Subject.graphs, Subject.quadruplet):
        raise SpecError("--atom: only --what graphs and --what quadruplet have a central atom")


def _architecture(spec: Spec, path: Path, against: Path | None, allow_imports: bool) -> Picture:
    from gemnet_blocks.plotting import draw_architecture
    from gemnet_blocks.spec import load_spec

    if against is None:
        return draw_architecture(spec, title=path.name)
    other = load_spec(against, allow_imports=allow_imports)
    drawn = draw_architecture(spec, other, title=f"{path.name} against {against.name}")
    for change in drawn.changes or ("no field differs",):
        console.print(change, highlight=False)
    return drawn


def _figure(
    spec: Spec, what: Subject, path: Path | None, index: str | None, default_tag: int | None, atom: int | None
) -> Picture:
    from gemnet_blocks import plotting

    if what is Subject.bases:
        return plotting.draw_bases(spec)
    if what is Subject.neighbors:
        batch = _structures(path, index or ":", default_tag)
        _print_table(spec, batch)
        return plotting.draw_neighbors(spec, batch)
    structure = _structures(path, index or "0", default_tag)
    if len(structure) != 1:
        raise StructureError(f"--index {index}: expected one structure, found {len(structure)}: choose one")
    if what is Subject.graphs:
        return plotting.draw_edge_sets(spec, structure, atom=atom)
    return plotting.draw_quadruplet(spec, structure, atom=atom)


def _structures(path: Path | None, index: str, default_tag: int | None) -> Structures:
    from gemnet_blocks.examples import platinum_slab
    from gemnet_blocks.structures import Structures

    if path is not None:
        return batch_of(path, index, default_tag)
    console.print("structure: Pt(111) slab with methanol")
    return Structures.from_ase(platinum_slab())


def _print_table(spec: Spec, structures: Structures) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from gemnet_blocks.plotting.edge_sets import COLUMNS, neighbor_counts

    table = Table(box=SIMPLE_HEAD, header_style="bold")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == COLUMNS[0] else "right")
    for counts in neighbor_counts(spec, structures):
        table.add_row(*counts.row())
    console.print(table)
