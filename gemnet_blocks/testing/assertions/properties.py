"""Properties of whole models, each searched for a counterexample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import nn

from gemnet_blocks.structures import Structures
from gemnet_blocks.testing.assertions.balance import assert_momentum_balance, assert_torque_balance
from gemnet_blocks.testing.assertions.derivatives import assert_forces_are_gradient, assert_second_derivatives
from gemnet_blocks.testing.assertions.functions import holds
from gemnet_blocks.testing.assertions.repeatability import assert_deterministic, assert_precision
from gemnet_blocks.testing.assertions.search import search
from gemnet_blocks.testing.assertions.smoothness import assert_smooth_at_cutoff
from gemnet_blocks.testing.assertions.symmetry import assert_symmetry, finite_prediction
from gemnet_blocks.testing.assertions.tolerances import Tolerance
from gemnet_blocks.testing.models import Model, predict
from gemnet_blocks.testing.symmetries import Alone, Symmetry, Translation

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


@dataclass(frozen=True, slots=True)
class Properties:
    """A model, and where its properties are looked for.

    Attributes:
        model: anything that predicts energies of structures.
        structures: where predictions must be finite and symmetric: any that can be thought of.
        smooth_structures: where energies are smooth.
        examples: to try for each property.
        tolerance: of symmetries; None: what the type of the prediction allows.
    """

    model: Model
    structures: SearchStrategy[Structures]
    smooth_structures: SearchStrategy[Structures]
    examples: int
    tolerance: Tolerance | float | None = None

    @property
    def _fewer(self) -> int:
        """Examples for what is slow to check and, where it is wrong, wrong nearly everywhere."""
        return min(self.examples, max(5, self.examples // 4))

    def check_predictions(self) -> None:
        """Finite energies and forces, of the right shapes, the same every time."""

        def finite(structures: Structures) -> None:
            finite_prediction(self.model, structures)

        def repeatable(structures: Structures) -> None:
            assert_deterministic(self.model, structures)

        search(finite, "finite predictions", self.examples, structures=self.structures)
        search(repeatable, "repeatability", self._fewer, structures=self.structures)

    def check_symmetries(self, extensive: bool = True) -> None:
        """Everything that must not change an energy, one kind after another."""

        def symmetric(structures: Structures, symmetry: Symmetry) -> None:
            assert_symmetry(self.model, structures, symmetry, self.tolerance)

        for name, symmetries in _symmetries(extensive).items():
            search(symmetric, name, self.examples, structures=self.structures, symmetry=symmetries)

    def check_independence(self) -> None:
        """What else is in a batch does not matter."""
        from hypothesis import strategies as st

        from gemnet_blocks.testing.strategies import concatenate

        def independent(structures: Structures, symmetry: Symmetry) -> None:
            assert_symmetry(self.model, structures, symmetry, self.tolerance)

        search(
            independent,
            "independence of other structures in the batch",
            self.examples,
            # drawn as batches already, they would often be empty
            structures=st.lists(self.structures, min_size=2, max_size=3).map(concatenate),
            symmetry=_alone,
        )

    def check_gradient_forces(self) -> None:
        """Forces are the gradient of the energy and balance each other."""

        def gradient(structures: Structures) -> None:
            assert_forces_are_gradient(self.model, structures)

        def balanced(structures: Structures) -> None:
            if not bool(structures.periodic.any(dim=1).all()):
                assert_torque_balance(self.model, structures)

        search(gradient, "forces are the gradient of the energy", self.examples, structures=self.smooth_structures)
        self.check_momentum()
        search(balanced, "balance of torques", self.examples, structures=self.smooth_structures)

    def check_momentum(self) -> None:
        """Forces add up to zero."""

        def balanced(structures: Structures) -> None:
            assert_momentum_balance(self.model, structures)

        search(balanced, "balance of forces", self.examples, structures=self.structures)

    def check_second_derivatives(self) -> None:
        """Forces can be trained on."""

        def differentiable(structures: Structures) -> None:
            assert_second_derivatives(self.model, structures)

        search(differentiable, "second derivatives", self._fewer, structures=self.smooth_structures)

    def check_precision(self) -> None:
        """Single precision is enough."""

        def precise(structures: Structures) -> None:
            assert isinstance(self.model, nn.Module)
            assert_precision(self.model, structures)

        search(precise, "single precision", self._fewer, structures=self.smooth_structures)

    def check_continuity(self, cutoffs: Mapping[str, float]) -> None:
        """Nothing jumps where atoms leave a cutoff."""
        for cutoff, name in {cutoff: name for name, cutoff in cutoffs.items()}.items():
            with holds("continuity at cutoffs", {"cutoff": cutoff, "edge_set": name}):
                assert_smooth_at_cutoff(self.model, cutoff, forces=_has_forces(self.model))


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


def _has_forces(model: Model) -> bool:
    from ase import Atoms

    return (
        predict(model, Structures.from_ase(Atoms("H2", positions=[[0, 0, 0], [0.8, 0, 0]], tags=[1, 2]))).forces
        is not None
    )
