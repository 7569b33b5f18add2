"""Neighborhoods, their pictures, and numbers of neighbors, against edge sets that the library builds."""

from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from ase.build import fcc111, molecule
from drawings import SYMMETRIC
from helpers import KINDS

from gemnet_blocks.errors import SpecError, StructureError
from gemnet_blocks.plotting import draw_edge_sets, draw_neighbors, draw_quadruplet, neighbor_counts
from gemnet_blocks.plotting.edge_sets import (
    ADDED,
    BEYOND,
    FADING,
    KEPT,
    OTHER_TAGS,
    REMOVED,
    edge_sets_of,
    neighborhood,
)
from gemnet_blocks.plotting.quadruplet import find_chain
from gemnet_blocks.spec import build
from gemnet_blocks.structures import Structures


def copper():
    atoms = fcc111("Cu", (2, 2, 3), vacuum=8, periodic=True)
    atoms.set_tags([0] * 8 + [1] * 4)
    return atoms


CAPPED = SYMMETRIC.patch({"graphs.main": {"cutoff": 5.0, "max_neighbors": 7}, "graphs.quad.tags": [1]})


def statuses(spec, name, atom, atoms=None):
    found = edge_sets_of(spec, Structures.from_ase(atoms or copper()))
    return found, neighborhood(found, name, atom)


@pytest.mark.parametrize("ties", ["strict", "inclusive", "inclusive_next", "smooth"])
@pytest.mark.parametrize("symmetrize", ["union", "lower_index"])
@pytest.mark.parametrize("name", ["main", "quad"])
def test_edges_are_those_of_the_model(ties, symmetrize, name):
    spec = CAPPED.patch({"neighbors.ties": ties, "graphs.main.symmetrize": symmetrize})
    structures = Structures.from_ase(copper())
    topology = build(spec).double().topology(structures)
    for atom in (0, 5, 11):
        found, around = statuses(spec, name, atom)
        counted = Counter(around.status)
        drawn = counted[KEPT] + counted[FADING] + counted[ADDED]
        assert drawn == int(topology.edges[name].degree[atom])
        selected = int((found.selected[name].pairs.target == atom).sum())
        assert counted[KEPT] + counted[FADING] + counted[REMOVED] == selected


def test_ties_at_the_cap():
    # an atom of the top layer has 9 nearest neighbors, 7 of which a strict cap admits
    _, strict = statuses(CAPPED.patch({"neighbors.ties": "strict"}), "main", 11)
    assert int(strict.tied.sum()) == 9
    assert Counter(strict.status)[BEYOND] > 0
    _, free = statuses(CAPPED.patch({"graphs.main.max_neighbors": 9}), "main", 11)
    assert not free.tied.any()


def test_tags():
    _, around = statuses(CAPPED, "quad", 0)  # an atom below the surface, and the surface out of reach
    assert set(around.status) == {OTHER_TAGS}


def test_smooth_caps_fade():
    spec = CAPPED.patch({"neighbors.ties": "smooth", "graphs.main.symmetrize": "union"})
    _, around = statuses(spec, "main", 11)
    fading = [weight for weight, status in zip(around.weight, around.status, strict=True) if status == FADING]
    assert fading
    assert all(0 < weight < 1 for weight in fading)


@pytest.mark.parametrize("structures", [copper(), molecule("CH3CH2OH"), Atoms("H")], ids=str)
def test_pictures(structures):
    picture = draw_edge_sets(CAPPED.patch({"graphs.quad.tags": None}), structures)
    titles = [axes.get_title() for axes in picture.figure.axes]
    assert [title.split(":")[0] for title in titles] == ["main", "atom", "atom_edge", "quad"]
    assert picture.content("png") == picture.content("png")


def test_the_atom_in_the_middle():
    assert "atom 8 (Cu)" in draw_edge_sets(CAPPED, copper()).figure.get_suptitle()  # the first one of the surface
    assert "atom 11 (Cu)" in draw_edge_sets(CAPPED, copper(), atom=-1).figure.get_suptitle()
    with pytest.raises(StructureError, match="atom must be below 12, the number of atoms; got 12"):
        draw_edge_sets(CAPPED, copper(), atom=12)


def test_structures_that_cannot_be_drawn():
    with pytest.raises(StructureError, match="has no atoms"):
        draw_edge_sets(SYMMETRIC, Atoms())
    with pytest.raises(StructureError, match="expected one structure to draw, found 2"):
        draw_edge_sets(SYMMETRIC, [copper(), copper()])
    with pytest.raises(StructureError, match="no atoms"):
        draw_neighbors(SYMMETRIC, [])


def test_counts():
    spec = CAPPED.patch({"neighbors.ties": "strict", "graphs.main.symmetrize": "union"})
    counts = {found.edge_set: found for found in neighbor_counts(spec, [copper(), copper()])}
    assert counts["main"].cap == 7
    assert counts["main"].capped == 1.0
    assert (counts["main"].counts >= 7).all()  # union adds
    assert counts["atom"].capped == 0.0
    np.testing.assert_array_equal(counts["atom"].counts, counts["atom"].within_cutoff)
    assert len(counts["atom"].counts) == 24
    assert counts["main"].row()[:3] == ("main", "5 Å", "7")


def test_histograms_count_every_atom():
    picture = draw_neighbors(CAPPED, copper())
    for axes in picture.figure.axes:
        assert sum(bar.get_height() for bar in axes.patches) == 12


def dihedral(a, b, c, d):
    atoms = Atoms("H4", positions=[c, a, b, d])
    return atoms.get_dihedral(0, 1, 2, 3), atoms.get_angle(0, 1, 2), atoms.get_angle(1, 2, 3)


@pytest.mark.parametrize("kind", ["molecules", "slab", "small cell"])
def test_angles_of_a_quadruplet(kind):
    structure = KINDS[kind]()[0]
    found = edge_sets_of(SYMMETRIC, structure)
    graphs = found.graphs
    for atom in range(structure.atom_count):
        chain = find_chain(SYMMETRIC, structure, graphs.main.edges, graphs.edge_sets["quad"], atom)
        if chain is not None:
            theta, at_a, at_b = dihedral(*chain.places)
            assert chain.dihedral == pytest.approx(min(theta, 360 - theta), abs=0.1)
            assert chain.at_target == pytest.approx(at_a, abs=1e-4)
            assert chain.at_source == pytest.approx(180 - at_b, abs=1e-4)
            break
    else:
        raise AssertionError("there are quadruplets")


def test_pictures_of_quadruplets():
    picture = draw_quadruplet(SYMMETRIC, molecule("CH3CH2OH"))
    assert len(picture.figure.axes) == 4
    assert "θ = " in picture.figure.axes[3].get_title()
    assert draw_quadruplet(SYMMETRIC, copper(), atom=11, edge_set="main").content("svg")
    with pytest.raises(StructureError, match=r"the structure does not have a quadruplet.*choose another structure"):
        draw_quadruplet(SYMMETRIC, molecule("H2"))
    with pytest.raises(StructureError, match=r"atom 1 does not have a quadruplet.*choose another atom"):
        draw_quadruplet(SYMMETRIC, molecule("H2"), atom=1)
    with pytest.raises(SpecError, match=r"expected an edge set that an interaction reads .*, got 'other'"):
        draw_quadruplet(SYMMETRIC, copper(), edge_set="other")
