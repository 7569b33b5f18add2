"""What data there is, what it means, and how it is split and batched."""

from __future__ import annotations

import os
from glob import glob
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from gemnet_blocks.data.batching import BatchOptions
from gemnet_blocks.data.frame import Label
from gemnet_blocks.data.splits import SplitOptions
from gemnet_blocks.data.units import StressOptions, UnitsField
from gemnet_blocks.options import Options
from gemnet_blocks.structures import EnergyMeaning
from gemnet_blocks.util.charges import Quantity

Files = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
"""Paths of files, or of folders of databases, relative to the file that names them; or patterns such as runs/*.xyz,
whose files are taken in the order of their names."""


def located(name: str, folder: Path) -> Path:
    """Where a path that options name is: relative ones are in the folder, `~` is the user's home."""
    return folder / Path(name).expanduser()


def matching(name: str, folder: Path) -> dict[str, Path]:
    """Files and folders that a name in options stands for, by their own names.

    Args:
        name: a path, or a pattern with `*`, `?`, `[...]` or `**`; a file with just that name comes before a pattern.
        folder: what relative names are relative to.

    Returns:
        The path itself, whether it exists or not; or what matches the pattern, sorted, which may be nothing.
    """
    path = located(name, folder)
    if os.path.lexists(path) or not any(character in name for character in "*?["):
        return {name: path}
    pattern = str(Path(name).expanduser())
    return {found: folder / found for found in sorted(glob(pattern, root_dir=folder, recursive=True))}


class KeyOptions(Options):
    """Under which names files have the labels, where not under the usual ones."""

    energy: str | None = None
    """Such as REF_energy or free_energy; null: energy (in npz archives: energies)."""
    forces: str | None = None
    """Such as REF_forces; null: forces."""
    stress: str | None = None
    """Such as virial or virial_stress_kbar; null: stress. Six numbers, in the order of `stress.order`, or nine."""

    def given(self) -> dict[str, str]:
        """The names that are given, by label."""
        return {name: key for name, key in self if key is not None}


class DataOptions(Options):
    """What data there is, what it means, and how it is split and batched.

    Either `files`, which `split` divides, or `train`; `validation` and `test` can be files of their own in both cases.
    """

    files: Files | None = None
    """Files that `split` divides: extended XYZ and all else that ASE reads, ASE databases (.db, .json, .aselmdb), npz
    archives as those of rMD17, and LMDBs of Open Catalyst's S2EF tasks (.lmdb, or a folder of them). A pattern such as
    runs/*.xyz stands for all files that match it."""
    train: Files | None = None
    """Files to train on, all of them, instead of `files`."""
    validation: Files | None = None
    """Files to validate on."""
    test: Files | None = None
    """Files to test on."""
    format: str | None = None
    """ASE's name of the files' format, where name and content do not tell."""
    units: UnitsField
    """The unit of energy, such as kcal/mol (then lengths are in Å), or {energy: Hartree, length: Bohr}. Required."""
    energy: EnergyMeaning
    """What energies are relative to: total, adsorption or atomisation. Required."""
    labels: Annotated[tuple[Label, ...], Field(strict=False)] = ("energy", "forces")
    """Labels that are read, and that every frame must have."""
    keys: KeyOptions = KeyOptions()
    """Under which names files have the labels."""
    stress: StressOptions = StressOptions()
    """What stress labels mean."""
    periodicity: Literal["same", "mixed"] = "same"
    """Whether all frames must be periodic in the same directions; mixed where, say, crystals and molecules are meant to
    be learned together."""
    ignore: Annotated[tuple[Quantity, ...], Field(strict=False)] = ()
    """charge, spin or both, which no model reads yet: frames are trained on as if they were neutral, whatever they say
    of these. Otherwise a frame is refused if it has a total charge other than 0, a spin other than 0 or a multiplicity
    other than 1; the value 1 of `spin` and `total_spin` is taken for a multiplicity, as in OMol25. Names such as
    `charge`, `total_charge`, `netCharge`, `spin` and `spin_multiplicity` are recognized. Charges of atoms are not total
    charges; ASE's initial charges cause a warning where they do not add up to zero."""
    split: SplitOptions | None = None
    """How `files` are divided; null: all of them are to train on."""
    leakage: Literal["warn", "error", "drop", "ignore"] = "warn"
    """What becomes of structures that are both in the training set and in validation or test: a warning, an error, or
    they are dropped from the training set (likewise from validation where test has them); ignore does not look."""
    check: Literal["all", "sample"] = "all"
    """How many frames of databases and LMDBs are read and checked beforehand: all, or a hundred of each part (then
    structures are not compared between parts). Every frame is checked again when it is read; files that are kept in
    memory are always checked whole."""
    batch: BatchOptions
    """How much one batch holds."""
    workers: Annotated[int, Field(ge=0)] = 0
    """How many processes read batches ahead."""
    cache: str | None = None
    """A folder in which neighbors of each structure are kept, so that they are searched for once; null: they are
    searched for in every step."""

    @model_validator(mode="before")
    @classmethod
    def _required_fields(cls, data: Any) -> Any:
        if isinstance(data, dict) and "units" not in data:
            raise ValueError("needs units, which are never guessed: write `units: eV`, `units: kcal/mol` or the like")
        if isinstance(data, dict) and "energy" not in data:
            raise ValueError("needs `energy: total`, `adsorption` or `atomisation`: what energies are relative to")
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
