"""Options of training data: files, units, labels, splits and batches."""

from __future__ import annotations

import os
from glob import glob
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from gemnet_blocks.data.batching import BatchOptions
from gemnet_blocks.data.splits import SplitOptions
from gemnet_blocks.data.units import StressOptions, UnitsField
from gemnet_blocks.options import Options
from gemnet_blocks.structures import EnergyMeaning
from gemnet_blocks.util.charges import Quantity
from gemnet_blocks.util.elements import Element

Files = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
"""Paths of files, or of folders of databases, relative to the config file; or patterns such as runs/*.xyz, whose files
are read in the order of their names."""


def located(name: str, folder: Path) -> Path:
    """Resolve a path of options, which is relative to a folder or begins with `~` for the user's home."""
    return folder / Path(name).expanduser()


def matching(name: str, folder: Path) -> dict[str, Path]:
    """Find the files and folders that match a path or pattern in options.

    Args:
        name: a path, or a pattern with `*`, `?`, `[...]` or `**`; a file of exactly this name takes precedence.
        folder: the folder that relative names are relative to.

    Returns:
        Paths by name: the path itself, even if it does not exist; or all matches of the pattern, sorted.
    """
    path = located(name, folder)
    if os.path.lexists(path) or not any(character in name for character in "*?["):
        return {name: path}
    pattern = str(Path(name).expanduser())
    return {found: folder / found for found in sorted(glob(pattern, root_dir=folder, recursive=True))}


class KeyOptions(Options):
    """The names of labels in the files, if they differ from the usual ones.

    A further entry such as `dipole: REF_dipole` is the key of a property, which is its name without such an entry.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str]

    energy: str | None = None
    """The key of energies, such as REF_energy or free_energy; null: energy (in npz archives: energies)."""
    forces: str | None = None
    """The key of forces, such as REF_forces; null: forces."""
    stress: str | None = None
    """The key of stresses, such as virial or virial_stress_kbar, which hold six numbers, in the order of
    `stress.order`, or nine; null: stress."""

    def given(self) -> dict[str, str]:
        """The keys that are not null, by label."""
        return {name: key for name, key in self if key is not None}

    @property
    def properties(self) -> dict[str, str]:
        """The keys of further properties, by label."""
        return dict(self.__pydantic_extra__ or {})


class DataOptions(Options):
    """Files of training data, the meaning of their numbers, their split and batches.

    Give either `files`, which `split` divides, or `train`; `validation` and `test` may name further files in both
    cases.
    """

    files: Files | None = None
    """Files that `split` divides: extended XYZ and other formats of ASE, ASE databases (.db, .json, .aselmdb), npz
    archives such as those of rMD17, and LMDBs of Open Catalyst's S2EF and IS2RE tasks (.lmdb, or a folder of them;
    the relaxed energies of IS2RE have the key y_relaxed). A pattern
    such as runs/*.xyz stands for all matching files."""
    train: Files | None = None
    """Files to train on without a split, instead of `files`."""
    validation: Files | None = None
    """Files to validate on."""
    test: Files | None = None
    """Files to test on."""
    format: str | None = None
    """ASE's name of the files' format; null: determined from name and content."""
    units: UnitsField
    """The unit of energy, such as kcal/mol (then lengths are in Å), or {energy: Hartree, length: Bohr}. Required."""
    energy: EnergyMeaning
    """The reference of the energies: total, adsorption or atomisation. Required."""
    labels: Annotated[tuple[str, ...], Field(strict=False)] = ("energy", "forces")
    """Labels that are read, and that every frame must have: energy, forces, stress, and properties that the model
    predicts, by the names of their heads. Properties stay in the unit of the file."""
    keys: KeyOptions = KeyOptions()
    """The names of labels in the files."""
    stress: StressOptions = StressOptions()
    """Unit, sign and order of stress labels."""
    periodicity: Literal["same", "mixed"] = "same"
    """same: all frames must be periodic in the same directions; mixed: they may differ, for example if a model is
    trained on crystals and molecules."""
    ignore: Annotated[tuple[Quantity, ...], Field(strict=False)] = ()
    """charge, spin or both: frames are treated as neutral closed shells whatever their value. Otherwise, models whose
    atom embedding has `charge` or `spin` read it; for other models, a frame is refused if it has a total charge other
    than 0, a spin other than 0 or a multiplicity other than 1. The value of `spin` and `total_spin` is a multiplicity,
    as in OMol25. Names such as `charge`, `total_charge`, `netCharge`, `spin` and `spin_multiplicity` are recognized.
    Charges of atoms are not total charges; ASE's initial charges cause a warning if they do not add up to zero."""
    elements: Annotated[tuple[Element, ...], Field(strict=False, min_length=1)] | None = None
    """Keep only structures of these elements, such as [Cu, O], in all parts; null: all. They need not have all of
    them."""
    atoms_at_most: Annotated[int, Field(ge=1)] | None = None
    """Keep only structures with at most this number of atoms, in all parts; null: all."""
    count: Annotated[int, Field(ge=1)] | None = None
    """The number of training structures, drawn at random with the seed of the split from those that the other filters
    and the split leave; a larger count keeps those of a smaller one. null: all."""
    split: SplitOptions | None = None
    """The division of `files` into training, validation and test set; null: all are training data."""
    leakage: Literal["warn", "error", "drop", "ignore"] = "warn"
    """The handling of structures that are both in the training set and in validation or test: a warning, an error, or
    their removal from the training set (and of test structures from validation); ignore skips the comparison."""
    check: Literal["all", "sample"] = "all"
    """The frames of databases and LMDBs that are checked in advance: all, or a sample of a hundred of each part, for
    datasets that take long to read (then parts are not compared). Every frame is checked again when it is read; files
    that are kept in memory are always checked completely."""
    batch: BatchOptions
    """The size of a batch."""
    workers: Annotated[int, Field(ge=0)] = 0
    """The number of processes that read batches ahead; 0: the training process reads. Use 2 to 8 if a GPU waits for
    data."""
    cache: str | None = None
    """A folder that stores the neighbor lists of all structures, so that they are computed once; null: they are
    computed in every step."""

    @model_validator(mode="before")
    @classmethod
    def _required_fields(cls, data: Any) -> Any:
        if isinstance(data, dict) and "units" not in data:
            raise ValueError("needs units, which are never guessed: write `units: eV`, `units: kcal/mol` or the like")
        if isinstance(data, dict) and "energy" not in data:
            raise ValueError("needs the reference of the energies: `energy: total`, `adsorption` or `atomisation`")
        return data

    @model_validator(mode="after")
    def _parts_fit(self) -> DataOptions:
        if (self.files is None) == (self.train is None):
            raise ValueError("needs exactly one of files and train: name the files to learn from")
        if self.train is not None and self.split is not None:
            raise ValueError("train is not split: call it files, or remove split")
        if not self.labels:
            raise ValueError("needs at least one label, such as labels: [energy, forces]")
        for part in ("validation", "test"):
            if getattr(self, part) is not None and self.split is not None and getattr(self.split, part):
                raise ValueError(f"{part} is a list of files and a part of split: remove one")
        return self
