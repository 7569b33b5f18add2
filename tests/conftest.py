"""Fixtures for all tests, and the check of every shape that the library's annotations promise."""

from __future__ import annotations

import signal
from pathlib import Path

from jaxtyping import config as shape_checking
from jaxtyping import install_import_hook

# Before anything imports gemnet_blocks. JAXTYPING_DISABLE=1 in the environment turns the checks off.
install_import_hook("gemnet_blocks", "shape_checks.check_shapes")
SWITCHED_OFF = shape_checking.jaxtyping_disable
UNIT_TESTS = Path(__file__).parent / "unit"

import pytest  # noqa: E402
import torch  # noqa: E402
from helpers import KINDS  # noqa: E402
from shape_checks import Checked  # noqa: E402

from gemnet_blocks.structures import Structures  # noqa: E402

# tensors in tests are so small that threads would only wait for each other
torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check shapes in the tests of single parts only; others call the same functions thousands of times."""
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
