"""Nothing pushes or turns itself: forces and torques add up to zero."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gemnet_blocks.structures import Structures
from gemnet_blocks.testing.assertions.symmetry import finite_prediction
from gemnet_blocks.testing.assertions.tolerances import Tolerance, as_tolerance
from gemnet_blocks.testing.models import Model


def assert_momentum_balance(model: Model, structures: Structures, tolerance: Tolerance | float | None = None) -> None:
    """Σ F = 0 over the atoms of every structure: true of gradients of energies that no translation changes.

    Args:
        model: anything that predicts forces.
        structures: of any kind.
        tolerance: of |Σ F|, relative to Σ |F|; None: what the type of the forces allows.

    Raises:
        AssertionError: names the structure and the sum.
        ValueError: the model predicts no forces.
    """
    forces = _forces(model, structures)
    _assert_zero("forces", forces, forces.norm(dim=-1), structures, tolerance)


def assert_torque_balance(model: Model, structures: Structures, tolerance: Tolerance | float | None = None) -> None:
    """Σ r × F = 0 over the atoms of every structure without periodicity: true where no rotation changes energies.

    r is measured from the mean position of the structure's atoms. Periodic structures in the batch are skipped: a
    rotation of their atoms alone is no symmetry.

    Args:
        model: anything that predicts forces.
        structures: at least one of them without periodicity, unless there are none.
        tolerance: of |Σ r × F|, relative to Σ |r| |F|; None: what the type of the forces allows.

    Raises:
        AssertionError: names the structure and the sum.
        ValueError: the model predicts no forces, or all structures are periodic.
    """
    free = ~structures.periodic.any(dim=1)
    if len(structures) and not bool(free.any()):
        raise ValueError("all structures are periodic: torques add up to zero in molecules only")
    forces = _forces(model, structures)
    dtype = forces.dtype
    forces = torch.where(free[structures.structure][:, None], forces, 0).double()
    arms = structures.positions.detach().double() - _means(structures)[structures.structure]
    torques = torch.linalg.cross(arms, forces)
    _assert_zero("torques", torques, arms.norm(dim=-1) * forces.norm(dim=-1), structures, tolerance, dtype)


def _forces(model: Model, structures: Structures) -> Float[Tensor, "atoms 3"]:
    forces = finite_prediction(model, structures).forces
    if forces is None:
        raise ValueError("the model predicts no forces")
    return forces.detach()


def _means(structures: Structures) -> Float[Tensor, "structures 3"]:
    positions = structures.positions.detach().double()
    total = positions.new_zeros(len(structures), 3).index_add(0, structures.structure, positions)
    return total / structures.atom_counts.clamp(min=1)[:, None]


def _assert_zero(
    what: str,
    vectors: Float[Tensor, "atoms 3"],
    lengths: Float[Tensor, " atoms"],
    structures: Structures,
    tolerance: Tolerance | float | None,
    dtype: torch.dtype | None = None,
) -> None:
    allowed = as_tolerance(tolerance, "balance", dtype or vectors.dtype)
    zero = torch.zeros(len(structures), 3, dtype=torch.float64, device=vectors.device)
    total = zero.index_add(0, structures.structure, vectors.double()).norm(dim=-1)
    sizes = zero[:, 0].index_add(0, structures.structure, lengths.double())
    for index, (sum_, size) in enumerate(zip(total.tolist(), sizes.tolist(), strict=True)):
        if sum_ > allowed.limit(size):
            raise AssertionError(
                f"the {what} of structure {index} add up to {sum_:.3e}, not to zero; allowed are "
                f"{allowed.limit(size):.1e}, with {size:.3e} the sum of their lengths"
            )
