"""Compute energies with the published implementation. Run it with the Python interpreter of that implementation.

    python reference_energies.py REQUEST.json > ENERGIES.json

The request contains the path of an extended XYZ file, keyword arguments of the published class, seeds and
floating-point types. The answer contains one energy per type, seed and frame. Requires fairchem-core 1.10.0.
"""

from __future__ import annotations

import json
import sys

import ase.io
import torch
from fairchem.core.datasets import data_list_collater
from fairchem.core.models.gemnet_oc.gemnet_oc import GemNetOC
from fairchem.core.preprocessing import AtomsToGraphs

TYPES = {"float32": torch.float32, "float64": torch.float64}


def energies(request: dict) -> dict:
    """Compute the energy of every frame with every seed and floating-point type."""
    convert = AtomsToGraphs(r_energy=False, r_forces=False, r_distances=False, r_edges=False).convert
    frames = ase.io.read(request["file"], index=":")
    answer: dict = {name: [] for name in request["types"]}
    for seed in request["seeds"]:
        torch.manual_seed(seed)
        model = GemNetOC(**request["arguments"]).eval()
        for name, found in answer.items():
            model.to(TYPES[name])
            torch.set_default_dtype(TYPES[name])
            values = []
            for atoms in frames:
                batch = data_list_collater([convert(atoms)], otf_graph=True)
                batch.pos, batch.cell = batch.pos.to(TYPES[name]), batch.cell.to(TYPES[name])
                with torch.no_grad():
                    values.append(float(model(batch)["energy"]))
            found.append(values)
        torch.set_default_dtype(torch.float32)
    return answer


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        json.dump(energies(json.load(file)), sys.stdout)
