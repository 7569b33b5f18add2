"""The repulsion of nuclei at short range: its definition, its units, and what it is for."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from ase import Atoms
from ase.data import covalent_radii
from helpers import assert_close, assert_same_function, differentiable, graphs_of, small_model, small_spec
from torch import Tensor

from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.errors import SpecError
from gemnet_blocks.model.short_range import COULOMB, REACH, Zbl
from gemnet_blocks.potential import Potential, References
from gemnet_blocks.spec import build
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import oracles

REPULSION = {"heads.energy.short_range": "zbl", "heads.forces.type": "gradient"}


def dimers(symbols: str, distances: list[float]) -> Structures:
    return Structures.from_ase([Atoms(symbols, [[0, 0, 0], [0, 0, d]]) for d in distances])


def curve(symbols: str, distances: list[float], cutoff: float = 6.0) -> Tensor:
    """The repulsion of two atoms at each distance."""
    structures = dimers(symbols, distances)
    per_atom = Zbl(cutoff, Sums())(graphs_of(structures).main.edges, structures.numbers)
    return per_atom.view(-1, 2).sum(dim=1)


def reach_of(pair: str) -> float:
    """The distance up to which two atoms repel each other."""
    radii = [covalent_radii[number] * (1 if number == 1 else REACH) for number in Atoms(pair).numbers]
    return sum(round(100 * radius) / 100 for radius in radii)


@pytest.mark.parametrize("weighted", [False, True])
def test_equals_the_oracle(any_structures: Structures, weighted: bool) -> None:
    structures = differentiable(any_structures)
    edges = graphs_of(structures).main.edges
    if weighted:
        weight = torch.rand(edges.count, dtype=torch.float64)
        edges = replace(edges, weight=weight)
    module = Zbl(1.8, Sums())
    module.in_units_of(2.5)
    fast = module(edges, structures.numbers)
    assert_same_function(fast, oracles.repulsion(module, edges, structures.numbers), [structures.positions])


def test_near_nuclei_repel_each_other_as_bare_charges() -> None:
    distance = 0.02  # much less than the screening length, and twice the distance at which the repulsion levels off
    bare = COULOMB / (distance**2 + 0.01**2) ** 0.5
    # φ(x) = 1 - 1.18 x, with screening lengths of 0.234 and 0.150 Å
    assert curve("HH", [distance]).item() == pytest.approx(bare * (1 - 1.18 * distance / 0.234), rel=0.03)
    assert curve("CO", [distance]).item() == pytest.approx(48 * bare * (1 - 1.18 * distance / 0.150), rel=0.03)


@pytest.mark.parametrize("pair", ["HH", "CH", "CO", "OO", "SiSi", "CuCu", "CsF", "UO"])
def test_dimers_repel_each_other_up_to_the_reach(pair: str) -> None:
    reach = reach_of(pair)
    values = curve(pair, [reach * step / 100 for step in range(100)])
    assert (values.diff() < 0).all()
    assert (values > 0).all()
    assert curve(pair, [reach, 1.1 * reach]).tolist() == [0, 0]


def test_the_cutoff_of_edges_limits_the_reach() -> None:
    assert (curve("CuCu", [1.7, 1.8, 2.0], cutoff=1.8) == 0).tolist() == [False, True, True]


def test_value_and_two_derivatives_vanish_at_the_reach() -> None:
    step, reach = 1e-3, reach_of("HH")
    structures = differentiable(dimers("HH", [reach - step]))
    energy = Zbl(6.0, Sums())(graphs_of(structures).main.edges, structures.numbers).sum()
    (slope,) = torch.autograd.grad(energy, structures.positions, create_graph=True)
    (curvature,) = torch.autograd.grad(slope[1, 2], structures.positions)
    # near the reach, u = 56 (1 - x)³ with 1 - x = step/reach, times a repulsion of 3.7 eV
    expected = 56 * 3.7 * (step / reach) ** 3
    assert energy.item() == pytest.approx(expected, rel=0.05)
    assert -slope[1, 2].item() == pytest.approx(3 * expected / step, rel=0.05)
    assert curvature[1, 2].item() == pytest.approx(6 * expected / step**2, rel=0.05)


def test_coincident_atoms_have_finite_energies_and_no_forces() -> None:
    prediction = small_model(**REPULSION)(dimers("PbPb", [0.0]))
    assert prediction.energy.isfinite().all()
    assert_close(prediction.forces, torch.zeros(2, 3, dtype=prediction.forces.dtype))


@pytest.mark.parametrize("scale", [1.0, 0.3, 12.5])
def test_the_repulsion_of_a_potential_is_in_ev(scale: float) -> None:
    references = References(per_element={6: -3.0, 8: 1.0}, scale=scale, meaning="total")
    structures = dimers("CO", [0.5, 0.7])
    plain, repelled = (small_spec(**{"heads.forces.type": "gradient", **more}) for more in ({}, REPULSION))
    without, with_it = (Potential(build(spec, seed=0).double(), spec, references) for spec in (plain, repelled))
    before, after = without(structures, stress=False), with_it(structures, stress=False)
    assert_close(after.energy - before.energy, curve("CO", [0.5, 0.7]))
    difference = after.atom_energies - before.atom_energies
    assert_close(difference.view(2, 2).sum(dim=1), curve("CO", [0.5, 0.7]))
    assert (after.forces - before.forces)[0, 2] < -1


def test_the_scale_survives_copies_and_other_floating_point_types() -> None:
    spec = small_spec(**REPULSION)
    references = References(per_element={6: 0.0, 8: 0.0}, scale=0.1, meaning="total")
    potential = Potential(build(spec, seed=0), spec, references)
    again = copy.deepcopy(potential).half().double().model.short_range
    assert again is not None
    assert again.scale.item() == 0.1
    numbers = torch.tensor([6, 8])
    assert again.radii.index_select(0, numbers).tolist() == [61, 53]


def test_atoms_do_not_collapse_whatever_the_network_says() -> None:
    """With the repulsion, the energies of dimers of a random network rise towards short distances."""
    spec = small_spec(**REPULSION)
    references = References(per_element=dict.fromkeys((1, 6, 8), 0.0), scale=1.0, meaning="total")
    potential = Potential(build(spec, seed=0).double(), spec, references)
    for pair in itertools.combinations_with_replacement(("H", "C", "O"), 2):
        energy = potential(dimers("".join(pair), [0.1, 0.2, 0.3]), stress=False).energy
        assert (energy.diff() < 0).all(), pair


def test_hashes_of_specs_without_the_repulsion_stay() -> None:
    spec = small_spec(**{"heads.forces.type": "gradient"})
    assert spec.patch({"heads.energy.short_range": None}).content_hash == spec.content_hash
    assert small_spec(**REPULSION).content_hash != spec.content_hash


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads.energy": {"short_range": "zbl", "reduce": "mean"}}, "set energy.reduce to sum"),
        ({"heads.energy.short_range": "zbl", "heads.forces": {"type": "direct"}}, "direct forces would not contain"),
        ({"heads.energy.short_range": "coulomb"}, "zbl"),
    ],
)
def test_combinations_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        small_spec(**{"heads.forces.type": "gradient"}).patch(changes)


def test_a_model_of_energies_alone_has_the_repulsion() -> None:
    model = small_model(**{"heads.energy.short_range": "zbl", "heads.forces": None})
    assert model(dimers("OO", [0.3])).energy.item() > 100
