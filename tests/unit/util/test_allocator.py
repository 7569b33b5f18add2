from __future__ import annotations

from types import SimpleNamespace

import pytest

from gemnet_blocks.cli.arguments import execution_of
from gemnet_blocks.util.allocator import return_freed_memory


def options_set(monkeypatch: pytest.MonkeyPatch, platform: str = "linux") -> dict[int, int]:
    """The options of the allocator that are set from here on, on a platform with or without mallopt."""
    options: dict[int, int] = {}
    library = SimpleNamespace(mallopt=options.__setitem__) if platform == "linux" else SimpleNamespace()
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("ctypes.CDLL", lambda _: library)
    return options


@pytest.mark.parametrize(("platform", "expected"), [("linux", {-3: 2**20, -1: 2**28}), ("darwin", {})])
def test_thresholds_are_set_where_the_library_has_them(
    platform: str, expected: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = options_set(monkeypatch, platform)
    return_freed_memory()
    assert options == expected


@pytest.mark.parametrize(("assignment", "set_"), [("memory_budget=8e9", True), ("angular=explicit", False)])
def test_commands_with_a_memory_budget_return_freed_memory(
    assignment: str, set_: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = options_set(monkeypatch)
    execution_of([assignment])
    assert bool(options) == set_
