"""GemNet-Q, -dQ, -T and -dT of 2021: the published class, and the models of its specs."""

from __future__ import annotations

import copy
import json
import pickle
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ase import Atoms
from ase.build import molecule
from helpers import assert_close, set_random_scales

from gemnet_blocks import GemNet2021, Structures
from gemnet_blocks.errors import SpecError, StateError
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.model.scale_fitting import fit_scales
from gemnet_blocks.model.summary import parameter_count
from gemnet_blocks.spec import build
from gemnet_blocks.spec.execution import Execution
from gemnet_blocks.testing import oracles

ARGUMENTS: dict[str, Any] = {
    **{"num_spherical": 3, "num_radial": 2, "num_blocks": 1, "emb_size_atom": 4, "emb_size_edge": 5},
    **{"emb_size_trip": 3, "emb_size_quad": 2, "emb_size_rbf": 2, "emb_size_cbf": 3, "emb_size_sbf": 4},
    **{"emb_size_bil_quad": 6, "emb_size_bil_trip": 7, "num_before_skip": 1, "num_after_skip": 1},
    **{"num_concat": 1, "num_atom": 1, "triplets_only": False, "cutoff": 3.0, "int_cutoff": 4.0},
}
CASES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "Q": (["H2O2"], {}),
    "dQ, larger cutoff than that of middle edges": (["H2O2"], {"direct_forces": True, "cutoff": 3.5, "int_cutoff": 2}),
    "T": (["CH3OH"], {"triplets_only": True}),
    "dT, averaged, means": (
        ["NH3"],
        {"triplets_only": True, "direct_forces": True, "forces_coupled": True, "extensive": False},
    ),
    "no activation, lone atoms": (["H2O2", "H"], {"activation": None}),
    "zeros": (["H2O2"], {"output_init": "zeros", "direct_forces": True}),
}


def facade(**changes: Any) -> GemNet2021:
    torch.manual_seed(0)
    model = GemNet2021(**{**ARGUMENTS, **changes}).double().eval()
    set_random_scales(model)
    return model


def rattled(*names: str) -> Structures:
    found = [molecule(name) for name in names]
    for atoms in found:
        atoms.rattle(0.1, seed=1)
    return Structures.from_ase(found)


@pytest.mark.parametrize("case", CASES)
def test_it_equals_its_definition(case: str) -> None:
    names, changes = CASES[case]
    given, model = rattled(*names), facade(**changes)
    found, expected = model(given), oracles.model(model.model, given)
    assert expected.forces is not None
    assert found["energy"].shape == (len(names),)
    assert found["forces"].shape == (given.atom_count, 3)
    assert_close(found["energy"], expected.energy, 1e-10)
    assert_close(found["forces"], expected.forces, 1e-9)
    assert bool(found["energy"].any()) == (case != "zeros")


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "gradient"])
@pytest.mark.parametrize("name", ["C2H2", "CH3CN", "C6H6"])  # on a line, partly on a line, in a plane
def test_linear_and_planar_molecules(name: str, direct: bool) -> None:
    given, one = Structures.from_ase(molecule(name)), facade(direct_forces=direct)
    found = one(given)
    other = build(one.spec, execution=Execution(angular="explicit")).double()
    other.load_state_dict(one.model.state_dict())
    prediction = other(given)
    assert prediction.forces is not None
    assert_close(found["energy"], prediction.energy, 1e-9)
    if direct:
        assert_close(found["forces"], prediction.forces, 1e-9)
    assert found["forces"].isfinite().all()


def test_batches_and_periodic_structures() -> None:
    given, model = rattled("H2O2", "NH3"), facade()
    batch = SimpleNamespace(
        pos=given.positions, atomic_numbers=given.numbers, batch=given.structure, natoms=given.atom_counts
    )
    for name, value in model(given).items():
        assert_close(model(batch)[name], value)
    water = molecule("H2O", cell=[3, 3, 3], pbc=True)
    assert_close(model(Structures.from_ase(water))["energy"], model(Structures.from_ase(molecule("H2O")))["energy"])
    assert model(Structures.from_ase(Atoms("H")))["energy"].abs().max() == 0
    assert model(Structures.from_ase([]))["energy"].shape == (0,)


def test_constructor_arguments() -> None:
    model = facade(direct_forces=True, num_targets=1, name="gemnet", device="cpu", unknown=3)
    assert (model.num_blocks, model.cutoff, model.int_cutoff, model.direct_forces) == (1, 3.0, 4.0, True)
    assert (model.triplets_only, model.extensive, model.forces_coupled, model.num_targets) == (False, True, False, 1)
    assert model.num_params == parameter_count(model.model)
    assert model.atom_emb.table.weight.shape[0] == 93
    assert [count for _, count in model.shared_parameters].count(2) == 1  # of the output, used once more
    radial = torch.ones(2, dtype=torch.float64)
    assert model.mlp_cbf4(model.cbf_basis(radial, radial)[0]).shape == (2, 3, 3)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(again(rattled("H2O2"))["forces"], model(rattled("H2O2"))["forces"])
    triplets = facade(
        triplets_only=True, emb_size_quad=None, emb_size_bil_quad=None, emb_size_sbf=None, int_cutoff=None
    )
    assert list(triplets.spec.interactions) == ["triplet"]
    assert not hasattr(triplets, "mlp_cbf4")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_targets": 2}, "expected num_targets=1, the energy, got 2"),
        ({"triplets_only": 1}, "triplets_only must be True or False, got 1"),
        ({"emb_size_quad": 0}, "argument emb_size_quad: interactions.quadruplet.down: must be at least 1, got 0"),
        ({"num_radial": 0}, "argument num_radial"),
        ({"activation": "relu"}, "activation='relu' is unknown"),
        ({"output_init": "ones"}, "output_init='ones' is unknown"),
        ({"int_cutoff": "far"}, "argument int_cutoff"),
    ],
)
def test_arguments_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message.replace("(", r"\(")):
        GemNet2021(**{**ARGUMENTS, **changes})
    with pytest.raises(TypeError, match="triplets_only"):
        GemNet2021(**{name: value for name, value in ARGUMENTS.items() if name != "triplets_only"})


def test_scale_files(tmp_path: Path) -> None:
    values = {
        **{"QuadInteraction_1_had_rbf": 2.0, "QuadInteraction_1_had_cbf": 3.0, "QuadInteraction_1_sum_sbf": 4.0},
        **{"TripInteraction_1_had_rbf": 5.0, "TripInteraction_1_sum_cbf": 6.0, "AtomUpdate_1_sum": 7.0},
        **{"OutBlock_0_sum": 8.0, "OutBlock_0_had": 9.0, "OutBlock_7_had": 10.0, "comment": "of another model too"},
    }
    path = tmp_path / "scaling_factors.json"
    path.write_text(json.dumps(values))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = GemNet2021(**ARGUMENTS, direct_forces=True, scale_file=str(path))
        empty = GemNet2021(**ARGUMENTS, scale_file={})
    block, outputs = model.model.backbone.blocks[0], model.model.backbone.output_blocks
    found = [
        *(block.get_submodule(f"interactions.quadruplet.{name}") for name in ("message.scale", "circular_scale")),
        *(block.get_submodule(f"interactions.{name}.contraction.scale") for name in ("quadruplet", "triplet")),
        block.get_submodule("interactions.triplet.message.scale"),
        block.get_submodule("update.scale"),
        *(outputs[0].get_submodule(f"features.{name}") for name in ("update.scale", "edge_scale")),
        *(outputs[1].get_submodule(f"features.{name}") for name in ("update.scale", "edge_scale")),
    ]
    assert [float(scale.factor) for scale in found] == [2, 3, 4, 6, 5, 7, 8, 9, 1, 1]  # type: ignore[arg-type]
    assert all(float(scale.factor) == 1 for scale in empty.modules() if isinstance(scale, ScaleFactor))
    with pytest.raises(StateError, match="expected a scale file that ends in"):
        GemNet2021(**ARGUMENTS, scale_file=tmp_path / "scales.txt")


def test_scale_factors_are_fitted() -> None:
    model = GemNet2021(**{**ARGUMENTS, "direct_forces": True, "num_blocks": 2}).double()
    values = fit_scales(model.model, [rattled("H2O2", "CH3OH")], rows="gathered")
    assert len(values) == 2 * 6 + 3 * 2
    assert all(value > 0 for value in values.values())
