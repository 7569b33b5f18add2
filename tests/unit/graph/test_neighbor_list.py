"""One suite for all neighbor searches, with ASE's neighbor list as the oracle."""

from __future__ import annotations

import copy
import importlib.util
import itertools
import math
import pickle
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111
from ase.neighborlist import primitive_neighbor_list
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gemnet_blocks.errors import StructureError
from gemnet_blocks.graph import cell_list as torch_cells
from gemnet_blocks.graph import neighbor_list
from gemnet_blocks.graph.neighbor_list import (
    NeighborSearch,
    NvalchemiSearch,
    Pairs,
    TorchSearch,
    VesinSearch,
    neighbor_search,
)
from gemnet_blocks.graph.wrapping import Candidates, wrap
from gemnet_blocks.structures import Structures

needs_torch_cluster = pytest.mark.skipif(
    importlib.util.find_spec("torch_cluster") is None, reason="torch-cluster is not installed (extra pyg)"
)
needs_nvalchemi = pytest.mark.skipif(
    importlib.util.find_spec("nvalchemiops") is None, reason="nvalchemi-toolkit-ops is not installed (extra gpu)"
)
NAMES = [
    "vesin",
    "torch",
    pytest.param("torch_cluster", marks=needs_torch_cluster),
    pytest.param("nvalchemi", marks=needs_nvalchemi),
]
PERIODICITIES = list(itertools.product([False, True], repeat=3))


@pytest.fixture(params=NAMES)
def search(request: pytest.FixtureRequest) -> NeighborSearch:
    return neighbor_search(request.param)


# -- helpers ----------------------------------------------------------------------------------------------------------


def random_atoms(seed: int, size: float, count: int, periodic: tuple[bool, ...], unused: str = "keep") -> Atoms:
    """Atoms scattered over several images of a random triclinic cell; every other one is left-handed.

    `unused` says what becomes of lattice vectors without periodicity: kept, set to zero, or made parallel to another.
    """
    random = np.random.default_rng(seed)
    cell = size * (np.eye(3) + random.uniform(-0.4, 0.4, (3, 3)))
    if seed % 2:
        cell[2] *= -1
    fractional = random.uniform(-1.5, 2.5, (count, 3)) if count > 1 else random.uniform(3, 4, (count, 3))
    # along open directions stay within reach of each other
    fractional = np.where(periodic, fractional, fractional % 1)
    atoms = Atoms(numbers=np.ones(count, dtype=int), positions=fractional @ cell, cell=cell, pbc=periodic)
    for axis in range(3):
        if not periodic[axis] and unused != "keep":
            cell[axis] = 0 if unused == "zero" else 2 * cell[axis - 1]
    atoms.cell[:] = cell
    return atoms


def mixed_batch() -> list[Atoms]:
    many = [
        random_atoms(seed, size, count, periodic, unused)
        for seed, (periodic, (size, count), unused) in enumerate(
            zip(
                PERIODICITIES * 2,
                itertools.cycle([(3.0, 3), (12.0, 30), (6.0, 0), (5.0, 10), (2.0, 1)]),
                itertools.cycle(["keep", "zero", "parallel"]),
                strict=False,
            )
        )
    ]
    return [Atoms(), *many, fcc111("Cu", (2, 2, 3), vacuum=6), bulk("Cu") * (2, 1, 1), Atoms("H"), Atoms()]


def completed(atoms: Atoms) -> np.ndarray:
    """The cell with arbitrary vectors where it is not periodic: ASE's neighbor list needs a volume."""
    cell = atoms.cell.array * atoms.pbc[:, None]
    return Atoms(cell=cell, pbc=atoms.pbc).cell.complete().array


def expected(many: list[Atoms], cutoff: float) -> dict[tuple[int, ...], float]:
    """(source, target, shift) → distance, from ASE; without pairs exactly at the cutoff, which ASE leaves out.

    ASE's vector from i runs to the image of j at `positions[j] + S @ cell`: j is the source and i the target.
    """
    found: dict[tuple[int, ...], float] = {}
    start = 0
    for atoms in many:
        if len(atoms):
            target, source, shift, distance = primitive_neighbor_list(
                "ijSd", atoms.pbc, completed(atoms), atoms.positions, cutoff, self_interaction=False
            )
            keys = np.column_stack([source + start, target + start, shift]).tolist()
            found.update(zip(map(tuple, keys), distance.tolist(), strict=True))
        start += len(atoms)
    return found


def as_dict(pairs: Pairs) -> dict[tuple[int, ...], float]:
    keys = torch.cat([pairs.source[:, None], pairs.target[:, None], pairs.shift], dim=1).tolist()
    found = dict(zip(map(tuple, keys), pairs.distance.tolist(), strict=True))
    assert len(found) == len(pairs), "a pair is listed twice"
    return found


def assert_equal_to_ase(pairs: Pairs, many: list[Atoms], cutoff: float) -> int:
    found, wanted = as_dict(pairs), expected(many, cutoff)
    assert found.keys() == wanted.keys()
    keys = list(found)
    np.testing.assert_allclose([found[key] for key in keys], [wanted[key] for key in keys], rtol=0, atol=1e-12)
    return len(found)


def assert_identical(one: Pairs, other: Pairs) -> None:
    for name in ("source", "target", "shift", "distance"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


def assert_sane(pairs: Pairs, structures: Structures, cutoff: float) -> None:
    """Types, order, closure under reversal, and distances by definition."""
    count = len(pairs)
    assert pairs.source.shape == pairs.target.shape == pairs.distance.shape == (count,)
    assert pairs.shift.shape == (count, 3)
    assert pairs.source.dtype == pairs.target.dtype == pairs.shift.dtype == torch.int64
    assert pairs.distance.dtype == torch.float64
    assert not pairs.distance.requires_grad
    rows = list(
        zip(
            pairs.target.tolist(),
            pairs.distance.tolist(),
            pairs.source.tolist(),
            map(tuple, pairs.shift.tolist()),
            strict=True,
        )
    )
    assert rows == sorted(rows)
    found = as_dict(pairs)
    for (source, target, *shift), distance in found.items():
        assert (source, shift) != (target, [0, 0, 0])
        assert found[(target, source, *(-n for n in shift))] == distance  # to the last bit
    home = structures.structure
    assert torch.equal(home[pairs.source], home[pairs.target])
    assert not bool(pairs.shift[~structures.periodic[home[pairs.target]]].any())
    assert bool((pairs.distance <= cutoff).all())


class ElementCount(TorchDispatchMode):
    """Counts the elements of all tensors that torch computes: work and memory without a clock."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self.largest = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.total += sum(sizes)
        self.largest = max(self.largest, *sizes, 0)
        return result


# -- the pairs that ASE finds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("periodic", PERIODICITIES, ids=lambda flags: "".join("FT"[flag] for flag in flags))
@pytest.mark.parametrize(
    ("size", "count", "cutoff"), [(1.5, 1, 4.0), (2.5, 3, 4.0), (6.0, 12, 5.0), (16.0, 60, 5.0), (9.0, 1, 8.0)]
)
def test_random_cells(
    search: NeighborSearch, periodic: tuple[bool, ...], size: float, count: int, cutoff: float
) -> None:
    for seed, unused in enumerate(["keep", "zero", "parallel"]):
        atoms = random_atoms(int(size * 10) + seed, size, count, periodic, unused)
        structures = Structures.from_ase(atoms)
        pairs = search(structures, cutoff)
        assert_equal_to_ase(pairs, [atoms], cutoff)
        assert_sane(pairs, structures, cutoff)


def test_batch_of_mixed_structures(search: NeighborSearch) -> None:
    many = mixed_batch()
    structures = Structures.from_ase(many)
    pairs = search(structures, 6.0)
    assert assert_equal_to_ase(pairs, many, 6.0) > 2000
    assert_sane(pairs, structures, 6.0)


def test_every_structure_is_searched_alone(search: NeighborSearch) -> None:
    many = mixed_batch()
    together = search(Structures.from_ase(many), 5.0)
    start, parts = 0, []
    for atoms in many:
        alone = search(Structures.from_ase(atoms), 5.0)
        parts.append(Pairs(alone.source + start, alone.target + start, alone.shift, alone.distance))
        start += len(atoms)
    names = ("source", "target", "shift", "distance")
    assert_identical(together, Pairs(*(torch.cat([getattr(part, name) for part in parts]) for name in names)))


def test_flat_cell(search: NeighborSearch) -> None:
    cell = [[4.0, 0, 0], [19.0, 1.5, 0], [-13.0, 7.0, 5.0]]
    positions = np.random.default_rng(0).uniform(-30, 30, (4, 3))
    atoms = Atoms("H4", positions=positions, cell=cell, pbc=True)
    assert assert_equal_to_ase(search(Structures.from_ase(atoms), 5.0), [atoms], 5.0) > 100


def test_slab_with_many_bins(search: NeighborSearch) -> None:
    atoms = fcc111("Cu", (8, 8, 4), vacuum=10)
    atoms.pbc = (True, True, False)
    atoms.rattle(0.1, seed=0)
    assert_equal_to_ase(search(Structures.from_ase(atoms), 4.5), [atoms], 4.5)


# -- odd input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("many", [[], [Atoms()], [Atoms(), Atoms()], [Atoms("H")], [Atoms(), Atoms("H"), Atoms()]])
def test_no_pairs(search: NeighborSearch, many: list[Atoms]) -> None:
    structures = Structures.from_ase(many)
    pairs = search(structures, 5.0)
    assert len(pairs) == 0
    assert_sane(pairs, structures, 5.0)


def test_structure_without_atoms_but_with_a_cell(search: NeighborSearch) -> None:
    many = [Atoms(cell=[3, 3, 3], pbc=True), bulk("Cu"), Atoms(cell=[0, 3, 3], pbc=(False, True, True))]
    assert assert_equal_to_ase(search(Structures.from_ase(many), 4.0), many, 4.0) == 18


def test_one_atom_sees_its_own_images(search: NeighborSearch) -> None:
    atoms = Atoms("H", positions=[[7.3, -20, 1]], cell=[0, 2.0, 0], pbc=(False, True, False))
    pairs = search(Structures.from_ase(atoms), 4.0)
    assert pairs.source.tolist() == pairs.target.tolist() == [0, 0, 0, 0]
    assert pairs.shift[:, 1].tolist() == [-1, 1, -2, 2]
    assert pairs.distance.tolist() == [2.0, 2.0, 4.0, 4.0]


def test_coincident_atoms_see_each_other(search: NeighborSearch) -> None:
    positions = [[1, 1, 1], [1, 1, 1], [1 + 5, 1 - 10, 1]]
    atoms = Atoms("H3", positions=positions, cell=[5, 5, 5], pbc=True)
    pairs = search(Structures.from_ase(atoms), 1.0)
    assert as_dict(pairs) == {
        (0, 1, 0, 0, 0): 0.0,
        (1, 0, 0, 0, 0): 0.0,
        (2, 0, -1, 2, 0): 0.0,
        (2, 1, -1, 2, 0): 0.0,
        (0, 2, 1, -2, 0): 0.0,
        (1, 2, 1, -2, 0): 0.0,
    }
    assert_identical(search(Structures.from_ase(atoms), 0.0), pairs)
    molecule = Structures.from_ase(Atoms("H3", positions=positions))
    assert search(molecule, 1.0).source.tolist() == [1, 0]


def test_the_cutoff_itself_is_within(search: NeighborSearch) -> None:
    structures = Structures.from_ase(Atoms("H2", positions=[[0, 0, 0], [1.0, 2.0, 2.0]]))
    assert len(search(structures, 3.0)) == 2
    assert len(search(structures, math.nextafter(3.0, 0.0))) == 0
    simple_cubic = Structures.from_ase(Atoms("H", cell=[3, 3, 3], pbc=True))
    assert len(search(simple_cubic, 3.0)) == 6
    assert len(search(simple_cubic, math.nextafter(3.0, 0.0))) == 0


def test_a_cutoff_at_any_distance_keeps_both_directions(search: NeighborSearch) -> None:
    structures = Structures.from_ase(random_atoms(3, 4.0, 5, (True, True, False)))
    distances = search(structures, 5.0).distance.sort().values
    for rank in range(0, len(distances), 17):
        cutoff = float(distances[rank])
        pairs = search(structures, cutoff)
        assert len(pairs) == int((distances <= cutoff).sum())
        assert_sane(pairs, structures, cutoff)


@pytest.mark.parametrize("cutoff", [-1.0, math.nan, math.inf])
def test_impossible_cutoff(search: NeighborSearch, cutoff: float) -> None:
    with pytest.raises(ValueError, match=r"cutoff must be a finite, nonnegative number in Å"):
        search(Structures.from_ase(Atoms("H")), cutoff)


def test_impossible_structures(search: NeighborSearch) -> None:
    structures = Structures.from_ase([Atoms("H"), bulk("Cu")])
    broken_cells, broken_positions, unused_cells = (copy.deepcopy(structures) for _ in range(3))
    broken_cells.cells[1, 0] = broken_cells.cells[1, 1]
    broken_positions.positions[0, 2] = math.nan
    unused_cells.cells[0, 1] = math.nan
    with pytest.raises(StructureError, match="structure 1 has lattice vectors that do not span"):
        search(broken_cells, 3.0)
    with pytest.raises(StructureError, match="structure 0 has positions that are NaN"):
        search(broken_positions, 3.0)
    with pytest.raises(StructureError, match="structure 0 has a cell that is NaN"):
        search(unused_cells, 3.0)


def test_atoms_far_apart(search: NeighborSearch) -> None:
    positions = [[0, 0, 0], [1e6, -1e6, 1e6], [1e6 + 1, -1e6, 1e6], [0, 0.5, 0]]
    structures = Structures.from_ase([Atoms("H4", positions=positions), Atoms("H2", positions=positions[:2])])
    with ElementCount() as elements:
        pairs = search(structures, 12.0)
    assert list(as_dict(pairs).items()) == [
        ((3, 0, 0, 0, 0), 0.5),
        ((2, 1, 0, 0, 0), 1.0),
        ((1, 2, 0, 0, 0), 1.0),
        ((0, 3, 0, 0, 0), 0.5),
    ]
    assert elements.largest < 10_000  # nvalchemi has up to 8192 bins for each structure


def test_images_far_outside_the_cell(search: NeighborSearch) -> None:
    """So many different shifts that they do not fit one integer to sort by."""
    random = np.random.default_rng(0)
    inside = np.round(random.uniform(0, 2, (6, 3)) * 1024) / 1024
    moves = random.integers(-(2**24), 2**24, (6, 3))
    near = search(Structures.from_ase(Atoms("H6", positions=inside, cell=[2, 2, 2], pbc=True)), 2.5)
    structures = Structures.from_ase(Atoms("H6", positions=inside + 2 * moves, cell=[2, 2, 2], pbc=True))
    far = search(structures, 2.5)
    moved = torch.as_tensor(moves)
    wanted = Pairs(near.source, near.target, near.shift + moved[near.target] - moved[near.source], near.distance)
    assert_identical(far, wanted.select(wanted.canonical_order()))
    assert_sane(far, structures, 2.5)


# -- order ------------------------------------------------------------------------------------------------------------


def test_order_among_equal_distances(search: NeighborSearch) -> None:
    structures = Structures.from_ase(bulk("Cu", cubic=True, a=4.0))
    pairs = search(structures, 6.0)
    assert len(pairs.distance.unique()) < 10 < len(pairs)
    assert_sane(pairs, structures, 6.0)


def test_canonical_order_undoes_any_shuffling() -> None:
    pairs = TorchSearch()(Structures.from_ase(mixed_batch()), 4.0)
    shuffled = pairs.select(torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0)))
    assert_identical(shuffled.select(shuffled.canonical_order()), pairs)


def test_canonical_order_of_distances_that_differ_in_the_last_bit() -> None:
    """Too close to be told apart by the rounded distances that are sorted first, and in the order of neither key."""
    distance = torch.tensor([2.0, math.nextafter(1.0, 2.0), 1.0, math.nextafter(1.0, 2.0)], dtype=torch.float64)
    zero = torch.zeros(4, dtype=torch.long)
    pairs = Pairs(torch.tensor([0, 1, 3, 0]), zero, torch.zeros(4, 3, dtype=torch.long), distance)
    assert pairs.canonical_order().tolist() == [2, 3, 1, 0]
    # so many atoms that no bits are left for the distance
    far = Pairs(pairs.source, pairs.target + 2**58, pairs.shift, distance)
    assert far.canonical_order().tolist() == [2, 3, 1, 0]


def test_searches_propose_each_pair_in_one_direction(search: NeighborSearch) -> None:
    atoms = wrap(Structures.from_ase(mixed_batch()))
    found = search._candidates(atoms, 4.0)
    nowhere = torch.zeros(len(found.source), dtype=torch.float64)
    both = as_dict(Pairs(found.source, found.target, found.shift, nowhere).with_opposites())
    assert len(both) == 2 * len(found.source) > 1000


def test_select() -> None:
    pairs = TorchSearch()(Structures.from_ase(bulk("Cu")), 4.0)
    assert_identical(pairs.select(torch.arange(len(pairs)) < 3), pairs.select(torch.tensor([0, 1, 2])))
    assert pairs.select(torch.tensor([5, 2])).shift.tolist() == pairs.shift[[5, 2]].tolist()


@pytest.mark.parametrize("cutoff", [0.7, 3.0, 7.0])
def test_searches_give_identical_arrays(search: NeighborSearch, cutoff: float) -> None:
    many = [*mixed_batch(), bulk("NaCl", "rocksalt", a=5.64, cubic=True), bulk("Si", cubic=True)]
    for dtype in (torch.float32, torch.float64):
        structures = Structures.from_ase(many, dtype=dtype)
        assert_identical(search(structures, cutoff), VesinSearch()(structures, cutoff))


# -- cost -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("periodic", [(True, True, True), (False, False, False)])
def test_cost_is_linear(search: NeighborSearch, periodic: tuple[bool, ...]) -> None:
    """Twice the atoms, at the same density: twice the pairs, and twice the elements computed."""
    costs, pair_counts = [], []
    for repeats in (4, 8, 16):
        atoms = bulk("Cu", cubic=True) * (repeats, 2, 2)
        atoms.pbc = periodic
        structures = Structures.from_ase(atoms)
        with ElementCount() as elements:
            pair_counts.append(len(search(structures, 5.0)))
        costs.append(elements.total)
    for smaller, larger in itertools.pairwise(range(3)):
        assert costs[larger] / costs[smaller] <= 1.05 * pair_counts[larger] / pair_counts[smaller]


@pytest.mark.parametrize("spacing", [2.5, 11.0])
def test_candidates_are_few(spacing: float) -> None:
    """The cell list looks at a bounded number of pairs per neighbor, and of ranges per atom where there are none."""
    atoms = Atoms("Po", cell=[spacing] * 3, pbc=True) * (7, 7, 7)
    structures = Structures.from_ase(atoms)
    with ElementCount() as elements:
        pairs = TorchSearch()(structures, 10.0)
    assert elements.total < 500 * len(pairs) + 10_000 * len(atoms)


def test_batch_cost_is_linear(search: NeighborSearch) -> None:
    def cost(count: int) -> int:
        structures = Structures.from_ase([fcc111("Cu", (2, 2, 3), vacuum=6, periodic=True)] * count)
        with ElementCount() as elements:
            search(structures, 6.0)
        return elements.total

    assert cost(40) <= 2.05 * cost(20)


def test_candidates_in_small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    structures = Structures.from_ase(mixed_batch())
    whole = TorchSearch()(structures, 5.0)
    monkeypatch.setattr(torch_cells, "_CANDIDATES_AT_ONCE", 1000)
    assert_identical(TorchSearch()(structures, 5.0), whole)


def test_more_neighbors_than_torch_cluster_expects(search: NeighborSearch) -> None:
    structures = Structures.from_ase([Atoms("H", cell=[1, 1, 1], pbc=True), Atoms("H2", cell=[9, 1, 1], pbc=True)])
    pairs = search(structures, 8.0)
    assert torch.bincount(pairs.target)[0] == 2108  # lattice points within 8 of the origin, itself excluded
    assert_identical(pairs, TorchSearch()(structures, 8.0))


# -- the interface ----------------------------------------------------------------------------------------------------


def test_input_is_left_alone_and_no_gradient_comes_out(search: NeighborSearch) -> None:
    structures = Structures.from_ase(mixed_batch())
    before = copy.deepcopy(structures)
    structures.positions.requires_grad_(True)
    structures.cells.requires_grad_(True)
    assert not search(structures, 4.0).distance.requires_grad
    assert torch.equal(structures.positions, before.positions)
    assert torch.equal(structures.cells, before.cells)


def test_single_precision(search: NeighborSearch) -> None:
    """Positions are taken for what they are, and distances computed in float64."""
    structures = Structures.from_ase(mixed_batch(), dtype=torch.float32)
    assert_identical(search(structures, 5.0), search(structures.to(dtype=torch.float64), 5.0))


def test_pickles_and_copies(search: NeighborSearch) -> None:
    structures = Structures.from_ase(mixed_batch())
    wanted = search(structures, 4.0)
    for twin in (pickle.loads(pickle.dumps(search)), copy.deepcopy(search)):
        assert type(twin) is type(search)
        assert_identical(twin(structures, 4.0), wanted)


def test_automatic_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[str] = []
    nothing = Candidates(*(torch.zeros(shape, dtype=torch.long) for shape in (0, 0, (0, 3))))
    monkeypatch.setattr(neighbor_list, "_is_installed", lambda package: package == "nvalchemiops")
    monkeypatch.setattr(neighbor_list, "_nvalchemi_cell_list", lambda: None)
    for kind in (VesinSearch, TorchSearch, NvalchemiSearch):

        def propose(self: NeighborSearch, atoms: Any, cutoff: float) -> Any:
            chosen.append(type(self).__name__)
            return nothing

        monkeypatch.setattr(kind, "_candidates", propose)
    search = neighbor_search("auto")
    assert type(neighbor_search()) is type(search)
    atoms = wrap(Structures.from_ase(bulk("Cu")))
    with FakeTensorMode():
        for device in ("cpu", "cuda", "xpu"):
            search._candidates(replace(atoms, positions=torch.empty(1, 3, dtype=torch.float64, device=device)), 3.0)
        monkeypatch.setattr(neighbor_list, "_is_installed", lambda package: False)
        search._candidates(replace(atoms, positions=torch.empty(1, 3, device="cuda")), 3.0)
    assert chosen == ["VesinSearch", "NvalchemiSearch", "TorchSearch", "TorchSearch"]


def test_automatic_search_on_the_cpu() -> None:
    structures, search = Structures.from_ase(mixed_batch()), pickle.loads(pickle.dumps(neighbor_search("auto")))
    assert_identical(search(structures, 4.0), VesinSearch()(structures, 4.0))


def test_unknown_name() -> None:
    # a type checker at run time, if there is one, objects first
    with pytest.raises((ValueError, TypeError), match=r"unknown neighbor search 'kdtree': choose one of|Literal\["):
        neighbor_search("kdtree")  # type: ignore[arg-type]


def test_torch_cluster_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_cluster", None)
    with pytest.raises(ImportError, match=r"pip install --no-build-isolation 'gemnet_blocks\[pyg\]'"):
        neighbor_search("torch_cluster")


def test_nvalchemi_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "warp", None)
    with pytest.raises(ImportError, match=r"pip install 'gemnet_blocks\[gpu\]'"):
        neighbor_search("nvalchemi")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_an_accelerator(search: NeighborSearch) -> None:
    structures = Structures.from_ase(mixed_batch())
    pairs = search(structures.to("cuda"), 6.0)
    assert pairs.distance.device.type == "cuda"
    on_cpu = Pairs(pairs.source.cpu(), pairs.target.cpu(), pairs.shift.cpu(), pairs.distance.cpu())
    assert_identical(on_cpu, VesinSearch()(structures, 6.0))


@pytest.mark.parametrize("far", [800.0, 1500.0, 3000.0, 30000.0, 3e6])
@pytest.mark.parametrize("direction", [(1, 1, 0), (1, 0, 0), (1, 1, 1)])
def test_few_atoms_far_apart(far: float, direction: tuple[int, ...]) -> None:
    """Mostly empty space, of which no search may make a box each."""
    atoms = Atoms("H4", positions=np.outer([0, 0, far, far], direction))
    atoms.positions += [[0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]
    for search in (VesinSearch(), TorchSearch()):
        pairs = search(Structures.from_ase([atoms, atoms[:2]]), 3.0)
        assert list(zip(pairs.source.tolist(), pairs.target.tolist(), strict=True)) == [
            (1, 0), (0, 1), (3, 2), (2, 3), (5, 4), (4, 5)
        ]  # fmt: skip
