"""Break the library in one place at a time, and see whether the property tests notice.

    python tests/mutations.py [--jobs 2] [--only TEXT] [--output docs/mutations.md]

Each mutation in `mutations.yaml` is one replacement in one file of a copy of the package: a sign, an exclusion rule,
the reverse index, a normaliser. The property tests run against the copy until one of them fails. A mutation that
survives is a gap in the tests; the script then ends with an error.
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
    """One way to break the library.

    Attributes:
        what: in words.
        file: inside the package.
        old: the code, which must occur exactly once.
        new: what it becomes.
    """

    what: str
    file: str
    old: str
    new: str


def mutations() -> list[Mutation]:
    """All of `mutations.yaml`."""
    table = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return [Mutation(**row) for row in table]


def run(mutation: Mutation) -> tuple[bool, str, float]:
    """Whether the tests notice, the first test that does, and the seconds it took."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("gemnet_blocks", "tests", "paper_configs"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "fixtures"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        path = copy / "gemnet_blocks" / mutation.file
        source = path.read_text(encoding="utf-8")
        if source.count(mutation.old) != 1:
            raise SystemExit(
                f"{mutation.what}: {mutation.old!r} is {source.count(mutation.old)} times in {mutation.file}"
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
            f"{mutation.what}: the tests did not run:\n{finished.stdout[-2000:]}\n{finished.stderr[-2000:]}"
        )
    return finished.returncode != 0, caught[1] if caught else "", time.monotonic() - start


def main() -> int:
    """Try all mutations and write a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="mutations whose description or file contains this")
    parser.add_argument("--output", type=Path, help="a Markdown file to write the table to")
    arguments = parser.parse_args()
    chosen = [one for one in mutations() if arguments.only in one.what or arguments.only in one.file]
    rows = ["| broken | in | noticed by |", "| --- | --- | --- |"]
    survivors = 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for mutation, (noticed, test, seconds) in zip(chosen, pool.map(run, chosen), strict=True):
            survivors += not noticed
            verdict = f"`{test.removeprefix('tests/properties/')}`" if noticed else "**nothing**"
            rows.append(f"| {mutation.what} | `{mutation.file}` | {verdict} |")
            print(f"{'noticed ' if noticed else 'SURVIVED'} {seconds:4.0f} s  {mutation.what}  {test}", flush=True)
    if arguments.output:
        title = (
            "# What the property tests notice\n\nMade by `make mutations`: each row is the library with one defect.\n\n"
        )
        arguments.output.write_text(title + "\n".join(rows) + "\n", encoding="utf-8")
    print(f"{len(chosen) - survivors} of {len(chosen)} noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main())
