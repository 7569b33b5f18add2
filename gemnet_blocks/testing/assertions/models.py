"""Properties of whole models, each searched for a counterexample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import torch

from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.heads import DirectForces, GradientForces
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing.assertions.comparison import Tolerance
from gemnet_blocks.testing.assertions.counterexample import Check, CounterExample, holds, search
from gemnet_blocks.testing.assertions.derivatives import assert_forces_are_gradient, assert_second_derivatives
from gemnet_blocks.testing.assertions.smoothness import CROSSING_SAMPLES, assert_smooth, crossing, special_structures
from gemnet_blocks.testing.assertions.symmetry import (
    assert_copyable,
    assert_deterministic,
    assert_finite,
    assert_momentum_balance,
    assert_precision,
    assert_symmetry,
    assert_torque_balance,
)
from gemnet_blocks.testing.models import Model
from gemnet_blocks.testing.symmetries import Alone, Symmetry, Translation

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


GRADIENT = "forces are the gradient of the energy"
TRIALS = 4
"""Symmetries of each kind to try with structures of high symmetry, the first of which changes nothing."""


@dataclass(frozen=True, slots=True)
class Properties:
    """A model, and where its properties are looked for.

    Each method searches for a counterexample and returns the names of the properties that it has checked.

    Attributes:
        model: anything that predicts energies of structures.
        structures: where predictions must be finite and symmetric: any that can be thought of.
        smooth_structures: where energies are smooth.
        examples: to try for each property.
        tolerance: of symmetries; None: what the type of the prediction allows.
        special: some that are always tried, as `structures`.
        smooth_special: some that are always tried, as `smooth_structures`.
    """

    model: Model
    structures: SearchStrategy[Structures]
    smooth_structures: SearchStrategy[Structures]
    examples: int
    tolerance: Tolerance | float | None = None
    special: Sequence[Structures] = ()
    smooth_special: Sequence[Structures] = ()

    @property
    def _fewer(self) -> int:
        """Examples for what is slow to check and, where it is wrong, wrong nearly everywhere."""
        return min(self.examples, max(5, self.examples // 4))

    def check_predictions(self) -> tuple[str, ...]:
        """Finite energies and forces, of the right shapes, the same every time."""
        finite, repeatable = Check(assert_finite, self.model), Check(assert_deterministic, self.model)
        _try(finite, "finite predictions", self.special)
        search(finite, "finite predictions", self.examples, structures=self.structures)
        search(repeatable, "repeatability", self._fewer, structures=self.structures)
        return "finite predictions", "repeatability"

    def check_symmetries(self, extensive: bool = True) -> tuple[str, ...]:
        """Everything that must not change an energy, one kind after another."""
        check = self._symmetric()
        kinds = _symmetries(extensive)
        for name, symmetries in kinds.items():
            _try(check, name, self.special, symmetry=symmetries)
        for name, symmetries in kinds.items():
            search(check, name, self.examples, structures=self.structures, symmetry=symmetries)
        return tuple(kinds)

    def check_independence(self) -> tuple[str, ...]:
        """What else is in a batch does not matter."""
        from hypothesis import strategies as st

        from gemnet_blocks.testing.strategies import concatenate

        name = "independence of other structures in the batch"
        if self.special:
            pair = st.just(concatenate(self.special[:2]))
            search(self._symmetric(), name, TRIALS, structures=pair, symmetry=_alone)
        # drawn as batches already, they would often be empty
        batches = st.lists(self.structures, min_size=2, max_size=3).map(concatenate)
        search(self._symmetric(), name, self.examples, structures=batches, symmetry=_alone)
        return (name,)

    def check_kinks(self) -> tuple[str, ...]:
        """Forces are the gradient to each side where structures are symmetric, which is where kinks are.

        Best done before symmetries: at a kink, forces are a matter of rounding, and anything changes them.
        """
        _try(
            Check(assert_forces_are_gradient, self.model, options={"to_each_side": True}),
            GRADIENT,
            self.smooth_special,
        )
        return (GRADIENT,) if self.smooth_special else ()

    def check_gradient_forces(self) -> tuple[str, ...]:
        """Forces are the gradient of the energy and balance each other."""
        check = Check(assert_forces_are_gradient, self.model)
        search(check, GRADIENT, self.examples, structures=self.smooth_structures)
        return GRADIENT, *self.check_momentum(), *self._check_torques()

    def check_momentum(self) -> tuple[str, ...]:
        """Forces add up to zero."""
        name, check = "balance of forces", Check(assert_momentum_balance, self.model)
        _try(check, name, self.special)
        search(check, name, self.examples, structures=self.structures)
        return (name,)

    def _check_torques(self) -> tuple[str, ...]:
        from gemnet_blocks.testing.strategies import concatenate

        name, check = "balance of torques", Check(assert_torque_balance, self.model)
        found = []

        def without_periodic(structures: Structures) -> Structures:
            free = (~structures.periodic.any(dim=1)).nonzero()[:, 0]
            found.extend(free.tolist())
            return concatenate([structures[index] for index in free.tolist()])

        search(check, name, self.examples, structures=self.smooth_structures.map(without_periodic))
        return (name,) if found else ()

    def check_second_derivatives(self) -> tuple[str, ...]:
        """Forces can be trained on."""
        name = "second derivatives"
        search(Check(assert_second_derivatives, self.model), name, self._fewer, structures=self.smooth_structures)
        return (name,)

    def check_precision(self) -> tuple[str, ...]:
        """Single precision is enough."""
        name = "single precision"
        search(Check(assert_precision, self.model), name, self._fewer, structures=self.smooth_structures)
        return (name,)

    def check_continuity(self, cutoffs: Mapping[str, float] | Sequence[float]) -> tuple[str, ...]:
        """Nothing jumps where atoms leave a cutoff; cutoffs are given by the names of edge sets, or without."""
        name = "continuity at cutoffs"
        named = cutoffs if isinstance(cutoffs, Mapping) else {}
        # in the crystal another pair may cross another cutoff by chance: so molecules and the longest come first
        distances = sorted({*(named.values() if named else cutoffs)}, reverse=True)
        for periodic, cutoff in product((False, True), distances):
            edge_sets = tuple(edge_set for edge_set, its in named.items() if its == cutoff)
            _check_crossing(self.model, name, cutoff, periodic, edge_sets)
        return (name,) if cutoffs else ()

    def _symmetric(self) -> Check:
        return Check(assert_symmetry, self.model, ("structures", "symmetry"), {"tolerance": self.tolerance})


def _try(check: Check, name: str, special: Sequence[Structures], **strategies: Any) -> None:
    """Check structures that are given: all at once, which is quick; if that fails, one after another."""
    from hypothesis import strategies as st

    from gemnet_blocks.testing.strategies import concatenate

    examples = TRIALS if strategies else 1
    if not special:
        return
    try:
        search(check, name, examples, structures=st.just(concatenate(special)), **strategies)
    except CounterExample:
        for one in special:
            search(check, name, examples, structures=st.just(one), **strategies)
        raise


def _check_crossing(model: Model, name: str, cutoff: float, periodic: bool, edge_sets: tuple[str, ...]) -> None:
    structures, displacement = crossing(cutoff, periodic=periodic)
    example = {"cutoff": cutoff, "periodic": periodic, "structures": structures, "displacement": displacement}
    if edge_sets:
        example["edge_sets"] = edge_sets
    check = Check(
        assert_smooth,
        model,
        ("structures", "displacement"),
        {"samples": CROSSING_SAMPLES},
        f"structures, displacement = crossing({cutoff!r}{', periodic=True' if periodic else ''})",
    )
    with holds(name, example, check):
        try:
            check(**example)
        except AssertionError as error:
            of = f" ({'edge set' if len(edge_sets) == 1 else 'edge sets'} {', '.join(edge_sets)})" if edge_sets else ""
            where = "crystal" if periodic else "molecule"
            raise AssertionError(f"an atom leaves the cutoff of {cutoff:g} Å{of} in a {where}: {error}") from None


def _alone(drawn: Mapping[str, Any]) -> SearchStrategy[Symmetry]:
    """One of the structures of a batch, or where there is none, something else that changes nothing."""
    from hypothesis import strategies as st

    count = len(drawn["structures"])
    return st.builds(Alone, index=st.integers(0, count - 1)) if count else st.just(Translation(0.0, 0.0, 0.0))


def _symmetries(extensive: bool) -> dict[str, Any]:
    """A strategy by property; some depend on the structures drawn before."""
    from gemnet_blocks.testing import strategies

    def supercells(drawn: Mapping[str, Any]) -> SearchStrategy[Symmetry]:
        most = max(1, min(4, 60 // max(1, drawn["structures"].atom_count)))
        return strategies.supercells(most).map(lambda symmetry: replace(symmetry, extensive=extensive))

    return {
        "symmetry under translations": strategies.translations(),
        "symmetry under rotations and reflections": strategies.rotations(),
        "symmetry under the order of atoms": lambda drawn: strategies.permutations(drawn["structures"]),
        "symmetry under the choice of cell": strategies.cell_changes(),
        "symmetry under the order of lattice vectors": strategies.reorderings(),
        "additivity over supercells" if extensive else "symmetry under supercells": supercells,
    }


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
