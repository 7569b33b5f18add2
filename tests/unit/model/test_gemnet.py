"""Whole models: small ones, with every part that there is."""

from __future__ import annotations

import copy
import itertools
import pickle
from dataclasses import fields, replace

import pytest
import torch
from ase import Atoms
from ase.build import bulk
from helpers import GRADIENT_FORCES, KINDS, SMOOTH, assert_close, molecule, slab, small_cell, small_model, small_spec
from torch import Tensor
from variants import crystals, model_of

from gemnet_blocks.errors import StructureError
from gemnet_blocks.graph.neighbor_list import VesinSearch
from gemnet_blocks.interactions.interaction import Embeddings
from gemnet_blocks.model.gemnet import GemNet, differentiable
from gemnet_blocks.model.heads import DirectForces, GradientForces
from gemnet_blocks.spec import build
from gemnet_blocks.structures import Prediction, Structures

FORCES = {"direct": {}, "gradient": GRADIENT_FORCES}


@pytest.fixture(params=list(FORCES))
def forces(request: pytest.FixtureRequest) -> str:
    return request.param


def forces_of(prediction: Prediction) -> Tensor:
    assert prediction.forces is not None
    return prediction.forces


def assert_same_prediction(one: Prediction, other: Prediction, tolerance: float = 1e-12) -> None:
    assert_close(one.energy, other.energy, tolerance)
    assert_close(forces_of(one), forces_of(other), tolerance)


def mixed() -> list[Atoms]:
    return [molecule(6), Atoms(), small_cell(), molecule(1), molecule(5, seed=3)]


# -- what a model is made of ------------------------------------------------------------------------------------------


def test_the_forward_pass_is_its_parts_one_after_another() -> None:
    model, structures = small_model(blocks__count=1, heads__forces={"type": "direct", "coupled": True}), KINDS["slab"]()
    backbone = model.backbone
    geometry = backbone.geometry(structures, backbone.topology(structures))
    h = backbone.atom_embedding(structures.numbers)
    embeddings = Embeddings(h, backbone.edge_embedding(h, geometry.radial, geometry.main.edges))
    before = backbone.output_blocks[0](embeddings, geometry)
    after = backbone.output_blocks[1](backbone.blocks[0](embeddings, geometry), geometry)
    numbers = model.readout([before, after])
    assert isinstance(model.forces, DirectForces)
    prediction = model(structures)
    assert torch.equal(prediction.energy, model.energy(numbers.atoms, structures.structure, 1))
    assert torch.equal(forces_of(prediction), model.forces(numbers.edges, geometry.main))


def test_one_output_block_before_the_blocks_and_one_behind_each() -> None:
    for count in (0, 1, 3):
        model = small_model(blocks__count=count)
        assert len(model.backbone.blocks) == count
        assert (
            len(model.backbone(KINDS["slab"](), model.topology(KINDS["slab"]())).outputs)
            == len(model.backbone.output_blocks)
            == count + 1
        )


@pytest.mark.parametrize("name", ["direct forces", "gradient forces", "streams", "streams of scalars"])
def test_embeddings_of_every_layer_are_those_of_a_prediction(name: str) -> None:
    """Hooks on the blocks of a prediction see the same; the backbone returns the last ones."""
    model, structures = model_of(name), crystals()
    seen: list[Embeddings] = []
    hooks = [block.register_forward_hook(lambda *call: seen.append(call[-1])) for block in model.backbone.blocks]
    model(structures)
    for hook in hooks:
        hook.remove()
    layers = model.embeddings(structures)
    assert len(layers) == 1 + len(model.backbone.blocks)
    last = model.backbone(structures, model.topology(structures)).embeddings
    for one, other in zip((*layers[1:], layers[-1]), (*seen, last), strict=True):
        for stream in ("atoms", "edges", *other.streams):
            assert_close(one[stream], other[stream], 0.0)
    assert torch.equal(layers[0].atoms, model.backbone.atom_embedding(structures.numbers))


def test_embeddings_are_differentiable_and_take_a_topology() -> None:
    model = small_model(**GRADIENT_FORCES)
    structures = differentiable(Structures.from_ase([molecule(5), Atoms()], dtype=torch.float64))
    last = model.embeddings(structures, model.topology(structures))[-1]
    (slope,) = torch.autograd.grad(last.atoms.square().sum(), structures.positions, create_graph=True)
    assert slope.abs().max() > 0
    (second,) = torch.autograd.grad(slope.square().sum(), structures.positions)
    assert second.isfinite().all()
    with pytest.raises(TypeError, match="expected Structures, got Atoms"):
        model.embeddings(molecule(5))  # type: ignore[arg-type]


def test_without_forces_there_are_none() -> None:
    model = small_model(heads__forces=None)
    prediction = model(KINDS["slab"]())
    assert prediction.forces is None
    assert prediction.energy.shape == (1,)


def test_every_part_matters(forces: str) -> None:
    """Taking away any interaction changes the result; none is computed for nothing."""
    structures = KINDS["molecules"]()
    full = small_model(**FORCES[forces])
    energy = full(structures).energy
    for name in ("triplet", "quadruplet", "atom_edge", "edge_atom", "atom_atom"):
        changed = copy.deepcopy(full)
        for block in changed.backbone.blocks:
            torch.nn.init.zeros_(block.interactions[name].contraction.linear.weight)
        assert (changed(structures).energy - energy).abs().max() > 1e-6 * energy.abs().max(), name


def test_every_weight_is_trained(forces: str) -> None:
    model = small_model(**FORCES[forces])
    prediction = model(KINDS["slab"]())
    (prediction.energy.square().sum() + forces_of(prediction).square().sum()).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert (parameter.grad != 0).any(), name


# -- odd structures ---------------------------------------------------------------------------------------------------


def test_every_kind_of_structure_gives_finite_results_and_training_gradients(
    any_structures: Structures, forces: str
) -> None:
    model = small_model(**FORCES[forces])
    prediction = model(any_structures)
    assert prediction.energy.shape == (len(any_structures),)
    assert forces_of(prediction).shape == (any_structures.atom_count, 3)
    loss = prediction.energy.square().sum() + forces_of(prediction).square().sum()
    assert loss.isfinite()
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("kind", ["no atoms", "one atom", "no edges"])
def test_isolated_atoms_have_no_forces(kind: str, forces: str) -> None:
    prediction = small_model(**FORCES[forces])(KINDS[kind]())
    assert (forces_of(prediction) == 0).all()


def test_structures_that_cannot_be_computed_are_refused_by_index() -> None:
    structures = Structures.from_ase([molecule(3), Atoms("U")])
    with pytest.raises(StructureError, match="structure 1 has an atomic number above 83"):
        small_model()(structures)


# -- forces -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("atoms", [molecule(6), slab(), small_cell()], ids=["molecule", "slab", "small cell"])
def test_gradient_forces_equal_finite_differences(atoms: Atoms) -> None:
    model = small_model(**GRADIENT_FORCES)
    found = forces_of(model(Structures.from_ase(atoms))).detach()
    step, moved = 1e-4, []
    for atom, axis, sign in itertools.product(range(len(atoms)), range(3), (1, -1)):
        moved.append(atoms.copy())
        moved[-1].positions[atom, axis] += sign * step
    energy = model(Structures.from_ase(moved)).energy.detach().reshape(len(atoms), 3, 2)
    assert found.abs().max() > 1e-2
    torch.testing.assert_close(found, (energy[..., 1] - energy[..., 0]) / (2 * step), rtol=1e-6, atol=1e-8)


def test_gradient_forces_add_up_to_zero() -> None:
    for kind in SMOOTH:
        total = forces_of(small_model(**GRADIENT_FORCES)(KINDS[kind]())).sum(dim=0)
        assert_close(total.detach(), torch.zeros(3, dtype=torch.float64), 1e-11)


def test_dynamic_scaling_changes_no_result() -> None:
    plain = small_model(**GRADIENT_FORCES)
    scaled = small_model(heads__forces={"type": "gradient", "dynamic_scaling": True})
    scaled.load_state_dict(plain.state_dict())
    assert isinstance(scaled.forces, GradientForces)
    assert scaled.forces.scale is not None
    assert_same_prediction(scaled(KINDS["slab"]()), plain(KINDS["slab"]()))


def test_forces_can_be_differentiated_further_to_given_positions() -> None:
    model, structures = small_model(**GRADIENT_FORCES), KINDS["slab"]()
    positions = structures.positions.clone().requires_grad_()
    prediction = model(replace(structures, positions=positions))
    row = torch.autograd.grad(forces_of(prediction)[0, 0], positions, retain_graph=True)[0]
    # the Hessian is symmetric
    column = torch.stack(
        [
            torch.autograd.grad(forces_of(prediction)[a, i], positions, retain_graph=True)[0][0, 0]
            for a in range(5)
            for i in range(3)
        ]
    )
    assert row.abs().max() > 1e-2
    assert_close(row.flatten(), column, 1e-10)


# -- without gradients ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_results_are_the_same_and_carry_none(mode: type, forces: str) -> None:
    model, structures = small_model(**FORCES[forces]), KINDS["mixed batch"]()
    expected = model(structures)
    assert expected.energy.requires_grad
    assert forces_of(expected).requires_grad
    with mode():
        found = model(structures)
    assert_same_prediction(found, expected)
    assert not found.energy.requires_grad
    assert not forces_of(found).requires_grad


def test_structures_made_in_inference_mode(forces: str) -> None:
    model = small_model(**FORCES[forces])
    expected = model(KINDS["mixed batch"]())
    with torch.inference_mode():
        assert_same_prediction(model(KINDS["mixed batch"]()), expected)


def test_frozen_models_have_gradient_forces() -> None:
    model = small_model(**GRADIENT_FORCES)
    expected = model(KINDS["slab"]())
    assert_same_prediction(model.requires_grad_(False)(KINDS["slab"]()), expected)


def test_the_structures_that_are_passed_stay_as_they_are(forces: str) -> None:
    structures = KINDS["slab"]()
    given = {field.name: getattr(structures, field.name) for field in fields(structures)}
    before = {name: value.clone() for name, value in given.items() if value is not None}
    small_model(**FORCES[forces])(structures)
    for name, value in before.items():
        assert torch.equal(getattr(structures, name), value)
    assert not structures.positions.requires_grad


def test_differentiable_positions_keep_their_graph_if_they_have_one() -> None:
    structures = KINDS["slab"]()
    made = differentiable(structures)
    assert made.positions.requires_grad
    assert made.positions.is_leaf
    strain = torch.ones(1, dtype=torch.float64, requires_grad=True)
    strained = replace(structures, positions=structures.positions * strain)
    assert differentiable(strained).positions is strained.positions


# -- batches, order, types --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_structures_of_a_batch_are_computed_as_if_alone(
    dtype: torch.dtype, tolerance: float, reduce: str, forces: str
) -> None:
    model = small_model(dtype, heads__energy__reduce=reduce, **FORCES[forces])
    together = model(Structures.from_ase(mixed()))
    alone = [model(Structures.from_ase(atoms)) for atoms in mixed()]
    assert_close(together.energy, torch.cat([one.energy for one in alone]), tolerance)
    assert_close(forces_of(together), torch.cat([forces_of(one) for one in alone]), tolerance)


def permuted(structures: Structures, order: Tensor) -> Structures:
    names = ("positions", "numbers", "structure", "tags", "fixed")
    return replace(structures, **{name: getattr(structures, name)[order] for name in names})


def shuffled_within(structures: Structures) -> Tensor:
    """A random order of atoms that keeps those of a structure together."""
    atoms = torch.arange(structures.atom_count).split(structures.atom_counts.tolist())
    return torch.cat([own[torch.randperm(len(own))] for own in atoms])


@pytest.mark.parametrize("kind", ["molecules", "mixed batch"])
def test_permuting_atoms_permutes_the_results(kind: str, forces: str) -> None:
    # `union`, as `lower_index` means the order of the atoms; `inclusive`, as both images of an atom are equally near
    model = small_model(graphs__main__symmetrize="union", neighbors__ties="inclusive", **FORCES[forces])
    structures = KINDS[kind]()
    order = shuffled_within(structures)
    assert not torch.equal(order, torch.arange(len(order)))
    expected, found = model(structures), model(permuted(structures, order))
    assert_close(found.energy, expected.energy)
    assert_close(forces_of(found), forces_of(expected)[order], 1e-11)


def test_permuting_atoms_of_a_perfect_crystal_permutes_the_results_with_inclusive_ties(forces: str) -> None:
    # no quadruplets: their dihedral angles on the lines of a crystal are rounding noise
    choices = {"graphs__main__symmetrize": "union", "interactions__quadruplet": None, **FORCES[forces]}
    structures = Structures.from_ase(bulk("NaCl", "rocksalt", a=5.2, cubic=True))
    order = shuffled_within(structures)
    changes = {}
    for ties in ("inclusive", "strict"):
        model = small_model(neighbors__ties=ties, graphs__main__max_neighbors=4, **choices)
        expected, found = model(structures), model(permuted(structures, order))
        changes[ties] = float((forces_of(found) - forces_of(expected)[order]).detach().abs().max())
    assert changes["inclusive"] < 1e-11
    assert changes["strict"] > 1e-6


def test_elements_tags_and_cells_matter() -> None:
    model = small_model(graphs__quad__tags=[2])
    structures = KINDS["slab"]()
    energy = model(structures).energy
    for name, changed in (
        ("numbers", structures.numbers + 1),
        ("tags", torch.zeros_like(structures.tags)),
        ("cells", structures.cells * 1.01),
        ("periodic", torch.zeros_like(structures.periodic)),
    ):
        assert (model(replace(structures, **{name: changed})).energy - energy).abs() > 1e-9, name
    assert torch.equal(model(replace(structures, fixed=~structures.fixed)).energy, energy)


def test_translations_and_whole_cells_change_nothing(forces: str) -> None:
    model, structures = small_model(**FORCES[forces]), KINDS["small cell"]()
    expected = model(structures)
    moved = structures.positions + torch.tensor([0.3, -2.0, 1.1])
    assert_same_prediction(model(replace(structures, positions=moved)), expected, 1e-11)
    wrapped = structures.positions + torch.tensor([[1.0, 0, -2], [0, 1, 0]]).double() @ structures.cells[0]
    assert_same_prediction(model(replace(structures, positions=wrapped)), expected, 1e-11)


def test_given_pairs_stand_for_the_search() -> None:
    model = small_model(graphs__atom__max_neighbors=None)
    structures = KINDS["slab"]()
    pairs = VesinSearch()(structures, 4.0)
    assert_same_prediction(model(structures, pairs), model(structures))
    fewer = model(structures, pairs.select(pairs.distance < 2.6))
    assert not torch.allclose(fewer.energy, model(structures).energy)


def test_models_pickle_and_copy(forces: str) -> None:
    model, structures = small_model(**FORCES[forces]), KINDS["slab"]()
    expected = model(structures)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        found = other(structures)
        assert torch.equal(found.energy, expected.energy)
        assert torch.equal(forces_of(found), forces_of(expected))
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert torch.equal(model(structures).energy, expected.energy)  # the copy shares nothing


def test_models_move_between_floating_point_types(forces: str) -> None:
    model, structures = small_model(**FORCES[forces]), KINDS["slab"]()
    expected = model(structures)
    single = copy.deepcopy(model).float()
    found = single(structures)
    assert found.energy.dtype == forces_of(found).dtype == torch.float32
    assert_close(found.energy.double(), expected.energy, 1e-5)
    assert_close(forces_of(found).double(), forces_of(expected), 1e-4)
    # structures may be of the other type, too
    assert_close(single(structures.to(dtype=torch.float32)).energy, found.energy, 1e-5)


def test_weights_load_into_a_model_of_the_same_spec(forces: str) -> None:
    model, structures = small_model(**FORCES[forces]), KINDS["slab"]()
    other = build(small_spec(**FORCES[forces]), seed=5).double()
    assert not torch.equal(other(structures).energy, model(structures).energy)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(structures).energy, model(structures).energy)


def test_seeds_make_initial_weights_reproducible() -> None:
    def weights(model: GemNet) -> Tensor:
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    state = torch.random.get_rng_state()
    one, again, other = (weights(build(small_spec(), seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), state)
