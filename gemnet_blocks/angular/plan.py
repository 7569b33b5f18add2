"""How the sums of one interaction are computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AngularMethod = Literal["auto", "factorised", "explicit"]
"""explicit: triplets and quadruplets are listed, the definition. factorised: products of matrices per atom, of which no
list is made. auto: factorised where possible."""


@dataclass(frozen=True, slots=True)
class Method:
    """What was chosen.

    Attributes:
        factorised: or else explicit.
        reason: why, or when not; empty where there is nothing to say.
    """

    factorised: bool
    reason: str = ""

    def __str__(self) -> str:
        name = "factorised" if self.factorised else "explicit"
        return f"{name}: {self.reason}" if self.reason else name


@dataclass(frozen=True, slots=True)
class AngularPlan:
    """How the sums of one interaction are computed; changes no result.

    Attributes:
        method: factorised falls back to explicit where bases do not allow for it.
        atoms_at_most: how many atoms are computed at once in factorised sums; None: all that are alike.
    """

    method: AngularMethod = "auto"
    atoms_at_most: int | None = 128

    def choose(self, obstacle: str | None) -> Method:
        """What is computed where an obstacle may stand in the way of factorised sums."""
        if self.method == "explicit":
            return Method(factorised=False)
        return Method(factorised=obstacle is None, reason=obstacle or "")


EXPLICIT = AngularPlan("explicit")
