from __future__ import annotations

import math

import pytest
import torch
from ase.data import atomic_numbers

from gemnet_blocks.layers.embeddings import ElementEmbedding, PeriodicTableEmbedding, place_of
from gemnet_blocks.testing.oracles.embeddings import periodic_place

GROUPS = ("H Li Na K Rb Cs Fr", "Be Mg Ca Sr Ba Ra", "Cu Ag Au Rg", "C Si Ge Sn Pb Fl", "He Ne Ar Kr Xe Rn Og", "Ce Th")
"""Elements that are above each other in every periodic table, but for helium."""


def test_an_atom_is_embedded_by_its_number_counted_from_one() -> None:
    module = ElementEmbedding(element_count=9, size=4)
    embedded = module(torch.tensor([1, 9, 8, 1]))
    assert torch.equal(embedded, module.table.weight[[0, 8, 7, 0]])
    assert module(torch.zeros(0, dtype=torch.long)).shape == (0, 4)
    with pytest.raises(IndexError):
        module(torch.tensor([10]))


def test_an_atom_is_embedded_by_the_row_and_column_of_its_element() -> None:
    module = PeriodicTableEmbedding(element_count=83, size=4)
    copper, silver, nickel = module(torch.tensor([29, 47, 28]))
    rows, columns = module.rows.weight, module.columns.weight
    assert torch.equal(copper, rows[3] + columns[24])
    torch.testing.assert_close(silver - copper, rows[4] - rows[3])
    torch.testing.assert_close(nickel - copper, columns[23] - columns[24])
    assert module(torch.zeros(0, dtype=torch.long)).shape == (0, 4)
    with pytest.raises(IndexError):
        module(torch.tensor([84]))


def test_places_in_the_periodic_table() -> None:
    places = [place_of(number) for number in range(1, 119)]
    assert len(set(places)) == 118
    assert places == [periodic_place(number) for number in range(1, 119)]
    assert places == sorted(places)
    for group in GROUPS:
        assert len({place_of(atomic_numbers[symbol])[1] for symbol in group.split()}) == 1
        rows = [place_of(atomic_numbers[symbol])[0] for symbol in group.split()]
        assert rows == list(range(rows[0], 7))
    assert place_of(1) == (0, 0)
    assert place_of(118) == (6, 31)


@pytest.mark.parametrize("number", [0, -1, 119])
def test_there_is_no_such_element(number: int) -> None:
    with pytest.raises(ValueError, match=f"ends with element 118 and has no element {number}$"):
        place_of(number)


@pytest.mark.parametrize(
    ("weight", "variance"),
    [
        (ElementEmbedding(100, 200).table.weight, 1),
        (PeriodicTableEmbedding(100, 1000).columns.weight, 0.5),
        (PeriodicTableEmbedding(100, 4000).rows.weight, 0.5),
    ],
)
def test_initial_embeddings_are_uniform(weight: torch.Tensor, variance: float) -> None:
    weight, largest = weight.detach(), math.sqrt(3 * variance)
    assert weight.abs().max() <= largest
    assert weight.abs().max() > 0.99 * largest
    assert float(weight.mean()) == pytest.approx(0, abs=0.02)
    assert float(weight.var()) == pytest.approx(variance, abs=0.02)
    # uniform, not merely bounded: a quarter lies in each quarter of the range
    quarters = torch.histc(weight, bins=4, min=-largest, max=largest) / weight.numel()
    torch.testing.assert_close(quarters, torch.full((4,), 0.25), rtol=0, atol=0.01)
