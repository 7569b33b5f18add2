"""Jumps are found, steep functions are none."""

from __future__ import annotations

import pytest
import torch
from assertion_models import CUTOFF, HardCutoff, PairPotential
from helpers import molecule, small_model
from torch import Tensor

from gemnet_blocks.structures import Prediction, Structures
from gemnet_blocks.testing.assertions import assert_smooth, assert_smooth_at_cutoff, crossing
from gemnet_blocks.testing.assertions.smoothness import largest_jump

PAIR = Structures.from_ase([molecule(2)])
ALONG_X = torch.tensor([[0.0, 0, 0], [1.0, 0, 0]], dtype=torch.float64)


def of_x(function, force=None):
    """A model whose energy is a function of how far the last atom of each structure has moved along x."""

    def model(structures: Structures) -> Prediction:
        last = structures.atom_counts.cumsum(0) - 1
        x = structures.positions[last, 0] - PAIR.positions[1, 0]
        forces = torch.zeros_like(structures.positions)
        if force is not None:
            forces[last, 0] = force(x)
        return Prediction(3 + function(x), forces)

    return model


def step(at: float, size: float):
    return lambda x: size * (x > at).to(x)


@pytest.mark.parametrize("smooth", [lambda x: 0 * x, lambda x: torch.sin(15 * x), lambda x: -5 * x])
@pytest.mark.parametrize(("at", "size"), [(0.3712345, 1e-6), (0.5, -1e-6), (0.0049, 0.7)])
def test_jumps_are_found(smooth, at: float, size: float) -> None:
    model = of_x(lambda x: smooth(x) + step(at, 3 * size)(x))
    with pytest.raises(AssertionError, match="the energy of structure 0 jumps by") as caught:
        assert_smooth(model, PAIR, ALONG_X)
    assert f"jumps by {3 * abs(size):.2e}" in str(caught.value)
    found = float(str(caught.value).split("t = ")[1].split(",")[0])
    assert found == pytest.approx(at, abs=1e-9)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.tanh((x - 0.4321) / 1e-5),
        lambda x: 100 * (x - 0.4321).abs(),
        lambda x: torch.exp(-(((x - 0.51) / 0.01) ** 2)),
        lambda x: (x - 0.3).clamp(min=0) ** 1.2,
        lambda x: torch.zeros_like(x),
    ],
)
def test_steep_functions_do_not_jump(function) -> None:
    assert_smooth(of_x(function), PAIR, ALONG_X, samples=128)


def test_a_small_jump_next_to_a_narrow_peak_is_found() -> None:
    def function(t: Tensor) -> Tensor:
        return (1e7 * torch.exp(-(((t - 0.5) / 0.02) ** 2)) + 2.0 * (t > 0.1))[:, None]

    jump = largest_jump(function, samples=256, resolution=1e-10)
    assert jump.size == pytest.approx(2, rel=1e-3)
    assert jump.at == pytest.approx(0.1, abs=1e-9)


def test_a_few_thousand_evaluations_are_enough() -> None:
    counted = []
    largest_jump(lambda t: counted.append(len(t)) or torch.sin(t)[:, None], samples=256, resolution=1e-10)
    assert sum(counted) < 3000


def test_jumps_of_forces_are_found() -> None:
    model = of_x(lambda x: 0 * x, force=lambda x: 2.0 + 1e-4 * (x > 0.7).to(x))
    with pytest.raises(AssertionError, match=r"the force on atom 1 jumps by 1.00e-04 .* at t = 0.7000000"):
        assert_smooth(model, PAIR, ALONG_X)
    assert_smooth(model, PAIR, ALONG_X, forces=False)
    assert_smooth(model, PAIR, ALONG_X, force_tolerance=1e-3)


def test_a_jump_allowed_by_the_tolerance_passes() -> None:
    model = of_x(step(0.4, 3e-6))
    assert_smooth(model, PAIR, ALONG_X, tolerance=1e-5)
    with pytest.raises(AssertionError, match=r"tolerance: 3.0e-07"):
        assert_smooth(model, PAIR, ALONG_X)


def test_jumps_beyond_the_path_do_not_count() -> None:
    assert_smooth(of_x(step(1.004, 1.0)), PAIR, ALONG_X)
    assert_smooth(of_x(step(-0.004, 1.0)), PAIR, ALONG_X)


def test_values_that_are_not_finite_are_found() -> None:
    model = of_x(lambda x: torch.where(x > 0.5, torch.nan, 0.0))
    with pytest.raises(AssertionError, match=r"the energy is not finite at t = 0.5"):
        assert_smooth(model, PAIR, ALONG_X)


def test_something_must_move() -> None:
    with pytest.raises(ValueError, match="displacement must not be zero"):
        assert_smooth(PairPotential(), PAIR, torch.zeros(2, 3))


def test_paths_of_batches() -> None:
    structures = Structures.from_ase([molecule(3), molecule(2, seed=1)])
    displacement = torch.zeros(5, 3, dtype=torch.float64)
    displacement[3, 1] = 8
    assert_smooth(PairPotential(), structures, displacement)
    with pytest.raises(AssertionError, match="the energy of structure 1 jumps"):
        assert_smooth(HardCutoff(), structures, displacement)


@pytest.mark.parametrize("periodic", [False, True])
def test_an_atom_crosses_the_cutoff(periodic: bool) -> None:
    structures, displacement = crossing(5.0, periodic=periodic)
    image = structures.cells[0, 0] if periodic else torch.zeros(3, dtype=torch.float64)
    ends = [(structures.positions + t * displacement)[1] + image - structures.positions[0] for t in (0, 1)]
    assert ends[0].norm() < 5 < ends[1].norm()
    near = (structures.positions + displacement)[2:] - structures.positions[0]
    assert (near.norm(dim=-1) < 5).all()


def test_envelopes_at_the_cutoff() -> None:
    assert_smooth_at_cutoff(PairPotential(), CUTOFF)
    with pytest.raises(AssertionError, match=r"cutoff of 3 Å in a molecule: the energy of structure 0 jumps"):
        assert_smooth_at_cutoff(HardCutoff(), CUTOFF)
    bent = PairPotential(power=1)
    with pytest.raises(AssertionError, match=r"in a molecule: the force on atom [01] jumps"):
        assert_smooth_at_cutoff(bent, CUTOFF)
    assert_smooth_at_cutoff(bent, CUTOFF, forces=False)


def test_a_hard_cutoff_of_images_only() -> None:
    class Images(HardCutoff):
        def atoms(self, edges, structures):
            smooth = PairPotential().pair(edges.distance)
            energy = torch.where((edges.shift != 0).any(dim=1), self.pair(edges.distance), smooth)
            return energy.new_zeros(edges.atom_count).index_add(0, edges.target, energy)

    with pytest.raises(AssertionError, match="in a crystal: the energy"):
        assert_smooth_at_cutoff(Images(), CUTOFF)


def test_a_model_of_the_library() -> None:
    caps = {f"graphs.{name}.max_neighbors": None for name in ("atom", "main", "atom_edge", "quad")}
    model = small_model(**{key.replace(".", "__"): value for key, value in caps.items()}, heads__forces=None)
    assert_smooth_at_cutoff(model, 3.5, samples=32)
