"""Derivatives that automatic differentiation gives, against those that the values show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from gemnet_blocks.structures import Structures
from gemnet_blocks.testing.assertions.comparison import Tolerance, as_tolerance
from gemnet_blocks.testing.assertions.smoothness import Path, along
from gemnet_blocks.testing.assertions.symmetry import finite_prediction
from gemnet_blocks.testing.models import Model, predict

DOUBLE_STEPS = (1e-3, 1e-4, 1e-5)
"""Å. The first where energies are as smooth as usual, the last next to where directions fade out."""
SINGLE_STEPS = (0.05, 0.02, 0.005)


def assert_forces_are_gradient(
    model: Model,
    structures: Structures,
    directions: int = 3,
    seed: int = 0,
    steps: Sequence[float] | None = None,
    tolerance: Tolerance | float | None = None,
    to_each_side: bool = False,
) -> None:
    """F·v = -dE(r + t·v)/dt at t = 0, for random directions v.

    The derivative is a central difference, extrapolated (4 D(h/2) - D(h))/3; of several steps h, the one that agrees
    best counts: a wrong force agrees with none. To see a kink, such as that of |t|, through which a central difference
    looks, take the differences ±(4 E(±h/2) - E(±h) - 3 E(0))/h to each side.

    Args:
        model: anything that predicts energies and forces.
        structures: where energies are smooth.
        directions: how many; each moves all atoms by 1 Å/√3 on average.
        seed: of the directions.
        steps: h in Å; None: fit for the type of the prediction.
        tolerance: relative to the largest |F|·√atoms of the batch; None: what the type of the prediction allows.
        to_each_side: whether the derivatives to both sides are compared, instead of a central difference.

    Raises:
        AssertionError: says for which structure forces and energies disagree, and by how much.
        ValueError: the model predicts no forces.
    """
    prediction = finite_prediction(model, structures)
    if prediction.forces is None:
        raise ValueError("the model predicts no forces")
    if not structures.atom_count:
        return
    forces, dtype = prediction.forces.detach().double(), prediction.energy.dtype
    steps = steps or (DOUBLE_STEPS if dtype == torch.float64 else SINGLE_STEPS)
    size = float(forces.norm(dim=-1).max()) * structures.atom_count**0.5
    limit = as_tolerance(tolerance, "finite differences", dtype).limit(size)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(directions):
        direction = torch.randn(structures.atom_count, 3, generator=generator, dtype=torch.float64) / 3**0.5
        direction = direction.to(structures.positions.device)
        claimed = _per_structure(-(forces * direction).sum(dim=-1), structures)
        path = Path(structures, direction)
        if to_each_side:
            for found, side in zip(_one_sided(model, path, steps), ("forward", "backward"), strict=True):
                _compare(found.to(claimed.device), claimed, limit, f"a random direction ({side} from here)")
        else:
            _compare(_differences(model, path, steps).to(claimed.device), claimed, limit, "a random direction")


def _compare(
    found: Float[Tensor, "steps structures"], claimed: Float[Tensor, " structures"], limit: float, where: str
) -> None:
    deviation = torch.nan_to_num(found - claimed, nan=torch.inf).abs().amin(dim=0)
    if float(deviation.max()) > limit:
        index = int(deviation.argmax())
        best = found[(found[:, index] - claimed[index]).abs().argmin(), index]
        raise AssertionError(
            f"the forces of structure {index} are not the gradient of its energy: along {where} the "
            f"energy changes by {float(best):.8g} per Å, the forces say {float(claimed[index]):.8g}; allowed is a "
            f"deviation of {limit:.1e}"
        )


def assert_second_derivatives(model: Model, structures: Structures) -> None:
    """The second derivatives of energies to positions are finite, and those that the first derivatives show.

    Along one random direction each (`torch.autograd.gradgradcheck` in its fast mode). Energies that no atom changes,
    as those of structures without edges, pass.

    Args:
        model: anything that predicts energies in float64 as a differentiable function of `structures.positions`.
        structures: where forces are smooth.

    Raises:
        AssertionError: an energy cannot be differentiated twice, or its second derivatives are wrong.
        ValueError: the model does not compute in float64.
    """

    def energy(positions: Tensor) -> Tensor:
        return predict(model, replace(structures, positions=positions)).energy

    positions = structures.positions.detach().double().requires_grad_()
    value = energy(positions)
    if value.dtype != torch.float64:
        raise ValueError(f"second derivatives are checked in float64, the model computes in {value.dtype}: double() it")
    if not positions.numel():
        return
    gradient = _gradient(value.sum(), positions, create_graph=True)
    if gradient is None:
        _assert_constant(energy, positions)
        return
    if not gradient.requires_grad:
        return  # a linear function
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(gradient.shape, generator=generator, dtype=torch.float64).to(gradient.device)
    second = _gradient((gradient * weights).sum(), positions, create_graph=False)
    for name, derivative in (("first", gradient), ("second", second)):
        if derivative is not None and not bool(derivative.isfinite().all()):
            atom = int((~derivative.isfinite()).any(dim=1).nonzero()[0])
            raise AssertionError(f"the {name} derivatives of the energy are not finite: those to atom {atom}")
    if second is None:
        return
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            torch.autograd.gradgradcheck(energy, (positions,), fast_mode=True, nondet_tol=1e-10)
    except RuntimeError as error:
        reason = str(error).strip()
        raise AssertionError(f"the second derivatives of the energy are not those of its gradient: {reason}") from None


def _differences(model: Model, path: Path, steps: Sequence[float]) -> Float[Tensor, "steps structures"]:
    """Extrapolated central differences of energies along a path at t = 0."""
    h = torch.tensor(steps, dtype=torch.float64)
    points = torch.stack([h, -h, h / 2, -h / 2], dim=1)
    energy = along(model, path, points.reshape(-1), forces=False).energy.double()
    energy = energy.reshape(len(steps), 4, -1)
    h = h[:, None].to(energy.device)
    wide, narrow = (energy[:, 0] - energy[:, 1]) / (2 * h), (energy[:, 2] - energy[:, 3]) / h
    return (4 * narrow - wide) / 3


def _one_sided(
    model: Model, path: Path, steps: Sequence[float]
) -> tuple[Float[Tensor, "steps structures"], Float[Tensor, "steps structures"]]:
    """Extrapolated forward and backward differences of energies along a path at t = 0."""
    h = torch.tensor(steps, dtype=torch.float64)
    points = torch.stack([h, h / 2, -h / 2, -h, torch.zeros_like(h)], dim=1)
    energy = along(model, path, points.reshape(-1), forces=False).energy.double()
    far, near, near_back, far_back, here = energy.reshape(len(steps), 5, -1).unbind(dim=1)
    h = h[:, None].to(energy.device)
    return (4 * near - far - 3 * here) / h, (far_back + 3 * here - 4 * near_back) / h


def _per_structure(values: Float[Tensor, " atoms"], structures: Structures) -> Float[Tensor, " structures"]:
    return values.new_zeros(len(structures)).index_add(0, structures.structure, values)


def _gradient(value: Tensor, positions: Tensor, create_graph: bool) -> Tensor | None:
    if not value.requires_grad:
        return None
    (gradient,) = torch.autograd.grad(value, positions, create_graph=create_graph, retain_graph=True, allow_unused=True)
    return gradient


def _assert_constant(energy: Callable[[Tensor], Tensor], positions: Tensor) -> None:
    """Where there is no gradient, moving atoms must change nothing."""
    generator = torch.Generator().manual_seed(0)
    step = 1e-3 * torch.randn(positions.shape, generator=generator, dtype=torch.float64).to(positions.device)
    change = float((energy(positions + step) - energy(positions)).detach().abs().max())
    if change:
        raise AssertionError(
            f"the energy is not differentiable: it changes by {change:.1e} when atoms move by 0.001 Å, but carries no "
            "gradient to their positions. Look for detach(), item(), numpy() or torch.no_grad() on the way"
        )
