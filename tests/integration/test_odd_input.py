"""Odd structures are computed, wrong ones are one clear error that names the structure."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from helpers import slab, small_cell
from torch import Tensor

from gemnet_blocks import GemNetOC, Structures
from gemnet_blocks.errors import StructureError
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.spec import build, load_spec
from gemnet_blocks.spec.published import to_published

CONFIGS = Path(__file__).parents[2] / "paper_configs"
SMALL = {
    "sizes": {"atom": 8, "edge": 12, "radial": 4, "circular": 4, "spherical": 4},
    "blocks": {"count": 2},
    "bases.radial.count": 6,
    "bases.circular.count": 3,
    "bases.spherical.count": 3,
    "graphs": {
        "atom": {"cutoff": 6.0},
        "main": {"cutoff": 5.0, "max_neighbors": 8},
        "atom_edge": {"cutoff": 5.0, "max_neighbors": 6},
        "quad": {"cutoff": 4.5, "max_neighbors": 5, "tags": None},
    },
}
FORCES = ("direct", "gradient")
HARMONICS = {"bases.spherical": {"type": "real_harmonics", "count": 3}}


def spec_of(forces: str, **patch):
    return load_spec(CONFIGS / "gemnet-oc.yaml", SMALL).patch({"heads.forces.type": forces, **patch})


def small_model(forces: str, **patch) -> GemNet:
    return build(spec_of(forces, **patch), seed=0).double()


def with_pbc(atoms: Atoms, pbc) -> Atoms:
    atoms.pbc = pbc
    return atoms


ODD = {
    "no atoms": [Atoms()],
    "no structures": [],
    "no atoms among others": [molecule("H2O"), Atoms(), molecule("CO")],
    "an empty structure at the end": [molecule("H2O"), Atoms()],
    "an empty cell": [Atoms(cell=np.eye(3) * 4, pbc=True)],
    "one atom": [Atoms("H")],
    "one atom in a small periodic cell": [bulk("Cu")],
    "one atom in a tiny cell": [Atoms("H", cell=np.eye(3) * 1.2, pbc=True)],
    "no edges": [Atoms("H2", [[0, 0, 0], [50, 0, 0]])],
    "one pair": [Atoms("CO", [[0, 0, 0], [0, 0, 1.1]])],
    "no quadruplets": [molecule("H2O")],
    "no cell": [molecule("CH3OH")],
    "mixed periodicity in a batch": [
        bulk("NaCl", "rocksalt", a=5.6),
        molecule("H2O"),
        fcc111("Pt", (2, 2, 2), vacuum=8),
    ],
    "periodic along one vector, others absent": [
        with_pbc(Atoms("C2", [[0, 0, 0], [0.7, 0.7, 0]], cell=[2.5, 0, 0]), [1, 0, 0])
    ],
    "left-handed triclinic cell": [
        Atoms("CN", [[0, 0, 0], [1, 1, 1]], cell=[[0, 3, 0], [3, 0.5, 0], [0.3, 0, 4]], pbc=True)
    ],
    "atoms far outside the cell": [Atoms("CN", [[0, 0, 0], [61, -43, 21]], cell=np.eye(3) * 3.7, pbc=True)],
    "coincident atoms": [Atoms("OOC", [[0, 0, 0], [0, 0, 0], [0, 0, 1.2]])],
    "all atoms coincident": [Atoms("O4", np.zeros((4, 3)))],
    "collinear atoms": [Atoms("C6", [[i * 1.3, 0, 0] for i in range(6)])],
    "planar atoms": [molecule("C6H6")],
    "a perfect crystal": [bulk("Pt", cubic=True)],
}


@pytest.mark.parametrize("forces", FORCES)
@pytest.mark.parametrize("name", ODD)
def test_odd_structures_are_computed(name: str, forces: str):
    model = small_model(forces)
    structures = Structures.from_ase(ODD[name])
    prediction = model(structures)
    assert prediction.energy.shape == (len(ODD[name]),)
    assert prediction.forces.shape == (sum(map(len, ODD[name])), 3)
    assert prediction.energy.isfinite().all()
    assert prediction.forces.isfinite().all()
    (prediction.energy.sum() + prediction.forces.square().sum()).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("forces", FORCES)
@pytest.mark.parametrize("name", ["coincident atoms", "collinear atoms", "planar atoms", "a perfect crystal"])
def test_full_harmonics_have_finite_derivatives(name: str, forces: str):
    model = small_model(forces, **HARMONICS)
    prediction = model(Structures.from_ase(ODD[name]))
    (prediction.energy.sum() + prediction.forces.square().sum()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("ties", ["strict", "inclusive", "inclusive_next"])
@pytest.mark.parametrize("rule", ["lower_index", "union"])
def test_every_rule_copes_with_odd_structures(ties: str, rule: str):
    model = small_model("direct", **{"neighbors.ties": ties, "graphs.main.symmetrize": rule})
    structures = Structures.from_ase([atoms for many in ODD.values() for atoms in many])
    prediction = model(structures)
    assert prediction.energy.isfinite().all()


@pytest.mark.parametrize("forces", FORCES)
def test_a_structure_is_computed_alike_alone_and_in_a_batch(forces: str):
    model = small_model(forces)
    many = [atoms for name, group in ODD.items() if "crystal" not in name for atoms in group]
    together = model(Structures.from_ase(many))
    first = 0
    for number, atoms in enumerate(many):
        alone = model(Structures.from_ase(atoms))
        torch.testing.assert_close(together.energy[number], alone.energy[0], rtol=1e-9, atol=1e-9)
        part = together.forces[first : first + len(atoms)]
        torch.testing.assert_close(part, alone.forces, rtol=1e-7, atol=1e-7 * (1 + alone.forces.abs().sum().item()))
        first += len(atoms)


def test_an_empty_structure_has_no_energy():
    prediction = small_model("gradient", **{"heads.energy.reduce": "mean"})(
        Structures.from_ase([Atoms(), molecule("CO")])
    )
    assert prediction.energy[0] == 0


def nan_positions() -> Atoms:
    atoms = molecule("H2O")
    atoms.positions[1, 2] = np.nan
    return atoms


WRONG = {
    "NaN positions": (nan_positions(), "structure 1 has positions that are NaN"),
    "an infinite cell": (
        Atoms("H", cell=np.full((3, 3), np.inf), pbc=True),
        "structure 1 has a cell that is NaN or infinite",
    ),
    "a singular cell": (
        Atoms("H", cell=[[1, 0, 0], [2, 0, 0], [0, 0, 3]], pbc=True),
        "structure 1 has lattice vectors",
    ),
    "no cell but periodic": (Atoms("H", pbc=True), "structure 1 has lattice vectors"),
    "an unknown element": (Atoms("XH", [[0, 0, 0], [1, 0, 0]]), "structure 1 has an atomic number below 1"),
    "an element above the last": (Atoms("Pu"), "structure 1 has an atomic number above 83"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_structures_are_one_error(name: str):
    atoms, message = WRONG[name]
    model = small_model("direct")
    with pytest.raises(StructureError, match=message):
        model(Structures.from_ase([molecule("CO"), atoms]))


def test_missing_tags_are_one_error():
    tagged = molecule("CO")
    tagged.set_tags([2, 2])
    structures = Structures.from_ase([tagged, molecule("CO")])
    model = small_model("direct", **{"graphs.quad.tags": [1, 2]})
    with pytest.raises(StructureError, match="structure 1 has no tags"):
        model(structures)
    small_model("direct")(structures)  # without a selection by tags none are needed


def test_a_non_periodic_structure_may_have_any_cell():
    atoms = Atoms("CO", [[0, 0, 0], [0, 0, 1.1]], cell=[[1, 0, 0], [2, 0, 0], [0, 0, 3]])
    plain = Atoms("CO", [[0, 0, 0], [0, 0, 1.1]])
    model = small_model("direct")
    torch.testing.assert_close(model(Structures.from_ase(atoms)).energy, model(Structures.from_ase(plain)).energy)


@pytest.mark.parametrize("forces", FORCES)
def test_the_published_class_copes_too(forces: str):
    arguments = to_published(spec_of(forces))
    model = GemNetOC(**arguments).double()
    for atoms in ODD.values():
        result = model(Structures.from_ase(atoms))
        assert result["energy"].isfinite().all()
        assert result["forces"].isfinite().all()


FIELDS = ("positions", "numbers", "structure", "cells", "periodic", "tags", "fixed")


def assert_same(one: Structures, other: Structures) -> None:
    for name in FIELDS:
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("names", "types"),
    [
        (("numbers", "structure", "tags"), (torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16)),
        (("periodic", "fixed"), (torch.uint8, torch.int32, torch.int64)),
    ],
)
def test_integers_of_any_width_are_the_same_structures(names: tuple[str, ...], types: tuple[torch.dtype, ...]) -> None:
    expected = Structures.from_ase([slab(), small_cell()])
    for dtype in types:
        assert_same(replace(expected, **{name: getattr(expected, name).to(dtype) for name in names}), expected)


@pytest.mark.parametrize("convert", [Tensor.numpy, Tensor.tolist])
def test_arrays_and_lists_are_taken_in_place_of_tensors(convert: Any) -> None:
    expected = Structures.from_ase([slab(), small_cell()])
    assert_same(Structures(**{name: convert(getattr(expected, name)) for name in FIELDS}), expected)


def test_integer_positions_and_cells_are_real_numbers() -> None:
    expected = Structures.from_ase(Atoms("H2", [[0, 0, 0], [0, 0, 1]], cell=[3, 4, 5], pbc=True))
    given = replace(expected, positions=expected.positions.int(), cells=expected.cells.long())
    assert_same(given, expected)


@pytest.mark.parametrize(
    ("name", "convert", "message"),
    [
        ("numbers", Tensor.float, "numbers must be integers, got torch.float32"),
        ("structure", Tensor.double, "structure must be integers, got torch.float64"),
        ("tags", Tensor.bool, "tags must be integers, got torch.bool"),
        ("periodic", Tensor.float, "periodic must be booleans, or 0 and 1, got torch.float32"),
        ("fixed", lambda fixed: fixed.long() + 2, "fixed must be booleans, or 0 and 1, got torch.int64"),
        ("positions", lambda positions: positions.to(torch.complex64), "positions must be real numbers"),
        ("cells", Tensor.bool, "cells must be real numbers, got torch.bool"),
        ("numbers", lambda _: ["Cu"] * 5, "numbers is not an array of numbers"),
        ("positions", lambda _: [[0.0, 0.0], [1.0]], "positions is not an array of numbers"),
        ("tags", lambda _: None, "tags is not an array of numbers"),
    ],
)
def test_other_kinds_of_numbers_are_one_error(name: str, convert: Any, message: str) -> None:
    structures = Structures.from_ase(slab())
    with pytest.raises(StructureError, match=message):
        replace(structures, **{name: convert(getattr(structures, name))})


def test_structures_do_not_take_an_integer_type() -> None:
    with pytest.raises(ValueError, match=r"need a floating-point type such as torch\.float64, got torch\.int64"):
        Structures.from_ase(slab()).to(dtype=torch.int64)
