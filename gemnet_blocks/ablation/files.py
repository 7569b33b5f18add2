"""Small JSON files that are there as a whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gemnet_blocks.util.files import replacing


def write_json(path: Path, data: Any) -> None:
    """Write plain data; whatever was there is replaced at once."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """What a file holds; None where there is none, or one that cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
