"""Assertions that compare derivatives by automatic differentiation with finite differences."""

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
"""Steps in Å for float64: the largest for smooth energies, the smallest for nearly collinear atoms."""
SINGLE_STEPS = (0.05, 0.02, 0.005)
"""Steps in Å for float32."""


def assert_forces_are_gradient(
    model: Model,
    structures: Structures,
    directions: int = 3,
    seed: int = 0,
    steps: Sequence[float] | None = None,
    tolerance: Tolerance | float | None = None,
    to_each_side: bool = False,
) -> None:
    """Assert that F·v = -dE(r + t·v)/dt at t = 0 for random directions v.

    The derivative is an extrapolated central difference (4 D(h/2) - D(h))/3 with the best of several steps h. Central
    differences do not detect kinks such as that of |t|, but the one-sided differences
    ±(4 E(±h/2) - E(±h) - 3 E(0))/h do.

    Args:
        model: a model that predicts energies and forces.
        structures: structures at which energies are smooth.
        directions: number of directions; each moves all atoms by 1 Å/√3 on average.
        seed: random seed of the directions.
        steps: steps h in Å; None: suitable steps for the type of the prediction.
        tolerance: tolerance relative to the largest |F|·√atoms of the batch; None: that of the type of the prediction.
        to_each_side: compare one-sided differences to both sides instead of central differences.

    Raises:
        AssertionError: the forces of a structure are not the gradient of its energy.
        ValueError: the model does not predict forces.
    """
    prediction = finite_prediction(model, structures)
    if prediction.forces is None:
        raise ValueError("the model does not predict forces")
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
        for name, found in _differences(model, path, steps, to_each_side).items():
            _compare(found.to(claimed.device), claimed, limit, f"a random direction{name}")


def _compare(
    found: Float[Tensor, "steps structures"], claimed: Float[Tensor, " structures"], limit: float, where: str
) -> None:
    deviation = torch.nan_to_num(found - claimed, nan=torch.inf).abs().amin(dim=0)
    if float(deviation.max()) > limit:
        index = int(deviation.argmax())
        best = found[(found[:, index] - claimed[index]).abs().argmin(), index]
        raise AssertionError(
            f"the forces of structure {index} are not the gradient of its energy: along {where} the "
            f"energy changes by {float(best):.8g} per Å, the forces predict {float(claimed[index]):.8g}; the tolerance "
            f"is {limit:.1e}"
        )


def assert_second_derivatives(model: Model, structures: Structures) -> None:
    """Assert that second derivatives of energies to positions are finite and agree with differences of gradients.

    The comparison is along random directions (`torch.autograd.gradgradcheck` in its fast mode). Constant energies, such
    as those of structures without edges, pass.

    Args:
        model: a model that predicts energies in float64 as a differentiable function of `structures.positions`.
        structures: structures at which forces are smooth.

    Raises:
        AssertionError: an energy cannot be differentiated twice, or its second derivatives are wrong.
        ValueError: the model does not compute in float64.
    """

    def energy(positions: Tensor) -> Tensor:
        return predict(model, replace(structures, positions=positions)).energy

    positions = structures.positions.detach().double().requires_grad_()
    value = energy(positions)
    if value.dtype != torch.float64:
        raise ValueError(f"expected a model in float64, but it computes in {value.dtype}: call double() on it")
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
            raise AssertionError(f"the {name} derivatives of the energy are not finite for atom {atom}")
    if second is None:
        return
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            torch.autograd.gradgradcheck(energy, (positions,), fast_mode=True, nondet_tol=1e-10)
    except RuntimeError as error:
        reason = str(error).strip()
        raise AssertionError(f"the second derivatives of the energy are not those of its gradient: {reason}") from None


def _differences(
    model: Model, path: Path, steps: Sequence[float], to_each_side: bool
) -> dict[str, Float[Tensor, "steps structures"]]:
    """Compute extrapolated differences of energies along a path at t = 0 by name: central, or forward and backward."""
    h = torch.tensor(steps, dtype=torch.float64)
    points = h[:, None] * torch.tensor([1, 0.5, 0, -0.5, -1], dtype=torch.float64)
    energy = along(model, path, points.reshape(-1), forces=False).energy.double()
    far, near, here, near_back, far_back = energy.reshape(len(steps), 5, -1).unbind(dim=1)
    h = h[:, None].to(energy.device)
    if to_each_side:
        return {
            " (forward from here)": (4 * near - far - 3 * here) / h,
            " (backward from here)": (far_back + 3 * here - 4 * near_back) / h,
        }
    return {"": (4 * (near - near_back) / h - (far - far_back) / (2 * h)) / 3}


def _per_structure(values: Float[Tensor, " atoms"], structures: Structures) -> Float[Tensor, " structures"]:
    return values.new_zeros(len(structures)).index_add(0, structures.structure, values)


def _gradient(value: Tensor, positions: Tensor, create_graph: bool) -> Tensor | None:
    if not value.requires_grad:
        return None
    (gradient,) = torch.autograd.grad(value, positions, create_graph=create_graph, retain_graph=True, allow_unused=True)
    return gradient


def _assert_constant(energy: Callable[[Tensor], Tensor], positions: Tensor) -> None:
    """Assert that an energy without a gradient does not depend on positions."""
    generator = torch.Generator().manual_seed(0)
    step = 1e-3 * torch.randn(positions.shape, generator=generator, dtype=torch.float64).to(positions.device)
    change = float((energy(positions + step) - energy(positions)).detach().abs().max())
    if change:
        raise AssertionError(
            f"the energy is not differentiable: it changes by {change:.1e} when atoms move by 0.001 Å, but does not "
            "have a gradient to their positions. Look for detach(), item(), numpy() or torch.no_grad() in the model"
        )
