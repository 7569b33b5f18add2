"""Programs of torch.export: potentials that run without this library, in Python, C++ or a simulation code.

A program takes atoms and their pairs of neighbors. It selects edges, lists triplets and quadruplets, and evaluates the
model and the derivatives of its energy, all in operations of torch. The numbers of atoms, structures and pairs are
symbolic, and so are all sizes that follow from values, such as the number of triplets.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, final

import torch
from ase.data import chemical_symbols
from torch import Tensor, nn
from torch.nn.functional import pad

from gemnet_blocks.errors import StateError
from gemnet_blocks.graph.neighbor_list import distances
from gemnet_blocks.graph.pairs import Neighbors, Pairs
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.heads import GradientForces
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.structures import NEUTRAL, Structures
from gemnet_blocks.util.files import replacing
from gemnet_blocks.util.recompute import WHOLE, evaluated_by
from gemnet_blocks.util.version import LIBRARY_VERSION

if TYPE_CHECKING:
    from torch.export import ExportedProgram

METADATA = "gemnet_blocks.json"
"""The name of the file in the archive that describes the program."""

_GHOSTS = 3
"""The least number of ghost atoms that are appended to each batch, as a chain of neighbors in a structure of their own.

They give every batch edges and triplets, and more than one atom and structure, since a size of 1 is special to tracers.
"""

Kind = tuple[torch.dtype, tuple[int | str, ...]]
"""The type of a tensor and its shape, with names for free sizes."""

_KINDS: Mapping[str, Kind] = {
    "positions": (torch.float64, ("atoms", 3)),
    "numbers": (torch.int64, ("atoms",)),
    "cells": (torch.float64, ("structures", 3, 3)),
    "periodic": (torch.bool, ("structures", 3)),
    "structure": (torch.int64, ("atoms",)),
    "i": (torch.int64, ("pairs",)),
    "j": (torch.int64, ("pairs",)),
    "shifts": (torch.int64, ("pairs", 3)),
    "tags": (torch.int64, ("atoms",)),
    "charge": (torch.int64, ("structures",)),
    "spin": (torch.int64, ("structures",)),
}
_EXAMPLE = {"atoms": 5, "structures": 3, "pairs": 7}
"""Sizes for tracing, on which the program does not depend."""


@final
@dataclass(frozen=True, slots=True)
class ProgramInputs:
    """The inputs of an exported program, in order.

    Attributes:
        kinds: the types and shapes of `positions` in Å, atomic `numbers`, `cells` with lattice vectors as rows,
            `periodic`, the ascending index of each atom's `structure`, and all pairs of atoms within the cutoff, in
            both directions: from atom `i` to the image of atom `j` at positions[j] + shifts @ cell. Then `tags`,
            `charge` and `spin`, if the model reads them.
    """

    kinds: Mapping[str, Kind]

    @classmethod
    def of(cls, potential: Potential) -> ProgramInputs:
        """Return the inputs that a potential needs."""
        model = potential.model
        unread: set[str] = {name for name in NEUTRAL if name not in model.reads}
        if all(rule.tags is None for rule in model.backbone.graphs.rules.values()):
            unread |= {"tags"}
        return cls({name: kind for name, kind in _KINDS.items() if name not in unread})

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return tuple(self.kinds)

    def examples(self, device: torch.device) -> tuple[Tensor, ...]:
        """Create tensors for tracing; only their types and numbers of axes count."""
        shapes = [
            (dtype, [_EXAMPLE[size] if isinstance(size, str) else size for size in shape])
            for dtype, shape in self.kinds.values()
        ]
        return tuple(torch.zeros(shape, dtype=dtype, device=device) for dtype, shape in shapes)

    def dynamic_shapes(self) -> tuple[dict[int, Any], ...]:
        """Return the symbolic sizes of each input, for torch.export."""
        from torch.export import Dim

        dims = {name: Dim(name) for name in _EXAMPLE}
        return tuple(
            {axis: dims[size] for axis, size in enumerate(shape) if isinstance(size, str)}
            for _, shape in self.kinds.values()
        )


@final
class _Program(nn.Module):
    """A potential as a function of tensors whose operations do not depend on their values.

    Args:
        potential: the potential.
        inputs: the names of the arguments.
    """

    def __init__(self, potential: Potential, inputs: ProgramInputs) -> None:
        super().__init__()
        self.potential = potential
        self.model = _with_fixed_steps(potential.model)
        self.inputs = inputs

    def forward(self, *arguments: Tensor) -> dict[str, Tensor]:
        """Predict the energy of each structure, and whatever else the potential predicts."""
        sizes: dict[str, Any] = {}
        for argument, (_, shape) in zip(arguments, self.inputs.kinds.values(), strict=True):
            for size, name in zip(argument.shape, shape, strict=True):
                if isinstance(name, str):
                    torch._check(size == sizes.setdefault(name, size))
        return self._predicted(dict(zip(self.inputs.names, arguments, strict=True)))

    def _predicted(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        graphs = self.model.backbone.graphs
        ghosts = _Ghosts.of(self.model)
        structures = ghosts.with_atoms(given)
        atoms, count = given["positions"].shape[0], given["cells"].shape[0]
        pairs = self._pairs(structures, ghosts.with_pairs(given))
        selected = graphs.select(structures, Neighbors(pairs))
        topology = graphs.topology(structures, selected, self.model.backbone.dtype)
        has_stress = self.potential.has_stress
        predicted = self.model(structures, topology, stress=has_stress)
        references = self.potential.energies_of(given["numbers"])
        torch.ops.aten._assert_async.msg(
            ~references.isnan().any(), f"expected the elements {', '.join(_elements(self.potential))}, found another"
        )
        found = self.potential.in_units(predicted, pad(references, (0, ghosts.count)), structures)
        periodic = given["periodic"].all(dim=-1)[:, None, None]
        results = {
            "energy": found.energy[:count],
            "forces": None if found.forces is None else found.forces[:atoms],
            "stress": None if found.stress is None else torch.where(periodic, found.stress[:count], torch.nan),
            "atom_energies": None if found.atom_energies is None else found.atom_energies[:atoms],
        }
        for name, kind in self.potential.property_kinds.items():
            results[name] = found.properties[name][: atoms if kind.per == "atom" else count]
        return {name: value.clone() for name, value in results.items() if value is not None}

    def _pairs(self, structures: Structures, pairs: Pairs) -> Pairs:
        """Select the pairs within the cutoff, in canonical order."""
        graphs, shift = self.model.backbone.graphs, pairs.shift
        pairs = replace(pairs, distance=distances(structures, pairs.source, pairs.target, shift))
        near = pairs.distance <= graphs.reach
        pairs = pairs.select(near if graphs.periodic else near & (shift == 0).all(dim=-1))
        # both sums vanish if all pairs are listed in both directions
        one_way = torch.cat([(pairs.source - pairs.target).sum()[None], pairs.shift.sum(dim=0)])
        torch.ops.aten._assert_async.msg(
            (one_way == 0).all(), "expected every pair in both directions, (i, j, shift) and (j, i, -shift)"
        )
        return pairs.select(pairs.canonical_order())


def _elements(potential: Potential) -> list[str]:
    return [chemical_symbols[number] for number in potential.references.per_element]


def _with_fixed_steps(model: GemNet) -> GemNet:
    """Copy a model whose number of operations depends neither on sizes nor on values; it shares the weights."""
    copy = evaluated_by(WHOLE, model)
    copy.memory_budget, copy.compiled = None, False
    if isinstance(copy.forces, GradientForces) and copy.forces.scale is not None:
        # dynamic scaling repeats the derivative depending on its values
        copy._modules = {**copy._modules, "forces": GradientForces(stress=copy.forces.stress)}
    return copy


@final
@dataclass(frozen=True, slots=True)
class _Ghosts:
    """Ghost atoms.

    Attributes:
        tags: their tags, so that every edge set has edges between them.
        step: the step of their zigzag chain along each axis in Å; neighbors are within all cutoffs.
    """

    tags: tuple[int, ...]
    step: float

    @classmethod
    def of(cls, model: GemNet) -> _Ghosts:
        """Choose ghost atoms for a model."""
        rules = model.backbone.graphs.rules
        tags = [rule.tags[0] for rule in rules.values() if rule.tags]
        return cls((*tags, *(0 for _ in range(_GHOSTS - len(tags)))), min(rule.cutoff for rule in rules.values()) / 4)

    @property
    def count(self) -> int:
        """The number of ghost atoms."""
        return len(self.tags)

    def with_atoms(self, given: Mapping[str, Tensor]) -> Structures:
        """Combine the inputs, and append a structure of ghost atoms."""
        positions, structure = given["positions"], given["structure"]
        places = torch.arange(self.count, dtype=positions.dtype, device=positions.device)
        numbers = pad(given["numbers"], (0, self.count), value=1)
        tags = [structure.new_full((1,), tag) for tag in self.tags]
        return Structures(
            positions=torch.cat([positions, self.step * torch.stack([places, places % 2, 0 * places], dim=1)]),
            numbers=numbers,
            structure=torch.cat([structure, structure.new_full((self.count,), given["cells"].shape[0])]),
            cells=pad(given["cells"], (0, 0, 0, 0, 0, 1)),
            periodic=pad(given["periodic"], (0, 0, 0, 1), value=False),
            tags=torch.cat([given["tags"], *tags]) if "tags" in given else torch.zeros_like(numbers),
            fixed=torch.zeros_like(numbers, dtype=torch.bool),
            **{name: pad(given[name], (0, 1), value=NEUTRAL[name]) for name in NEUTRAL if name in given},
        )

    def with_pairs(self, given: Mapping[str, Tensor]) -> Pairs:
        """Append the pairs of neighboring ghost atoms, in both directions; distances are not set yet."""
        ghosts = torch.arange(self.count, device=given["i"].device) + given["positions"].shape[0]
        source, target = (
            torch.cat([given["j"], ghosts[1:], ghosts[:-1]]),
            torch.cat([given["i"], ghosts[:-1], ghosts[1:]]),
        )
        shift = pad(given["shifts"].t(), (0, 2 * self.count - 2)).t()
        return Pairs(source, target, shift, torch.zeros_like(source, dtype=torch.float64))


def exported_program(potential: Potential) -> ExportedProgram:
    """Trace a potential to a program, whose inputs are those of `ProgramInputs`.

    The program returns a dictionary: `energy` of each structure in eV (in float64), `atom_energies` in eV and, if the
    potential has them, `forces` in eV/Å, `stress` in eV/Å³ and further properties by the names of their heads. The
    stress of structures that are not periodic in all three directions is NaN.

    Args:
        potential: the potential. The program runs on its device.

    Raises:
        StateError: a part of the model has operations that depend on the values of tensors.
    """
    from torch._dispatch.python import enable_python_dispatcher
    from torch._dynamo.exc import UserError
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode, ShapeEnv
    from torch.fx.passes.runtime_assert import insert_deferred_runtime_asserts

    inputs = ProgramInputs.of(potential)
    examples = inputs.examples(potential.device)
    environment = ShapeEnv(duck_shape=False)  # equal sizes of the example may differ in other batches
    mode = FakeTensorMode(shape_env=environment, allow_non_fake_inputs=True)
    mode.cache_enabled = False  # hardly any operation occurs twice with the same symbols
    program = _Program(potential, inputs)
    fake = [mode.from_tensor(one, static_shapes=False) for one in examples]
    try:
        # derivatives become operations of the first trace; torch.export adds the checks and the format of files
        with mode, torch.no_grad(), enable_python_dispatcher():
            module = make_fx(program, _allow_non_fake_inputs=True)(*fake)
        for node, name in zip(module.graph.find_nodes(op="placeholder"), inputs.names, strict=True):
            node._rename(name)
            node.target = name
        insert_deferred_runtime_asserts(module, environment, "potential", export=True)
        return torch.export.export(
            module,
            examples,
            dynamic_shapes=inputs.dynamic_shapes(),
            prefer_deferred_runtime_asserts_over_guards=True,
        )
    except (GuardOnDataDependentSymNode, UserError) as error:
        raise StateError(
            "the model cannot be exported: expected operations that are the same for all structures, found one that "
            f"depends on a size or on values: {str(error).splitlines()[0]}"
        ) from error


def description(potential: Potential) -> dict[str, Any]:
    """Describe the inputs and outputs of an exported potential, in values that JSON can represent."""
    return {
        "library_version": LIBRARY_VERSION,
        "torch_version": torch.__version__,
        "cutoff": potential.cutoff,
        "elements": _elements(potential),
        "meaning": potential.meaning,
        "dtype": str(potential.dtype).removeprefix("torch."),
        "device": str(potential.device),
        "inputs": {
            name: {"dtype": str(dtype).removeprefix("torch."), "shape": list(shape)}
            for name, (dtype, shape) in ProgramInputs.of(potential).kinds.items()
        },
        "units": {"energy": "eV", "length": "Å"},
    }


def check_name(path: str | os.PathLike[str]) -> None:
    """Check the name of a file for programs.

    Raises:
        StateError: the name does not end with .pt2.
    """
    if not os.fspath(path).endswith(".pt2"):
        raise StateError(f"{path}: expected a name that ends with .pt2, by which torch recognizes programs: rename it")


def export_potential(potential: Potential, path: str | os.PathLike[str], compiled: bool = False) -> None:
    """Write a potential as a program that runs without this library; an existing file is replaced only on success.

    `torch.export.load(path).module()` runs its operations one by one. With `compiled`, the file also contains machine
    code for the processor or GPU of this machine, which `torch._inductor.aoti_load_package(path)` and the C++ class
    `torch::inductor::AOTIModelPackageLoader` load.

    Args:
        potential: the potential. The program runs on its device.
        path: the file, whose name ends with `.pt2`.
        compiled: also generate machine code, which takes minutes for large models.

    Raises:
        StateError: the name of the file has another ending, or the potential cannot be exported.
    """
    from torch._inductor import aot_compile
    from torch.export.pt2_archive._package import package_pt2

    check_name(path)
    program = exported_program(potential)
    about = json.dumps(description(potential), ensure_ascii=False)
    code: dict[str, Any] = {}
    if compiled:
        options = {"aot_inductor.package": True, "aot_inductor.metadata": {METADATA: about}}
        arguments, keywords = program.example_inputs
        code["model"] = aot_compile(program.module(check_guards=False), arguments, keywords, options=options)
    with replacing(path) as temporary:
        package_pt2(
            os.fspath(temporary),
            exported_programs={"model": program},
            aoti_files=code or None,
            extra_files={METADATA: about},
        )
