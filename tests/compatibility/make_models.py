"""Write model files, seeded weights, pickled structures, and what is predicted with them."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from ase import Atoms
from ase.build import molecule
from ase.io import write
from model_cases import CHECKPOINTS, EXTRA, IN_FLOAT32, SPECS
from recording import predictions, read_structures, summary, user_module, write_json
from torch import nn

from gemnet_blocks import Structures
from gemnet_blocks.checkpoints.checkpoint_file import read_checkpoint
from gemnet_blocks.checkpoints.convert import convert_checkpoint
from gemnet_blocks.potential import Potential, References
from gemnet_blocks.potential.model_file import load_potential, save_potential
from gemnet_blocks.spec import build, load_spec

CHECKPOINT_FILES = Path(__file__).parents[1] / "parity" / "checkpoints"

TOTAL = {1: -13.6, 6: -1027.125, 8: -2041.75, 29: -3.7}
REFERENCES = (
    References(TOTAL, scale=2.5, meaning="total"),
    References(dict.fromkeys(TOTAL, 0.0), scale=0.5, meaning="atomisation"),
    References(dict.fromkeys(TOTAL, 0.0), scale=1.0, meaning="adsorption", offset=0.25),
    References(TOTAL, scale=0.125, meaning="unknown", offset=-3.0),
)
"""What the outputs of the models are relative to, in turn."""


def write_models(folder: Path) -> None:
    """Write all models of `model_cases`, once or in two types, and record what they predict."""
    write_structures(folder)
    structures = read_structures(folder)
    models = folder / "models"
    models.mkdir()
    weights = {}
    with user_module(folder / "user_parts.py") as user:
        extra = {name: getattr(user, kind) for name, kind in EXTRA.items()}
        for index, name in enumerate(SPECS):
            spec = load_spec(folder / "specs" / f"{name}.yaml", extra=extra, allow_imports=True)
            model = build(spec, seed=0)
            trained = dict(model.named_parameters())
            weights[name] = {
                key: [list(one.shape), summary(one), key in trained] for key, one in model.state_dict().items()
            }
            fit_scales(model)
            potential = Potential(model, spec, REFERENCES[index % len(REFERENCES)], {"made": name})
            for dtype in (torch.float64, torch.float32)[: 1 + (name in IN_FLOAT32)]:
                suffix = "-float32" if dtype == torch.float32 else ""
                save_potential(potential.to(dtype).eval(), models / f"{name}{suffix}.safetensors")
        for name, case in CHECKPOINTS.items():
            checkpoint = read_checkpoint(CHECKPOINT_FILES / case.file)
            converted = convert_checkpoint(checkpoint, None, case.meaning, case.ema)
            save_potential(converted.potential, models / f"{name}.safetensors")
        found = {}
        for path in sorted(models.glob("*.safetensors")):
            loaded = load_potential(path, extra=extra, allow_imports=True)
            known = {
                name: atoms
                for name, atoms in structures.items()
                if {*atoms.numbers} <= {*loaded.references.per_element}
            }
            found[path.stem] = {
                "dtype": str(loaded.dtype),
                "references": loaded.references.to_dict(),
                "predictions": {kind: predictions(loaded, atoms) for kind, atoms in known.items()},
            }
    write_json(folder / "predictions.json", found)
    write_json(folder / "weights.json", weights)


def write_structures(folder: Path) -> None:
    """Write a molecule and a periodic structure, without any symmetry, to a file, and pickled."""
    methanol = molecule("CH3OH", tags=[2] * 6)
    methanol.rattle(0.05, seed=0)
    cell = [[4.3, 0.1, -0.2], [0.4, 3.7, 0.3], [-0.4, 0.6, 4.1]]
    places = [[0.1, 0.1, 0.0], [0.5, 0.45, 0.1], [0.1, 0.5, 0.5], [0.35, 0.2, 0.45]]
    oxide = Atoms("Cu3O", scaled_positions=places, cell=cell, pbc=True, tags=[0, 1, 1, 2])
    for name, atoms in (("molecule", methanol), ("periodic", oxide)):
        atoms.info = {"name": name}
    write(folder / "structures.extxyz", [methanol, oxide])
    both = Structures.from_ase(list(read_structures(folder).values()))
    (folder / "structures.pickle").write_bytes(pickle.dumps(both, protocol=4))


def fit_scales(model: nn.Module) -> None:
    """Give every scale factor a value of its own, in place of fitting it to data."""
    random = torch.Generator().manual_seed(1)
    for name, value in model.state_dict().items():
        if name.endswith(".factor"):
            value.copy_(0.5 + 1.5 * torch.rand((), generator=random))
