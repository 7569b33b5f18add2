"""Measure the spread of a crystal's energy under rotations, translations, permutations and changes of the cell.

    python benchmarks/symmetry.py [--reference PYTHON] [--output docs/symmetry.md]

Writes the table of docs/symmetry.md between its two markers. `--reference` is a Python interpreter with the published
implementation (fairchem-core 1.10.0); without this option, the rows of the published implementation are kept.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.build import add_adsorbate, bcc110, bulk, diamond111, fcc111, hcp0001, surface

from gemnet_blocks import Structures
from gemnet_blocks.spec import Spec, build, load_spec
from gemnet_blocks.spec.published import to_published
from gemnet_blocks.structures import to_ase
from gemnet_blocks.testing.strategies import concatenate
from gemnet_blocks.testing.symmetries import CellChange, Permutation, Reordering, Rotation, Symmetry, Translation

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- table: made by benchmarks/symmetry.py -->", "<!-- end of the table -->"
SEEDS = tuple(range(6))
INTERACTIONS = ("triplet", "quadruplet", "atom_edge", "edge_atom", "atom_atom")
TYPES = {"float64": torch.float64, "float32": torch.float32}
LIMITS = {"float64": 1e-12, "float32": 2e-6}
"""Largest spread that the documentation guarantees for the symmetric models."""

SMALL = {
    "sizes": {"atom": 64, "edge": 64},
    "bases.radial.count": 32,
    "interactions": {
        name: {"down": 16 if name == "quadruplet" else 32, "up": 16 if name == "quadruplet" else 32}
        for name in INTERACTIONS
    },
}


def crystals() -> dict[str, Atoms]:
    """Create perfect crystals and slabs with tags."""
    bulks = {
        "fcc Cu": bulk("Cu", "fcc", a=3.6, cubic=True),
        "bcc Fe": bulk("Fe", "bcc", a=2.87, cubic=True),
        "hcp Mg": bulk("Mg", "hcp", a=3.2, c=5.2),
        "diamond Si": bulk("Si", "diamond", a=5.43, cubic=True),
        "rocksalt NaCl": bulk("NaCl", "rocksalt", a=5.64, cubic=True),
    }
    for atoms in bulks.values():
        atoms.set_tags(1)
    slabs = {
        "Pt(111) + O": fcc111("Pt", (2, 2, 3), vacuum=6.0),
        "Fe(110)": bcc110("Fe", (2, 1, 3), vacuum=6.0),
        "Mg(0001)": hcp0001("Mg", (1, 1, 4), vacuum=6.0),
        "Si(111)": diamond111("Si", (1, 1, 4), vacuum=6.0),
        "NaCl(100)": surface(bulk("NaCl", "rocksalt", a=5.64, cubic=True), (1, 0, 0), 1, vacuum=6.0),
    }
    for atoms in slabs.values():
        atoms.pbc = (True, True, False)
        atoms.set_tags((atoms.positions[:, 2] > atoms.positions[:, 2].max() - 1.5).astype(int))
    add_adsorbate(slabs["Pt(111) + O"], Atoms("O", tags=[2]), 1.2, "fcc")
    return bulks | slabs


def descriptions(atoms: Atoms) -> list[Structures]:
    """Return equivalent descriptions of the same structure."""
    structures = Structures.from_ase(atoms)
    random = np.random.default_rng(0)
    angles = random.uniform(0, 2 * math.pi, (4, 3))
    symmetries: list[Symmetry] = [Rotation(*row, reflect=bool(i % 2)) for i, row in enumerate(angles.tolist())]
    symmetries += [
        Translation(0.37, -1.21, 2.03),
        Permutation(tuple(random.permutation(len(atoms)).tolist())),
        Reordering((1, 0, 2)),
        CellChange(((0, 1, 1), (1, 0, -1)), ((0, 0, 0), (1, -2, 0), (0, 3, 1))),
    ]
    turned = [symmetry.apply(structures) for symmetry in symmetries]
    # and a combination of them
    at_once = symmetries[0].apply(symmetries[7].apply(symmetries[5].apply(structures)))
    return [structures, *turned, at_once]


def symmetric(changes: Mapping[str, Any] | None = None) -> Spec:
    """Load symmetric.yaml without forces, and patch it."""
    return load_spec(ROOT / "paper_configs/symmetric.yaml", {"heads.forces": None}).patch(changes or {})


def published(changes: Mapping[str, Any] | None = None) -> Spec:
    """Load GemNet-OC with its published graph rules and the widths of a small model, and patch it."""
    forces = {"heads.forces": {"type": "direct"}}
    return load_spec(ROOT / "paper_configs/gemnet-oc.yaml", SMALL | forces).patch(changes or {})


def models() -> dict[str, Spec]:
    """Return the specs by the names of their rows in the table."""
    limits = {f"graphs.{name}.max_neighbors": count for name, count in (("main", 9), ("quad", 5), ("atom_edge", 7))}
    alone = {
        f"{name} alone": symmetric({"interactions": {other: None for other in INTERACTIONS if other != name}})
        for name in INTERACTIONS
    }
    return {
        "symmetric.yaml": symmetric(),
        **alone,
        "… with max_neighbors, ties inclusive": symmetric(limits),
        "… with max_neighbors, ties smooth": symmetric(limits | {"neighbors.ties": "smooth"}),
        "published rules, here": published(),
        "published rules without strict ties, here": published({"neighbors.ties": "inclusive_next"}),
    }


REFERENCE = {
    "published implementation": published(),
    "published implementation without strict ties": published({"neighbors.ties": "inclusive_next"}),
}


@torch.no_grad()
def energies(spec: Spec, structures: Sequence[Structures], dtype: torch.dtype) -> np.ndarray:
    """Compute the energies of all structures with all seeds."""
    rows = []
    for seed in SEEDS:
        model = build(spec, seed=seed).to(dtype)
        rows.append(model(concatenate(structures)).energy.tolist())
    return np.array(rows)


def spread(table: np.ndarray) -> float:
    """Return (max E - min E)/|E| over the descriptions, with root mean squares over the initial weights.

    The mean is necessary because for some weights the energy is close to zero, so that its relative spread is large.
    """
    differences = table.max(axis=1) - table.min(axis=1)
    return float(np.sqrt((differences**2).mean() / (table**2).mean()))


def measured(names: Sequence[str] | None = None) -> Iterator[tuple[str, str, str, float]]:
    """Measure all models; yield model, floating-point type, structure and spread."""
    described = {name: descriptions(atoms) for name, atoms in crystals().items()}
    for row, spec in models().items():
        if names is None or row in names:
            for name, dtype in TYPES.items():
                for structure, many in described.items():
                    yield row, name, structure, spread(energies(spec, many, dtype))


def of_reference(interpreter: str) -> Iterator[tuple[str, str, str, float]]:
    """Measure the published implementation; yield model, floating-point type, structure and spread."""
    for row, spec in REFERENCE.items():
        for structure, atoms in crystals().items():
            with tempfile.TemporaryDirectory() as folder:
                frames = [frame for one in descriptions(atoms) for frame in to_ase(one)]
                ase.io.write(Path(folder) / "frames.extxyz", frames, columns=["symbols", "positions", "tags"])
                request = {
                    "file": str(Path(folder) / "frames.extxyz"),
                    "arguments": to_published(spec),
                    "seeds": SEEDS,
                    "types": ["float32"],  # the type that it computes in
                }
                (Path(folder) / "request.json").write_text(json.dumps(request), encoding="utf-8")
                command = [interpreter, str(ROOT / "benchmarks/reference_energies.py"), f"{folder}/request.json"]
                answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            for name, rows in answer.items():
                yield row, name, structure, spread(np.array(rows))


def table(found: Iterator[tuple[str, str, str, float]]) -> list[str]:
    """Return Markdown rows with the spread of each structure for each model and type."""
    values: dict[tuple[str, str], list[float]] = {}
    for row, name, structure, value in found:
        print(f"{row:50s} {name} {structure:15s} {value:.1e}", flush=True)
        values.setdefault((row, name), []).append(value)
    return [
        f"| {row} | {name} | {' | '.join(f'{value:.0e}' for value in many)} |" for (row, name), many in values.items()
    ]


def main() -> None:
    """Measure all models and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", help="a Python interpreter with fairchem-core 1.10.0")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/symmetry.md")
    arguments = parser.parse_args()
    text = arguments.output.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    names = list(crystals())
    rows = [f"| model | type | {' | '.join(names)} |", "| --- | --- |" + " --- |" * len(names)]
    rows += table(measured())
    kept = [line for line in old.splitlines() if line.startswith("| published implementation")]
    # write before the reference runs, because it may fail
    arguments.output.write_text("\n".join([before + BEGIN, *rows, *kept, END + after]), encoding="utf-8")
    if arguments.reference:
        rows += table(of_reference(arguments.reference))
        arguments.output.write_text("\n".join([before + BEGIN, *rows, END + after]), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
