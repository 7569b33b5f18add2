"""From options to datasets: files are opened, checked, split and compared."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gemnet_blocks.data.combined import Concatenation, Subset
from gemnet_blocks.data.copies import Copies, find_copies
from gemnet_blocks.data.dataset import LabelledDataset
from gemnet_blocks.data.files_to_sources import open_sources
from gemnet_blocks.data.frame import Charged, LabelRules
from gemnet_blocks.data.leakage import Survey, check_periodicity, survey
from gemnet_blocks.data.options import DataOptions
from gemnet_blocks.data.stored import MemoryDataset, StreamedDataset
from gemnet_blocks.errors import StructureError, first_few
from gemnet_blocks.potential.references import EnergyMeaning
from gemnet_blocks.spec.schema import Spec

_SAMPLE = 100


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
        raise StructureError("split: no structure is left to train on")
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
    datasets: list[LabelledDataset] = []
    for name in files:
        for source in open_sources(name, folder, options.keys.given(), options.format):
            datasets.append(StreamedDataset(source, rules) if source.streamed else MemoryDataset(source, rules))
    return datasets[0] if len(datasets) == 1 else Concatenation(datasets)


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
        raise StructureError("leakage: every structure to train on is also held out: nothing is left")
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
