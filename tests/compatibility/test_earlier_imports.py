"""Every import, command and option that the documentation of earlier versions shows."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from recording import VERSIONS, command_line, read_json

LINES = [
    (version, line)
    for version in VERSIONS
    for line in (version / "imports.txt").read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize(("version", "line"), LINES)
def test_names_that_documentation_showed_can_be_imported(version: Path, line: str) -> None:
    if line.startswith("from "):
        exec(line, {})
        return
    names = line.split(".")
    for count in range(len(names), 0, -1):
        try:
            found = importlib.import_module(".".join(names[:count]))
        except ModuleNotFoundError:
            continue
        for name in names[count:]:
            found = getattr(found, name)
        return


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_commands_keep_their_arguments_and_options(version: Path) -> None:
    now = command_line()
    for name, before in read_json(version / "cli_options.json").items():
        assert now[name]["arguments"] == before["arguments"], name
        for option, accepted in before["options"].items():
            assert set(accepted) <= set(now[name]["options"].get(option, [])), f"{name} {option}"
