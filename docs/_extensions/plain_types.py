"""Types in signatures without the bounds and validators that pydantic attaches, which have no readable form."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, get_type_hints

from sphinx.application import Sphinx
from sphinx.util import typing as sphinx_typing


def plain(annotation: Any) -> Any:
    """Replace `Annotated[X, ...]` by X at all depths of a type."""
    owner = type("Owner", (), {"__annotations__": {"value": annotation}})
    try:
        return annotation if isinstance(annotation, str) else get_type_hints(owner)["value"]
    except (NameError, TypeError):  # no type, or a reference to a name that exists for type checkers only
        return annotation


def without_metadata(function: Callable[..., str]) -> Callable[..., str]:
    """Wrap a function of Sphinx that formats a type."""

    def formatted(annotation: Any, *arguments: Any, **options: Any) -> str:
        return function(plain(annotation), *arguments, **options)

    return formatted


def shorten(
    app: Sphinx, what: str, name: str, found: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Replace defaults that a function makes by dots."""
    return signature and signature.replace("<factory>", "..."), returned


def setup(app: Sphinx) -> dict[str, bool]:
    """Replace the functions in the modules of Sphinx that write signatures."""
    for name in ("restify", "stringify_annotation"):
        original = getattr(sphinx_typing, name)
        users = [
            one for key, one in sys.modules.items() if key.startswith(("sphinx.ext.autodoc", "sphinx.util.inspect"))
        ]
        for module in users:
            if getattr(module, name, None) is original:
                setattr(module, name, without_metadata(original))
    app.connect("autodoc-process-signature", shorten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
