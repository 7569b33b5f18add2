"""How property tests run: a few derandomised examples by default, thousands of structures on request.

`PROPERTY_STRUCTURES=10000` in the environment makes every property that is decorated with `holds_for` see that many
structures (or whatever it is about), with new random numbers each time. `PROPERTY_REPORT=folder` makes each write what
it tried and what failed to a file there, which `report.py` collects.
"""

from __future__ import annotations

import functools
import json
import os
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import strategies as some

REQUESTED = int(os.environ.get("PROPERTY_STRUCTURES", "0"))
"""How many structures every property must see; 0 for the quick profile."""

REPORT = os.environ.get("PROPERTY_REPORT", "")
"""The folder of the reports; none where it is empty."""

ROUND = 100
"""Examples of one search: each starts with the simplest ones, so there must not be too many of them."""

Check = Callable[[Any, Any], None]


def batches(structures: st.SearchStrategy[Structures], quick: int = 6) -> st.SearchStrategy[Structures]:
    """Batches of up to `quick` structures; larger ones where thousands are asked for, as each then costs less."""
    if REQUESTED == 0:
        return some.batches(structures, max_structures=quick)
    return some.batches(structures, max_structures=24, min_structures=16)


def holds_for(
    strategy: st.SearchStrategy[Any], quick: int = 10, most: int | None = None
) -> Callable[[Check], Callable[[], None]]:
    """Make a test of a property of structures, or of whatever the strategy draws.

    The test is a function of one value and of hypothesis' `data`, for what it wants to draw besides.

    Args:
        strategy: of the values.
        quick: how many to try by default.
        most: how many to try at most, where there are not so many different values.
    """

    def decorate(check: Check) -> Callable[[], None]:
        @functools.wraps(check)
        def test() -> None:
            tried = Tried(check)

            def attempt(value: Any, data: Any) -> None:
                tried.count(value)
                check(value, data)

            if REQUESTED == 0:
                return _settings(quick, derandomize=True)(given(strategy, st.data())(attempt))()
            try:
                for number in range(10**6):
                    if tried.total >= min(REQUESTED, most or REQUESTED):
                        break
                    seed(number)(_settings(ROUND)(given(strategy, st.data())(attempt)))()
            except Exception:
                tried.failure = traceback.format_exc(limit=-3)
                raise
            finally:
                tried.write()

        # pytest must not take the arguments of the check for fixtures
        del test.__wrapped__
        return test

    return decorate


def _settings(examples: int, derandomize: bool = False) -> settings:
    return settings(
        max_examples=examples,
        derandomize=derandomize,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


class Tried:
    """What a property was tried on."""

    def __init__(self, check: Check) -> None:
        self.name = f"{check.__module__}.{check.__name__}"
        self.total = 0
        self.kinds: Counter[str] = Counter()
        self.failure = ""
        self.start = time.monotonic()

    def count(self, value: Any) -> None:
        """Count the structures of a value; another value counts as one."""
        if not isinstance(value, Structures):
            self.total += 1
            return
        self.total += max(1, len(value))
        for atoms, axes in zip(value.atom_counts.tolist(), value.periodic.sum(dim=1).tolist(), strict=True):
            self.kinds["atoms"] += atoms
            self.kinds[f"periodic along {axes}"] += 1
            self.kinds[_size_class(atoms)] += 1

    def write(self) -> None:
        """Write a report, if one is asked for."""
        if REPORT:
            folder = Path(REPORT)
            folder.mkdir(parents=True, exist_ok=True)
            content = {
                "property": self.name,
                "tried": self.total,
                "kinds": dict(self.kinds),
                "seconds": round(time.monotonic() - self.start, 1),
                "failure": self.failure,
                "torch": torch.__version__,
            }
            (folder / f"{self.name}.json").write_text(json.dumps(content, indent=1), encoding="utf-8")


def _size_class(atoms: int) -> str:
    for most, name in ((0, "no atoms"), (1, "1 atom"), (5, "2 to 5 atoms"), (15, "6 to 15 atoms")):
        if atoms <= most:
            return name
    return "16 atoms or more"
