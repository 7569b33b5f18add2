"""What the numbers of a stress label mean: their order, sign and unit."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import field_validator

from gemnet_blocks.data.units import Units, stress_unit
from gemnet_blocks.errors import StructureError
from gemnet_blocks.options import Options

Order = Literal["xx yy zz yz xz xy", "xx yy zz xy yz xz", "xx yy zz xy xz yz"]
"""The order of six numbers: Voigt's, which ASE uses; VASP's; or row by row."""

Sign = Literal["tensile", "compressive"]
"""When the diagonal is positive: when the cell wants to shrink (ASE), or when it wants to grow (VASP's output)."""

Kind = Literal["stress", "virial"]
"""Stress, or stress times volume, an energy."""

_ASYMMETRY_AT_MOST = 1e-3
"""How far nine numbers may be from a symmetric matrix, relative to the greatest one."""

_ROUNDING = 1e-5
"""How far they may always be from it, in eV/Å³: 1.6 MPa, less than the error of any computed stress."""


@dataclass(frozen=True, slots=True)
class StressRule:
    """What the numbers of a stress label mean.

    Attributes:
        sign: when they are positive.
        order: of six numbers.
        kind: stress, or virial.
    """

    sign: Sign = "tensile"
    order: Order = "xx yy zz yz xz xy"
    kind: Kind = "stress"

    def matrix(
        self, value: npt.NDArray[Any], units: Units, volume: float, place: str, label: str = "stress"
    ) -> npt.NDArray[np.float64]:
        """Compute σ = (1/V) ∂E/∂ε in eV/Å³, 3 × 3 and symmetric.

        Args:
            value: six numbers, nine, or 3 × 3, which may differ from a symmetric matrix by rounding.
            units: those of the file.
            volume: of the cell, in Å³.
            place: file and frame number, for messages.
            label: what messages call the stress, with the key that it is read from.

        Raises:
            StructureError: other numbers, an asymmetric matrix, or a virial of a cell without volume.
        """
        if value.dtype.kind not in "iuf" or value.size not in (6, 9):
            raise StructureError(
                f"{place}: {label}: expected 6 numbers, in the order that `stress.order` names, or 9 numbers (3 × 3), "
                f"found {reprlib.repr(value.tolist())}: correct the frame, or leave stress out of `labels`"
            )
        flat = value.reshape(-1).astype(np.float64)
        matrix = flat.reshape(3, 3) if flat.size == 9 else flat[list(_PLACES[self.order])].reshape(3, 3)
        if self.kind == "virial" and volume == 0:
            raise StructureError(f"{place}: a virial needs a cell with a volume to be turned into a stress")
        factor = units.energy / volume if self.kind == "virial" else units.stress
        matrix = (factor if self.sign == "tensile" else -factor) * matrix
        asymmetry = np.abs(matrix - matrix.T)
        # comparisons are false where numbers are not finite, which is reported elsewhere
        if asymmetry.max() > max(_ASYMMETRY_AT_MOST * np.abs(matrix).max(), _ROUNDING):
            row, column = np.unravel_index(asymmetry.argmax(), (3, 3))
            first, second = flat.reshape(3, 3)[row, column], flat.reshape(3, 3)[column, row]
            raise StructureError(
                f"{place}: {label}: expected a symmetric matrix, found {first:.6g} and {second:.6g} for the same "
                "component: correct the nine numbers, replace them by the mean of the matrix and its transpose, or "
                "leave stress out of `labels`"
            )
        return (matrix + matrix.T) / 2


_PLACES: dict[str, tuple[int, ...]] = {
    "xx yy zz yz xz xy": (0, 5, 4, 5, 1, 3, 4, 3, 2),
    "xx yy zz xy yz xz": (0, 3, 5, 3, 1, 4, 5, 4, 2),
    "xx yy zz xy xz yz": (0, 3, 4, 3, 1, 5, 4, 5, 2),
}
"""For each entry of the matrix, row by row, its place among the six numbers."""


class StressOptions(Options):
    """What the numbers of a stress label mean; the defaults are ASE's."""

    unit: str | None = None
    """eV/Å^3, GPa, kbar or Hartree/Bohr^3; null: the unit of energy per cubed unit of length. Virials are always in the
    unit of energy."""
    sign: Sign = "tensile"
    """tensile: positive where the cell wants to shrink, (1/V) ∂E/∂ε, as ASE has it; compressive: positive where it
    wants to grow, as VASP prints it and as most virials are."""
    order: Order = "xx yy zz yz xz xy"
    """The order of six numbers: Voigt's (ASE), `xx yy zz xy yz xz` (VASP) or `xx yy zz xy xz yz` (row by row). A wrong
    order is not noticed: compare a sheared cell."""
    kind: Kind = "stress"
    """stress, or virial: stress times volume."""

    @field_validator("unit")
    @classmethod
    def _is_stress(cls, name: str | None) -> str | None:
        if name is not None:
            stress_unit(name)
        return name

    def rule(self) -> StressRule:
        """The same without the unit."""
        return StressRule(self.sign, self.order, self.kind)
