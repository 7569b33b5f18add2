"""Measure this library and an earlier checkout of it in turns.

    git worktree add ../earlier COMMIT
    python benchmarks/earlier.py ../earlier [--only PATTERN] [--repeats N]

Both run in fresh processes of this interpreter and take turns within each case. A line per case gives the ratios of the
later to the earlier checkout: of the shortest times, of the median times, and of the peak memory above the imports.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import numpy as np
from cases import CASES, ROOT, Case
from compare import Entrant, run


def ratios(case: Case, earlier: Path, repeats: int) -> str:
    """Measure a case with both checkouts and describe the ratios.

    Args:
        case: the case to measure.
        earlier: folder of the earlier checkout.
        repeats: measured runs of each, after one warm-up run.
    """
    checkouts = {"earlier": earlier, "later": ROOT}
    script = "benchmarks/worker_here.py"
    entrants = [Entrant(name, sys.executable, str(one / script), {}, one) for name, one in checkouts.items()]
    try:
        run(case, entrants, repeats)
    finally:
        for entrant in entrants:
            entrant.close()
    before, after = (entrant.record for entrant in entrants)
    if failure := before.get("failure") or after.get("failure"):
        return f"{case.name}: {failure}"
    shortest, median = (function(after["seconds"]) / function(before["seconds"]) for function in (np.min, np.median))
    memory = after["megabytes"] / before["megabytes"]
    apart = f", outputs differ by {after['difference']:.0e}" if after.get("difference") else ""
    return f"{case.name}: shortest {shortest:.3f}, median {median:.3f}, memory {memory:.3f}{apart}"


def main() -> None:
    """Measure the cases and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("earlier", type=Path, help="folder of the earlier checkout")
    parser.add_argument("--only", default="", help="measure the cases whose names match this regular expression")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    for case in CASES:
        if re.search(arguments.only, case.name):
            print(ratios(case, arguments.earlier.resolve(), arguments.repeats), flush=True)


if __name__ == "__main__":
    main()
