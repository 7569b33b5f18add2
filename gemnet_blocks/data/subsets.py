"""Subsets of data by element, by size and by number of structures, for small studies on large datasets."""

from __future__ import annotations

import numpy as np

from gemnet_blocks.data.dataset import LabelledDataset, Subset
from gemnet_blocks.data.options import DataOptions
from gemnet_blocks.errors import SpecError, StructureError
from gemnet_blocks.util.elements import element_number


def filtered(dataset: LabelledDataset, options: DataOptions, part: str) -> LabelledDataset:
    """Keep the structures of `elements` and of `atoms_at_most` atoms.

    Args:
        dataset: the structures of one part.
        options: the filters.
        part: the name of the part, for errors.

    Raises:
        StructureError: no structure is left.
    """
    if options.elements is None and options.atoms_at_most is None:
        return dataset
    kept = np.arange(len(dataset))
    if options.atoms_at_most is not None:
        kept = kept[dataset.atom_counts <= options.atoms_at_most]
    if options.elements is not None:
        numbers = {element_number(element) for element in options.elements}
        kept = np.array([i for i in kept if numbers.issuperset(dataset[int(i)].structures.numbers.tolist())], np.int64)
    if not len(kept):
        raise StructureError(
            f"data: none of the {len(dataset)} structures of {part} passes {described(options)}: widen the filters"
        )
    return Subset(dataset, kept)


def counted(train: LabelledDataset, options: DataOptions) -> LabelledDataset:
    """Draw `count` structures of the training set, in a random order that a larger count extends.

    Raises:
        SpecError: the training set has fewer structures.
    """
    if options.count is None:
        return train
    if options.count > len(train):
        raise SpecError(f"data.count: {options.count} structures are asked for, but the training set has {len(train)}")
    seed = 0 if options.split is None else options.split.seed
    return Subset(train, np.random.default_rng(seed).permutation(len(train))[: options.count])


def described(options: DataOptions) -> str:
    """Describe the filters by element and size, for reports."""
    elements = "" if options.elements is None else f"elements: [{', '.join(map(str, options.elements))}]"
    atoms = "" if options.atoms_at_most is None else f"atoms_at_most: {options.atoms_at_most}"
    return " and ".join(filter(None, (elements, atoms)))
