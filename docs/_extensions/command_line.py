"""The directive `commands`: all commands with their arguments and options, read from the program."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

PROGRAM = "gemnet-blocks"
KINDS = {Path: "path", str: "text", int: "integer", float: "number"}


class Commands(SphinxDirective):
    """The reference of all commands."""

    def run(self) -> list[nodes.Node]:
        """Return one section per command."""
        from gemnet_blocks.cli import app

        group: Any = typer.main.get_command(app)
        functions = {one.callback.__name__: one.callback for one in app.registered_commands if one.callback}
        return [
            self._section(name, command, get_type_hints(functions[name])) for name, command in group.commands.items()
        ]

    def _section(self, name: str, command: Any, hints: Mapping[str, Any]) -> nodes.section:
        title = f"{PROGRAM} {name}"
        section = nodes.section("", nodes.title("", "", nodes.literal("", title)), ids=[f"command-{name}"])
        section += [nodes.paragraph("", "", *_with_options(one)) for one in (command.help or "").split("\n\n")]
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        usage = " ".join([title, *(self._place(one) for one in arguments), "[OPTIONS]"])
        section += nodes.literal_block(usage, usage, language="text")
        listed = nodes.definition_list(classes=["fields"])
        listed += [self._parameter(one, hints) for one in command.params]
        section += listed
        example = (command.epilog or "").rpartition("\n")[2]
        section += [nodes.paragraph("", "Example:"), nodes.literal_block(example, example, language="text")]
        self.state.document.note_explicit_target(section)
        return section

    def _place(self, argument: Any) -> str:
        shown = argument.name.upper() + ("..." if argument.nargs == -1 or argument.multiple else "")
        return shown if argument.required else f"[{shown}]"

    def _parameter(self, one: Any, hints: Mapping[str, Any]) -> nodes.definition_list_item:
        is_argument = one.param_type_name == "argument"
        names = [one.name.upper()] if is_argument else [*one.opts, *one.secondary_opts]
        term = nodes.term("", "", nodes.literal("", ", ".join(names), classes=["field-name"]))
        kind = "" if getattr(one, "is_flag", False) else self._kind(one.name, hints)
        facts = [kind] if kind else []
        if one.required:
            facts.append("required")
        elif one.default not in (None, (), [], False) and not callable(one.default):
            facts.append(f"default {getattr(one.default, 'value', one.default)}")
        if getattr(one, "multiple", False):
            facts.append("repeatable")
        body = nodes.definition()
        if facts:
            body += nodes.paragraph("", " · ".join(facts), classes=["field-facts"])
        body += nodes.paragraph("", "", *_with_options(getattr(one, "help", None) or ""))
        return nodes.definition_list_item("", term, body)

    def _kind(self, name: str, hints: Mapping[str, Any]) -> str:
        members = [one for one in (get_args(hints[name]) or [hints[name]]) if one is not type(None)]
        kind = (get_args(members[0]) or members)[0]
        if issubclass(kind, Enum):
            return "one of " + ", ".join(str(one.value) for one in kind)
        return KINDS.get(kind, "")


def _with_options(text: str) -> list[nodes.Node]:
    """Format options as code, since two dashes would become one long dash."""
    pieces = re.split(r"(--[a-z][a-z-]*)", text)
    return [nodes.literal("", one) if odd % 2 else nodes.Text(one) for odd, one in enumerate(pieces)]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
