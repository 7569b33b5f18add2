"""The directive `published-arguments`: the fields of a spec that each published argument sets.

The fields are found by changing one argument of a model with all interactions and comparing the specs.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from gemnet_blocks.spec import load_spec, published
from gemnet_blocks.spec.document import shown
from gemnet_blocks.spec.published import gemnet_2021, gemnet_t

OTHER_VALUES: Mapping[str, Any] = {
    "rbf": {"name": "spherical_bessel"},
    "rbf_spherical": {"name": "bernstein"},
    "envelope": {"name": "exponential"},
    "cbf": {"name": "gaussian"},
    "sbf": {"name": "gaussian_outer"},
    "output_init": "zeros",
    "activation": None,
    "qint_tags": [2],
    "cutoff": 11.0,
    "cutoff_qint": 11.0,
    "cutoff_aeaint": 11.0,
    "cutoff_aint": 13.0,
    "max_neighbors_aint": 2000,
}
"""Alternative values of arguments that are not numbers or booleans, or have upper bounds."""

MEANINGFUL_WITH: Mapping[str, Mapping[str, Any]] = {
    "regress_forces": {"direct_forces": False},
    "scale_backprop_forces": {"direct_forces": False},
}
"""Values of other arguments that an argument needs to have an effect."""


MODELS: Mapping[str, tuple[str, Any]] = {
    "GemNet-OC": ("gemnet-oc.yaml", published),
    "GemNet-T": ("gemnet-t.yaml", gemnet_t),
    "GemNet-Q": ("gemnet-dq.yaml", gemnet_2021),
}
"""The spec of each model, and the module with its arguments."""


def changed(arguments: Mapping[str, Any], name: str) -> list[str]:
    """Return the fields of the spec that an argument sets."""
    arguments = {**arguments, **MEANINGFUL_WITH.get(name, {})}
    value = arguments[name]
    if name in OTHER_VALUES:
        other = OTHER_VALUES[name]
    elif isinstance(value, bool):
        other = not value
    else:
        other = value + 1
    first, second = (published.from_published({**arguments, **more}).to_dict() for more in ({}, {name: other}))
    return list(dict.fromkeys(".".join(route) for route in _differences(first, second, ())))


def _differences(one: Any, other: Any, route: tuple[str, ...]) -> list[tuple[str, ...]]:
    if isinstance(one, Mapping) and isinstance(other, Mapping) and one.get("type") == other.get("type"):
        keys = dict.fromkeys((*one, *other))
        return [found for key in keys for found in _differences(one.get(key), other.get(key), (*route, key))]
    return [] if one == other else [route]


class PublishedArguments(SphinxDirective):
    """The table of all arguments of a published model."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        model = self.arguments[0]
        source, module = MODELS[model]
        root = self.env.srcdir.parent
        spec = load_spec(root / "paper_configs" / source)
        arguments = {**module.DEFAULTS, **published.to_published(spec)}
        rows = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in (*module.REQUIRED, *module.DEFAULTS):
                fields = ", ".join(changed(arguments, name)) if name in arguments else ""
                default = shown(module.DEFAULTS[name]) if name in module.DEFAULTS else "required"
                rows.append((name, fields, default))
        return [self._table(rows)]

    def _table(self, rows: list[tuple[str, str, str]]) -> nodes.table:
        table = nodes.table()
        group = nodes.tgroup(cols=3)
        table += group
        group += [nodes.colspec(colwidth=width) for width in (30, 50, 20)]
        head, body = nodes.thead(), nodes.tbody()
        group += [head, body]
        head += self._row([nodes.Text(one) for one in ("argument", "fields of the spec", "default")])
        for name, fields, default in rows:
            cells = [nodes.literal("", name), self._fields(fields), nodes.literal("", default)]
            body += self._row(cells)
        return table

    def _fields(self, fields: str) -> nodes.Node:
        found = nodes.inline()
        for number, one in enumerate(fields.split(", ") if fields else []):
            found += nodes.Text(", " if number else "")
            found += nodes.literal("", one)
        return found

    def _row(self, cells: list[nodes.Node]) -> nodes.row:
        row = nodes.row()
        row += [nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells]
        return row


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("published-arguments", PublishedArguments)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
