"""Equations as MathML, which browsers and screen readers support without scripts.

The build converts equations to MathML and writes a font with mathematical tables into the site.
"""

from __future__ import annotations

import html
import re
from itertools import cycle
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
FONT = "STIXTwoMath-Regular"
FUNCTION = re.compile(r"\\(cos|sin|exp|ln|log)(?=\s+[A-Za-z0-9]|\s*\\(?:theta|varphi|phi|psi|pi)\b)")
"""Functions without parentheses, which need a space after them."""
BEFORE_FUNCTION = re.compile(r"(?<=[A-Za-z0-9}\])])\s*(?=\\(?:cos|sin|exp|ln|log|operatorname)\b)")
"""Positions between a factor and a function, which need a space."""
OPERATOR = re.compile(r"\\operatorname\b")
"""Operators, whose names the converter would set in italics."""
LARGE = re.compile(r"\\[bB]igg?([()])")
"""Parentheses of explicit size, which browsers place too low; stretchy ones replace them."""
BAR = re.compile(r"<mo(?: stretchy=\"false\")?>&#x0007C;</mo>")
"""Bars of absolute values, which would have spaces like relations."""
ALIGNED = re.compile(r"\\(begin|end)\{(aligned|align|split|gathered)\}")


def mathml(latex: str, display: bool) -> str:
    """Convert an equation to MathML.

    Raises:
        ValueError: the converter does not support the equation.
    """
    # the converter knows aligned equations as align*
    plain = ALIGNED.sub(r"\\\1{align*}", latex.strip())
    plain = BEFORE_FUNCTION.sub(r"\\,", plain)
    plain = FUNCTION.sub(r"\\\1\\,", plain)
    plain = OPERATOR.sub(r"\\mathrm", plain)
    plain = LARGE.sub(lambda found: r"\left(" if found[1] == "(" else r"\right)", plain)
    try:
        found = convert(plain, display="block" if display else "inline")
    except Exception as error:  # the converter raises many types of errors
        raise ValueError(f"{type(error).__name__}: {error}") from error
    strange = re.search(r"<m(?:i|o|text)>(\\[a-zA-Z]+)</m", found)
    if strange:
        raise ValueError(f"{strange[1]} is unknown")
    found = _absolute_values(found)
    return found.replace("<math ", f'<math aria-label="{html.escape(latex.strip(), quote=True)}" ', 1)


def _absolute_values(found: str) -> str:
    """Mark bars alternately as opening and closing; leave an odd number of bars unchanged."""
    if len(BAR.findall(found)) % 2:
        return found
    forms = cycle(("prefix", "postfix"))
    return BAR.sub(lambda _: f'<mo form="{next(forms)}" stretchy="false">&#x0007C;</mo>', found)


def separate(latex: str) -> list[str]:
    """Split a line of equations at \\qquad outside of braces and environments."""
    parts, depth = [""], 0
    for piece in re.split(r"(\\qquad|\\begin\{\w+\*?\}|\\end\{\w+\*?\}|[{}])", latex):
        depth += (piece == "{" or piece.startswith("\\begin")) - (piece == "}" or piece.startswith("\\end"))
        if piece == "\\qquad" and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return [part for part in parts if part.strip()]


def _of(translator: Any, node: nodes.Element, latex: str, display: bool) -> str:
    try:
        return mathml(latex, display)
    except ValueError as error:
        LOGGER.warning("mathematics: %s in %r", error, latex, location=node)
        return f"<code>{html.escape(latex)}</code>"


def visit_inline(translator: Any, node: nodes.math) -> None:
    """Write an inline equation."""
    translator.body.append(f'<span class="math">{_of(translator, node, node.astext(), display=False)}</span>')
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.math_block) -> None:
    """Write a displayed equation."""
    anchor = "".join(f'<span id="{name}"></span>' for name in node.get("ids", ()))
    # equations wrap into several rows on narrow screens
    equations = (_of(translator, node, part, display=True) for part in separate(node.astext()))
    rows = "".join(f'<div class="equation" tabindex="0" role="group">{one}</div>' for one in equations)
    translator.body.append(f'{anchor}<div class="math">{rows}</div>\n')
    raise nodes.SkipNode


def write_font(app: Sphinx, error: Exception | None) -> None:
    """Write the font to the site."""
    target = Path(app.outdir, "_static", f"{FONT}.woff")
    if error is not None or app.builder.format != "html" or target.exists():
        return
    import ziamath
    from fontTools.ttLib import TTFont

    font = TTFont(Path(ziamath.__file__).parent / "fonts" / f"{FONT}.ttf")
    font.flavor = "woff"
    font.save(target)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_html_math_renderer("mathml", inline_renderers=(visit_inline, None), block_renderers=(visit_block, None))
    app.connect("config-inited", lambda app, config: setattr(config, "html_math_renderer", "mathml"))
    app.connect("build-finished", write_font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
