"""The command `describe`: an architecture in the words and equations of a paper."""

from __future__ import annotations

from typing import Annotated

import typer

from gemnet_blocks.cli.arguments import AllowImports, Assignments, SpecPath, spec_of
from gemnet_blocks.errors import SpecError


def describe(
    spec: SpecPath,
    assignments: Assignments = None,
    latex: Annotated[
        bool, typer.Option("--latex", help="LaTeX for a document with amsmath and booktabs, instead of Markdown.")
    ] = False,
    bibtex: Annotated[bool, typer.Option("--bibtex", help="The cited papers alone, as BibTeX entries.")] = False,
    allow_imports: AllowImports = False,
) -> None:
    """Describe a spec for a paper: a paragraph, the equations of its bases and interactions, sizes and citations."""
    from gemnet_blocks.model.summary import parameter_count
    from gemnet_blocks.spec.build import build_shapes

    if latex and bibtex:
        raise SpecError("--latex and --bibtex print different files: give one of them")
    loaded = spec_of(spec, assignments, allow_imports)
    found = loaded.describe(parameter_count(build_shapes(loaded)))
    typer.echo(found.bibtex() if bibtex else found.latex() if latex else found.markdown(), nl=False)
