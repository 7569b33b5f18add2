"""Configuration of the documentation site, which `make docs` builds into build/docs without a network."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS / "_extensions"), str(ROOT)]

import gemnet_blocks  # noqa: E402

project = "gemnet_blocks"
author = "the gemnet_blocks contributors"
copyright = author
version = release = gemnet_blocks.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "command_line",
    "docstrings",
    "figures",
    "gathered",
    "mathml",
    "plain_types",
    "published_arguments",
    "schema_tables",
]
exclude_patterns = ["_build", "_extensions"]
default_role = "code"
smartquotes_action = "D"  # dashes only

myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_dmath_double_inline = True


def _sources() -> str:
    """Hash all files on which the outputs of executed pages depend."""
    files = sorted([*(ROOT / "gemnet_blocks").rglob("*.py"), *(ROOT / "paper_configs").rglob("*.yaml")])
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


# Pages and notebooks are executed once per state of the library, so that no output on the site is stale.
nb_execution_mode = "cache"
nb_execution_cache_path = str(ROOT / "build" / "docs-executed" / _sources())
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # pages load nothing from other sites
nb_merge_streams = True
nb_render_markdown_format = "myst"  # renders tables in outputs
nb_mime_priority_overrides = [("html", "image/svg+xml", 0)]

autodoc_default_options = {"exclude-members": "model_config, model_post_init, extra_repr"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # those of Lightning and torch are written for other tools
toc_object_entries = False  # thousands of entries would slow down the build
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # types are in signatures
napoleon_use_rtype = False
nitpicky = False
suppress_warnings = [
    "ref.python",  # field names such as `type` are ambiguous
    "myst.header",  # recorded pages start with any heading level
]

linkcheck_retries = 2
linkcheck_timeout = 20
linkcheck_anchors = False  # scripts generate the anchors of other sites

html_theme = "furo"
html_title = f"gemnet_blocks {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"font-stack--monospace": "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"},
    "dark_css_variables": {"font-stack--monospace": "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"},
}
