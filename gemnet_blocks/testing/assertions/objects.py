"""Every property that applies, of whole models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.heads import DirectForces, GradientForces
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing.assertions.counterexample import Check, holds
from gemnet_blocks.testing.assertions.models import Properties
from gemnet_blocks.testing.assertions.repeatability import assert_copyable
from gemnet_blocks.testing.assertions.special import special_structures
from gemnet_blocks.testing.assertions.tolerances import Tolerance
from gemnet_blocks.testing.models import Model

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

ELEMENTS = (1, 6, 8)
"""Atomic numbers that nearly every model knows."""


def assert_model(
    model: Model,
    *,
    structures: SearchStrategy[Structures] | None = None,
    smooth_structures: SearchStrategy[Structures] | None = None,
    conservative: bool | None = None,
    extensive: bool = True,
    cutoffs: Sequence[float] | None = None,
    elements: Sequence[int] = ELEMENTS,
    max_atoms: int = 12,
    examples: int = 20,
    tolerance: Tolerance | float | None = None,
) -> tuple[str, ...]:
    """Search for a counterexample to everything that energies and forces should be.

    Of all models: finite and repeatable predictions; independence of the other structures in the batch; symmetry under
    translations, rotations, reflections, the order of atoms, the choice of cell and supercells; no jumps at `cutoffs`.
    With conservative forces: that they are the gradient, and the balance of forces and torques. Of a `GemNet` too:
    deep copies and pickles; float32 near float64 (models in float64); second derivatives (gradient forces in float64);
    the balance of coupled direct forces.

    Args:
        model: any callable from structures to a `Prediction`, a pair of energies and forces, or energies; see
            `CalculatorModel` for ASE calculators.
        structures: where predictions must be finite and symmetric; None: generic and degenerate ones, and before them
            a few of high symmetry that are always the same.
        smooth_structures: where energies must be smooth and derivatives be right; None: generic structures, and for
            forces the same few of high symmetry.
        conservative: whether forces are claimed to be the gradient of the energy; None: of a `GemNet` what it is
            built with, of others not.
        extensive: whether the energy is claimed to be a sum over atoms, else a mean.
        cutoffs: distances in Å at which neighbors are no longer seen; None: of a `GemNet` those of its edge sets, of
            others none. Caps on neighbors make energies jump if they bind for the five atoms of
            `assert_smooth_at_cutoff`.
        elements: atomic numbers in the structures that are drawn.
        max_atoms: of each structure that is drawn.
        examples: to try for each property.
        tolerance: of symmetries; None: what the type of the prediction allows.

    Returns:
        The names of the properties that were checked, in that order.

    Raises:
        CounterExample: names the property and shows code that makes the smallest counterexample found.
        ImportError: hypothesis or e3nn is not installed.
    """
    from gemnet_blocks.testing import strategies

    limits = _cutoffs_of(model) if cutoffs is None else tuple(float(cutoff) for cutoff in cutoffs)
    longest = max(limits.values() if isinstance(limits, Mapping) else limits, default=4.0)
    claimed = _conservative(model) if conservative is None else conservative
    special = special_structures(longest, elements)
    properties = Properties(
        model,
        strategies.structures(max_atoms, longest, elements) if structures is None else structures,
        strategies.generic_structures(max_atoms, longest, elements) if smooth_structures is None else smooth_structures,
        examples,
        tolerance,
        special if structures is None else (),
        special if smooth_structures is None else (),
    )
    checked = (
        *properties.check_predictions(),
        # early: a jump shows in symmetries too, where rounding decides on a neighbor
        *properties.check_continuity(limits),
        *properties.check_independence(),
        *(properties.check_kinks() if claimed else ()),
        *properties.check_symmetries(extensive),
        *(properties.check_gradient_forces() if claimed else ()),
        *(_check_own(model, properties) if isinstance(model, GemNet) else ()),
    )
    return tuple(dict.fromkeys(checked))


def _check_own(model: GemNet, properties: Properties) -> tuple[str, ...]:
    """What is known of the library's own models only."""
    checked = ["copies"]
    copyable = Check(assert_copyable, model, ())
    with holds("copies", {}, copyable):
        copyable()
    if isinstance(model.forces, DirectForces) and model.forces.coupled:
        checked += properties.check_momentum()
    if next(model.parameters()).dtype == torch.float64:
        checked += properties.check_precision()
        if isinstance(model.forces, GradientForces):
            checked += properties.check_second_derivatives()
    return tuple(checked)


def _conservative(model: Model) -> bool:
    return isinstance(model, GemNet) and isinstance(model.forces, GradientForces)


def _cutoffs_of(model: Model) -> Mapping[str, float]:
    """Distances by the name of the edge set."""
    if not isinstance(model, GemNet):
        return {}
    return {name: rule.cutoff for name, rule in model.trunk.graphs.rules.items()}
