"""Compilation of a model: its mathematics is traced once with symbolic sizes, and the code serves all batches.

The topology is an input of a fixed number of tensors, and everything after it is a function of tensors without branches
on values. It is traced once and divided into pieces: geometry with embeddings, every block with its output block, and
readout with heads. Equal pieces share their code. Each piece is a function F of tensors x; in reverse mode,

    y, s = F(x)                     with intermediate values s,
    x̄ = B(x, s, ȳ)                  for forces,
    (x̄, s̄, ȳ̄) = C(x, s, ȳ, x̄̄)       for the derivatives of forces by weights,
    x̄ = D(x, s, ȳ, s̄)              for the gradient of a loss.

B and D differ by s̄, the derivatives by the intermediate values that forces depend on. Nothing large is computed twice.
"""

from __future__ import annotations

import sys
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from types import CodeType
from typing import Any, final

import torch
from torch import SymInt, Tensor, nn
from torch._C import _len_torch_dispatch_stack
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.func import functional_call, functionalize
from torch.fx import Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import SYMPY_INTERP, ShapeEnv
from torch.nn.functional import pad

from gemnet_blocks.graph.merged import merged_tables
from gemnet_blocks.graph.topology import Topology
from gemnet_blocks.layers.activations import has_hooks
from gemnet_blocks.model.compiled_graph import Compiler, evaluated_size, inductor, size_code
from gemnet_blocks.model.compiled_piece import Call, NotCompilableError, Tracing, Units, building
from gemnet_blocks.model.pieces import divided, marked
from gemnet_blocks.structures import NEUTRAL, Prediction, PropertyKind, Structures
from gemnet_blocks.util.derivatives import transforms_are_active
from gemnet_blocks.util.nested import equal_sizes, outline, tensors_in, with_tensors

MOST_TRACES = 2
"""The largest number of traces for topologies with the same tensors. Batches that fit none of them are not compiled."""

LEAST_SIZE = 2
"""The smallest size that code with symbolic sizes is correct for."""


class Compilable(nn.Module, ABC):
    """Base class of models that are compiled: a backbone, and a function of structures and their topology."""

    @property
    @abstractmethod
    def backbone(self) -> Any:
        """The backbone, with blocks and output blocks."""

    @property
    @abstractmethod
    def property_kinds(self) -> dict[str, PropertyKind]:
        """The kinds of the properties that further heads predict, by name."""

    @abstractmethod
    def without_gradient_forces(self, backbone: Any, structures: Structures, topology: Topology) -> Prediction:
        """Predict everything but gradient forces."""


@final
class Compilation:
    """The compiled code of a model, which neither copies nor files of the model contain.

    Args:
        compiler: generates code for graphs.

    Attributes:
        seconds: the time of tracing and code generation.
    """

    def __init__(self, compiler: Compiler = inductor) -> None:
        self._compiler = compiler
        self._traces: dict[Hashable, list[_Trace]] = {}
        self._units = Units()
        self._possible: bool | None = None
        self.seconds = 0.0

    def __reduce__(self) -> tuple[type[Compilation], tuple[Compiler]]:
        return Compilation, (self._compiler,)

    @property
    def traced(self) -> int:
        """The number of traces, each of which serves all batches of a kind."""
        return sum(map(len, self._traces.values()))

    @property
    def generated(self) -> int:
        """The number of functions and derivatives for which code was generated."""
        return self._units.built

    def evaluated(self, model: Compilable, structures: Structures, topology: Topology, call: Call) -> Prediction | None:
        """Predict everything but gradient forces; None if the batch must be computed without compiled code.

        Args:
            model: the model.
            structures: the batch.
            topology: its topology.
            call: the derivatives that follow.
        """
        if _needs_eager_code(model, structures) or not self._can_generate(structures.positions.device):
            return None
        count = structures.count
        if any(edges.count < LEAST_SIZE for edges in topology.edges.values()):
            return None
        # the number of the structure without a volume is not a constant
        batch = _padded(structures), merged_tables(replace(topology, without_volume=None))
        tensors = [tensor.contiguous() for tensor in tensors_in(batch)]
        sizes = [size for tensor in tensors for size in tensor.shape]
        if min(sizes) < LEAST_SIZE:
            return None
        weights = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        kinds = tuple((weight.dtype, weight.shape) for weight in weights.values())
        key = (outline(batch), kinds)
        traces = self._traces.setdefault(key, [])
        fitting = next((trace for trace in traces if trace.fits(sizes)), None)
        before, started = self._units.built, time.perf_counter()
        if fitting is None and len(traces) == MOST_TRACES:
            return None
        try:
            if fitting is None:
                self._announce()
                with building():
                    fitting = _Trace(model, weights, batch, tensors, self._compiler)
                traces.append(fitting)
            outputs = fitting(self._units, call, [*weights.values(), *tensors], sizes)
        except NotCompilableError as error:
            self._go_on_without(str(error))
            return None
        if self._units.built > before:
            self._report(time.perf_counter() - started)
        prediction: Prediction = with_tensors(fitting.outline, iter(outputs))
        return _unpadded(prediction, model.property_kinds, count) if count < LEAST_SIZE else prediction

    def _can_generate(self, device: torch.device) -> bool:
        if self._possible is None:
            self._possible = True
            reason = None if self._compiler is not inductor else _obstacle(device)
            if reason is not None:
                self._go_on_without(reason)
        return self._possible

    def _go_on_without(self, reason: str) -> None:
        warnings.warn(f"compile: {reason}; the model is computed without compilation", stacklevel=2)
        self._possible = False

    def _announce(self) -> None:
        if self._compiler is inductor:
            from torch._inductor.runtime.cache_dir_utils import cache_dir

            _tell(f"compiling the model, which takes minutes; code is kept in {cache_dir()} for other processes")

    def _report(self, seconds: float) -> None:
        self.seconds += seconds
        if self._compiler is inductor:
            _tell(f"compiled the model in {seconds:.1f} s")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _needs_eager_code(model: Compilable, structures: Structures) -> bool:
    """Return True under autocast, and if operations are transformed or traced or modules are observed by hooks."""
    positions = structures.positions
    if transforms_are_active() or _len_torch_dispatch_stack() or isinstance(positions, FakeTensor):
        return True
    if torch.is_autocast_enabled(positions.device.type):
        return True
    inside = (module for part in model.children() for module in part.modules())
    return any(has_hooks(module) or getattr(module, "_observe", None) for module in inside)


def _obstacle(device: torch.device) -> str | None:
    """Say why no code can be generated for a device; None if it can."""
    if device.type == "cpu":
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            get_cpp_compiler()
        except InvalidCxxCompiler:
            return "expected a C++ compiler such as g++, found none: install one, or name it in the variable CXX"
        return None
    from torch.utils._triton import has_triton

    return None if has_triton() else f"expected Triton for {device.type}, found none: install the package triton"


def _padded(structures: Structures) -> Structures:
    """Append a structure without atoms to a single one, since a size of 1 is special to compilers."""
    missing = LEAST_SIZE - structures.count
    if missing <= 0:
        return structures
    states = {
        name: pad(value, (0, missing), value=NEUTRAL[name])
        for name in NEUTRAL
        if (value := getattr(structures, name)) is not None
    }
    return replace(
        structures,
        cells=pad(structures.cells, (0, 0, 0, 0, 0, missing)),
        periodic=pad(structures.periodic, (0, 0, 0, missing)),
        **states,
    )


def _unpadded(prediction: Prediction, kinds: Mapping[str, PropertyKind], count: int) -> Prediction:
    """Remove the values of appended structures."""
    properties = {
        name: value[:count] if kinds[name].per == "structure" else value
        for name, value in prediction.properties.items()
    }
    return replace(prediction, energy=prediction.energy[:count], properties=properties)


@final
class _Evaluated(nn.Module):
    """The part of a model that is traced."""

    def __init__(self, model: Compilable) -> None:
        super().__init__()
        self.model = model

    def forward(self, structures: Structures, topology: Topology) -> Prediction:
        return self.model.without_gradient_forces(self.model.backbone, structures, topology)


@final
class _Trace:
    """The operations of a model on symbolic sizes, in pieces.

    Args:
        model: the model.
        weights: its parameters and buffers by name.
        batch: structures and topology, as an example.
        tensors: the tensors of the batch.
        compiler: generates code.

    Attributes:
        outline: a prediction without values.
    """

    def __init__(
        self,
        model: Compilable,
        weights: Mapping[str, Tensor],
        batch: tuple[Structures, Topology],
        tensors: Sequence[Tensor],
        compiler: Compiler,
    ) -> None:
        self._environment = ShapeEnv(duck_shape=False)  # equal sizes of the example may differ in other batches
        mode = FakeTensorMode(shape_env=self._environment, allow_non_fake_inputs=True)
        mode.cache_enabled = False  # hardly any operation occurs twice with the same symbols
        inputs = [mode.from_tensor(_alone(weight), static_shapes=True) for weight in weights.values()]
        inputs += [mode.from_tensor(_alone(tensor), static_shapes=False) for tensor in tensors]
        replaceable = ({f"model.{name}": weight for name, weight in weights.items()}, *batch)
        evaluated = _Evaluated(model)
        predicted: list[Prediction] = []

        def function(*traced: Tensor) -> list[Tensor]:
            replaced, structures, topology = with_tensors(replaceable, iter(traced))
            for equal in equal_sizes((structures, topology)):
                for size in equal:
                    torch._check(size == equal[0])
            with marked(list(model.backbone.blocks), model.backbone.output_blocks[-1]):
                prediction = functional_call(evaluated, replaced, (structures, topology))
            predicted.append(prediction)
            return list(tensors_in(prediction))

        with mode, torch.no_grad(), enable_python_dispatcher():
            module = make_fx(functionalize(function), _allow_non_fake_inputs=True)(*inputs)
        self._constants = {node: getattr(module, str(node.target)) for node in module.graph.find_nodes(op="get_attr")}
        for node, constant in self._constants.items():
            node.meta["val"] = mode.from_tensor(constant, static_shapes=True)
        self.pieces = divided(module)
        self._inputs = module.graph.find_nodes(op="placeholder")
        self._outputs: list[Node] = list(module.graph.output_node().args[0])  # type: ignore[arg-type]
        examples = (torch.empty(_example_shape(node.meta["val"]), device="meta") for node in self._outputs)
        self.outline = with_tensors(predicted[0], examples)
        self._trained = frozenset(self._inputs[: len(weights)]) | frozenset(self._constants)
        self._tracing = Tracing(mode, compiler, self._trained)
        self._sizes: list[Any] = [size for tensor in inputs[len(weights) :] for size in tensor.shape]
        self._symbols = {str(size.node.expr): i for i, size in reversed([*enumerate(self._sizes)]) if _is_symbol(size)}
        self._conditions = [(i, size_code(size)) for i, size in enumerate(self._sizes)]
        self._guards: tuple[int, CodeType | None] = (-1, None)

    def fits(self, sizes: Sequence[int]) -> bool:
        """Check that all sizes are related as in the trace, and that no assumption of the code is violated.

        Args:
            sizes: the sizes of all tensors of a batch.
        """
        symbols = self._values(sizes)
        if any(sizes[i] != evaluated_size(code, symbols) for i, code in self._conditions):
            return False
        guards = self._environment.guards
        if self._guards[0] != len(guards):
            placeholders = [self._sizes[place] for place in self._symbols.values()]
            text = self._environment.produce_guards_expression(placeholders)
            self._guards = len(guards), None if text is None else compile(text, "<guards>", "eval")
        code = self._guards[1]
        given = {f"t{i}": value for i, value in enumerate(symbols.values())}
        return code is None or bool(eval(code, dict(SYMPY_INTERP), {"L": given}))

    def _values(self, sizes: Sequence[int]) -> dict[str, int]:
        return {name: sizes[place] for name, place in self._symbols.items()}

    def __call__(self, units: Units, call: Call, tensors: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
        """Compute the tensors of a prediction.

        Args:
            units: the code of pieces.
            call: the derivatives that follow.
            tensors: weights, and tensors of the batch.
            sizes: the sizes of the tensors of the batch.
        """
        values: dict[Node, Tensor] = {**dict(zip(self._inputs, tensors, strict=True)), **self._constants}
        symbols = self._values(sizes)
        for piece in self.pieces:
            arguments = [values[node].contiguous() for node in piece.inputs]
            results = units.evaluate(self._tracing, piece, call, symbols, arguments)
            values.update(zip(piece.outputs, results, strict=True))
        return [values[node] for node in self._outputs]


def _alone(tensor: Tensor) -> Tensor:
    """Make a tensor of the same kind that shares no memory, so that its fake has symbols of its own."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)


def _example_shape(tensor: Tensor) -> list[int]:
    """The shape of a tensor for the example that was traced."""
    return [size.node.hint if isinstance(size, SymInt) else size for size in tensor.shape]


def _is_symbol(size: Any) -> bool:
    return isinstance(size, SymInt) and size.node.expr.is_Symbol
