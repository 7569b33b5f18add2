"""From options to datasets: files are opened, checked, split and compared."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gemnet_blocks.data.databases import AseLmdbSource, LmdbSource, SqliteSource
from gemnet_blocks.data.dataset import Concatenation, LabelledDataset, MemoryDataset, StreamedDataset, Subset
from gemnet_blocks.data.frame import Charged, FrameSource, LabelRules
from gemnet_blocks.data.leakage import Copies, Survey, check_periodicity, find_copies, survey
from gemnet_blocks.data.options import DataOptions, located, matching
from gemnet_blocks.data.readers import AseSource, NpzSource
from gemnet_blocks.data.xyz_source import FORMATS as XYZ_FORMATS
from gemnet_blocks.data.xyz_source import XyzSource
from gemnet_blocks.errors import SpecError, StructureError, first_few, told
from gemnet_blocks.spec.catalog import near
from gemnet_blocks.spec.document import absent
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.structures import EnergyMeaning
from gemnet_blocks.util.file_kinds import mistaken

DATABASES = (".lmdb", ".aselmdb", ".db")
"""Endings of the files that a folder may hold."""

REFUSED_FORMATS = frozenset({"bundletrajectory", "gpaw-out"})
"""Formats that ASE reads with pickle or by evaluating text as Python."""

METADATA = "metadata.npz"
"""The file in a folder of fairchem's databases that lists the numbers of atoms of all frames, as `natoms`."""


def open_sources(name: str, folder: Path, keys: Mapping[str, str], format: str | None = None) -> list[FrameSource]:
    """Open a file, all databases in a folder, or all files that match a pattern, in the order of their names.

    Args:
        name: the path or pattern, which is also its name in messages.
        folder: what relative paths are relative to.
        keys: other names of energy, forces and stress.
        format: ASE's name of the format; None: by the file's name and content.

    Raises:
        StructureError: there is no such file, or nothing in it, or it cannot be read.
        ImportError: a package is not installed that is needed to read it.
    """
    found = matching(name, folder)
    if not found:
        raise StructureError(f"{name}: no file matches this pattern (looked in {folder.absolute()})")
    return [source for file, path in found.items() for source in _opened(path, file, keys, format)]


def read_atoms(path: Path, index: str = ":") -> list[Any]:
    """Read structures from everything that models are trained on, as ASE atoms; lengths are taken to be in Å.

    Args:
        path: a file, a folder of databases, or a pattern of files.
        index: which frames of all these, as ASE writes slices.

    Raises:
        StructureError: the file cannot be read or holds no such structure.
    """
    from ase.io import string2index

    sources = open_sources(str(path), Path(), {})
    places = [(source, number) for source in sources for number in range(len(source))]
    try:
        wanted: Any = string2index(index)
        numbers: int | range = range(len(places))[wanted]
    except IndexError:
        numbers = range(0)
    except (TypeError, ValueError):
        raise StructureError(
            f"{path}: expected a number or a slice as index, such as -1 or 0:10, found {index!r}"
        ) from None
    chosen = [places[number] for number in ([numbers] if isinstance(numbers, int) else numbers)]
    if not chosen:
        raise StructureError(f"{path}: there is no structure at index {index}, as there are only {len(places)}")
    return [source.atoms(number) for source, number in chosen]


def _opened(path: Path, name: str, keys: Mapping[str, str], format: str | None) -> list[FrameSource]:
    """The frames of a file, or those of all databases in a folder."""
    if not path.exists():
        if path.is_symlink():
            raise StructureError(f"{name}: {absent(path, 'symbolic link')}")
        raise StructureError(f"{name}: there is no such file (looked for {path.absolute()})")
    sources = _folder(path, name, keys) if path.is_dir() else [_file(path, name, keys, format)]
    for source in sources:
        if len(source) == 0 and len(sources) == 1:
            raise StructureError(f"{source.name}: there is no frame in it")
    return [source for source in sources if len(source)]


def _file(path: Path, name: str, keys: Mapping[str, str], format: str | None) -> FrameSource:
    if format is None:
        if path.suffix == ".npz":
            return NpzSource(path, keys, name)
        if path.suffix == ".lmdb":
            return LmdbSource(path, keys, name)
        if path.suffix == ".db":
            return SqliteSource(path, keys, name)
        if path.suffix == ".aselmdb":
            return AseLmdbSource(path, keys, name)
        if other := mistaken(path, "a file of structures"):
            raise StructureError(f"{name}: expected structures, but this {other}")
    found = format or _format(path, name)
    if found in REFUSED_FORMATS:
        raise StructureError(
            f"{name}: the format {found} can run code when it is read: convert it to extxyz with ASE first"
        )
    return XyzSource(path, keys, name, found) if found in XYZ_FORMATS else AseSource(path, keys, name, found)


def _format(path: Path, name: str) -> str:
    """ASE's name of a file's format, by the file's name and content."""
    from ase.io.formats import filetype

    try:
        found: str = filetype(str(path))
    except Exception as error:  # what decompresses and guesses raises anything
        raise StructureError(f"{name}: ASE cannot read it: {told(error)}") from error
    return found


def _folder(path: Path, name: str, keys: Mapping[str, str]) -> list[FrameSource]:
    for suffix in DATABASES:
        files = sorted(path.glob(f"*{suffix}"))
        if files:
            sources = [_file(file, f"{name.rstrip('/')}/{file.name}", keys, None) for file in files]
            _share_counts(path / METADATA, sources)
            return sources
    raise StructureError(f"{name}: is a folder without files that end in {', '.join(DATABASES)}: name a file")


def _share_counts(path: Path, sources: list[FrameSource]) -> None:
    """Tell databases how many atoms their frames have, if the folder's metadata does and fits."""
    if not path.is_file():
        return
    try:
        with np.load(path, allow_pickle=False) as metadata:
            counts = np.asarray(metadata["natoms"], dtype=np.int64)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return  # it saves time and nothing else
    ends = np.cumsum([len(source) for source in sources])
    if counts.shape == (ends[-1],):
        for source, share in zip(sources, np.split(counts, ends[:-1]), strict=True):
            source.known_counts = share


_SAMPLE = 100
"""Structures that are read beforehand, of databases."""


@dataclass(frozen=True, slots=True)
class DataSplits:
    """The parts of a dataset.

    Attributes:
        train: to fit weights to.
        validation: to choose among weights; None without any.
        test: to look at once; None without any.
        meaning: what energies are relative to.
        report: what was found, a line of text each.
        digest: differs where structures or labels to train on or to validate on do, or their order; of parts that
            were only sampled, the sample's.
        surveys: what was seen of each part that there is, by its name.
    """

    train: LabelledDataset
    validation: LabelledDataset | None
    test: LabelledDataset | None
    meaning: EnergyMeaning
    report: str
    digest: str
    surveys: Mapping[str, Survey]


def open_data(options: DataOptions, folder: Path, model: Spec | None = None, charged: Charged = "refuse") -> DataSplits:
    """Open, check, split and compare labelled structures.

    Args:
        options: which files, what they mean, how they are split.
        folder: what relative paths are relative to.
        model: the model that all structures are for: they must have its elements, and tags if it selects edges by them.
        charged: whether structures with a total charge or spin, which models do not read, are refused, as is right for
            training, or warned of. `options.ignore` passes over them.

    Raises:
        StructureError: a file or frame that cannot be used, or copies of training structures where these are errors;
            names file and frame.
        SpecError: options that do not fit the data.
    """
    opened = {
        part: open_files(files, options, folder, model, charged)
        for part, files in (
            ("train", options.files or options.train),
            ("validation", options.validation),
            ("test", options.test),
        )
        if files is not None
    }
    if options.split is not None:
        whole, parts = opened["train"], options.split.split(opened["train"])
        for name in ("train", "validation", "test"):
            indices = getattr(parts, name)
            if len(indices) or name == "train":
                opened[name] = Subset(whole, indices)
    if len(opened["train"]) == 0:
        raise StructureError("data.split: no structure is left to train on")
    surveys = {part: survey(dataset, _looked_at(dataset, options)) for part, dataset in opened.items()}
    if options.periodicity == "same":
        check_periodicity(surveys.values())
    lines = [f"{part}: {seen.line()}" for part, seen in surveys.items()]
    lines += _without_leaks(opened, surveys, options)
    return DataSplits(
        train=opened["train"],
        validation=opened.get("validation"),
        test=opened.get("test"),
        meaning=options.energy,
        report="\n".join(lines),
        digest=" ".join(f"{part}:{seen.digest[:16]}" for part, seen in surveys.items() if part != "test"),
        surveys=surveys,
    )


def open_files(
    files: Sequence[str],
    options: DataOptions,
    folder: Path,
    model: Spec | None = None,
    charged: Charged = "refuse",
) -> LabelledDataset:
    """All frames of some files, unsplit; those that are kept in memory are checked.

    Args:
        files: paths or patterns; relative ones are relative to `folder`.
        options: what they mean; parts and splits are not read.
        folder: see above.
        model: see `open_data`.
        charged: see `open_data`.

    Raises:
        StructureError: a file or frame that cannot be used; names file and frame.
    """
    _check_format(options.format)
    rules = LabelRules(
        units=options.units.factors(options.stress.unit),
        required=frozenset(options.labels),
        stress=options.stress.rule(),
        keys=options.keys.given(),
        element_count=None if model is None else model.elements,
        needs_tags=model is not None and any(model.graphs[name].tags is not None for name in model.graphs_in_use()),
        ignore=frozenset(options.ignore),
        charged=charged,
    )
    sources = [source for name in files for source in open_sources(name, folder, options.keys.given(), options.format)]
    _warn_of_repeated_files([source.name for source in sources], folder)
    datasets: list[LabelledDataset] = [
        StreamedDataset(source, rules) if source.streamed else MemoryDataset(source, rules) for source in sources
    ]
    return datasets[0] if len(datasets) == 1 else Concatenation(datasets)


def _check_format(format: str | None) -> None:
    """Check that ASE knows a format.

    Raises:
        SpecError: it does not; suggests a format.
    """
    from ase.io.formats import ioformats

    if format is not None and format not in ioformats:
        raise SpecError(
            f"data.format: expected ASE's name of a format, such as extxyz or vasp-out, got {format!r}"
            f"{near(format, ioformats)}"
        )


def _warn_of_repeated_files(names: Sequence[str], folder: Path) -> None:
    """Warn of files that are listed twice: under two names, in a pattern or folder too, or by a link."""
    known: dict[Path, str] = {}
    repeated = []
    for name in names:
        path = located(name, folder).resolve()
        if path in known:
            repeated.append(name if name == known[path] else f"{name}, which is {known[path]}")
        known.setdefault(path, name)
    if repeated:
        listed = first_few(repeated)
        warnings.warn(
            f"data: files are listed twice, so that their structures count twice: {listed}. List each once",
            stacklevel=3,
        )


def _looked_at(dataset: LabelledDataset, options: DataOptions) -> Sequence[int]:
    """The structures that are read beforehand."""
    count = len(dataset)
    if options.check == "all" or not dataset.streamed or count <= _SAMPLE:
        return range(count)
    return np.unique(np.linspace(0, count - 1, _SAMPLE).astype(int)).tolist()


def _without_leaks(opened: dict[str, LabelledDataset], surveys: dict[str, Survey], options: DataOptions) -> list[str]:
    """Compare the parts, and deal with what is in two of them; returns lines of the report."""
    if options.leakage == "ignore" or len(opened) == 1:
        return []
    if not all(seen.complete for seen in surveys.values()):
        return ["parts were not compared, as only a sample was read: with `check: all` they are"]
    lines = []
    for held, seen in (("test", "train"), ("validation", "train"), ("test", "validation")):
        if held not in surveys or seen not in surveys:
            continue
        copies = find_copies(surveys[held], surveys[seen])
        if len(copies) == 0:
            lines.append(f"no structure of {held} is in {seen} too")
            continue
        text = _described(copies, held, seen, surveys)
        if options.leakage == "error":
            raise StructureError(f"{text}: remove them, or write `leakage: drop` or `leakage: warn`")
        if options.leakage == "drop":
            every = find_copies(surveys[seen], surveys[held]).held
            opened[seen], dropped = _dropped(opened[seen], every)
            surveys[seen] = survey(opened[seen], range(len(opened[seen])))
            text = f"{text}; {dropped} structures of {seen} were dropped"
        else:
            warnings.warn(text, stacklevel=3)
        lines.append(text)
    return lines


def _dropped(dataset: LabelledDataset, indices: Sequence[int]) -> tuple[LabelledDataset, int]:
    kept = np.setdiff1d(np.arange(len(dataset)), indices)
    if len(kept) == 0:
        raise StructureError("data.leakage: every structure to train on is also held out: nothing is left")
    return Subset(dataset, kept), len(dataset) - len(kept)


def _described(copies: Copies, held: str, seen: str, surveys: dict[str, Survey]) -> str:
    listed = [
        f"{surveys[held].dataset.place(index)} = {surveys[seen].dataset.place(other)}{'' if same else ' (moved)'}"
        for index, other, same in zip(copies.held, copies.seen, copies.same, strict=True)
    ]
    return (
        f"{len(copies)} of {len(surveys[held].dataset)} structures of {held} are in {seen} too, "
        f"{copies.same.count(False)} of them rotated, mirrored, shifted or renumbered: "
        f"{first_few(listed, 10)}"
    )
