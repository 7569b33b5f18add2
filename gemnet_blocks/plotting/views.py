"""Projections of structures to two dimensions, and panels of atoms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gemnet_blocks.errors import StructureError
from gemnet_blocks.structures import Structures

if TYPE_CHECKING:
    from ase import Atoms

Array = np.ndarray[Any, Any]

TILT, TURN = np.radians(-78.0), np.radians(11.0)
"""View angles of surfaces: nearly from the side, so that layers are apart and atoms do not hide each other."""

ASIDE = np.radians(20.0)
"""Tilt of molecules, so that a mirror plane does not hide half of their atoms."""


def as_structures(structures: Structures | Atoms | Sequence[Atoms]) -> Structures:
    """Convert ASE atoms to `Structures`.

    Raises:
        StructureError: a structure cannot be computed.
    """
    return structures if isinstance(structures, Structures) else Structures.from_ase(structures)


def one_structure(structures: Structures | Atoms | Sequence[Atoms]) -> Structures:
    """Return the single structure to draw.

    Raises:
        StructureError: there are several structures or none, or the structure has no atoms.
    """
    found = as_structures(structures)
    if len(found) != 1:
        raise StructureError(
            f"expected one structure to draw, found {len(found)} structures: choose one by structures[0] or --index 0"
        )
    if found.atom_count == 0:
        raise StructureError("the structure has no atoms to draw")
    return found


def chosen_atom(structure: Structures, atom: int | None) -> int:
    """Return the index of the central atom: the given one, or the first atom with the largest tag.

    Raises:
        StructureError: the structure does not have such an atom.
    """
    if atom is None:
        return int(structure.tags.argmax())
    if not -structure.atom_count <= atom < structure.atom_count:
        raise StructureError(f"atom must be below {structure.atom_count}, the number of atoms; got {atom}")
    return atom % structure.atom_count


def view_of(structure: Structures) -> Array:
    """Return the rotation from positions to coordinates (right, up, towards the viewer).

    The view of periodic structures is nearly along y with z pointing up; other structures appear as wide as possible.
    """
    if bool(structure.periodic.any()):
        about_z = np.array([[np.cos(TURN), -np.sin(TURN), 0], [np.sin(TURN), np.cos(TURN), 0], [0, 0, 1]])
        rotation: Array = _about_x(TILT) @ about_z
        return rotation
    turned: Array = _about_x(ASIDE) @ widest_view(structure.positions.detach().double().numpy())
    return turned


def widest_view(places: Array) -> Array:
    """Return the rotation to the principal axes: the spread of points is largest in x and second largest in y."""
    _, _, axes = np.linalg.svd(places - places.mean(axis=0))
    # the decomposition does not define the signs
    axes = axes * np.where(np.abs(axes).max(axis=1) == axes.max(axis=1), 1, -1)[:, None]
    return np.array([axes[0], axes[1], np.cross(axes[0], axes[1])])


def _about_x(angle: float) -> Array:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])


def image_positions(structure: Structures, source: torch.Tensor, shift: torch.Tensor) -> Array:
    """Compute the positions of images of atoms in Å."""
    cell = structure.cells[0].detach().double()
    found: Array = (structure.positions.detach().double()[source] + shift.double() @ cell).numpy()
    return found


def atom_colors(numbers: Sequence[int] | Array) -> Array:
    """Return the colors of elements in ASE."""
    from ase.data.colors import jmol_colors

    return np.asarray(jmol_colors)[np.clip(np.asarray(numbers, dtype=int), 0, len(jmol_colors) - 1)]


def symbols(structure: Structures) -> list[str]:
    """Return the chemical symbol of each atom."""
    from ase.data import chemical_symbols

    known = len(chemical_symbols)
    return [chemical_symbols[number] if number < known else str(number) for number in structure.numbers.tolist()]


def bare(axes: Any) -> None:
    """Hide the axes of a panel and give both directions the same scale."""
    axes.set_aspect("equal")
    axes.set(xticks=[], yticks=[])
    axes.spines[["left", "right", "top", "bottom"]].set_visible(False)


def square(axes: Any, places: Array, margin: float = 1.35, least: float = 0.0) -> None:
    """Set limits of equal width and height around points in Å."""
    low, high = places.min(axis=0), places.max(axis=0)
    half = margin * max(float((high - low).max()) / 2, least, 0.3)
    (x, y) = (low + high) / 2
    axes.set(xlim=(x - half, x + half), ylim=(y - half, y + half))


def scale_bar(axes: Any) -> None:
    """Draw a scale bar in Å in the lower left corner of a panel with final limits."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    length = next((size for size in (5, 2, 1) if size <= 0.25 * (right - left)), 0.5)
    y = bottom + 0.01 * (top - bottom)
    axes.plot([left, left + length], [y, y], color="0.2", linewidth=2, clip_on=False)
    axes.text(left, y + 0.02 * (top - bottom), f"{length:g} Å", ha="left", va="bottom", fontsize=8)
