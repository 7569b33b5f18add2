from __future__ import annotations

import pytest
import torch

from gemnet_blocks.graph.pairs import translations


def random_pairs(count: int, largest: int, structures: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    shift = torch.randint(-largest, largest + 1, (count, 3), generator=generator)
    home = torch.randint(structures, (count,), generator=generator)
    return shift, home, torch.randn(structures, 3, 3, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize(
    ("count", "largest", "structures"), [(0, 1, 0), (0, 1, 2), (1, 2, 1), (50, 2, 3), (6000, 1, 2), (6000, 10**9, 2)]
)
def test_shifts_times_cells_by_table_or_pair_by_pair(count: int, largest: int, structures: int) -> None:
    shift, home, cells = random_pairs(count, largest, max(structures, 1))
    cells = cells[:structures]
    expected = torch.einsum("pk,pkc->cp", shift.double(), cells[home])
    torch.testing.assert_close(translations(shift, home, cells), expected, rtol=1e-14, atol=1e-12 * largest)


def test_a_table_changes_no_bit_and_opposite_shifts_have_opposite_translations() -> None:
    shift, home, cells = random_pairs(6000, 1, 2)
    by_table = translations(shift, home, cells)
    one_by_one = [translations(shift[i : i + 1], home[i : i + 1], cells) for i in range(0, 6000, 50)]
    assert torch.equal(by_table[:, ::50], torch.cat(one_by_one, dim=1))
    assert torch.equal(translations(-shift, home, cells), -by_table)


@pytest.mark.parametrize("count", [20, 4000])
def test_derivatives_to_the_cells(count: int) -> None:
    shift, home, cells = random_pairs(count, 1, 2)
    factors = torch.randn(3, count, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (slope,) = torch.autograd.grad((translations(shift, home, cells.requires_grad_()) * factors).sum(), cells)
    expected = torch.zeros_like(cells).index_add(0, home, torch.einsum("pk,cp->pkc", shift.double(), factors))
    torch.testing.assert_close(slope, expected, rtol=1e-12, atol=1e-12)
