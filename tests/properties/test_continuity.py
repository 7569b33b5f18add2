"""Energies and forces do not jump while atoms move: through cutoffs, caps, lines and planes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ase import Atoms
from helpers import slow_but
from hypothesis import strategies as st
from properties.harness import batches, holds_for
from properties.models import INTERACTIONS, TIGHT_CAPS, alone, model_of, symmetric_spec

from gemnet_blocks.structures import Structures
from gemnet_blocks.testing import strategies as some
from gemnet_blocks.testing.assertions import assert_second_derivatives, assert_smooth, assert_smooth_at_cutoff


# the others are of the class of `triplet`
@pytest.mark.parametrize("interaction", slow_but(INTERACTIONS, quick=["triplet", "quadruplet", "atom_atom"]))
def test_an_atom_crosses_every_cutoff_where_neighbors_fade_out(interaction: str) -> None:
    """`assert_interaction` checks the same without a maximum number of neighbors."""
    spec = symmetric_spec(**(alone(interaction) | TIGHT_CAPS))
    for name in ("main", interaction_graph(interaction)):
        assert_smooth_at_cutoff(model_of(spec), spec.graphs[name].cutoff, samples=24)


def interaction_graph(interaction: str) -> str:
    return {"quadruplet": "quad", "atom_edge": "atom_edge", "edge_atom": "atom_edge", "atom_atom": "atom"}.get(
        interaction, "main"
    )


def test_a_hard_cap_makes_the_energy_jump_and_a_smooth_one_does_not() -> None:
    """What the documentation says of caps: an atom is no longer the nearest of another as a third comes nearer."""
    atoms = [[0, 0, 0], [1.0, 0, 0], [0, 1.2, 0.1], [0, 0.3, 2.6]]
    structures = Structures.from_ase(Atoms("CHNO", positions=atoms))
    move = torch.zeros(4, 3, dtype=torch.float64)
    move[3, 2] = -1.8
    for ties, jumps in (("smooth", False), ("inclusive", True), ("strict", True)):
        model = model_of(symmetric_spec(**{"graphs.atom.max_neighbors": 1, "neighbors.ties": ties}))
        if jumps:
            with pytest.raises(AssertionError, match="jumps"):
                assert_smooth(model, structures, move, samples=64)
        else:
            assert_smooth(model, structures, move, samples=64)


FEW = some.generic_structures(max_atoms=5, cutoff=4.0)
SPECIAL = some.shells(max_atoms=5) | some.chains(max_atoms=4) | some.planar(max_atoms=4) | some.coincident(max_atoms=4)


@holds_for(batches(FEW | SPECIAL, quick=3), quick=6, most=1000)
def test_moves_through_64_places(structures: Structures, data: Any) -> None:
    """Along any way, through other atoms, lines and planes too; caps are smooth."""
    steps = st.sampled_from((0.0, 1.0, -1.0)) | st.floats(-1.5, 1.5)
    move = torch.zeros_like(structures.positions)
    move[::3] = torch.tensor([data.draw(steps) for _ in range(3)])
    if move.numel() and float(move.norm()) > 0.01:
        assert_smooth(model_of(symmetric_spec(**TIGHT_CAPS)), structures, move, samples=64, forces=False)


@holds_for(batches(FEW), quick=4)
def test_second_derivatives(structures: Structures, data: Any) -> None:
    if structures.atom_count:
        model = model_of(symmetric_spec(**(TIGHT_CAPS | {"heads.forces": None})))
        assert_second_derivatives(model, structures)
