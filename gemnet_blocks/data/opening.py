"""Opening, checking, splitting and comparing the datasets that options describe."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gemnet_blocks.data.databases import AseLmdbSource, LmdbSource, SqliteSource
from gemnet_blocks.data.dataset import Concatenation, LabelledDataset, MemoryDataset, StreamedDataset, Subset
from gemnet_blocks.data.frame import LABELS, Charged, FrameSource, LabelRules
from gemnet_blocks.data.leakage import DatasetSummary, Duplicates, check_periodicity, find_duplicates, summarize
from gemnet_blocks.data.options import DataOptions, located, matching
from gemnet_blocks.data.readers import AseSource, NpzSource
from gemnet_blocks.data.subsets import counted, described, filtered
from gemnet_blocks.data.xyz_source import FORMATS as XYZ_FORMATS
from gemnet_blocks.data.xyz_source import XyzSource
from gemnet_blocks.errors import SpecError, StructureError, first_few, told
from gemnet_blocks.spec.catalog import did_you_mean, near
from gemnet_blocks.spec.document import absent
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.structures import EnergyMeaning, PropertyKind
from gemnet_blocks.util.charges import Quantity
from gemnet_blocks.util.file_kinds import mistaken

T = TypeVar("T")

DATABASES = (".lmdb", ".aselmdb", ".db")
"""Endings of the databases that a folder may contain."""

REFUSED_FORMATS = frozenset({"bundletrajectory", "gpaw-out"})
"""Formats that ASE reads with pickle or by evaluating text as Python code."""

METADATA = "metadata.npz"
"""The file in a folder of fairchem's databases that contains the numbers of atoms of all frames, as `natoms`."""


def open_sources(name: str, folder: Path, keys: Mapping[str, str], format: str | None = None) -> list[FrameSource]:
    """Open a file, all databases in a folder, or all files that match a pattern, in the order of their names.

    Args:
        name: the path or pattern, which is also its name in messages.
        folder: the folder that relative paths are relative to.
        keys: other names of energy, forces and stress, and the names of further properties.
        format: ASE's name of the format; None: determined from the file's name and content.

    Raises:
        StructureError: a file is missing, empty or cannot be read.
        ImportError: a package that reads the file is not installed.
    """
    found = matching(name, folder)
    if not found:
        raise StructureError(f"{name}: no file matches this pattern (looked in {folder.absolute()})")
    return [source for file, path in found.items() for source in _opened(path, file, keys, format)]


def read_atoms(path: Path, index: str = ":", format: str | None = None, length: float = 1.0) -> list[Any]:
    """Read structures as ASE atoms from all formats of training data.

    Args:
        path: a file, a folder of databases, or a pattern of files.
        index: a frame number or a slice of all frames, such as -1 or 0:10.
        format: ASE's name of the format; None: determined from the file's name and content.
        length: the unit of length in Å.

    Raises:
        StructureError: a file cannot be read, or the index is out of range.
        SpecError: ASE has no format of this name.
    """
    check_format(format, "format")
    sources = open_sources(str(path), Path(), {}, format)
    places = [(source, number) for source in sources for number in range(len(source))]
    frames = [source.atoms(number) for source, number in chosen_frames(places, index, path)]
    if length != 1.0:
        for frame in frames:
            frame.set_cell(frame.cell.array * length)
            frame.positions *= length
    return frames


def chosen_frames(places: Sequence[T], index: str, path: Path) -> list[T]:
    """Choose frames by an index.

    Args:
        places: all frames.
        index: a frame number or a slice of all frames, such as -1 or 0:10.
        path: the file, for errors.

    Raises:
        StructureError: the index is out of range, or not an index.
    """
    from ase.io import string2index

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
        raise StructureError(f"{path}: there is no structure at index {index}: the file has only {len(places)}")
    return chosen


def _opened(path: Path, name: str, keys: Mapping[str, str], format: str | None) -> list[FrameSource]:
    if not path.exists():
        if path.is_symlink():
            raise StructureError(f"{name}: {absent(path, 'symbolic link')}")
        raise StructureError(f"{name}: there is no such file (looked for {path.absolute()})")
    sources = _folder(path, name, keys) if path.is_dir() else [_file(path, name, keys, format)]
    for source in sources:
        if len(source) == 0 and len(sources) == 1:
            raise StructureError(f"{source.name}: contains no frame")
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
    from ase.io.formats import filetype

    try:
        found: str = filetype(str(path))
    except Exception as error:  # decompression and detection raise anything
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
    """Set the numbers of atoms of all frames from the metadata of a folder, if it has as many frames."""
    if not path.is_file():
        return
    try:
        with np.load(path, allow_pickle=False) as metadata:
            counts = np.asarray(metadata["natoms"], dtype=np.int64)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return  # counts only save time
    ends = np.cumsum([len(source) for source in sources])
    if counts.shape == (ends[-1],):
        for source, share in zip(sources, np.split(counts, ends[:-1]), strict=True):
            source.known_counts = share


_SAMPLE = 100
"""The number of structures of a database that `check: sample` reads in advance."""


@dataclass(frozen=True, slots=True)
class DataSplits:
    """The parts of a dataset.

    Attributes:
        train: the training set.
        validation: the validation set, if there is one.
        test: the test set, if there is one.
        meaning: the reference of the energies.
        report: lines of text about each part and their duplicates.
        digest: hash of structures, labels and their order in training and validation set; of the sample if only a
            sample was read.
        summaries: the summary of each part by its name.
    """

    train: LabelledDataset
    validation: LabelledDataset | None
    test: LabelledDataset | None
    meaning: EnergyMeaning
    report: str
    digest: str
    summaries: Mapping[str, DatasetSummary]


def open_data(
    options: DataOptions,
    folder: Path,
    model: Spec | None = None,
    charged: Charged = "refuse",
    properties: Mapping[str, PropertyKind] | None = None,
    reads: frozenset[Quantity] | None = None,
) -> DataSplits:
    """Open, check, split and compare labelled structures.

    Args:
        options: the files, the meaning of their numbers, and their split.
        folder: the folder that relative paths are relative to.
        model: the spec of the model that reads the structures: they may have only its elements, and must have tags if
            it selects edges by tags. None: no such check.
        charged: `refuse`, for training, or `warn`: the handling of structures with a total charge or spin, which models
            do not read, unless `options.ignore` names the quantity.
        properties: the kinds of labels besides energy, forces and stress; None: those that the model predicts.
        reads: whichever of charge and spin are read and thus not refused; None: those that the model reads.

    Raises:
        StructureError: a file or frame cannot be used, or `leakage` is `error` and parts share structures; names file
            and frame.
        SpecError: the options do not fit the data.
    """
    opened = {
        part: open_files(files, options, folder, model, charged, properties, reads)
        for part, files in (
            ("train", options.files or options.train),
            ("validation", options.validation),
            ("test", options.test),
        )
        if files is not None
    }
    found = {part: len(dataset) for part, dataset in opened.items()}
    opened = {part: filtered(dataset, options, part) for part, dataset in opened.items()}
    lines = [
        f"{part}: {len(dataset)} of {found[part]} structures pass {described(options)}"
        for part, dataset in opened.items()
        if described(options)
    ]
    if options.split is not None:
        whole, parts = opened["train"], options.split.split(opened["train"])
        for name in ("train", "validation", "test"):
            indices = getattr(parts, name)
            if len(indices) or name == "train":
                opened[name] = Subset(whole, indices)
    if len(opened["train"]) == 0:
        raise StructureError("data.split: no structure is left to train on")
    opened["train"] = counted(opened["train"], options)
    summaries = {part: summarize(dataset, _checked_indices(dataset, options)) for part, dataset in opened.items()}
    if options.periodicity == "same":
        check_periodicity(summaries.values())
    lines += [f"{part}: {summary.line()}" for part, summary in summaries.items()]
    lines += _without_leaks(opened, summaries, options)
    return DataSplits(
        train=opened["train"],
        validation=opened.get("validation"),
        test=opened.get("test"),
        meaning=options.energy,
        report="\n".join(lines),
        digest=" ".join(f"{part}:{summary.digest[:16]}" for part, summary in summaries.items() if part != "test"),
        summaries=summaries,
    )


def open_files(
    files: Sequence[str],
    options: DataOptions,
    folder: Path,
    model: Spec | None = None,
    charged: Charged = "refuse",
    properties: Mapping[str, PropertyKind] | None = None,
    reads: frozenset[Quantity] | None = None,
) -> LabelledDataset:
    """Open all frames of some files, unsplit; files that are kept in memory are checked.

    Args:
        files: paths or patterns.
        options: the meaning of their numbers; parts and splits are ignored.
        folder: the folder that relative paths are relative to.
        model: see `open_data`.
        charged: see `open_data`.
        properties: see `open_data`.
        reads: see `open_data`.

    Raises:
        StructureError: a file or frame cannot be used; names file and frame.
        SpecError: a label is neither energy, forces, stress nor a known property.
    """
    check_format(options.format, "data.format")
    known = properties if properties is not None else {} if model is None else model.heads.kinds()
    if problems := unknown_labels(options, known):
        raise SpecError("\n".join(f"data.{place}: {problem}" for place, problem in problems.items()))
    kinds = {name: known[name] for name in options.labels if name not in LABELS}
    keys = {**{name: name for name in kinds}, **options.keys.given()}
    rules = LabelRules(
        units=options.units.factors(options.stress.unit),
        required=frozenset(options.labels),
        stress=options.stress,
        keys=keys,
        element_count=None if model is None else model.elements,
        needs_tags=model is not None and any(model.graphs[name].tags is not None for name in model.graphs_in_use()),
        ignore=frozenset(options.ignore),
        charged=charged,
        properties=kinds,
        reads=(reads if reads is not None else frozenset() if model is None else model.reads) - set(options.ignore),
    )
    sources = [source for name in files for source in open_sources(name, folder, keys, options.format)]
    _warn_of_repeated_files([source.name for source in sources], folder)
    datasets: list[LabelledDataset] = [
        StreamedDataset(source, rules) if source.streamed else MemoryDataset(source, rules) for source in sources
    ]
    return datasets[0] if len(datasets) == 1 else Concatenation(datasets)


def unknown_labels(options: DataOptions, properties: Collection[str]) -> dict[str, str]:
    """Find labels and keys that are neither energy, forces, stress nor properties that the model predicts.

    Returns:
        The problem with each of them, by its place in the options.
    """
    known = [*LABELS, *properties]
    listed = " or ".join((", ".join(map(repr, known[:-1])), repr(known[-1])))
    advice = "a further label needs a head of its name in the model: heads: {{{}: {{type: property, ...}}}}"
    problems = {
        f"labels.{number}": f"must be {listed}, got {name!r}{near(name, known) or f' ({advice.format(name)})'}"
        for number, name in enumerate(options.labels)
        if name not in known
    }
    return problems | {
        f"keys.{name}": f"unknown field{did_you_mean(name, known)}"
        for name in options.keys.properties
        if name not in known
    }


def check_format(format: str | None, entry: str) -> None:
    """Check the name of a format, which the config entry or option `entry` gives.

    Raises:
        SpecError: ASE has no format of this name.
    """
    from ase.io.formats import ioformats

    if format is not None and format not in ioformats:
        raise SpecError(
            f"{entry}: expected ASE's name of a format, such as extxyz or vasp-out, got {format!r}"
            f"{near(format, ioformats)}"
        )


def _warn_of_repeated_files(names: Sequence[str], folder: Path) -> None:
    """Warn of files that are listed twice: under two names, by a pattern or folder, or by a link."""
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


def _checked_indices(dataset: LabelledDataset, options: DataOptions) -> Sequence[int]:
    count = len(dataset)
    if options.check == "all" or not dataset.streamed or count <= _SAMPLE:
        return range(count)
    return np.unique(np.linspace(0, count - 1, _SAMPLE).astype(int)).tolist()


def _without_leaks(
    opened: dict[str, LabelledDataset], summaries: dict[str, DatasetSummary], options: DataOptions
) -> list[str]:
    """Find and handle structures that two parts share; returns lines of the report."""
    if options.leakage == "ignore" or len(opened) == 1:
        return []
    if not all(summary.complete for summary in summaries.values()):
        return ["parts were not compared, since only a sample was read: set `check: all` to compare them"]
    lines = []
    for held, seen in (("test", "train"), ("validation", "train"), ("test", "validation")):
        if held not in summaries or seen not in summaries:
            continue
        duplicates = find_duplicates(summaries[held], summaries[seen])
        if len(duplicates) == 0:
            lines.append(f"no structure of {held} is in {seen} too")
            continue
        text = _described(duplicates, held, seen, summaries)
        if options.leakage == "error":
            raise StructureError(f"{text}: remove them, or write `leakage: drop` or `leakage: warn`")
        if options.leakage == "drop":
            every = find_duplicates(summaries[seen], summaries[held]).held
            opened[seen], dropped = _dropped(opened[seen], every)
            summaries[seen] = summarize(opened[seen], range(len(opened[seen])))
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


def _described(duplicates: Duplicates, held: str, seen: str, summaries: Mapping[str, DatasetSummary]) -> str:
    here, there = summaries[held].dataset, summaries[seen].dataset
    listed = [
        f"{here.place(index)} = {there.place(other)}{'' if same else ' (moved)'}"
        for index, other, same in zip(duplicates.held, duplicates.seen, duplicates.same, strict=True)
    ]
    return (
        f"{len(duplicates)} of {len(here)} structures of {held} are in {seen} too, "
        f"{duplicates.same.count(False)} of them rotated, mirrored, shifted or renumbered: "
        f"{first_few(listed, 10)}"
    )
