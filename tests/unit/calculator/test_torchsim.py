"""The interface for TorchSim."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.stress import voigt_6_to_full_3x3_stress
from helpers import molecule, small_cell, small_model, small_spec
from potentials import REFERENCES, crystals, smooth_potential

from gemnet_blocks.calculator import GemNetCalculator
from gemnet_blocks.errors import StructureError
from gemnet_blocks.potential import Potential
from gemnet_blocks.potential.model_file import save_potential
from gemnet_blocks.potential.references import References

torch_sim = pytest.importorskip("torch_sim", reason="TorchSim is not installed: pip install torch-sim-atomistic")
from torch_sim.models.interface import validate_model_outputs  # noqa: E402

from gemnet_blocks.calculator.torchsim import GemNetTorchSimModel  # noqa: E402

CPU = torch.device("cpu")


def state_of(frames: list, dtype: torch.dtype = torch.float64):
    return torch_sim.io.atoms_to_state(frames, CPU, dtype)


def test_results_are_those_of_the_calculator() -> None:
    potential, frames = smooth_potential(), crystals()
    results = GemNetTorchSimModel(potential)(state_of(frames))
    calculator = GemNetCalculator(potential)
    starts = np.cumsum([0, *(len(atoms) for atoms in frames)])
    for index, atoms in enumerate(frames):
        assert float(results["energy"][index]) == pytest.approx(calculator.get_potential_energy(atoms), abs=1e-9)
        forces = results["forces"][starts[index] : starts[index + 1]]
        np.testing.assert_allclose(forces.numpy(), calculator.get_forces(atoms), atol=1e-11)
        stress = voigt_6_to_full_3x3_stress(calculator.get_stress(atoms))
        np.testing.assert_allclose(results["stress"][index].numpy(), stress, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("forces", ["gradient", "direct"])
def test_torchsim_s_own_validation(dtype: torch.dtype, forces: str) -> None:
    references = References({14: -5.0, 26: -8.0}, 1.0, "total")
    if forces == "gradient":
        potential = smooth_potential(dtype, references)
    else:
        potential = Potential(small_model(dtype), small_spec(), references)
    validate_model_outputs(GemNetTorchSimModel(potential), CPU, dtype)


def test_a_file_serves_as_well(tmp_path: Path) -> None:
    potential, state = smooth_potential(), state_of(crystals())
    save_potential(potential, tmp_path / "model.safetensors")
    model = GemNetTorchSimModel(tmp_path / "model.safetensors", dtype=torch.float32)
    assert model.dtype == torch.float32
    assert model.device == CPU
    energy = model(state)["energy"]
    torch.testing.assert_close(energy, GemNetTorchSimModel(potential)(state)["energy"], rtol=1e-8, atol=1e-4)


def test_states_as_dictionaries() -> None:
    model, state = GemNetTorchSimModel(smooth_potential()), state_of(crystals())
    names = ("positions", "cell", "pbc", "atomic_numbers", "system_idx")
    found = model({name: getattr(state, name) for name in names})
    for name, value in model(state).items():
        assert torch.equal(found[name], value), name


def test_open_systems_have_no_stress() -> None:
    model = GemNetTorchSimModel(smooth_potential())
    assert model.compute_stress
    assert set(model(state_of([molecule(4), molecule(3)]))) == {"energy", "forces"}
    model.compute_stress = False
    assert set(model(state_of([small_cell()]))) == {"energy", "forces"}
    model.compute_forces = False
    assert set(model(state_of([small_cell()]))) == {"energy"}


def test_direct_forces_have_no_stress() -> None:
    potential = Potential(small_model(), small_spec(), REFERENCES)
    assert not GemNetTorchSimModel(potential).compute_stress
    with pytest.raises(NotImplementedError, match="stress needs gradient forces"):
        GemNetTorchSimModel(potential, compute_stress=True)


def test_models_that_need_tags() -> None:
    changes = {"graphs__quad__tags": [1]}
    potential = Potential(small_model(**changes), small_spec(**changes), REFERENCES)
    with pytest.raises(StructureError, match="no tags"):
        GemNetTorchSimModel(potential)(state_of([small_cell()]))
    atoms = small_cell()
    atoms.set_tags([1, 1])
    energy = GemNetTorchSimModel(potential, default_tag=1)(state_of([small_cell()]))["energy"]
    assert float(energy[0]) == pytest.approx(GemNetCalculator(potential).get_potential_energy(atoms), abs=1e-9)


@pytest.mark.parametrize("optimizer", ["unit_cell_fire", "frechet_cell_fire"])
def test_relaxing_a_batch_and_its_cells_lowers_every_energy(optimizer: str) -> None:
    model, frames = GemNetTorchSimModel(smooth_potential()), crystals()[:2]
    before = model(state_of(frames))["energy"]
    relaxed = torch_sim.optimize(system=frames, model=model, optimizer=getattr(torch_sim, optimizer), max_steps=6)
    assert (model(relaxed)["energy"] < before).all()
    assert not torch.equal(relaxed.cell, state_of(frames).cell)


def test_dynamics_of_a_batch_keep_the_total_energy() -> None:
    potential = smooth_potential(references=replace(REFERENCES, scale=50.0))
    model, state = GemNetTorchSimModel(potential, skin=0.3), state_of(crystals()[:2])
    start, step = torch_sim.nve(model, dt=torch.tensor(0.02), kT=torch.tensor(0.03))
    state = start(state, seed=1)

    def totals() -> torch.Tensor:
        kinetic = state.momenta.square().sum(dim=1) / (2 * state.masses)
        return state.energy + torch.zeros_like(state.energy).index_add(0, state.system_idx, kinetic)

    before, potential_before = totals(), state.energy
    for _ in range(20):
        state = step(state)
    assert (state.energy - potential_before).abs().min() > 2e-3
    torch.testing.assert_close(totals(), before, rtol=0, atol=1e-3)


def test_coinciding_atoms_and_charges_are_warned_of_once() -> None:
    frames = [crystals()[0], molecule(3)]
    frames[1].positions[2] = frames[1].positions[0]
    frames[1].pbc = frames[0].pbc = False
    state = state_of(frames)
    state.charge, state.spin = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0])
    model = GemNetTorchSimModel(smooth_potential(), compute_stress=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            model(state)
    messages = sorted(str(one.message) for one in caught)
    assert ["system 1 (charge: 1.0)" in messages[0], "system 1 (atoms 0" in messages[1]] == [True, True]
    assert len(messages) == 2
