"""Symmetries of right and wrong models on given structures."""

from __future__ import annotations

import pytest
import torch
from ase import Atoms
from ase.build import bulk
from assertion_models import (
    AnglesBetweenNeighbors,
    Changed,
    PairPotential,
    by_cell,
    by_coordinate,
    by_direction,
    by_handedness,
    by_mates,
    by_order,
    to_mean,
    undefined,
)
from helpers import molecule, small_cell, small_model
from torch import Tensor

from gemnet_blocks.model.property_heads import PropertyHead
from gemnet_blocks.model.readout import BackboneOutput
from gemnet_blocks.spec import build
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing.assertions import assert_symmetry, energy_spread
from gemnet_blocks.testing.strategies.specs import small_spec
from gemnet_blocks.testing.symmetries import (
    Alone,
    CellChange,
    Permutation,
    Reordering,
    Rotation,
    Supercell,
    Symmetry,
    Translation,
)

BATCH = Structures.from_ase([molecule(5), small_cell(), Atoms(), bulk("Cu", cubic=False)])
TURN = Rotation(0.3, 1.1, -2.0)
ORDER = Permutation((4, 2, 0, 1, 3, 6, 5, 7))
ALL: tuple[Symmetry, ...] = (
    TURN,
    Rotation(0.3, 1.1, -2.0, reflect=True),
    Translation(1.0, -20.0, 3.3),
    ORDER,
    CellChange(((0, 1, 2), (2, 0, -1)), ((1, 0, 0), (0, -2, 1))),
    Reordering((2, 0, 1)),
    Supercell((2, 1, 1)),
    Alone(1),
    Alone(2),
)


@pytest.mark.parametrize("symmetry", ALL, ids=repr)
def test_a_right_model(symmetry: Symmetry) -> None:
    assert_symmetry(PairPotential(), BATCH, symmetry)
    assert_symmetry(lambda structures: PairPotential()(structures).energy, BATCH, symmetry)
    assert_symmetry(PairPotential().float(), BATCH, symmetry)


@pytest.mark.parametrize(
    ("change", "symmetry", "what"),
    [
        (by_coordinate, Translation(1.0, 0.0, 0.0), "energy of structure 0 by 5.00e-06"),
        (by_coordinate, TURN, "energy of structure"),
        (by_direction, TURN, "force on atom"),
        (by_handedness, Rotation(0.0, 0.0, 0.0, reflect=True), "energy of structure 0"),
        (by_order, ORDER, "energy of structure"),
        (by_mates, Alone(1), "energy of structure 0"),
        (by_cell, CellChange(((0, 1, 1),)), "energy of structure 1"),
        (by_cell, Reordering((1, 2, 0)), "energy of structure 1"),
        (to_mean, Supercell((1, 2, 1)), "energy of structure"),
    ],
)
def test_wrong_models(change, symmetry: Symmetry, what: str) -> None:
    with pytest.raises(AssertionError, match=what) as caught:
        assert_symmetry(Changed(change), BATCH, symmetry)
    assert str(caught.value).startswith(repr(symmetry))
    assert "instead of" in str(caught.value)
    assert "the tolerance is" in str(caught.value)


def test_directions_of_edges() -> None:
    with pytest.raises(AssertionError, match="energy of structure"):
        assert_symmetry(AnglesBetweenNeighbors(), BATCH, TURN)


def test_means_are_intensive() -> None:
    structures = Structures.from_ase([small_cell(), bulk("Cu", cubic=False)])
    model = lambda structures: to_mean(structures, PairPotential()(structures).energy, None)[0]  # noqa: E731
    assert_symmetry(model, structures, Supercell((1, 2, 1), extensive=False))


def test_tolerances_of_callers() -> None:
    model = Changed(by_coordinate)
    assert_symmetry(model, BATCH, Translation(1.0, 0.0, 0.0), tolerance=1e-3)
    with pytest.raises(AssertionError, match=r"the tolerance is"):
        assert_symmetry(model, BATCH, Translation(1.0, 0.0, 0.0), tolerance=1e-9)


def test_predictions_that_are_not_finite_fail() -> None:
    structures = Structures.from_ase([molecule(3), Atoms("H")])
    with pytest.raises(AssertionError, match="the energy of structure 1 is not finite: nan"):
        assert_symmetry(Changed(undefined), structures, TURN)
    infinite_alone = lambda s: torch.full((len(s),), 1.0 if len(s) > 1 else torch.inf)  # noqa: E731
    with pytest.raises(AssertionError, match=r"energy of structure 0 of Alone\(index=1\) is not finite"):
        assert_symmetry(infinite_alone, structures, Alone(1))
    infinite = torch.zeros(4, 3).index_fill(0, torch.tensor([2]), torch.inf)
    with pytest.raises(AssertionError, match="the force on atom 2 is not finite"):
        assert_symmetry(lambda s: (torch.zeros(2), infinite), structures, TURN)


def test_empty_batches() -> None:
    assert_symmetry(PairPotential(), Structures.from_ase([]), TURN)


def test_a_model_of_the_library() -> None:
    model = small_model()
    structures = Structures.from_ase([molecule(5), small_cell()])
    for symmetry in (TURN, Translation(1.0, -20.0, 3.3), Alone(1), Permutation((4, 2, 0, 1, 3, 6, 5))):
        assert_symmetry(model, structures, symmetry)


def test_spread() -> None:
    symmetries = [symmetry for symmetry in ALL if not isinstance(symmetry, Alone)]
    spread = energy_spread(PairPotential(), BATCH, symmetries)
    assert spread.shape == (4,)
    assert spread[2] == 0
    assert (spread < 1e-12).all()

    def shifted(structures: Structures) -> torch.Tensor:
        return 2.0 + structures.positions.new_zeros(len(structures)).index_add(
            0, structures.structure, structures.positions[:, 0]
        )

    one = Structures.from_ase(Atoms("H"))
    spread = energy_spread(shifted, one, [Translation(1.0, 0.0, 0.0), Translation(2.0, 0.0, 0.0)])
    assert spread.tolist() == [0.5]
    with pytest.raises(ValueError, match=r"Alone\(index=0\) must keep the number of structures, but changes 4 to 1"):
        energy_spread(PairPotential(), BATCH, [Alone(0)])


HEADS = {
    "gap": {"type": "property", "reduce": "mean"},
    "volume": {"type": "property"},
    "charges": {"type": "property", "per": "atom"},
    "dipole": {"type": "dipole"},
    "pull": {"type": "property", "per": "atom", "shape": "vector"},
    "polarizability": {"type": "property", "shape": "tensor"},
}


@pytest.mark.parametrize("symmetry", ALL, ids=repr)
def test_further_heads(symmetry: Symmetry) -> None:
    model = build(small_spec().patch({f"heads.{name}": options for name, options in HEADS.items()}), seed=0).double()
    assert_symmetry(model, BATCH, symmetry)
    if not isinstance(symmetry, Permutation):  # whose order belongs to that batch
        assert_symmetry(model, Structures.from_ase([molecule(5), molecule(3), Atoms("H")]), symmetry)


@pytest.mark.parametrize(
    ("head", "symmetry"),
    [
        ("gap", Alone(2)),
        ("volume", Supercell((2, 1, 1))),
        ("charges", ORDER),
        ("dipole", TURN),
        ("pull", Rotation(0.3, 1.1, -2.0, reflect=True)),
        ("polarizability", TURN),
    ],
)
def test_wrong_heads(head: str, symmetry: Symmetry, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(small_spec().patch({f"heads.{head}": HEADS[head]}), seed=0).double()
    part = model.heads[head]
    right = type(part).forward

    def wrong(self: PropertyHead, features: BackboneOutput, structures: Structures) -> Tensor:
        values = right(self, features, structures)
        number = torch.arange(values.numel(), dtype=values.dtype).reshape(values.shape)
        return torch.where(structures.periodic.any(), 1.0, number) if head == "volume" else number

    monkeypatch.setattr(type(part), "forward", wrong)
    batch = Structures.from_ase([molecule(5), molecule(3), Atoms("H")])
    batch = BATCH if head in ("volume", "charges") else batch
    with pytest.raises(AssertionError, match=rf"changes the {head} of (structure|atom) \d"):
        assert_symmetry(model, batch, symmetry)
