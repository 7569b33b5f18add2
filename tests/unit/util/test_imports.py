"""Packages that take long to import are imported when they are needed: every command and worker process would wait."""

from __future__ import annotations

import subprocess
import sys

SLOW = ("lightning", "matplotlib", "scipy", "e3nn", "torch._dynamo", "submitit", "ase.io")


def test_the_library_imports_slow_packages_when_they_are_needed() -> None:
    modules = (
        "gemnet_blocks, gemnet_blocks.ablation, gemnet_blocks.calculator, gemnet_blocks.cli, gemnet_blocks.training"
    )
    script = f"import sys, {modules}; print(*sys.modules.keys() & {set(SLOW)})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
