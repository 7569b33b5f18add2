"""Report the examples and failures of a run of the property tests.

    python tests/properties/report.py FOLDER [--output docs/properties.md]

FOLDER contains the files that `harness.py` writes if the environment variable PROPERTY_REPORT is set to FOLDER.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

KINDS = ("no atoms", "1 atom", "2 to 5 atoms", "6 to 15 atoms", "16 atoms or more")


def report(results: list[dict[str, Any]]) -> str:
    """Return the report as a Markdown page."""
    failed = [one for one in results if one["failure"]]
    structures = [one for one in results if one["kinds"]]
    kinds: Counter[str] = Counter()
    for one in structures:
        kinds.update(one["kinds"])
    drawn = sum(one["tried"] for one in structures)
    lines = [
        "# Examples of the property tests",
        "",
        "Written by `make properties`, which checks each property on many newly drawn structures, 10,000 by default.",
        "Properties of specs or of basis functions are checked on as many specs or basis functions.",
        "",
        f"{len(results)} properties, {drawn:,} structures with {kinds['atoms']:,} atoms in "
        f"{sum(one['seconds'] for one in results) / 3600:.1f} hours on one core, torch {results[0]['torch']}: "
        f"{len(failed) or 'none'} of the properties failed.",
        "",
        "| structures with | " + " | ".join(KINDS) + " | " + " | ".join(f"{n} periodic axes" for n in range(4)) + " |",
        "| --- |" + " --- |" * (len(KINDS) + 4),
        "| number | "
        + " | ".join(f"{kinds[kind]:,}" for kind in (*KINDS, *(f"periodic along {n}" for n in range(4))))
        + " |",
        "",
        "| property | examples | failed |",
        "| --- | --- | --- |",
    ]
    for one in sorted(results, key=lambda one: one["property"]):
        name = one["property"].removeprefix("properties.").removeprefix("test_").replace(".test_", ": ")
        lines.append(f"| {name.replace('_', ' ')} | {one['tried']:,} | {'**yes**' if one['failure'] else 'no'} |")
    for one in failed:
        lines += ["", f"## {one['property']}", "", "```", one["failure"].strip(), "```"]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page; return 1 if a property failed or the folder contains no results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(arguments.folder.glob("*.json"))]
    if not results:
        print(f"{arguments.folder} contains no results: run the property tests with PROPERTY_REPORT={arguments.folder}")
        return 1
    text = report(results)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")
    print(text)
    return 1 if any(one["failure"] for one in results) else 0


if __name__ == "__main__":
    raise SystemExit(main())
