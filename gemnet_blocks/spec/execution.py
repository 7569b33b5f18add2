"""Options of the computation of a model, which the spec does not contain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gemnet_blocks.aggregation.method import AngularMethod, AngularPlan
from gemnet_blocks.aggregation.scatter import SumsName
from gemnet_blocks.options import byte_count, plain, whole_number
from gemnet_blocks.util.precision import MatrixProducts


@dataclass(frozen=True, slots=True)
class Execution:
    """Options of the computation that change neither weights nor results, except for the rounding of `matmul`.

    Attributes:
        search: the neighbor search: auto (vesin on CPUs; on GPUs nvalchemi if it is installed, otherwise torch), vesin,
            torch, torch_cluster or nvalchemi.
        sums: the implementation of sums over edges: torch, or torch_scatter if that package is installed.
        angular: the method of sums over triplets and quadruplets, for all interactions or by interaction. auto:
            factorized if the bases allow it. factorized: matrix products per atom, without lists of triplets. explicit:
            sums over listed triplets and quadruplets, for comparison.
        atoms_at_most: the number of atoms per step of factorized sums. Lower it to save memory; None for no limit.
            Compiled models compute all atoms in one step.
        matmul: the precision of matrix products. float32: that of the weights. bfloat16: factors of single-precision
            products are rounded to 8 significant bits, also in derivatives, which changes forces by about 1 %; faster
            on GPUs and on CPUs with AMX or AVX512-BF16. Other models of the process are not affected.
        memory_budget: the memory of a prediction in bytes, such as 8e9. Larger predictions recompute intermediate
            results for chunks of atoms instead of storing them; None for no limit.
        compile: whether to compile the model at its first use, once for all batches, which needs a C++ compiler or, on
            GPUs, Triton. Batches in which an edge set has fewer than two edges are computed without compiled code.
    """

    search: Literal["auto", "vesin", "torch", "torch_cluster", "nvalchemi"] = "auto"
    sums: SumsName = "torch"
    angular: AngularMethod | Mapping[str, AngularMethod] = "auto"
    atoms_at_most: int | None = 128
    matmul: MatrixProducts = "float32"
    memory_budget: float | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        for name in ("angular", "atoms_at_most", "memory_budget", "compile"):
            object.__setattr__(self, name, plain(getattr(self, name)))
        object.__setattr__(self, "angular", current_spelling(self.angular))
        methods = self.angular.values() if isinstance(self.angular, Mapping) else (self.angular,)
        for field, values, allowed in (
            ("search", (self.search,), ("auto", "vesin", "torch", "torch_cluster", "nvalchemi")),
            ("sums", (self.sums,), ("torch", "torch_scatter")),
            ("angular", methods, ("auto", "factorized", "explicit")),
            ("matmul", (self.matmul,), ("float32", "bfloat16")),
        ):
            for value in values:
                if value not in allowed:
                    raise ValueError(f"execution: {field} is {value!r}: choose one of {', '.join(allowed)}")
        if not isinstance(self.compile, bool):
            raise ValueError(f"execution: compile is {self.compile!r}: choose True or False")
        if self.atoms_at_most is not None:
            whole_number("execution", "atoms_at_most", self.atoms_at_most, least=1)
        byte_count("execution", "memory_budget", self.memory_budget)

    def plan(self, interaction: str) -> AngularPlan:
        """Return the method of the sums of one interaction."""
        method = self.angular.get(interaction, "auto") if isinstance(self.angular, Mapping) else self.angular
        # compiled code has a fixed number of steps
        return AngularPlan(method, None if self.compile else self.atoms_at_most)


def current_spelling(angular: Any) -> Any:
    """Replace `factorised`, the earlier spelling, in the method of all interactions or in methods by interaction."""
    if isinstance(angular, Mapping):
        return {name: current_spelling(method) for name, method in angular.items()}
    return "factorized" if angular == "factorised" else angular
