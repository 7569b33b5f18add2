"""Inject faults into the library, one at a time, and check that the property tests catch them.

    python tests/mutations.py [--jobs 2] [--only TEXT] [--output docs/mutations.md]

Each mutation in `mutations.yaml` replaces one expression in one file of a copy of the package: a sign, an exclusion
rule, the reverse index, a normalization. The property tests run against the copy and stop at the first failure. A
mutation that survives reveals a gap in the tests, and the script ends with an error.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
TESTS = [f"tests/properties/test_{name}.py" for name in ("graphs", "bases", "interactions", "models", "continuity")]


@dataclass(frozen=True)
class Mutation:
    """One fault to inject.

    Attributes:
        what: description of the fault.
        file: path of the changed file, relative to the package.
        old: code to replace, which must occur exactly once in the file.
        new: its replacement.
    """

    what: str
    file: str
    old: str
    new: str


def mutations() -> list[Mutation]:
    """Read all mutations of `mutations.yaml`."""
    table = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return [Mutation(**row) for row in table]


def run(mutation: Mutation) -> tuple[bool, str, float]:
    """Test one mutation; return if a test failed, the first test that failed, and the elapsed seconds."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("gemnet_blocks", "tests", "paper_configs"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "fixtures"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        path = copy / "gemnet_blocks" / mutation.file
        source = path.read_text(encoding="utf-8")
        count = source.count(mutation.old)
        if count != 1:
            raise SystemExit(
                f"{mutation.what}: expected {mutation.old!r} once in {mutation.file}, found it {count} times"
            )
        path.write_text(source.replace(mutation.old, mutation.new), encoding="utf-8")
        environment = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        start = time.monotonic()
        finished = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist", *TESTS],
            cwd=copy, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    caught = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", finished.stdout, flags=re.MULTILINE)
    if finished.returncode == 1 and caught is None:
        raise SystemExit(
            f"{mutation.what}: the tests could not run:\n{finished.stdout[-2000:]}\n{finished.stderr[-2000:]}"
        )
    return finished.returncode != 0, caught[1] if caught else "", time.monotonic() - start


def main() -> int:
    """Test all mutations and write a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="test the mutations whose description or file contains this text")
    parser.add_argument("--output", type=Path, help="write the table to this Markdown file")
    arguments = parser.parse_args()
    chosen = [one for one in mutations() if arguments.only in one.what or arguments.only in one.file]
    rows = ["| fault | file | caught by |", "| --- | --- | --- |"]
    survivors = 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for mutation, (caught, test, seconds) in zip(chosen, pool.map(run, chosen), strict=True):
            survivors += not caught
            verdict = f"`{test.removeprefix('tests/properties/')}`" if caught else "**no test**"
            rows.append(f"| {mutation.what} | `{mutation.file}` | {verdict} |")
            print(f"{'caught  ' if caught else 'SURVIVED'} {seconds:4.0f} s  {mutation.what}  {test}", flush=True)
    if arguments.output:
        title = (
            "# Faults that the property tests catch\n\n"
            "Written by `make mutations`. Each row is one fault that was injected into the library, "
            "and the first test that failed.\n\n"
        )
        arguments.output.write_text(title + "\n".join(rows) + "\n", encoding="utf-8")
    print(f"{len(chosen) - survivors} of {len(chosen)} caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main())
