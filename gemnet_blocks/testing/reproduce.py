"""Python code that recreates structures and specs, to copy from the output of a failed test.

`with_imports` adds the imports that the code needs. The code uses these names:

    import torch
    from ase import Atoms
    from ase.constraints import FixAtoms
    from gemnet_blocks import Structures
    from gemnet_blocks.spec import Spec
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from gemnet_blocks.errors import StructureError
from gemnet_blocks.spec import Spec
from gemnet_blocks.structures import Structures, to_ase

if TYPE_CHECKING:
    from ase import Atoms

Printed = TypeVar("Printed")

_MODULES = {
    "Atoms": "ase",
    "FixAtoms": "ase.constraints",
    "Spec": "gemnet_blocks.spec",
    "Structures": "gemnet_blocks",
    "inf": "math",
    "nan": "math",
}
_PACKAGES = ("gemnet_blocks.testing.assertions", "gemnet_blocks.testing.symmetries")
"""Packages that export the names of their modules."""


def as_code(structures: Structures) -> str:
    """Return Python code that recreates structures with bitwise identical values, on the CPU and without gradients.

    Structures that `from_ase` refuses, for example because a position is NaN, are written as tensors.
    """
    dtype = structures.positions.dtype
    same_dtype = structures.cells.dtype == dtype
    if not same_dtype or not _valid(structures) or not _elements_known(structures):
        return _by_tensors(structures)
    written = [f"    {_atoms(atoms, dtype)},\n" for atoms in to_ase(structures)]
    inside = "\n" + "".join(written) if written else ""
    end = "" if dtype == torch.float64 else f".to(dtype={dtype})"
    return f"Structures.from_ase([{inside}]){end}"


def spec_as_code(spec: Spec) -> str:
    """Return Python code that recreates a spec; add custom components to it as `extra`."""
    text = spec.to_yaml().replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f'Spec.from_yaml("""\n{text}""")'


def code_of(value: Any) -> str:
    """Return Python code that recreates a value: `as_code`, `spec_as_code`, or else the `repr` of the value.

    A `repr` that is not valid code is shown in a comment.
    """
    if isinstance(value, Structures):
        return as_code(value)
    if isinstance(value, Spec):
        return spec_as_code(value)
    text = repr(value)
    try:
        ast.parse(text, mode="eval")
    except SyntaxError:
        return f"...  # {' '.join(text.split())}"
    return text


def module_of(value: Any) -> tuple[str, str] | None:
    """Return the name of a function, class or value's class and its module; None if it cannot be imported."""
    named = value if hasattr(value, "__qualname__") else type(value)
    name, module = named.__qualname__, named.__module__
    if "." in name or module in ("builtins", "__main__"):
        return None
    packages = [package for package in _PACKAGES if module.startswith(f"{package}.")]
    return name, (packages or [module])[0]


def with_imports(code: str, modules: Mapping[str, str] | None = None) -> str:
    """Add the imports of the names in the code of structures, specs and numbers."""
    where = {**(modules or {}), **_MODULES}
    used = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
    by_module: dict[str, list[str]] = {}
    for name in sorted(used & where.keys()):
        by_module.setdefault(where[name], []).append(name)
    lines = [f"from {module} import {', '.join(names)}" for module, names in sorted(by_module.items())]
    if "torch" in used:
        lines.insert(0, "import torch")
    return "\n".join([*lines, "", code] if lines else [code])


def register_printers() -> None:
    """Make hypothesis print structures and specs of falsifying examples as code.

    Raises:
        ImportError: hypothesis is not installed.
    """
    from hypothesis.vendor import pretty

    pretty.for_type_by_name(Structures.__module__, Structures.__name__, _printer(as_code, indented=True))
    pretty.for_type_by_name(Spec.__module__, Spec.__name__, _printer(spec_as_code, indented=False))


def _printer(code: Callable[[Printed], str], indented: bool) -> Callable[[Printed, Any, bool], None]:
    def show(value: Printed, printer: Any, cycle: bool) -> None:
        text = code(value)
        printer.text(text.replace("\n", "\n" + " " * printer.indentation) if indented else text)

    return show


def _valid(structures: Structures) -> bool:
    try:
        structures.validate()
    except StructureError:
        return False
    return True


def _elements_known(structures: Structures) -> bool:
    from ase.data import chemical_symbols

    return not bool((structures.numbers >= len(chemical_symbols)).any())


def _atoms(atoms: Atoms, dtype: torch.dtype) -> str:
    """Return the code of one structure, without default arguments."""
    if not len(atoms):
        arguments = []
    else:
        rows = ", ".join(_row(row, dtype) for row in atoms.positions)
        arguments = [f'"{atoms.get_chemical_formula("reduce")}"', f"positions=[{rows}]"]
    cell = atoms.cell[:]
    if cell.any() or np.signbit(cell).any():
        arguments.append(f"cell={_cell(cell, dtype)}")
    if atoms.pbc.any():
        arguments.append(f"pbc={atoms.pbc.tolist()}")
    if atoms.has("tags"):
        arguments.append(f"tags={atoms.get_tags().tolist()}")
    if atoms.constraints:
        arguments.append(f"constraint=FixAtoms({atoms.constraints[0].index.tolist()})")
    return f"Atoms({', '.join(arguments)})"


def _cell(cell: np.ndarray[Any, Any], dtype: torch.dtype) -> str:
    """Return the code of a cell, as three lengths if it is orthogonal."""
    rest = cell - np.diag(np.diag(cell))
    if not rest.any() and not np.signbit(cell[~np.eye(3, dtype=bool)]).any():
        return _row(np.diag(cell), dtype)
    return f"[{', '.join(_row(row, dtype) for row in cell)}]"


def _row(row: np.ndarray[Any, Any], dtype: torch.dtype) -> str:
    return f"[{', '.join(_number(float(value), dtype) for value in row)}]"


def _number(value: float, dtype: torch.dtype) -> str:
    """Return the shortest digits that represent the number in its type."""
    if dtype == torch.float32:
        short = str(np.float32(value))
        if np.float32(float(short)) == np.float32(value):
            return short
    return repr(value)


def _by_tensors(structures: Structures) -> str:
    fields: tuple[str, ...] = ("positions", "numbers", "structure", "cells", "periodic", "tags", "fixed")
    fields += tuple(name for name in ("charge", "spin") if getattr(structures, name) is not None)
    lines = [f"    {name}={_tensor(getattr(structures, name))},\n" for name in fields]
    return f"Structures(\n{''.join(lines)})"


def _tensor(tensor: Tensor) -> str:
    values = repr(tensor.detach().cpu().tolist())
    for name in ("nan", "inf"):
        values = values.replace(name, f'float("{name}")')
    shape = "" if tensor.numel() else f".reshape({tuple(tensor.shape)})"
    return f"torch.tensor({values}, dtype={tensor.dtype}){shape}"
