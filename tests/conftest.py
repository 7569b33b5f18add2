"""Fixtures for all tests, and the check of every shape that the library's annotations promise."""

from __future__ import annotations

import gc
import signal
from pathlib import Path

from jaxtyping import config as shape_checking
from jaxtyping import install_import_hook
from shape_checks import Checked, decorate_functions_with_shapes

# Before anything imports gemnet_blocks. JAXTYPING_DISABLE=1 in the environment turns the checks off.
decorate_functions_with_shapes()
install_import_hook("gemnet_blocks", "shape_checks.check_annotated_shapes")
SWITCHED_OFF = shape_checking.jaxtyping_disable
UNIT_TESTS = Path(__file__).parent / "unit"

import pytest  # noqa: E402
import torch  # noqa: E402
from helpers import KINDS  # noqa: E402

from gemnet_blocks.structures import Structures  # noqa: E402

# tensors in tests are so small that threads would only wait for each other
torch.set_num_threads(1)


LAST_FILE: list[Path] = []


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check shapes in unit tests only; other tests call the same functions thousands of times.

    Before the first test of every file, hide what is in memory from the garbage collector: it would go through all
    imported modules again and again, and statsmodels runs it in every correction of p-values.
    """
    if [item.path] != LAST_FILE:
        LAST_FILE[:] = [item.path]
        gc.collect()
        gc.freeze()
    Checked.begin(not SWITCHED_OFF and UNIT_TESTS in item.path.parents)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=list(KINDS))
def any_structures(request: pytest.FixtureRequest) -> Structures:
    """Structures of every kind in turn, odd ones included."""
    return KINDS[request.param]()


# a shell that runs the tests in the background has them ignore Ctrl-C, and processes that they start would do so, too
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
