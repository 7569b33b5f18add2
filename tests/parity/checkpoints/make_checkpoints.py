"""Write checkpoints with the published implementation, and what it predicts with them.

Run by an interpreter that has fairchem-core 1.10.0, not by this project's:

    python make_checkpoints.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111, molecule
from fairchem.core.datasets import data_list_collater
from fairchem.core.models.gemnet_oc.gemnet_oc import (
    GemNetOC,
    GemNetOCBackbone,
    GemNetOCEnergyAndGradForceHead,
)
from fairchem.core.modules.exponential_moving_average import ExponentialMovingAverage
from fairchem.core.modules.normalization.element_references import LinearReferences
from fairchem.core.modules.normalization.normalizer import Normalizer
from fairchem.core.modules.scaling import ScaleFactor
from fairchem.core.preprocessing import AtomsToGraphs
from torch import Tensor, nn

torch.set_default_dtype(torch.float64)
# the last layer calls .float() on its input; keep float64 as it is
to_float32 = Tensor.float
Tensor.float = lambda tensor, *arguments: tensor if tensor.dtype == torch.float64 else to_float32(tensor, *arguments)

ARGUMENTS: dict[str, Any] = {
    "num_spherical": 3,
    "num_radial": 5,
    "num_blocks": 1,
    "emb_size_atom": 6,
    "emb_size_edge": 7,
    "emb_size_trip_in": 4,
    "emb_size_trip_out": 5,
    "emb_size_quad_in": 3,
    "emb_size_quad_out": 4,
    "emb_size_aint_in": 4,
    "emb_size_aint_out": 5,
    "emb_size_rbf": 3,
    "emb_size_cbf": 3,
    "emb_size_sbf": 4,
    "num_before_skip": 1,
    "num_after_skip": 1,
    "num_concat": 1,
    "num_atom": 1,
    "num_output_afteratom": 1,
    "num_atom_emb_layers": 1,
    "num_global_out_layers": 1,
    "regress_forces": True,
    "direct_forces": True,
    "use_pbc": True,
    "cutoff": 5.0,
    "cutoff_qint": 4.0,
    "cutoff_aeaint": 5.0,
    "cutoff_aint": 6.0,
    "max_neighbors": 8,
    "max_neighbors_qint": 4,
    "max_neighbors_aeaint": 6,
    "max_neighbors_aint": 30,
    "rbf": {"name": "spherical_bessel"},
    "envelope": {"name": "polynomial", "exponent": 5},
    "cbf": {"name": "spherical_harmonics"},
    "sbf": {"name": "legendre_outer"},
    "extensive": True,
    "forces_coupled": False,
    "output_init": "HeOrthogonal",
    "activation": "silu",
    "quad_interaction": True,
    "atom_edge_interaction": True,
    "edge_atom_interaction": True,
    "atom_interaction": True,
    "qint_tags": [1, 2],
}


def frames() -> list[Atoms]:
    """A slab with an adsorbate and a crystal; cells with few digits, since image offsets are computed in float32."""
    slab = fcc111("Cu", (2, 2, 2), vacuum=8.0, periodic=True)
    add_adsorbate(slab, molecule("CH3OH"), 2.0, "ontop")
    layer = slab.get_tags()
    slab.set_tags(np.where(layer == 0, 2, np.where(layer == 1, 1, 0)))
    crystal = bulk("NaCl", "rocksalt", a=5.2, cubic=True)
    crystal.set_tags([1] * len(crystal))
    for seed, atoms in enumerate((slab, crystal)):
        atoms.rattle(0.1, seed=seed)
        atoms.set_cell(np.round(atoms.cell[:] * 1024) / 1024)
    return [slab, crystal]


def batch_of(structures: list[Atoms]) -> Any:
    """The structures as the published implementation takes them, positions in float64."""
    convert = AtomsToGraphs(r_energy=False, r_forces=False, r_distances=False, r_edges=False).convert
    items = []
    for atoms in structures:
        item = convert(atoms)
        item.pos = torch.tensor(atoms.positions)
        item.cell = torch.tensor(atoms.cell[:], dtype=torch.float32).view(1, 3, 3)
        item.tags = torch.tensor(atoms.get_tags())
        items.append(item)
    return data_list_collater(items, otf_graph=True)


def prepare(module: nn.Module, seed: int) -> None:
    """Fitted scale factors, and numbers that float32 can hold."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, ScaleFactor):
            part.scale_factor.data.fill_(0.6 + 0.8 * torch.rand((), generator=generator))
    for value in (*module.parameters(), *module.buffers()):
        if value.is_floating_point():
            value.data = value.data.to(torch.float32).double()


def stored(state: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """A state dictionary in float32 under a wrapper's prefix."""
    return {
        f"{prefix}{name}": value.to(torch.float32) if value.is_floating_point() else value
        for name, value in state.items()
    }


def single(value: float) -> Tensor:
    """A number that float32 can hold."""
    return torch.tensor(value, dtype=torch.float32)


def older(folder: Path) -> dict[str, Any]:
    """One model with direct forces, wrapped twice; different scales; averaged weights."""
    torch.manual_seed(0)
    model = GemNetOC(**ARGUMENTS)
    prepare(model, 1)
    average = ExponentialMovingAverage(model.parameters(), 0.5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, amsgrad=True)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn_like(parameter)
    average.update()
    prepare(model, 2)
    average.shadow_params = [value.to(torch.float32).double() for value in average.shadow_params]
    energy = Normalizer(mean=single(-0.75), rmsd=single(2.0875))
    forces = Normalizer(mean=single(0.0), rmsd=single(2.8875))
    found = predictions(lambda: model(batch_of(frames())), energy, forces)
    ema = average.state_dict()
    content = {
        "epoch": 1.5,
        "step": 3000,
        "state_dict": stored(model.state_dict(), "module.module."),
        "optimizer": optimizer.state_dict(),
        "scheduler": {"last_epoch": 3000},
        "normalizers": {
            "target": {"mean": energy.mean, "std": energy.rmsd},
            "grad_target": {"mean": forces.mean, "std": forces.rmsd},
        },
        "config": {"model": "gemnet_oc", "model_attributes": ARGUMENTS, "trainer": "forces"},
        "val_metrics": {},
        "ema": ema | {"shadow_params": [value.to(torch.float32) for value in ema["shadow_params"]]},
        "amp": None,
    }
    torch.save(content, folder / "older.pt")
    average.store()
    average.copy_to()
    averaged = predictions(lambda: model(batch_of(frames())), energy, forces)
    return {f"older/{name}": value for name, value in found.items()} | {
        f"older_averaged/{name}": value for name, value in averaged.items()
    }


def newer(folder: Path) -> dict[str, Any]:
    """A backbone and a head with gradient forces; one scale; energies of elements; trainable Gaussians."""
    torch.manual_seed(3)
    arguments = ARGUMENTS | {
        "direct_forces": False,
        "rbf": {"name": "gaussian", "trainable": True},
        "atom_edge_interaction": False,  # a radial basis is stored that nothing uses
        "quad_interaction": False,
    }
    backbone = GemNetOCBackbone(**arguments)
    head = GemNetOCEnergyAndGradForceHead(backbone, 1)
    for seed, module in enumerate((backbone, head)):
        prepare(module, 4 + seed)
    average = ExponentialMovingAverage([*backbone.parameters(), *head.parameters()], 0.5)
    scale = single(1.625)
    energy, forces = Normalizer(mean=single(0.25), rmsd=scale), Normalizer(mean=single(0.0), rmsd=scale)
    references = LinearReferences(torch.linspace(0.0, -59.0, 119).to(torch.float32))

    def run() -> dict[str, Tensor]:
        batch = batch_of(frames())
        return head(batch, backbone(batch))

    found = predictions(run, energy, forces)
    numbers, structure = batch_of(frames()).atomic_numbers.long(), batch_of(frames()).batch
    found["energy"] += torch.zeros(2).index_add(0, structure, references.element_references.double()[numbers]).numpy()
    backbone_arguments = {name: value for name, value in arguments.items() if name != "num_global_out_layers"}
    content = {
        "epoch": 1,
        "step": 10,
        "state_dict": stored(backbone.state_dict(), "backbone.") | stored(head.state_dict(), "output_heads.energy."),
        "normalizers": {"energy": energy.state_dict(), "forces": forces.state_dict()},
        "elementrefs": {"energy": references.state_dict()},
        "config": {
            "model": {
                "name": "hydra",
                "backbone": {"model": "gemnet_oc_backbone", **backbone_arguments},
                "heads": {"energy": {"module": "gemnet_oc_energy_and_grad_force_head", "num_global_out_layers": 1}},
            }
        },
        "ema": {**average.state_dict(), "shadow_params": [value.to(torch.float32) for value in average.shadow_params]},
        "best_val_metric": None,
    }
    torch.save(content, folder / "newer.pt")
    return {f"newer/{name}": value for name, value in found.items()}


def predictions(run: Any, energy: Normalizer, forces: Normalizer) -> dict[str, Any]:
    """What the trainer would write, in float64."""
    found = run()
    return {
        "energy": energy.denorm(found["energy"].detach().reshape(-1)).numpy(),
        "forces": forces.denorm(found["forces"].detach()).numpy(),
    }


if __name__ == "__main__":
    target = Path(sys.argv[1])
    batch = batch_of(frames())
    arrays = {
        "positions": batch.pos.numpy(),
        "numbers": batch.atomic_numbers.numpy().astype(np.int32),
        "tags": batch.tags.numpy().astype(np.int32),
        "structure": batch.batch.numpy().astype(np.int32),
        "cells": batch.cell.double().numpy(),
        **older(target),
        **newer(target),
    }
    np.savez_compressed(target / "predictions.npz", **arrays)
