"""Topologies whose tables are merged for compiled models."""

from __future__ import annotations

import pytest
import torch
from helpers import KINDS, ROOT

from gemnet_blocks.graph.merged import LEAST, TABLES, merged_tables
from gemnet_blocks.graph.padded import AtomGroups, Chains
from gemnet_blocks.graph.pairs import Translations
from gemnet_blocks.graph.ragged import segments
from gemnet_blocks.spec import Execution, build, load_spec

SMALL = {"sizes.edge": 12, "sizes.atom": 10, "blocks.count": 1, "graphs.main.max_neighbors": 6}


@pytest.mark.parametrize("angular", ["auto", "explicit"])
@pytest.mark.parametrize("kind", ["molecules", "slab", "small cell", "mixed batch"])
def test_merged_tables_change_no_prediction(angular: str, kind: str) -> None:
    spec = load_spec(ROOT / "paper_configs/gemnet-oc.yaml", SMALL)
    model = build(spec, seed=0, execution=Execution(angular=angular, atoms_at_most=None)).double()
    structures = KINDS[kind]()
    topology = model.topology(structures)
    merged = merged_tables(topology)
    for indices in merged.indices.values():
        groups = indices.around_target if isinstance(indices, Chains) else indices
        if isinstance(groups, AtomGroups):
            assert len(groups.groups) == TABLES
            assert all(min(group.pair.shape) >= LEAST for group in groups.groups)
    torch.testing.assert_close(model(structures, merged).forces, model(structures, topology).forces)


def test_segments_are_renumbered() -> None:
    found = merged_tables(segments(torch.tensor([0, 0, 0, 2, 3, 3, 5]), 7))
    items = torch.cat([bucket.items.flatten() for bucket in found.buckets])
    assert items[found.row_of_item].tolist() == list(range(7))
    members = torch.cat([bucket.segments for bucket in found.buckets])
    assert members[found.place[[0, 2, 3, 5]]].tolist() == [0, 2, 3, 5]
    assert found.place[[1, 4, 6]].tolist() == [len(members)] * 3


def test_the_only_translation_of_an_isolated_molecule_is_padded() -> None:
    only = Translations(torch.zeros(3, 1, dtype=torch.long), torch.tensor([0]), torch.zeros(40, dtype=torch.long))
    found = merged_tables(only)
    assert found.shift.shape == (3, LEAST)
    assert found.structure.shape == (LEAST,)
    cells = torch.eye(3)[None]
    assert torch.equal(found.in_cells(cells), only.in_cells(cells))
