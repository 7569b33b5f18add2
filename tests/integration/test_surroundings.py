"""Results depend on structures and weights alone: not on torch's defaults, on threads, or on how cells are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from helpers import GRADIENT_FORCES, molecule, slab, small_cell, small_spec
from potentials import REFERENCES, smooth_spec
from torch import Tensor, nn
from training_runs import config

from gemnet_blocks import GemNetOC, GemNetOCBackbone, GemNetOCEnergyAndGradForceHead, GemNetOCForceHead, Structures
from gemnet_blocks.calculator import GemNetCalculator
from gemnet_blocks.plotting import draw_bases
from gemnet_blocks.potential import Potential
from gemnet_blocks.potential.model_file import load_potential, save_potential
from gemnet_blocks.spec import Execution, build
from gemnet_blocks.spec.published import to_published
from gemnet_blocks.training import train


def potential() -> Potential:
    return Potential(build(smooth_spec(), seed=0), smooth_spec(), REFERENCES).double()


def published() -> GemNetOC:
    torch.manual_seed(0)
    return GemNetOC(**to_published(small_spec(blocks__count=1)))


def heads() -> nn.ModuleList:
    torch.manual_seed(0)
    backbone = GemNetOCBackbone(**to_published(small_spec(blocks__count=1)))
    return nn.ModuleList([GemNetOCEnergyAndGradForceHead(backbone, 1), GemNetOCForceHead(backbone, 1)])


@pytest.fixture
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


@pytest.mark.parametrize(("search", "angular"), [("vesin", "explicit"), ("torch", "factorized")])
def test_models_compute_on_the_device_of_structures(search: str, angular: str) -> None:
    spec = small_spec(blocks__count=1, **GRADIENT_FORCES)
    model = build(spec, seed=0, execution=Execution(search=search, angular=angular)).double()
    expected = model(Structures.from_ase([slab(), small_cell()])).forces
    torch.set_default_device("meta")
    try:
        assert torch.equal(model(Structures.from_ase([slab(), small_cell()])).forces, expected)
        model.estimate(Structures.from_ase(slab()), "train")
    finally:
        torch.set_default_device(None)


@pytest.mark.usefixtures("default_device")
def test_files_calculators_drawings_and_training_are_on_the_cpu(tmp_path: Path) -> None:
    with torch.device("cpu"):
        save_potential(potential(), tmp_path / "model.safetensors")
    loaded = load_potential(tmp_path / "model.safetensors")
    assert loaded.device.type == "cpu"
    atoms = small_cell()
    atoms.calc = GemNetCalculator(loaded)
    assert np.isfinite(atoms.get_forces()).all()
    draw_bases(smooth_spec())
    short = {"steps": 1, "validate_every": {"steps": 1}}
    train(config(tmp_path, training=short, data={"cache": "neighbors"}))


@contextmanager
def default_type(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_results_do_not_depend_on_the_default_type(dtype: torch.dtype) -> None:
    model, given = potential(), Structures.from_ase([slab(), small_cell()])
    expected = model(given).forces
    with default_type(dtype):
        assert torch.equal(model(given).forces, expected)
        assert torch.equal(Structures.from_ase([slab(), small_cell()]).positions, given.positions)


@pytest.mark.parametrize(
    "make", [lambda: build(smooth_spec(), seed=0), published, heads], ids=["spec", "class", "heads"]
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_initial_weights_do_not_depend_on_the_default_type(make: Callable[[], nn.Module], dtype: torch.dtype) -> None:
    expected = make().state_dict()
    with default_type(dtype):
        found = make().state_dict()
    for name, value in found.items():
        assert value.dtype == (dtype if expected[name].dtype == torch.float32 else expected[name].dtype), name
        assert torch.equal(value, expected[name].to(value.dtype)), name


def test_training_does_not_depend_on_the_default_type(tmp_path: Path) -> None:
    short = {"steps": 2, "validate_every": {"steps": 1}}
    train(config(tmp_path, training=short, output=str(tmp_path / "single")))
    with default_type(torch.float64):
        train(config(tmp_path, training=short, output=str(tmp_path / "double")))
    single, double = (load_potential(tmp_path / run / "best.safetensors") for run in ("single", "double"))
    for one, other in zip(single.state_dict().values(), double.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def rewritten(atoms: Atoms, matrix: list[list[int]]) -> Atoms:
    """The same crystal with integer combinations of its lattice vectors."""
    return Atoms(atoms.numbers, atoms.positions, cell=np.array(matrix) @ atoms.cell.array, pbc=atoms.pbc)


@pytest.mark.parametrize(
    "matrix",
    [[[-1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 1, 0], [1, 0, 0], [0, 0, 1]], [[1, 0, 0], [500, 1, 0], [0, -70, 1]]],
    ids=["left-handed", "exchanged", "sheared"],
)
def test_a_crystal_is_the_same_in_any_of_its_cells(matrix: list[list[int]]) -> None:
    model, atoms = potential(), small_cell()
    expected = model(Structures.from_ase(atoms)).energy
    assert torch.allclose(model(Structures.from_ase(rewritten(atoms, matrix))).energy, expected, rtol=0, atol=1e-6)


def test_atoms_may_be_many_cells_away() -> None:
    model, given = potential(), Structures.from_ase(small_cell())
    moved = given.positions.clone()
    moved[0] += 2.0**24 * given.cells[0, 1]
    found = model(replace(given, positions=moved)).energy
    assert torch.allclose(found, model(given).energy, rtol=0, atol=1e-4)


@pytest.mark.parametrize("open_vector", [[0, 0, 0], [5.1, 0, 0], [0, 0, 40]])
def test_open_lattice_vectors_mean_nothing(open_vector: list[float]) -> None:
    model = potential()
    energies = [
        model(
            Structures.from_ase(
                Atoms("CO", [[0, 0, 0], [0.5, 0.8, 0.9]], cell=[[5, 0, 0], [0, 5, 0], last], pbc=[True, True, False])
            )
        ).energy
        for last in ([0, 0, 20], open_vector)
    ]
    assert torch.allclose(*energies, rtol=0, atol=1e-9)


def test_isolated_atoms_are_the_same_in_a_batch() -> None:
    model, many = potential(), [Atoms("O"), molecule(4), Atoms("H")]
    alone = torch.cat([model(Structures.from_ase(atoms)).energy for atoms in many])
    assert torch.allclose(model(Structures.from_ase(many)).energy, alone, rtol=0, atol=1e-9)


def test_hessians_are_the_same_three_ways() -> None:
    model, given = potential(), Structures.from_ase(molecule(3))

    def energy(positions: Tensor) -> Tensor:
        return model(replace(given, positions=positions)).energy.sum()

    def slope(positions: Tensor) -> Tensor:
        return -model(replace(given, positions=positions)).forces.flatten()

    by_function = torch.autograd.functional.hessian(energy, given.positions).reshape(9, 9)
    by_forces = torch.autograd.functional.jacobian(slope, given.positions).reshape(9, 9)
    steps = 1e-5 * torch.eye(9, dtype=torch.float64).reshape(9, 3, 3)
    by_steps = torch.stack([(slope(given.positions + step) - slope(given.positions - step)) / 2e-5 for step in steps])
    scale = by_forces.abs().max()
    assert (by_function - by_forces).abs().max() < 1e-9 * scale
    assert (by_steps.detach() - by_forces).abs().max() < 1e-5 * scale


def test_calculators_and_threads_share_a_potential() -> None:
    shared, many = potential(), [small_cell(), molecule(4), molecule(3, seed=2)]
    calculators = [GemNetCalculator(shared), GemNetCalculator(shared)]
    expected = [calculators[0].get_potential_energy(atoms) for atoms in many]
    assert [calculators[1].get_potential_energy(atoms) for atoms in many] == pytest.approx(expected, rel=1e-12)

    def energies(calculator: GemNetCalculator) -> list[float]:
        return [calculator.get_potential_energy(atoms) for atoms in many]

    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(energies, calculators):
            assert found == pytest.approx(expected, rel=1e-12)
