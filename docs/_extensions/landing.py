"""The figures of the start page, drawn from the recorded results in the folder `benchmarks`."""

from __future__ import annotations

import csv
import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from gemnet_blocks.plotting.picture import FigurePicture, new_figure, tidy

SIZE = (5.2, 2.5)
COLOR, OTHERS = "tab:blue", "0.75"
CASES = {
    "forward pass": "small, forward, 1 x 70 atoms",
    "step, direct forces": "small, training step, direct forces, 4 x 42 atoms",
    "step, gradient forces": "small, training step, gradient forces, 4 x 42 atoms",
    "graphs, 576 atoms": "small, graphs and indices, 1 x 576 atoms",
}
"""The measurements that the figure of speed shows, by their labels."""


def figures(root: Path) -> Iterator[tuple[str, bytes]]:
    """Return the name and content of each figure."""
    for draw in (ablation, accuracy, speed):
        figure = new_figure(*SIZE)
        axes = figure.subplots()
        draw(axes, root / "benchmarks")
        tidy(axes)
        yield f"figures/{draw.__name__}.svg", FigurePicture(figure).content("svg")


def ablation(axes: Any, folder: Path) -> None:
    """Draw the change of the force error without each interaction, with its 95 % interval."""
    with (folder / "ablation" / "report" / "differences.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "forces_mae"]
    base = float(rows[0]["base_mean"])
    for place, row in enumerate(rows):
        low, middle, high = (100 * float(row[name]) / base for name in ("low", "difference", "high"))
        axes.plot([low, high], [place, place], color=COLOR, linewidth=2.5)
        axes.plot([middle], [place], "o", color=COLOR)
    axes.axvline(0, color="0.5", linewidth=1)
    axes.set(xlim=(-2.5, 2.5), ylim=(len(rows) - 0.5, -0.5), xlabel="change of the force MAE in %, eight seeds")
    axes.set_yticks(range(len(rows)), [row["variant"] for row in rows])


def accuracy(axes: Any, folder: Path) -> None:
    """Draw the force error on ethanol beside published ones."""
    run = json.loads((folder / "accuracy" / "results" / "ethanol-950.json").read_text(encoding="utf-8"))
    published = runpy.run_path(str(folder / "accuracy" / "table.py"))["PUBLISHED"]["ethanol-950"]
    errors = {name: float(value) for name, value in re.findall(r"([A-Z][\w/-]+) ([\d.]+)", published.partition(":")[2])}
    errors["gemnet_blocks"] = 1e3 * run["evaluations"]["test"]["errors"]["forces_mae"]
    names = sorted(errors, key=lambda name: errors[name])
    colors = [COLOR if name == "gemnet_blocks" else OTHERS for name in names]
    bars = axes.barh(names, [errors[name] for name in names], color=colors)
    axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=9)
    axes.set(xlabel="force MAE on ethanol in meV/Å, 950 training frames", xlim=(0, 1.15 * max(errors.values())))
    axes.invert_yaxis()


def speed(axes: Any, folder: Path) -> None:
    """Draw how many times faster and smaller the library is than the published implementation."""
    found = ratios(folder)
    for offset, column, name, color in ((-0.2, 0, "times faster", COLOR), (0.2, 1, "times less memory", OTHERS)):
        places = [place + offset for place in range(len(found))]
        bars = axes.barh(places, [one[column] for one in found.values()], height=0.38, color=color, label=name)
        axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
    axes.set(xlabel="published implementation / gemnet_blocks", xscale="log", xlim=(1, 40))
    axes.set_yticks(range(len(found)), list(found))
    axes.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    axes.minorticks_off()
    axes.invert_yaxis()
    axes.legend(frameon=False, fontsize=8)


def ratios(folder: Path) -> dict[str, tuple[float, float]]:
    """Return how many times faster and smaller the library is in each case, from the recorded measurements."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    found = {}
    for label, case in CASES.items():
        plans = {one["plan"]: one for one in results[case]["entrants"]}
        here, reference = plans["float32"], plans["reference"]
        faster = median(reference["seconds"]) / median(here["seconds"])
        found[label] = faster, reference["megabytes"] / here["megabytes"]
    return found
