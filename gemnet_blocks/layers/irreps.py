"""Feature streams and their irreps: how features transform under rotations and reflections.

The irreps are those of e3nn (arXiv 2207.09453): `32x1o` are 32 vectors, and `64x0e` are 64 scalars. Vectors have their
components in the order x, y, z. e3nn is imported only for specs with streams.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

StreamPlace = Literal["atoms", "edges", "structures"]

MAX_DEGREE = 11
"""The largest degree of the harmonics and Wigner matrices of e3nn."""


def irreps(text: str) -> Any:
    """Parse irreps such as `32x1o` or `16x0e+8x1o`.

    Raises:
        ValueError: the text does not describe irreps, or they have no components or too large a degree.
    """
    from e3nn import o3

    try:
        found = o3.Irreps(text).remove_zero_multiplicities().simplify()
    except ValueError:
        found = o3.Irreps()
    if not found.dim:
        raise ValueError(f"expected irreps of e3nn such as 64x0e (scalars) or 32x1o (vectors), got {text!r}")
    if found.lmax > MAX_DEGREE:
        raise ValueError(f"expected irreps of degree {MAX_DEGREE} at most, got {text!r}")
    return found


@dataclass(frozen=True, slots=True)
class Stream:
    """The rows and features of a feature stream.

    Attributes:
        name: its name in the spec.
        on: the rows: atoms, main edges or structures.
        irreps: how the features transform, in the notation of e3nn.
    """

    name: str
    on: StreamPlace
    irreps: str

    @property
    def size(self) -> int:
        """The number of features of each row."""
        return int(irreps(self.irreps).dim)

    @property
    def scalars(self) -> bool:
        """True if all features are invariant scalars."""
        return all(str(irrep) == "0e" for _, irrep in irreps(self.irreps))
