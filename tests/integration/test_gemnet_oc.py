"""The façade's interface: arguments, attributes, methods and what they return."""

from __future__ import annotations

import copy
import inspect
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from helpers import assert_close, line, set_random_scales, slab, small_cell
from helpers import molecule as random_molecule
from torch import Tensor, nn

from gemnet_blocks import (
    GemNetOC,
    GemNetOCBackbone,
    GemNetOCEnergyAndGradForceHead,
    GemNetOCForceHead,
    Structures,
)
from gemnet_blocks.errors import ArgumentError, SpecError, StructureError
from gemnet_blocks.graph.builder import EdgeSetOptions
from gemnet_blocks.spec import Execution, build
from gemnet_blocks.spec.published import REQUIRED, from_published

SIZES = dict(num_spherical=3, num_radial=6, num_blocks=2, emb_size_atom=8, emb_size_edge=10)
ARGUMENTS: dict[str, Any] = {
    **dict.fromkeys(REQUIRED, 3),
    **SIZES,
    "num_before_skip": 1,
    "num_after_skip": 1,
    "num_concat": 1,
    "num_atom": 1,
    "num_output_afteratom": 1,
    "direct_forces": True,
    "quad_interaction": True,
    "atom_edge_interaction": True,
    "edge_atom_interaction": True,
    "atom_interaction": True,
    "cutoff": 4.0,
    "cutoff_qint": 3.0,
    "cutoff_aeaint": 3.5,
    "cutoff_aint": 5.0,
    "max_neighbors": 6,
    "max_neighbors_qint": 3,
    "max_neighbors_aeaint": 5,
    "max_neighbors_aint": 40,
    "sbf": {"name": "legendre_outer"},
    "otf_graph": True,
}
INTERACTIONS = ("quad_interaction", "atom_edge_interaction", "edge_atom_interaction", "atom_interaction")
GRAPHS = ("main", "atom", "atom_edge", "quad")


def facade(kind: type = GemNetOC, **changes: Any) -> Any:
    torch.manual_seed(0)
    model = kind(**{**ARGUMENTS, **changes}).double().eval()
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
        tags=given.tags,
        **more,
    )


def edges_of(graph: dict[str, Tensor]) -> set[tuple[int, ...]]:
    columns = [graph["edge_index"].T, graph["cell_offset"].long()]
    return {tuple(edge) for edge in torch.cat(columns, dim=-1).tolist()}


# -- arguments --------------------------------------------------------------------------------------------------------


def test_signatures_are_the_published_ones() -> None:
    names = list(inspect.signature(GemNetOC).parameters)
    assert names == list(inspect.signature(GemNetOCBackbone).parameters)
    assert names[:19] == list(REQUIRED)
    assert names[-3:] == ["otf_graph", "scale_file", "kwargs"]
    assert len(names) == 54
    for head in (GemNetOCEnergyAndGradForceHead, GemNetOCForceHead):
        parameters = inspect.signature(head).parameters
        assert list(parameters) == ["backbone", "num_global_out_layers", "output_init"]
        assert parameters["output_init"].default == "HeOrthogonal"
        assert list(inspect.signature(head.forward).parameters)[1:] == ["data", "emb"]


@pytest.mark.parametrize("kind", [GemNetOC, GemNetOCBackbone])
def test_unknown_arguments_are_an_error_with_a_suggestion(kind: type) -> None:
    message = rf"{kind.__name__} does not take the argument 'max_neighbours'; did you mean 'max_neighbors'\?"
    with pytest.raises(ArgumentError, match=message):
        kind(**ARGUMENTS, max_neighbours=30)
    with pytest.raises(TypeError, match="cutof"):
        kind(**ARGUMENTS, cutof=3)


@pytest.mark.parametrize("kind", [GemNetOC, GemNetOCBackbone])
@pytest.mark.parametrize(
    "old", [{"num_atoms": None}, {"bond_feat_dim": 0}, {"num_targets": 1}, {"name": "gemnet_oc"}], ids=str
)
def test_deprecated_arguments_are_a_warning(kind: type, old: dict[str, Any]) -> None:
    with pytest.warns(DeprecationWarning, match=f"the argument '{next(iter(old))}' of {kind.__name__} is deprecated"):
        kind(**ARGUMENTS, **old)


def test_only_one_target_is_possible() -> None:
    with pytest.raises(ArgumentError, match="num_targets=2; only 1 is possible"):
        GemNetOC(**ARGUMENTS, num_targets=2)


def test_required_arguments_are_required() -> None:
    with pytest.raises(TypeError, match="num_blocks"):
        GemNetOC(**{name: value for name, value in ARGUMENTS.items() if name != "num_blocks"})


def test_arguments_may_be_given_by_position() -> None:
    values = [ARGUMENTS[name] for name in REQUIRED]
    rest = {name: value for name, value in ARGUMENTS.items() if name not in REQUIRED}
    assert GemNetOC(*values, **rest).spec.content_hash == GemNetOC(**ARGUMENTS).spec.content_hash
    assert GemNetOCBackbone(*values, **rest).spec.content_hash == GemNetOC(**ARGUMENTS).spec.content_hash


def test_invalid_values_are_an_error() -> None:
    with pytest.raises(SpecError, match="activation='relu' is unknown"):
        GemNetOC(**ARGUMENTS, activation="relu")
    with pytest.raises(SpecError, match=r"cutoff=9\.0 exceeds cutoff_aint=5\.0"):
        GemNetOC(**{**ARGUMENTS, "cutoff": 9.0})


# -- attributes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [GemNetOC, GemNetOCBackbone])
def test_attributes_are_the_arguments(kind: type) -> None:
    model = facade(kind, qint_tags=[1, 2], activation="swish", scale_backprop_forces=True, use_pbc_single=True)
    expected = {
        "num_blocks": 2,
        "extensive": True,
        "activation": "swish",
        **dict.fromkeys(INTERACTIONS, True),
        "otf_graph": True,
        "enforce_max_neighbors_strictly": True,
        "use_pbc": True,
        "use_pbc_single": True,
        "direct_forces": True,
        "forces_coupled": False,
        "regress_forces": True,
        **{name: value for name, value in ARGUMENTS.items() if name.startswith(("cutoff", "max_neighbors"))},
    }
    assert {name: getattr(model, name) for name in expected} == expected
    assert model.qint_tags.tolist() == [1, 2]
    assert facade(kind).qint_tags.tolist() == [0, 1, 2]
    assert model.force_scaler.enabled


@pytest.mark.parametrize(
    ("on", "expected"),
    [
        (None, [7.0, 7.0, 7.0, 14, 14, 14]),
        ("quad_interaction", [6.0, 7.0, 7.0, 6, 14, 14]),
        ("atom_edge_interaction", [7.0, 6.5, 7.0, 14, 10, 14]),
        ("edge_atom_interaction", [7.0, 6.5, 7.0, 14, 10, 14]),
        ("atom_interaction", [7.0, 7.0, 8.0, 14, 14, 300]),
    ],
)
def test_cutoffs_and_caps_are_those_of_the_reference(on: str | None, expected: list[float]) -> None:
    given = {
        **dict.fromkeys(INTERACTIONS, False),
        **dict(zip(("cutoff", "cutoff_qint", "cutoff_aeaint", "cutoff_aint"), (7.0, 6.0, 6.5, 8.0), strict=True)),
        **{"max_neighbors": 14, "max_neighbors_qint": 6, "max_neighbors_aeaint": 10, "max_neighbors_aint": 300},
    }
    model = facade(**given, **({on: True} if on else {})) if on is None else facade(**{**given, on: True})
    names = [f"{name}_{suffix}" for name in ("cutoff", "max_neighbors") for suffix in ("qint", "aeaint", "aint")]
    assert [getattr(model, name) for name in names] == expected


def test_parts() -> None:
    model, backbone = facade(), facade(GemNetOCBackbone)
    for one in (model, backbone):
        assert len(one.int_blocks) == 2
        assert len(one.out_blocks) == 3
        assert one.atom_emb(torch.tensor([1, 83])).shape == (2, 8)
        assert isinstance(one.edge_emb, torch.nn.Module)
    assert model.out_mlp_E(torch.zeros(4, 24).double()).shape == (4, 8)
    assert model.out_energy(torch.zeros(4, 8).double()).shape == (4,)
    read_out = sum(value.numel() for value in model.model.readout.parameters())
    assert model.num_params == sum(value.numel() for value in model.parameters()) == backbone.num_params + read_out


PARTS = {
    "triplet": ("cbf_basis_tint", "mlp_rbf_tint", "mlp_cbf_tint"),
    "quad_interaction": ("cbf_basis_qint", "sbf_basis_qint", "mlp_rbf_qint", "mlp_cbf_qint", "mlp_sbf_qint"),
    "atom_edge_interaction": ("radial_basis_aeaint", "cbf_basis_aeint", "mlp_rbf_aeint", "mlp_cbf_aeint"),
    "edge_atom_interaction": ("radial_basis_aeaint", "cbf_basis_eaint", "mlp_rbf_eaint", "mlp_cbf_eaint"),
    "atom_interaction": ("radial_basis_aint", "mlp_rbf_aint"),
}
"""The published names of the bases and projections of each interaction."""


@pytest.mark.parametrize("kind", [GemNetOC, GemNetOCBackbone])
@pytest.mark.parametrize("on", [(), *((one,) for one in INTERACTIONS), INTERACTIONS])
def test_bases_and_projections_have_their_published_names_where_the_interaction_is_on(
    kind: type, on: tuple[str, ...]
) -> None:
    model = kind(**{**ARGUMENTS, **dict.fromkeys(INTERACTIONS, False), **dict.fromkeys(on, True)})
    keys, weights = list(model.state_dict()), set(map(id, model.parameters()))
    expected = {name for interaction in ("triplet", *on) for name in PARTS[interaction]}
    assert {name for names in PARTS.values() for name in names if hasattr(model, name)} == expected
    for name in expected:
        assert {id(weight) for weight in getattr(model, name).parameters()} <= weights
        assert name.startswith("mlp_") == (list(getattr(model, name).parameters()) != [])
    assert list(model.state_dict()) == keys


def test_bases_under_their_published_names_return_radial_and_angular_functions() -> None:
    model = facade(cbf={"name": "gaussian"}, sbf={"name": "spherical_harmonics"}, scale_basis=True)
    distance, cosine, angle = torch.rand(3, 4, dtype=torch.float64)
    for name in ("tint", "aeint", "eaint", "qint"):
        radial, circular = getattr(model, f"cbf_basis_{name}")(distance, cosine)
        assert (radial.shape, circular.shape) == ((4, 6), (4, 3))
    radial, spherical = model.sbf_basis_qint(distance, cosine, angle)
    assert (radial.shape, spherical.shape) == ((4, 6), (4, 9))
    assert torch.equal(radial, model.cbf_basis_tint.radial_basis(distance))
    assert model.mlp_sbf_qint(radial).shape == (4, 3, 9)


def test_an_unused_basis_is_counted() -> None:
    """Published models store it; a scale factor and Bessel frequencies are parameters."""
    changes = {"atom_edge_interaction": False, "scale_basis": True, "rbf": {"name": "spherical_bessel"}}
    model = facade(**changes)
    assert model.num_params == sum(value.numel() for value in model.parameters()) + ARGUMENTS["num_radial"] + 1


def test_shared_parameters_are_counted_as_often_as_they_are_used() -> None:
    model = facade()
    uses = [count for _, count in model.shared_parameters]
    assert len(uses) == 12
    assert sorted(uses) == [2] * 11 + [3]
    (output,) = (weight for weight, count in model.shared_parameters if count == 3)
    assert output is model.backbone.geometry.output_radial.weight


@pytest.mark.parametrize("kind", [GemNetOC, GemNetOCBackbone])
@pytest.mark.parametrize("direct", [True, False])
def test_the_force_scaler_is_there_and_disabled_by_default(kind: type, direct: bool) -> None:
    model = facade(kind, direct_forces=direct)
    assert not model.force_scaler.enabled
    scaled = facade(kind, direct_forces=direct, scale_backprop_forces=True)
    assert scaled.force_scaler.enabled
    assert scaled.force_scaler.scale_factor == 2.0**8
    positions = torch.ones(2, 3, requires_grad=True)
    for scaler in (model.force_scaler, scaled.force_scaler):
        energy = positions.square().sum()
        assert torch.equal(scaler.calc_forces_and_update(energy, positions), -2 * positions)


def test_parts_have_their_published_names() -> None:
    model, backbone = facade(forces_coupled=True), facade(GemNetOCBackbone, forces_coupled=True)
    assert isinstance(backbone, GemNetOC)
    assert backbone.out_mlp_E is backbone.out_energy is backbone.out_mlp_F is backbone.out_forces is None
    backbone.out_energy = None  # as published heads do
    head, forces = GemNetOCEnergyAndGradForceHead(backbone, 1).double(), GemNetOCForceHead(backbone, 1).double()
    assert head.extensive
    assert forces.forces_coupled
    assert head.force_scaler is backbone.force_scaler
    edges, atoms = torch.zeros(4, 30).double(), torch.zeros(4, 24).double()
    for part in (model, head):
        assert part.out_energy(part.out_mlp_E(atoms)).shape == (4,)
    for part in (model, forces):
        assert part.out_forces(part.out_mlp_F(edges)).shape == (4,)
    assert not hasattr(facade(direct_forces=False), "out_forces")
    assert model.atom_emb.emb_size == 8
    assert model.mlp_rbf_h(model.radial_basis(torch.ones(2).double())).shape == (2, 3)
    assert model.no_weight_decay() == ["model.trunk.atom_embedding.table.weight"]
    assert len(facade(rbf={"name": "spherical_bessel"}).no_weight_decay()) > 1


@pytest.mark.parametrize("convert", [np.array, torch.tensor, lambda value: np.array(value)[()]])
def test_arguments_may_be_numbers_of_numpy_and_torch(convert: Any) -> None:
    plain = {name: value for name, value in ARGUMENTS.items() if isinstance(value, int | float)}
    given = {**ARGUMENTS, **{name: convert(value) for name, value in plain.items()}, "qint_tags": convert([1, 2])}
    model = GemNetOC(**given)
    assert {name: getattr(model, name) for name in ("num_blocks", "cutoff", "max_neighbors")} == {
        name: plain[name] for name in ("num_blocks", "cutoff", "max_neighbors")
    }
    assert type(model.num_blocks) is int
    assert model.spec == GemNetOC(**{**ARGUMENTS, "qint_tags": [1, 2]}).spec
    model.set_cutoffs(convert(3.5), None, None, convert(5.0))
    assert type(model.cutoff) is float


def test_numbers_of_numpy_are_taken_where_numbers_are() -> None:
    execution = Execution(atoms_at_most=np.int64(8), compile=np.bool_(False))
    build(GemNetOC(**ARGUMENTS).spec, seed=np.int64(0), execution=execution)
    assert EdgeSetOptions(cutoff=np.float32(6), max_neighbors=np.int64(3)) == EdgeSetOptions(cutoff=6, max_neighbors=3)
    for wrong in (np.bool_(True), torch.tensor(True), np.float64(1.5)):
        with pytest.raises(ValueError, match="atoms_at_most"):
            Execution(atoms_at_most=wrong)


# -- forward ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({}, {"energy", "forces"}),
        ({"direct_forces": False}, {"energy", "forces"}),
        ({"regress_forces": False}, {"energy"}),
        ({"regress_forces": False, "direct_forces": False}, {"energy"}),
    ],
)
def test_returned_values(changes: dict[str, Any], keys: set[str]) -> None:
    given = structures()
    result = facade(**changes)(as_batch(given))
    assert set(result) == keys
    assert result["energy"].shape == (2,)
    assert "forces" not in result or result["forces"].shape == (given.atom_count, 3)


@pytest.mark.parametrize("direct", [True, False])
def test_structures_batches_and_specs_agree(direct: bool) -> None:
    model, given = facade(direct_forces=direct), structures()
    by_batch, by_structures, by_spec = model(as_batch(given)), model(given), model.model(given)
    for name in ("energy", "forces"):
        assert torch.equal(by_batch[name], by_structures[name])
        assert torch.equal(by_batch[name], getattr(by_spec, name))
    built = build(from_published({name: value for name, value in ARGUMENTS.items() if name != "otf_graph"}))
    assert built.state_dict().keys() == facade().model.state_dict().keys()


def test_the_batch_is_not_changed() -> None:
    batch = as_batch(structures())
    before = {name: value.clone() for name, value in vars(batch).items()}
    facade(direct_forces=False)(batch)
    assert vars(batch).keys() == before.keys()
    assert all(torch.equal(before[name], value) for name, value in vars(batch).items())
    assert not batch.pos.requires_grad


def test_without_cell_and_tags() -> None:
    given = Structures.from_ase([random_molecule(5), random_molecule(4, seed=1)])
    batch = SimpleNamespace(
        pos=given.positions, atomic_numbers=given.numbers, batch=given.structure, natoms=given.atom_counts
    )
    assert_close(facade()(batch)["energy"], facade()(given)["energy"])
    with pytest.raises(StructureError, match="structure 0 has no tags"):
        facade(qint_tags=[1])(batch)


def test_without_periodicity_cells_mean_nothing() -> None:
    model, given = facade(use_pbc=False), structures()
    batch = as_batch(given)
    isolated = model(batch)["energy"]
    assert not torch.allclose(isolated, facade()(batch)["energy"])
    batch.cell = torch.zeros_like(batch.cell)
    assert_close(model(batch)["energy"], isolated)
    backbone = facade(GemNetOCBackbone, use_pbc=False)
    head = GemNetOCEnergyAndGradForceHead(backbone, 2).double()
    assert head(batch, backbone(batch))["energy"].isfinite().all()


@pytest.mark.parametrize("kind", [GemNetOC, GemNetOCBackbone])
def test_models_pickle_and_copy(kind: type) -> None:
    model, given = facade(kind, direct_forces=False, scale_backprop_forces=True), structures()

    def result(one: Any) -> Tensor:
        found = one(given)
        return found["energy"] if kind is GemNetOC else torch.cat(found["xs_E"])

    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(result(other), result(model))


# -- backbone and heads -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"direct_forces": False}, {"forces_coupled": True}, {"extensive": False}])
def test_backbone_and_heads_are_the_single_model(changes: dict[str, Any]) -> None:
    model, backbone, given = facade(**changes), facade(GemNetOCBackbone, **changes), as_batch(structures())
    backbone.backbone.load_state_dict(model.backbone.state_dict())
    heads = [GemNetOCEnergyAndGradForceHead(backbone, 2).double()]
    heads[0].read_out.load_state_dict(
        {name: value for name, value in model.model.readout.state_dict().items() if name.startswith("atoms.")}
    )
    if backbone.direct_forces:
        heads.append(GemNetOCForceHead(backbone, 2).double())
        heads[1].read_out.load_state_dict(
            {name: value for name, value in model.model.readout.state_dict().items() if name.startswith("edges.")}
        )
    embeddings, expected = backbone(given), model(given)
    found: dict[str, Tensor] = {}
    for head in heads:
        found |= head(given, embeddings)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert_close(found[name], value)


def test_charges_and_spins_of_a_batch_are_warned_of_once() -> None:
    backbone, given = facade(GemNetOCBackbone), as_batch(structures(), charge=torch.tensor([0, 1]), spin=[1, 2])
    head = GemNetOCEnergyAndGradForceHead(backbone, 2).double()
    with pytest.warns(UserWarning, match=r"1 of 2 structures .*structure 1 \(charge: 1, spin: 2\)") as caught:
        head(given, backbone(given))
    assert len(caught) == 1
    with pytest.warns(UserWarning, match=r"structure 1 \(charge: 1, spin: 2\)"):
        facade()(given)


@pytest.mark.parametrize("direct", [True, False])
def test_embeddings(direct: bool) -> None:
    backbone, given = facade(GemNetOCBackbone, direct_forces=direct), structures()
    embeddings = backbone(as_batch(given))
    main = backbone.get_graphs_and_indices(given)[0]
    edge_count = main["distance"].shape[0]
    assert [x.shape for x in embeddings["xs_E"]] == [(given.atom_count, 8)] * 3
    assert [x.shape if direct else x for x in embeddings["xs_F"]] == [(edge_count, 10) if direct else None] * 3
    assert torch.equal(embeddings["edge_idx"], main["edge_index"][1])
    assert_close(embeddings["edge_vec"], main["vector"])
    assert embeddings["num_neighbors"].tolist() == main["num_neighbors"].tolist()
    assert int(embeddings["num_neighbors"].sum()) == edge_count


def test_gradient_forces_without_grad() -> None:
    backbone, given = facade(GemNetOCBackbone, direct_forces=False), as_batch(structures())
    head = GemNetOCEnergyAndGradForceHead(backbone, 2).double()
    expected = head(given, backbone(given))
    with torch.no_grad():
        found = head(given, backbone(given))
    for name, value in expected.items():
        assert value.requires_grad
        assert not found[name].requires_grad
        assert_close(found[name], value.detach())


def test_a_force_head_without_direct_forces_predicts_nothing() -> None:
    backbone, given = facade(GemNetOCBackbone, direct_forces=False), structures()
    with pytest.warns(UserWarning, match="predicts nothing without direct_forces=True"):
        head = GemNetOCForceHead(backbone, 2)
    assert head(given, backbone(given)) == {}


def test_heads_take_an_initialization() -> None:
    backbone = facade(GemNetOCBackbone)
    for head in (GemNetOCEnergyAndGradForceHead, GemNetOCForceHead):
        part = head(backbone, 1, output_init="zeros")
        (network,) = part.read_out.values()
        assert len(network.layers) == 2
        assert not network.last.linear.weight.any()


@pytest.mark.parametrize("changes", [{}, {"cutoff": 3.0}, {"max_neighbors": 2}, {"use_pbc": False}], ids=str)
def test_generated_graphs_are_geometry(changes: dict[str, Any]) -> None:
    model, given = facade(), structures()
    graph = model.generate_graph(as_batch(given), **changes)
    source, target = graph.edge_index
    assert_close(graph.edge_distance_vec, given.positions[source] - given.positions[target] + graph.offset_distances)
    assert_close(graph.edge_distance, graph.edge_distance_vec.norm(dim=-1))
    assert graph.edge_distance.max() <= changes.get("cutoff", model.cutoff)
    assert graph.neighbors.tolist() == given.structure[target].bincount(minlength=2).tolist()
    assert target.bincount().max() <= changes.get("max_neighbors", model.max_neighbors)
    assert bool(graph.cell_offsets.any()) == changes.get("use_pbc", True)


def test_numbered_triplets_of_quadruplets() -> None:
    main, _, _, quad, *_, quadruplets = facade().get_graphs_and_indices(structures())
    triplets = quadruplets["triplet_in"]
    adjacent = triplets["adj_edges"]
    assert adjacent.sparse_sizes() == (len(quad["distance"]), structures().atom_count)
    assert torch.equal(adjacent.storage.row(), triplets["out"])
    assert torch.equal(adjacent.storage.col(), main["edge_index"][0, triplets["in"]])
    assert adjacent.storage.value().tolist() == list(range(len(triplets["in"])))


# -- graphs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on", [None, *INTERACTIONS])
def test_graphs_and_indices_are_there_as_in_the_reference(on: str | None) -> None:
    model = facade(**{name: name == on for name in INTERACTIONS})
    found = model.get_graphs_and_indices(as_batch(structures()))
    # main, atom, atom_edge, quad; opposites; triplets, of atom–edge, of edge–atom, quadruplets
    atoms = on not in (None, "quad_interaction")
    expected = [True, atoms, atoms, on == "quad_interaction", True, True]
    expected += [on == name for name in ("atom_edge_interaction", "edge_atom_interaction", "quad_interaction")]
    assert [len(part) > 0 for part in found] == expected
    bases = model.get_bases(*found[:4], *found[5:], num_atoms=structures().atom_count)
    assert [basis is not None and len(basis) > 0 for basis in bases] == [
        True,
        True,
        True,
        on == "quad_interaction",
        True,
        on == "atom_edge_interaction",
        on == "edge_atom_interaction",
        on == "atom_interaction",
    ]


def test_graphs_are_consistent() -> None:
    given = structures()
    *graphs, reverse, triplets, atom_edge, edge_atom, quadruplets = facade().get_graphs_and_indices(given)
    for name, graph in zip(GRAPHS, graphs, strict=True):
        source, target = graph["edge_index"]
        cell = given.cells[given.structure[target]]
        offset = torch.einsum("ek,ekc->ec", graph["cell_offset"], cell)
        vector = given.positions[target] - given.positions[source] + offset
        assert_close(graph["distance"], vector.norm(dim=-1))
        assert_close(graph["vector"], vector / vector.norm(dim=-1, keepdim=True))
        assert graph["distance"].max() <= getattr(
            facade(), {"main": "cutoff", "quad": "cutoff_qint"}.get(name, "cutoff_aint")
        )
        assert int(graph["num_neighbors"].sum()) == len(source)
        position = {(int(a), int(k)) for a, k in zip(target, graph["target_neighbor_idx"], strict=True)}
        assert position == {(a, k) for a in set(target.tolist()) for k in range(int((target == a).sum()))}
    main, atom, middle, quad = graphs
    assert edges_of(quad) < edges_of(atom)
    assert edges_of(middle) < edges_of(atom)
    assert torch.equal(main["edge_index"][:, reverse], main["edge_index"].flip(0))
    assert torch.equal(main["cell_offset"][reverse], -main["cell_offset"])
    for index, outer, inner in ((triplets, main, main), (atom_edge, main, middle), (edge_atom, middle, main)):
        assert torch.equal(outer["edge_index"][1, index["out"]], inner["edge_index"][1, index["in"]])
        assert len(set(zip(index["out"].tolist(), index["out_agg"].tolist(), strict=True))) == len(index["out"])
    at_target, at_source = quadruplets["triplet_out"], quadruplets["triplet_in"]
    to, frm = quadruplets["trip_out_to_quad"], quadruplets["trip_in_to_quad"]
    assert torch.equal(at_target["out"][to], quadruplets["out"])
    assert torch.equal(at_target["in"][to], at_source["out"][frm])
    assert torch.equal(quad["edge_index"][0, at_source["out"]], main["edge_index"][1, at_source["in"]])


def test_quadruplet_angles() -> None:
    model = facade()
    main, _, _, quad, *_, quadruplets = model.get_graphs_and_indices(structures())
    at_target, at_source, dihedral = model.calculate_quad_angles(main["vector"], quad["vector"], quadruplets)
    target, source = quadruplets["triplet_out"], quadruplets["triplet_in"]
    assert_close(at_target, (main["vector"][target["out"]] * quad["vector"][target["in"]]).sum(-1))
    assert_close(at_source, (main["vector"][source["in"]] * quad["vector"][source["out"]]).sum(-1))
    assert dihedral.shape == quadruplets["out"].shape
    assert dihedral.min() >= 0
    assert dihedral.max() <= torch.pi
    # the dihedral angle about the middle edge, from the parts of the outer edges perpendicular to it
    to, frm = quadruplets["trip_out_to_quad"], quadruplets["trip_in_to_quad"]
    axis = quad["vector"][target["in"]][to]
    u_ca, u_db = main["vector"][target["out"]][to], main["vector"][source["in"]][frm]
    parts = [u - (u * axis).sum(-1, keepdim=True) * axis for u in (u_ca, u_db)]
    generic = torch.stack([part.norm(dim=-1) > 1e-3 for part in parts]).all(0)
    cosine = torch.cosine_similarity(*parts, dim=-1)
    assert generic.any()
    assert_close(dihedral.cos()[generic], cosine[generic], tolerance=1e-9)


def test_generated_graphs() -> None:
    model, given = facade(), as_batch(structures())
    wide, near = model.generate_graph_dict(given, 5.0, 1000), model.generate_graph_dict(given, 4.0, 1000)
    assert set(wide) == {"edge_index", "distance", "vector", "cell_offset", "num_neighbors"}
    assert edges_of(near) < edges_of(wide)
    few = model.generate_graph_dict(given, 5.0, 4)
    assert torch.bincount(few["edge_index"][1]).max() == 4
    assert edges_of(model.generate_graph_dict(given, 5.0, 0)) == edges_of(wide)


def test_graphs_are_selected_from_graphs() -> None:
    model, given = facade(), as_batch(structures())
    wide = model.generate_graph_dict(given, 5.0, 1000)
    for cutoff, cap in ((4.0, None), (None, 5), (3.5, 3), (None, None), (4.0, 0)):
        found = model.subselect_edges(given, wide, cutoff=cutoff, max_neighbors=cap)
        expected = model.generate_graph_dict(given, cutoff or 5.0, cap or 1000)
        assert edges_of(found) == edges_of(expected)
        assert_close(found["distance"].sort().values, expected["distance"].sort().values)
        assert found["num_neighbors"].tolist() == expected["num_neighbors"].tolist()
    assert edges_of(model.subselect_graph(given, wide, 4.0, 6, 5.0, 1000)) == edges_of(
        model.subselect_edges(given, wide, 4.0, 6)
    )
    # what is as it was is not selected again
    assert edges_of(model.subselect_graph(given, wide, 1.0, 1, 1.0, 1)) == edges_of(wide)


def test_the_tolerance_of_ties_is_squared_in_the_first_search_alone() -> None:
    model, given = facade(enforce_max_neighbors_strictly=False), Structures.from_ase(line(0, 2, -3, 3.003))
    wide = model.generate_graph_dict(given, 4.0, 1000)
    for graph, count in (
        (wide, 3),
        (model.generate_graph_dict(given, 4.0, 1), 2),
        (model.subselect_edges(given, wide, max_neighbors=1), 3),
    ):
        assert int((graph["edge_index"][1] == 0).sum()) == count


def test_symmetrized_graphs() -> None:
    model, given = facade(), as_batch(structures())
    capped = model.generate_graph_dict(given, 5.0, 4)
    found, reverse = model.symmetrize_edges(capped, given.batch)
    assert torch.equal(found["edge_index"][:, reverse], found["edge_index"].flip(0))
    assert_close(found["vector"][reverse], -found["vector"])
    assert_close(found["distance"][reverse], found["distance"])
    kept = {edge for edge in edges_of(capped) if edge[0] < edge[1] or (edge[0] == edge[1] and edge[2:] < (0, 0, 0))}
    assert edges_of(found) == kept | {(edge[1], edge[0], *(-x for x in edge[2:])) for edge in kept}
    assert found["num_neighbors"].tolist() == torch.bincount(given.batch[found["edge_index"][1]]).tolist()


def test_select_symmetric_edges() -> None:
    mask, order = torch.tensor([True, False, True, True, False]), torch.tensor([5, 4, 3, 2, 1, 0])
    values = torch.arange(5.0)
    assert facade().select_symmetric_edges(values, mask, order, True).tolist() == [-3, -2, 0, 3, 2, 0]
    assert facade().select_symmetric_edges(values, mask, order, False).tolist() == [3, 2, 0, 3, 2, 0]


# -- graphs that come with the batch ----------------------------------------------------------------------------------


def with_graph(model: GemNetOC, given: Structures, cutoff: float, cap: int = 1000) -> SimpleNamespace:
    graph = facade().generate_graph_dict(given, cutoff, cap)
    return as_batch(
        given, edge_index=graph["edge_index"], cell_offsets=-graph["cell_offset"], neighbors=graph["num_neighbors"]
    )


def test_a_given_graph_is_used() -> None:
    model, given = facade(otf_graph=False), structures()
    assert_close(model(with_graph(model, given, 5.0))["energy"], model(given)["energy"])
    # a smaller one makes a difference, unless graphs are built on the fly
    batch = with_graph(model, given, 3.0)
    assert not torch.allclose(model(batch)["energy"], model(given)["energy"])
    assert edges_of(model.get_graphs_and_indices(batch)[1]) == edges_of(facade().generate_graph_dict(given, 3.0, 1000))
    assert_close(facade()(batch)["energy"], facade()(given)["energy"])


def test_a_given_graph_is_selected_from() -> None:
    model, given = facade(otf_graph=False), structures()
    batch = with_graph(model, given, 6.0)
    assert_close(model(batch)["energy"], model(given)["energy"])
    for one, other in zip(
        model.get_graphs_and_indices(batch)[:4], facade().get_graphs_and_indices(given), strict=False
    ):
        assert edges_of(one) == edges_of(other)


def test_its_order_is_free() -> None:
    model = facade(otf_graph=False)
    batch = with_graph(model, structures(), 4.0)
    expected = model(batch)["energy"]
    order = torch.randperm(batch.edge_index.shape[1])
    batch.edge_index, batch.cell_offsets = batch.edge_index[:, order], batch.cell_offsets[order]
    assert_close(model(batch)["energy"], expected)


@pytest.mark.parametrize("changes", [{"cutoff_aint": 6.5}, {"max_neighbors_aint": 51}])
def test_graphs_greater_than_stored_ones_are_built(changes: dict[str, Any]) -> None:
    model, given = facade(otf_graph=False, **changes), structures()
    assert_close(model(with_graph(model, given, 2.5))["energy"], model(given)["energy"])


def test_without_a_graph_one_is_built() -> None:
    given = structures()
    assert_close(facade(otf_graph=False)(as_batch(given))["energy"], facade()(given)["energy"])


# -- changes ----------------------------------------------------------------------------------------------------------


def test_set_cutoffs_and_caps() -> None:
    model, other = facade(), facade(cutoff=3.0, cutoff_qint=2.5, max_neighbors=4, max_neighbors_qint=2)
    model.set_cutoffs(3.0, 2.5, 3.5, 5.0)
    model.set_max_neighbors(4, 2, 5, 40)
    names = [name for name in ARGUMENTS if name.startswith(("cutoff", "max_neighbors"))]
    assert {name: getattr(model, name) for name in names} == {name: getattr(other, name) for name in names}
    for one, two in zip(
        model.get_graphs_and_indices(structures())[:4], other.get_graphs_and_indices(structures())[:4], strict=True
    ):
        assert edges_of(one) == edges_of(two)
    model.set_cutoffs(3.0, None, None, None)
    assert (model.cutoff, model.cutoff_qint, model.cutoff_aeaint, model.cutoff_aint) == (3, 3, 3, 3)
    model.set_max_neighbors(7, None, None, None)
    assert (model.max_neighbors, model.max_neighbors_qint) == (7, 7)
    assert (model.max_neighbors_aeaint, model.max_neighbors_aint) == (7, 7)
    before = edges_of(model.get_graphs_and_indices(structures())[0])
    for wrong, message in (((6.0, None, None, 5.0), "exceeds"), ((-3.0, None, None, None), "argument cutoff: .*-3")):
        with pytest.raises(SpecError, match=message):
            model.set_cutoffs(*wrong)
    with pytest.raises(SpecError, match=r"argument max_neighbors: .*2\.5"):
        model.set_max_neighbors(2.5, None, None, None)
    assert edges_of(model.get_graphs_and_indices(structures())[0]) == before
    assert model.cutoff == 3


def test_init_basis_functions_keeps_projections() -> None:
    model = facade()
    before = copy.deepcopy(model.backbone.geometry.state_dict())
    model.init_basis_functions(
        num_radial=ARGUMENTS["num_radial"],
        num_spherical=ARGUMENTS["num_spherical"],
        rbf={"name": "spherical_bessel"},
        rbf_spherical=None,
        envelope={"name": "exponential"},
        cbf=None,
        sbf={"name": "legendre_outer"},
        scale_basis=True,
    )
    geometry = model.backbone.geometry
    after = geometry.state_dict()
    projections = [name for name in before if name.endswith(".weight")]
    assert projections
    assert all(torch.equal(before[name], after[name]) for name in projections)
    assert [name for name in after if name.endswith("frequencies")]
    other = facade(rbf={"name": "spherical_bessel"}, envelope={"name": "exponential"}, scale_basis=True)
    assert after.keys() == other.backbone.geometry.state_dict().keys()
    other.load_state_dict(model.state_dict())
    assert_close(model(structures())["energy"], other(structures())["energy"])


def test_init_shared_basis_layers_keeps_bases() -> None:
    model = facade(rbf={"name": "bernstein"})
    with torch.no_grad():
        for name, value in model.backbone.geometry.named_parameters():
            if name.endswith("gamma_raw"):
                value.fill_(0.1)
    before = copy.deepcopy(model.backbone.geometry.state_dict())
    model.init_shared_basis_layers(ARGUMENTS["num_radial"], ARGUMENTS["num_spherical"], 3, 3, 3)
    after = model.backbone.geometry.state_dict()
    assert after.keys() == before.keys()
    for name in before:
        assert torch.equal(before[name], after[name]) == name.endswith("gamma_raw"), name
    assert {value.dtype for value in model.parameters()} == {torch.float64}


# -- bases ------------------------------------------------------------------------------------------------------------


def test_bases_are_padded_columns() -> None:
    model, given = facade(), structures()
    found = model.get_graphs_and_indices(given)
    *graphs, _, triplets, atom_edge, edge_atom, quadruplets = found
    main, atom, middle, _ = graphs
    raw, update, output, quad, edge, mixed, to_atoms, atoms = model.get_bases(*found[:4], *found[5:], num_atoms=7)
    edge_count, middle_count = len(main["distance"]), len(middle["distance"])
    assert raw.shape == (edge_count, 6)
    assert update.shape == output.shape == (edge_count, 3)
    assert edge["rad"].shape == quad["rad"].shape == to_atoms["rad"].shape == (edge_count, 3)
    assert mixed["rad"].shape == (middle_count, 3)
    for basis, index, rows in ((edge["cir"], triplets, edge_count), (mixed["cir"], atom_edge, edge_count)):
        assert basis[0].shape == (edge_count, 3, 3)
        assert basis[1].shape == (rows, 3, int(index["out_agg"].max()) + 1)
        assert int((basis[1][:, 0] != 0).sum()) == len(index["out"])  # the first function is constant
    assert to_atoms["cir"][0].shape == (7, 3, 3 * int(middle["target_neighbor_idx"].max() + 1))
    assert to_atoms["cir"][1].shape == (middle_count, 3, int(edge_atom["out_agg"].max()) + 1)
    assert quad["cir"].shape == (len(quadruplets["triplet_in"]["in"]), 3)
    assert quad["sph"][0].shape == (edge_count, 3, 9)
    assert quad["sph"][1].shape == (edge_count, 9, int(quadruplets["out_agg"].max()) + 1)
    assert atoms.shape == (7, 3, int(atom["target_neighbor_idx"].max()) + 1)


def columns_of(values: Tensor, row: Tensor, column: Tensor, row_count: int) -> Tensor:
    """The values of each row side by side, padded with zeros."""
    padded = values.new_zeros(row_count, int(column.max()) + 1, *values.shape[1:])
    padded[row, column] = values
    return padded


def test_bases_sum_to_the_messages_of_interactions() -> None:
    """Products of the padded bases with embeddings are the sums that our interactions compute."""
    model, given = facade(), structures()
    found = model.get_graphs_and_indices(given)
    main, atom, middle, quad, _, triplets, mixed, to_middle, quadruplets = found
    *_, quad_bases, edge_bases, mixed_bases, atom_bases, radial = model.get_bases(*found[:4], *found[5:], num_atoms=7)
    shared = model.backbone.geometry(given, model.backbone.topology(given)).interactions
    edge_count = len(main["distance"])
    edges, atoms = (torch.randn(count, 4, dtype=torch.float64) for count in (edge_count, given.atom_count))

    inner = columns_of(edges[triplets["in"]], triplets["out"], triplets["out_agg"], edge_count)
    project, functions = edge_bases["cir"]
    assert_close((project @ (functions @ inner)).flatten(1), shared["triplet"].angular_sum(edges, nn.Identity()))

    neighbors = atoms[middle["edge_index"][0]]
    inner = columns_of(neighbors[mixed["in"]], mixed["out"], mixed["out_agg"], edge_count)
    project, functions = mixed_bases["cir"]
    found = shared["atom_edge"].angular_sum(neighbors, nn.Identity())
    assert_close((project @ (functions @ inner)).flatten(1), found)

    inner = columns_of(edges[to_middle["in"]], to_middle["out"], to_middle["out_agg"], len(middle["distance"]))
    project, functions = atom_bases["cir"]
    per_atom = columns_of(functions @ inner, middle["edge_index"][1], middle["target_neighbor_idx"], 7)
    found = shared["edge_atom"].angular_sum(edges, nn.Identity())
    assert_close((project @ per_atom.flatten(1, 2)).flatten(1), found)

    chains = edges[quadruplets["triplet_in"]["in"]]
    inner = chains[quadruplets["trip_in_to_quad"]]
    inner = columns_of(inner, quadruplets["out"], quadruplets["out_agg"], edge_count)
    project, functions = quad_bases["sph"]
    found = shared["quadruplet"].angular_sum(chains, nn.Identity())
    assert_close((project @ (functions @ inner)).flatten(1), found)
    assert_close(quad_bases["cir"], shared["quadruplet"].circular)

    inner = columns_of(atoms[atom["edge_index"][0]], atom["edge_index"][1], atom["target_neighbor_idx"], 7)
    assert_close((radial @ inner).flatten(1), shared["atom_atom"].radial_sum(atoms, nn.Identity()))
    for name, bases in (("triplet", edge_bases), ("edge_atom", atom_bases), ("quadruplet", quad_bases)):
        assert_close(bases["rad"], shared[name].radial)
    assert quad["edge_index"].shape[1]


@pytest.mark.parametrize("atoms", [[], [molecule("H2")], [bulk("Cu")]], ids=["none", "two", "one"])
def test_odd_structures_have_graphs_and_bases(atoms: list[Any]) -> None:
    given = Structures.from_ase(atoms)
    model = facade()
    found = model.get_graphs_and_indices(given)
    bases = model.get_bases(*found[:4], *found[5:], num_atoms=given.atom_count)
    assert bases[0].shape == (found[0]["distance"].shape[0], 6)
    for graph in found[:4]:
        model.symmetrize_edges(graph, given.structure)
        model.subselect_edges(given, graph, 2.0, 1)


def test_paths_need_no_file_of_scales(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        GemNetOC(**ARGUMENTS, scale_file=tmp_path / "absent.pt")
