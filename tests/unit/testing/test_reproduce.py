"""Structures and specs survive being written as code, bit by bit, and hypothesis prints them so."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.constraints import FixAtoms
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gemnet_blocks.spec import Spec
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing.reproduce import as_code, code_of, module_of, register_printers, spec_as_code, with_imports
from gemnet_blocks.testing.strategies import batches, rotations, small_spec, specs, structures
from gemnet_blocks.testing.symmetries import Rotation

NAMES = {"Atoms": Atoms, "FixAtoms": FixAtoms, "Structures": Structures, "Spec": Spec, "torch": torch}
FIELDS = ("positions", "numbers", "structure", "cells", "periodic", "tags", "fixed")


def evaluated(code: str) -> Any:
    return eval(code, dict(NAMES))


def assert_same_bits(one: Structures, other: Structures) -> None:
    for name in FIELDS:
        left, right = getattr(one, name), getattr(other, name)
        assert left.dtype == right.dtype, name
        assert left.shape == right.shape, name
        assert left.numpy().tobytes() == right.numpy().tobytes(), name


@settings(max_examples=80, derandomize=True, deadline=None, database=None)
@given(batches(structures(max_atoms=10, tags=False)), st.sampled_from([torch.float64, torch.float32, torch.float16]))
def test_round_trip(many: Structures, dtype: torch.dtype) -> None:
    many = many.to(dtype=dtype)
    assert_same_bits(evaluated(as_code(many)), many)


@settings(max_examples=30, derandomize=True, deadline=None, database=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=12, max_size=12), st.booleans())
def test_round_trip_of_any_numbers(values: list[float], single: bool) -> None:
    dtype = torch.float32 if single else torch.float64
    with np.errstate(over="ignore"):
        numbers = torch.tensor(values, dtype=torch.float64).clamp(-1e38, 1e38).to(dtype)
    atoms = Structures.from_ase(Atoms("H", cell=[1, 1, 1]), dtype=dtype)
    one = Structures(
        numbers[:3].reshape(1, 3), atoms.numbers, atoms.structure, numbers[3:].reshape(1, 3, 3), *odd_fields(atoms)
    )
    assert_same_bits(evaluated(as_code(one)), one)


def odd_fields(one: Structures) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return one.periodic, one.tags, one.fixed


def test_the_code_is_what_one_would_write() -> None:
    slab = Atoms("OH2", [[0, 0, 0.5], [0, 0, 1.5], [1, 0, 0]], cell=[5, 6, 7], pbc=[True, True, False])
    slab.set_tags([2, 2, 0])
    slab.set_constraint(FixAtoms([2]))
    code = as_code(Structures.from_ase([slab, Atoms()], dtype=torch.float32))
    assert code == (
        "Structures.from_ase([\n"
        '    Atoms("OH2", positions=[[0.0, 0.0, 0.5], [0.0, 0.0, 1.5], [1.0, 0.0, 0.0]], cell=[5.0, 6.0, 7.0], '
        "pbc=[True, True, False], tags=[2, 2, 0], constraint=FixAtoms([2])),\n"
        "    Atoms(),\n"
        "]).to(dtype=torch.float32)"
    )
    tenth = Structures.from_ase(Atoms("H", [[0.1, 0, 0]]), dtype=torch.float32)
    assert "[[0.1, 0.0, 0.0]]" in as_code(tenth)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("positions", [[float("nan"), 0, 0], [float("-inf"), -0.0, 1]]),
        ("numbers", [0, 1]),
        ("numbers", [1, 500]),
        ("periodic", [[True, False, False]]),  # along a lattice vector of no length
        ("cells", [[[float("inf"), 0, 0], [0, 1, 0], [0, 0, 1]]]),
    ],
)
def test_what_cannot_be_computed_can_be_printed(field: str, value: Any) -> None:
    valid = Structures.from_ase(Atoms("CO", [[0, 0, 0], [0, 0, 1.1]]))
    changed = {name: getattr(valid, name) for name in FIELDS}
    changed[field] = torch.tensor(value, dtype=changed[field].dtype)
    broken = Structures(**changed)
    assert_same_bits(evaluated(as_code(broken)), broken)


@settings(max_examples=30, derandomize=True, deadline=None, database=None)
@given(specs())
def test_specs_survive(spec: Spec) -> None:
    assert evaluated(spec_as_code(spec)) == spec


def test_falsifying_examples_are_code() -> None:
    seen: list[tuple[Structures, Spec, Rotation]] = []

    phases = (Phase.generate, Phase.shrink)

    @settings(max_examples=50, database=None, derandomize=True, deadline=None, phases=phases)
    @given(one=structures(max_atoms=8), spec=specs(), rotation=rotations())
    def no_structure_has_two_atoms(one: Structures, spec: Spec, rotation: Rotation) -> None:
        if one.atom_count >= 2:
            seen.append((one, spec, rotation))
            raise AssertionError("two atoms")

    with pytest.raises(AssertionError, match="two atoms") as caught:
        no_structure_has_two_atoms()
    note = "\n".join(caught.value.__notes__)
    call = note[note.index("no_structure_has_two_atoms(") :]
    end = re.search(r"^\)", call, flags=re.MULTILINE)
    assert end is not None
    code = call[: end.end()].replace("no_structure_has_two_atoms", "dict", 1)
    again = eval(code, {**NAMES, "Rotation": Rotation})
    one, spec, rotation = seen[-1]
    assert_same_bits(again["one"], one)
    assert one.atom_count == 2
    assert again["spec"] == spec == small_spec()
    assert again["rotation"] == rotation == Rotation(0.0, 0.0, 0.0)


def test_printers_can_be_registered_again() -> None:
    from hypothesis.vendor.pretty import pretty

    register_printers()
    hydrogen = Structures.from_ase(Atoms("H"))
    assert pretty(hydrogen) == as_code(hydrogen)
    assert pretty([hydrogen]).replace("\n ", "\n") == f"[{as_code(hydrogen)}]"


def test_only_the_imports_that_are_needed() -> None:
    hydrogen = Structures.from_ase(Atoms("H"))
    assert with_imports(f"one = {as_code(hydrogen)}").split("\n\n")[0] == (
        "from ase import Atoms\nfrom gemnet_blocks import Structures"
    )
    fixed = Structures.from_ase(Atoms("H", constraint=FixAtoms([0])), dtype=torch.float32)
    for value in (hydrogen, fixed, small_spec(), Structures.from_ase([])):
        code = with_imports(f"value = {code_of(value)}")
        found: dict[str, Any] = {}
        exec(code, found)
        assert code_of(found["value"]) == code_of(value)
    assert with_imports("x = 1") == "x = 1"
    module = module_of(Rotation(0.0, 0.0, 0.0))
    assert module == ("Rotation", "gemnet_blocks.testing.symmetries")
    assert module_of(1) is None
    assert with_imports("g = Rotation(0, 0, inf)", dict([module])) == (
        "from gemnet_blocks.testing.symmetries import Rotation\nfrom math import inf\n\ng = Rotation(0, 0, inf)"
    )
