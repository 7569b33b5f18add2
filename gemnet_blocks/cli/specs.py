"""Commands for the files that the library ships: `specs` and `schema`."""

from __future__ import annotations

import json
from enum import Enum
from typing import Annotated

import typer

from gemnet_blocks.cli.console import console
from gemnet_blocks.errors import SpecError
from gemnet_blocks.util.shipped import ShippedKind, described, shipped_folder, shipped_names

_USES: dict[ShippedKind, str] = {
    "a spec": "Specs, for all commands that take one, for `extends` in your own specs, and for load_spec",
    "a training config": "Training configs, for `gemnet-blocks train` and for `extends` in your own configs",
    "a study": "Studies, for `gemnet-blocks ablate` and for `extends` in your own studies",
}


def specs(
    pattern: Annotated[str, typer.Argument(help="A pattern that names match, such as 'gemnet-*' or 'bridge/*'.")] = "*",
    names: Annotated[bool, typer.Option("--names", help="Print names only, one per line, for scripts.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Print the files themselves, to copy and change them.")] = False,
) -> None:
    """List the specs, training configs and studies that the library ships. Their names work in every folder."""
    found = {kind: shipped_names(kind, pattern) for kind in _USES}
    listed = [name for kind in found.values() for name in kind]
    if not listed:
        raise SpecError(f"{pattern}: no shipped name matches this pattern: `gemnet-blocks specs` lists all names")
    if show:
        for name in listed:
            typer.echo((shipped_folder() / f"{name}.yaml").read_text(encoding="utf-8"), nl=False)
    elif names:
        typer.echo("\n".join(listed))
    else:
        width = max(map(len, listed))
        for kind, matching in found.items():
            if matching:
                console.print(f"{_USES[kind]}:", style="bold", highlight=False)
            for name in matching:
                line = f"  {name:{width}}  {described(name)}"
                console.print(line, highlight=False, overflow="ellipsis", no_wrap=True)


class SchemaKind(str, Enum):
    """Documents with a JSON Schema."""

    spec = "spec"
    training = "training"
    study = "study"


def schema(
    kind: Annotated[SchemaKind, typer.Argument(help="The kind of the document.")] = SchemaKind.spec,
) -> None:
    """Print the JSON Schema of specs, training configs or studies, with which editors complete and check files."""
    from gemnet_blocks.spec.editor import compact

    if kind is SchemaKind.spec:
        from gemnet_blocks.spec import json_schema
    elif kind is SchemaKind.training:
        from gemnet_blocks.training.config_file import json_schema
    else:
        from gemnet_blocks.ablation.study_schema import json_schema
    typer.echo(json.dumps(compact(json_schema()), indent=1, ensure_ascii=False))
