"""The choice between explicit and factorized sums over triplets and quadruplets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AngularMethod = Literal["auto", "factorized", "explicit"]
"""explicit: list triplets and quadruplets, the definition. factorized: multiply matrices per atom and list nothing.
auto: factorized if the bases allow it."""


@dataclass(frozen=True, slots=True)
class Method:
    """The method that was chosen for the sums of an interaction.

    Attributes:
        factorized: factorized or explicit.
        reason: why, or when not; may be empty.
    """

    factorized: bool
    reason: str = ""

    def __str__(self) -> str:
        name = "factorized" if self.factorized else "explicit"
        return f"{name}: {self.reason}" if self.reason else name


@dataclass(frozen=True, slots=True)
class AngularPlan:
    """How the sums of one interaction are to be computed; changes no result.

    Attributes:
        method: the method; sums of bases that do not factorize are explicit.
        atoms_at_most: the number of atoms that factorized sums compute at once, which bounds their memory; None: all.
    """

    method: AngularMethod = "auto"
    atoms_at_most: int | None = 128

    def choose(self, obstacle: str | None) -> Method:
        """Choose the method for bases that may have an obstacle to factorized sums."""
        if self.method == "explicit":
            return Method(factorized=False)
        return Method(factorized=obstacle is None, reason=obstacle or "")


EXPLICIT = AngularPlan("explicit")
