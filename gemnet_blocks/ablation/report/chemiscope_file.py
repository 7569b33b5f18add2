"""A file of structures with the differences of errors for the viewer chemiscope (https://chemiscope.org)."""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gemnet_blocks.ablation.report.atoms_figure import by_difference
from gemnet_blocks.ablation.report.environments import NEAR, by_composition
from gemnet_blocks.ablation.report.formatting import clean
from gemnet_blocks.ablation.report.paired_errors import PairedErrors
from gemnet_blocks.ablation.report.where_section import StudyDifferences, shown_as
from gemnet_blocks.evaluation.kept import KeptPredictions
from gemnet_blocks.structures import to_ase

Integers = npt.NDArray[np.int64]

CHEMISCOPE = "where.chemiscope.json"
"""The file, which chemiscope.org and `chemiscope.show_input` open."""

CHEMISCOPE_NEEDED = "the package chemiscope is not installed: pip install 'gemnet_blocks[chemiscope]'"

ATOMS = 20_000
"""The largest number of atoms in the file, which browsers show fast; structures with small differences are left
out."""


def is_installed() -> bool:
    """Tell whether the package chemiscope, which writes the file, is installed."""
    return importlib.util.find_spec("chemiscope") is not None


def chemiscope_files(differences: StudyDifferences, title: str) -> dict[str, str]:
    """Return the file by its name; none if the runs kept no predictions, or chemiscope is not installed."""
    if not differences.found or not is_installed():
        return {}
    return {CHEMISCOPE: chemiscope_json(differences.found, title)}


def chemiscope_json(found: Mapping[str, Mapping[str, PairedErrors]], title: str) -> str:
    """Return the JSON of the structures with the differences of their atoms.

    The map shows each atom (without errors of atoms, each structure) by the error of the base and its difference.

    Args:
        found: the paired errors by quantity and name of the variant; at least one, all of the same structures.
        title: name of the dataset.

    Raises:
        ImportError: chemiscope is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parts for notebooks that are not used
            import chemiscope
    except ImportError as error:
        raise ImportError(CHEMISCOPE_NEEDED) from error
    first = next(iter(next(iter(found.values())).values()))
    kept, chosen = first.kept, _chosen(first)
    errors = [one for variants in found.values() for one in variants.values() if one.owner == "atom"]
    # an atom without an error, which JSON cannot hold, has no point in the map
    atoms = np.flatnonzero(np.isin(kept.structure, chosen) & _all_finite(errors, len(kept.structure)))
    properties: dict[str, dict[str, Any]] = {}
    for kind, variants in found.items():
        properties |= _of_quantity(kind, variants, atoms, chosen)
    target = "atom" if len(atoms) else "structure"
    base, difference, *_ = (name for name, one in properties.items() if one["target"] == target)
    properties["composition"] = {"target": "structure", "values": _compositions(kept, chosen)}
    data = chemiscope.create_input(
        structures=[to_ase(kept.structures[int(one)])[0] for one in chosen],
        metadata={"name": clean(title)},
        properties=properties,
        environments=_environments(kept, chosen, atoms) if len(atoms) else None,
        settings=chemiscope.quick_settings(
            x=base,
            y=difference,
            map_color=difference,
            structure_color=difference if len(atoms) else None,
            target=target,
        ),
    )
    return json.dumps(data, allow_nan=False) + "\n"


def _chosen(found: PairedErrors) -> Integers:
    """Choose the structures with the largest differences, in the order of the evaluated set."""
    order = by_difference(found)
    ends = np.cumsum(found.kept.of_structures["atoms"][order])
    return np.sort(order[: max(1, int(np.searchsorted(ends, ATOMS, side="right")))])


def _all_finite(errors: Sequence[PairedErrors], atoms: int) -> npt.NDArray[np.bool_]:
    """Tell which atoms have all errors; none without errors of atoms."""
    finite = [np.isfinite(one.base).all(axis=0) & np.isfinite(one.other).all(axis=0) for one in errors]
    return np.logical_and.reduce(finite) if finite else np.zeros(atoms, dtype=bool)


def _of_quantity(
    kind: str, variants: Mapping[str, PairedErrors], atoms: Integers, chosen: Integers
) -> dict[str, dict[str, Any]]:
    """Return the errors of the base and the differences of all variants, without those that lack some values."""
    first, shown = next(iter(variants.values())), shown_as(kind)
    places = atoms if first.owner == "atom" else chosen
    values = {"base": first.base.mean(axis=0)}
    values |= {f"{clean(name, 60)} − base": one.differences for name, one in variants.items()}
    return {
        f"{kind} error, {name}": {
            "target": first.owner,
            "values": (numbers[places] * shown.factor).tolist(),
            "units": shown.unit,
        }
        for name, numbers in values.items()
        if len(places) and np.isfinite(numbers[places]).all()
    }


def _compositions(kept: KeptPredictions, chosen: Integers) -> list[str]:
    found = by_composition(kept)
    return [found.names[found.members[one]] for one in chosen]


def _environments(kept: KeptPredictions, chosen: Integers, atoms: Integers) -> list[tuple[int, int, float]]:
    """Return the place of the structure in the file, the place of the atom in the structure and a radius in Å."""
    starts = np.cumsum(kept.of_structures["atoms"]) - kept.of_structures["atoms"]
    structure = kept.structure[atoms]
    return [
        (int(place), int(atom), NEAR)
        for place, atom in zip(np.searchsorted(chosen, structure), atoms - starts[structure], strict=True)
    ]
