"""Assertions about whole models, by a search for counterexamples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from gemnet_blocks.testing.assertions.streams import assert_stream_symmetry, has_streams
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
from gemnet_blocks.testing.symmetries import Alone, Permutation, Rotation, Symmetry, Translation

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


GRADIENT = "forces are the gradient of the energy"
TRIALS = 4
"""Number of symmetries per kind for structures of high symmetry; the first one is the identity."""

GENERIC_SIZE = 2.0
"""Size in Å of the hydrogen atoms for which streams are checked first."""
GENERIC_SYMMETRIES: Sequence[Sequence[Symmetry]] = (
    (Translation(1.0, -7.0, 3.0),),
    (Rotation(0.3, 1.1, 2.0), Rotation(0.0, 0.0, 0.0, reflect=True)),
    (Permutation((3, 1, 0, 4, 2)),),
)
"""Translations, rotations and reflections, and orders of these five atoms."""


@dataclass(frozen=True, slots=True)
class Properties:
    """A model and the structures for which its properties are checked.

    Each method searches for a counterexample and returns the names of the properties that it has checked.

    Attributes:
        model: a model that predicts energies of structures.
        structures: structures for which predictions must be finite and symmetric.
        smooth_structures: structures at which energies are smooth.
        examples: number of examples per property.
        tolerance: tolerance of symmetries; None: that of the type of the prediction.
        special: fixed structures that are tried first, in addition to `structures`.
        smooth_special: fixed structures that are tried first, in addition to `smooth_structures`.
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
        """Number of examples for slow checks whose violations show for nearly all structures."""
        return min(self.examples, max(5, self.examples // 4))

    def check_predictions(self) -> tuple[str, ...]:
        """Check that energies and forces are finite, have the right shapes and are repeatable."""
        repeatable = Check(assert_deterministic, self.model)
        finite = self._check("finite predictions", assert_finite)
        search(repeatable, "repeatability", self._fewer, structures=self.structures)
        return *finite, "repeatability"

    def check_symmetries(self, extensive: bool = True) -> tuple[str, ...]:
        """Check one kind of symmetry after another."""
        check = self._symmetric()
        kinds = _symmetries(extensive)
        for name, symmetries in kinds.items():
            _try(check, name, self.special, symmetry=symmetries)
        for name, symmetries in kinds.items():
            # generic structures, because many features vanish in symmetric ones
            search(check, name, max(10, self.examples), structures=self.smooth_structures, symmetry=symmetries)
        return tuple(kinds)

    def check_streams(self) -> tuple[str, ...]:
        """Check that all feature streams are equivariant: translations, rotations, reflections, the order of atoms."""
        if not has_streams(self.model):
            return ()
        check = Check(assert_stream_symmetry, self.model, ("structures", "symmetry"))
        kinds = list(_symmetries(extensive=True).items())[: len(GENERIC_SYMMETRIES)]
        # first a fixed example: many features vanish in symmetric structures, and random rotations are often trivial
        for (name, _), symmetries in zip(kinds, GENERIC_SYMMETRIES, strict=True):
            for symmetry in symmetries:
                example = {"structures": crossing(GENERIC_SIZE, (1,) * 5)[0], "symmetry": symmetry}
                with holds(f"streams: {name}", example, check):
                    check(**example)
        for name, symmetries in kinds:
            search(check, f"streams: {name}", self.examples, structures=self.structures, symmetry=symmetries)
        return tuple(f"streams: {name}" for name, _ in kinds)

    def check_independence(self) -> tuple[str, ...]:
        """Check that predictions do not depend on the other structures of a batch."""
        from hypothesis import strategies as st

        from gemnet_blocks.testing.strategies import concatenate

        name = "independence of other structures in the batch"
        if self.special:
            pair = st.just(concatenate(self.special[:2]))
            search(self._symmetric(), name, TRIALS, structures=pair, symmetry=_alone)
        # batches that are drawn as such would often be empty
        batches = st.lists(self.structures, min_size=2, max_size=3).map(concatenate)
        search(self._symmetric(), name, self.examples, structures=batches, symmetry=_alone)
        return (name,)

    def check_kinks(self) -> tuple[str, ...]:
        """Check one-sided gradients for structures of high symmetry, at which energies may have kinks.

        This check precedes that of symmetries, since rounding errors decide on the forces at a kink.
        """
        check = Check(assert_forces_are_gradient, self.model, options={"to_each_side": True})
        _try(check, GRADIENT, self.smooth_special)
        return (GRADIENT,) if self.smooth_special else ()

    def check_gradient_forces(self) -> tuple[str, ...]:
        """Check that forces are the gradient of the energy and balance each other."""
        check = Check(assert_forces_are_gradient, self.model)
        search(check, GRADIENT, self.examples, structures=self.smooth_structures)
        return GRADIENT, *self.check_momentum(), *self._check_torques()

    def check_momentum(self) -> tuple[str, ...]:
        """Check that forces add up to zero."""
        return self._check("balance of forces", assert_momentum_balance)

    def _check(self, name: str, assertion: Callable[..., object]) -> tuple[str, ...]:
        check = Check(assertion, self.model)
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
        """Check second derivatives, which training on forces needs."""
        return self._check_smooth("second derivatives", assert_second_derivatives)

    def check_precision(self) -> tuple[str, ...]:
        """Check that float32 agrees with float64."""
        return self._check_smooth("single precision", assert_precision)

    def _check_smooth(self, name: str, assertion: Callable[..., object]) -> tuple[str, ...]:
        search(Check(assertion, self.model), name, self._fewer, structures=self.smooth_structures)
        return (name,)

    def check_continuity(self, cutoffs: Mapping[str, float] | Sequence[float]) -> tuple[str, ...]:
        """Check that nothing jumps when atoms leave a cutoff; the cutoffs may have names of edge sets."""
        name = "continuity at cutoffs"
        named = cutoffs if isinstance(cutoffs, Mapping) else {}
        # molecules and long cutoffs first: in the crystal, another pair may cross another cutoff by chance
        distances = sorted({*(named.values() if named else cutoffs)}, reverse=True)
        for periodic, cutoff in product((False, True), distances):
            edge_sets = tuple(edge_set for edge_set, length in named.items() if length == cutoff)
            _check_crossing(self.model, name, cutoff, periodic, edge_sets)
        return (name,) if cutoffs else ()

    def _symmetric(self) -> Check:
        return Check(assert_symmetry, self.model, ("structures", "symmetry"), {"tolerance": self.tolerance})


def _try(check: Check, name: str, special: Sequence[Structures], **strategies: Any) -> None:
    """Check fixed structures in one batch and, if that fails, one after another for a small counterexample."""
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
    """Return a strategy for the removal of all structures but one; for an empty batch, the identity."""
    from hypothesis import strategies as st

    count = len(drawn["structures"])
    return st.builds(Alone, index=st.integers(0, count - 1)) if count else st.just(Translation(0.0, 0.0, 0.0))


def _symmetries(extensive: bool) -> dict[str, Any]:
    """Return a strategy of symmetries for each property; some depend on the structures."""
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
"""Atomic numbers that nearly every model supports."""


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
    """Assert every property that energies and forces should have, by a search for counterexamples.

    For all models: finite and repeatable predictions; independence of the other structures in the batch; symmetry under
    translations, rotations, reflections, the order of atoms, the choice of cell and supercells; no jumps at `cutoffs`.
    For a `GemNet` with feature streams: equivariance of every stream under rotations, reflections, translations and
    the order of atoms.
    For conservative forces: forces are the gradient of the energy, and forces and torques balance. For a `GemNet` also:
    deep copies and pickles; agreement of float32 with float64 (models in float64); second derivatives (gradient forces
    in float64); balance of coupled direct forces.

    Args:
        model: a callable from structures to a `Prediction`, a pair of energies and forces, or energies; see
            `CalculatorModel` for ASE calculators.
        structures: strategy of structures for which predictions must be finite and symmetric; None: generic and
            degenerate structures, after some fixed structures of high symmetry.
        smooth_structures: strategy of structures at which energies must be smooth and derivatives correct; None:
            generic structures and, for forces, the fixed structures of high symmetry.
        conservative: True if forces should be the gradient of the energy; None: True for a `GemNet` with gradient
            forces, else False.
        extensive: True if the energy should be a sum over atoms, False if it should be their mean.
        cutoffs: cutoffs of the model in Å; None: those of the edge sets of a `GemNet`, none for other models. Energies
            jump if the model limits the number of neighbors of the five atoms of `assert_smooth_at_cutoff`.
        elements: atomic numbers in the examples.
        max_atoms: maximum number of atoms per example.
        examples: number of examples per property.
        tolerance: tolerance of symmetries; None: that of the type of the prediction.

    Returns:
        The names of the properties that were checked.

    Raises:
        CounterExample: a property is violated; the message contains code for the smallest counterexample.
        ImportError: hypothesis is not installed.
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
        *properties.check_streams(),
        # before symmetries, which a jump violates too when rounding decides on a neighbor
        *properties.check_continuity(limits),
        *properties.check_independence(),
        *(properties.check_kinks() if claimed else ()),
        *properties.check_symmetries(extensive),
        *(properties.check_gradient_forces() if claimed else ()),
        *(_check_gemnet(model, properties) if isinstance(model, GemNet) else ()),
    )
    return tuple(dict.fromkeys(checked))


def _check_gemnet(model: GemNet, properties: Properties) -> tuple[str, ...]:
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
    if not isinstance(model, GemNet):
        return {}
    return {name: rule.cutoff for name, rule in model.backbone.graphs.rules.items()}
