"""GemNet-T and GemNet-dT: what works for GemNet-OC works for them, without code of its own."""

from __future__ import annotations

import copy
import pickle
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers import KINDS, assert_close, molecule, set_random_scales, slab, small_cell
from torch import Tensor

from gemnet_blocks import GemNetT, Structures
from gemnet_blocks.errors import SpecError
from gemnet_blocks.model.profiler import profile
from gemnet_blocks.model.scale_fitting import fit_scales
from gemnet_blocks.model.summary import layers, parameter_count
from gemnet_blocks.spec import Spec, build
from gemnet_blocks.spec.execution import Execution
from gemnet_blocks.testing import oracles
from gemnet_blocks.testing.assertions import assert_forces_are_gradient, assert_symmetry
from gemnet_blocks.testing.symmetries import Rotation

ARGUMENTS: dict[str, Any] = {
    **{"num_spherical": 3, "num_radial": 6, "num_blocks": 2, "emb_size_atom": 8, "emb_size_edge": 10},
    **{"emb_size_trip": 5, "emb_size_rbf": 4, "emb_size_cbf": 3, "emb_size_bil_trip": 7},
    **{"num_before_skip": 1, "num_after_skip": 2, "num_concat": 1, "num_atom": 1},
    **{"cutoff": 4.0, "max_neighbors": 8},
}
DIRECT = pytest.mark.parametrize("direct", [True, False], ids=["direct", "gradient"])


def facade(direct: bool = True, **changes: Any) -> GemNetT:
    torch.manual_seed(0)
    model = GemNetT(**{**ARGUMENTS, "direct_forces": direct, **changes}).double().eval()
    set_random_scales(model)
    return model


def structures() -> Structures:
    return Structures.from_ase([slab(), small_cell()])


def as_batch(given: Structures, **more: Any) -> SimpleNamespace:
    return SimpleNamespace(
        pos=given.positions,
        atomic_numbers=given.numbers,
        batch=given.structure,
        natoms=given.atom_counts,
        cell=given.cells,
        pbc=given.periodic,
        **more,
    )


# -- the façade -------------------------------------------------------------------------------------------------------


@DIRECT
def test_it_takes_batches_and_structures(direct: bool) -> None:
    model, given = facade(direct), structures()
    by_batch, by_structures, by_spec = model(as_batch(given)), model(given), model.model(given)
    assert by_batch["energy"].shape == (2,)
    assert by_batch["forces"].shape == (given.atom_count, 3)
    for name, value in by_batch.items():
        assert_close(value, by_structures[name])
        assert_close(value, getattr(by_spec, name))


def test_without_forces() -> None:
    assert set(facade(False, regress_forces=False)(structures())) == {"energy"}


def test_means_and_isolated_structures() -> None:
    given = Structures.from_ase([molecule(5), molecule(3, seed=1)])
    total, mean = facade()(given)["energy"], facade(extensive=False)(given)["energy"]
    assert_close(total, mean * given.atom_counts)
    periodic = structures()
    isolated = facade(use_pbc=False)(as_batch(periodic))["energy"]
    assert not torch.allclose(isolated, facade()(as_batch(periodic))["energy"])


def test_graphs_that_a_batch_brings() -> None:
    given, model = structures(), facade()
    pairs = model.backbone.graphs.search(given, 6.0)
    edges, offsets = torch.stack([pairs.source, pairs.target]), pairs.shift
    whole = as_batch(given, edge_index=edges, cell_offsets=offsets)
    assert_close(model(whole)["energy"], model(given)["energy"])
    keep = torch.arange(len(pairs)) % 3 > 0
    some = as_batch(given, edge_index=edges[:, keep], cell_offsets=offsets[keep])
    assert not torch.allclose(model(some)["energy"], model(given)["energy"])
    # not where graphs are asked for, or greater ones than are stored
    for changes in ({"otf_graph": True}, {"max_neighbors": 51}, {"cutoff": 6.5}):
        other = facade(**changes)
        assert torch.equal(other(some)["energy"], other(given)["energy"])


def test_arguments_are_checked() -> None:
    with pytest.raises(TypeError, match="quad_interaction"):
        GemNetT(**{**ARGUMENTS, "quad_interaction": True})
    with pytest.raises(SpecError, match="argument emb_size_bil_trip"):
        GemNetT(**{**ARGUMENTS, "emb_size_bil_trip": 0})


def test_attributes() -> None:
    model = facade(otf_graph=True)
    assert (model.num_blocks, model.cutoff, model.max_neighbors, model.otf_graph) == (2, 4.0, 8, True)
    assert (model.direct_forces, model.regress_forces, model.use_pbc, model.extensive) == (True, True, True, True)
    assert model.num_params == parameter_count(model.model)
    radial, circular = model.cbf_basis3(torch.ones(2).double(), torch.zeros(2).double())
    assert len(model.mlp_rbf3(radial)) == len(model.mlp_cbf3(radial)) == len(circular) == 2


def test_copies() -> None:
    model, given = facade(False), structures()
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(again(given)["forces"], model(given)["forces"])


# -- the model of its spec --------------------------------------------------------------------------------------------


@DIRECT
@pytest.mark.parametrize("kind", KINDS)
def test_it_equals_its_definition_on_structures_of_every_kind(kind: str, direct: bool) -> None:
    given = KINDS[kind]()
    if given.atom_count > 7:
        given = Structures.from_ase(molecule(5))
    model = facade(direct, num_blocks=1).model
    fast, slow = model(given), oracles.model(model, given)
    assert_close(fast.energy, slow.energy)
    assert fast.forces is not None
    assert slow.forces is not None
    if kind != "coincident atoms":
        assert_close(fast.forces, slow.forces, 1e-9)


@DIRECT
def test_both_plans_are_the_same_function(direct: bool) -> None:
    one = facade(direct).model
    found = []
    for plan in ("explicit", "factorized"):
        model = build(facade(direct).spec, execution=Execution(angular=plan)).double()
        model.load_state_dict(one.state_dict())
        prediction = model(structures())
        assert prediction.forces is not None
        (prediction.energy.sum() + prediction.forces.square().sum()).backward()
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        found.append([prediction.energy, prediction.forces, *gradients])
    for explicit, factorised in zip(*found, strict=True):
        assert_close(factorised, explicit, 1e-10)


def test_energies_turn_and_forces_are_their_gradient() -> None:
    model = facade(False, max_neighbors=0).model
    given = Structures.from_ase([slab(), molecule(6)])
    assert_forces_are_gradient(model, given)
    assert_symmetry(model, given, Rotation(0.3, 1.2, -2.0, reflect=True))


@DIRECT
def test_a_memory_budget_changes_nothing(direct: bool) -> None:
    model = facade(direct).model
    free, tight = model(structures()), model(structures(), memory_budget=1)
    for name in ("energy", "forces"):
        assert_close(getattr(tight, name), getattr(free, name))


@DIRECT
def test_scale_factors_are_fitted(direct: bool) -> None:
    model = GemNetT(**ARGUMENTS, direct_forces=direct).model.double()
    values = fit_scales(model, [Structures.from_ase([slab(), molecule(6)])])
    assert len(values) == 2 * 3 + 3 * (2 if direct else 1)
    assert all(value > 0 for value in values.values())


@pytest.mark.parametrize(("direct", "task"), [(False, "energy"), (True, "predict"), (True, "train"), (False, "train")])
def test_costs(direct: bool, task: Any) -> None:
    model, given = facade(direct).model, structures()
    estimate, measured = model.estimate(given, task), profile(model, given, task, repeats=1)
    assert estimate.flops == measured.flops
    assert dict(estimate.counts) == dict(measured.counts)
    assert {"output blocks", "interaction triplet"} <= {part.name for part in estimate.parts}


@DIRECT
def test_the_table_of_layers(direct: bool) -> None:
    model = facade(direct).model
    rows = layers(model)
    assert sum(row.parameters for row in rows) == parameter_count(model)
    kinds = {row.name: row.kind for row in rows if row.part == "readout"}
    assert kinds == {"output block": "SummedOutputBlock", "network": "SummedReadout"}


@DIRECT
def test_it_learns(direct: bool) -> None:
    model, given = GemNetT(**ARGUMENTS, direct_forces=direct), structures().to(dtype=torch.float32)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)

    def loss() -> Tensor:
        found = model(given)
        return (found["energy"] - torch.tensor([1.0, -1.0])).square().sum() + found["forces"].square().mean()

    before = loss().item()
    for _ in range(20):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
    assert loss().item() < before / 2


def test_read_outs_change_places_in_a_line() -> None:
    spec = facade().spec
    other = spec.patch({"read_out": {"type": "concatenated", "after_atom": 1}})
    assert other.readout.model_dump()["layers"] == 1
    assert other.patch({"read_out": {"type": "summed"}}).content_hash == spec.content_hash
    assert Spec.from_yaml(other.to_yaml()) == other
