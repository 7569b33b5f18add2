"""Graphs of operations with symbolic sizes: tracing, derivatives and code generation."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any, final

import torch
from torch import SymInt, Tensor
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses import FakeTensorMode
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.experimental.proxy_tensor import make_fx

Compiler = Callable[[GraphModule, FakeTensorMode], Callable[[list[Any]], Sequence[Any]]]
"""Generates code for a graph. The code takes one list of inputs, and may empty it."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class TracedGraph:
    """Operations on tensors and sizes.

    Attributes:
        module: the operations, whose placeholders have fake tensors or symbolic sizes as `meta["val"]`.
        mode: the mode of these fake tensors, with one symbol for each independent size.
        compiler: generates code.
    """

    module: GraphModule
    mode: FakeTensorMode
    compiler: Compiler

    @property
    def inputs(self) -> list[Any]:
        """The fake inputs."""
        return [node.meta["val"] for node in self.module.graph.find_nodes(op="placeholder")]

    @property
    def outputs(self) -> list[Node]:
        """The nodes of the outputs."""
        return list(self.module.graph.output_node().args[0])  # type: ignore[arg-type]

    def with_outputs(self, outputs: Sequence[Node]) -> TracedGraph:
        """Copy the graph with other outputs."""
        graph = torch.fx.Graph()
        copies: dict[Node, Node] = {}
        graph.graph_copy(self.module.graph, copies)
        graph.output([copies[node] for node in outputs])
        graph.eliminate_dead_code()
        return TracedGraph(GraphModule(self.module, graph), self.mode, self.compiler)


def traced(
    function: Callable[..., list[Any]], inputs: Sequence[Any], mode: FakeTensorMode, compiler: Compiler
) -> TracedGraph:
    """Trace a function of fake tensors and symbolic sizes, into operations that code can be generated for."""
    from torch._inductor.decomposition import select_decomp_table

    with mode, enable_python_dispatcher():
        module = make_fx(function, select_decomp_table(), _allow_non_fake_inputs=True)(*inputs)
    for node in module.graph.nodes:
        if node.target in (torch.ops.aten.alias.default, torch.ops.aten.detach.default):
            node.replace_all_uses_with(node.args[0])
        elif node.target is operator.mul and len(node.args) > 2:
            node.replace_all_uses_with(_product(module.graph, node))
    module.graph.eliminate_dead_code()
    module.recompile()
    for node, value in zip(module.graph.find_nodes(op="placeholder"), inputs, strict=True):
        node.meta["val"] = value.detach() if isinstance(value, Tensor) else value
    return TracedGraph(module, mode, compiler)


def _product(graph: torch.fx.Graph, node: Node) -> Node:
    """Multiply the factors of a size in pairs; torch traces products of three symbols as calls with three arguments."""
    first, *others = node.args
    for factor in others:
        values = [one.meta["val"] if isinstance(one, Node) else one for one in (first, factor)]
        with graph.inserting_before(node):
            first = graph.call_function(operator.mul, (first, factor))
        first.meta["val"] = values[0] * values[1]  # type: ignore[operator]
    assert isinstance(first, Node)
    return first


@final
@dataclass(frozen=True, slots=True, eq=False)
class Differentiable:
    """A function and its vector-Jacobian product, which share intermediate values.

    Attributes:
        forward: from inputs to outputs, followed by intermediate values that `backward` reads.
        backward: from intermediate values and gradients of the outputs to gradients of inputs.
        output_count: the number of outputs.
        saved: for each tensor that `backward` reads, the index of the output of `forward`, or ~i for the gradient of
            output i.
        inputs: the indices of the inputs that the gradients belong to, among those that are tensors.
    """

    forward: TracedGraph
    backward: TracedGraph
    output_count: int
    saved: Sequence[int]
    inputs: Sequence[int]


def differentiated(graph: TracedGraph, wanted: Sequence[bool]) -> Differentiable:
    """Derive the gradients of a graph's outputs with respect to its inputs.

    As few intermediate values as possible are stored; cheap ones are computed again.

    Args:
        graph: the graph, all of whose outputs are tensors.
        wanted: for each input that is a tensor, whether its gradient is wanted.
    """
    # imported here because it imports torch._dynamo, which takes longer than the rest of the library
    from torch._functorch.partitioners import min_cut_rematerialization_partition

    inputs, outputs = graph.inputs, [node.meta["val"] for node in graph.outputs]
    of_tensor = iter(wanted)
    wanted = [not is_size(value) and next(of_tensor) for value in inputs]
    count = len(inputs)
    found: list[int] = []

    def joint(*arguments: Any) -> list[Any]:
        primals = [
            x.detach().requires_grad_() if needed else x for x, needed in zip(arguments[:count], wanted, strict=True)
        ]
        results = list(_Differentiable(graph.module).run(*primals))
        pairs = [
            (result, gradient)
            for result, gradient in zip(results, arguments[count:], strict=True)
            if isinstance(result, Tensor) and result.requires_grad
        ]
        places = [i for i, needed in enumerate(wanted) if needed]
        gradients: Sequence[Tensor | None] = [None] * len(places)
        if pairs and places:
            of_results, given = zip(*pairs, strict=True)
            gradients = torch.autograd.grad(of_results, [primals[i] for i in places], given, allow_unused=True)
        found[:] = [i for i, gradient in zip(places, gradients, strict=True) if gradient is not None]
        return [*results, *(gradient for gradient in gradients if gradient is not None)]

    with graph.mode:
        tangents = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in outputs]
        fresh = [
            torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device) if isinstance(x, Tensor) else x
            for x in inputs
        ]
    whole = traced(joint, [*fresh, *tangents], graph.mode, graph.compiler).module
    placeholders = whole.graph.find_nodes(op="placeholder")
    for i, node in enumerate(placeholders):  # the names by which the partitioner knows them
        node._rename(f"primals_{i}" if i < count else f"tangents_{i - count}")
        node.target = node.name
    whole.recompile()
    forward, backward = min_cut_rematerialization_partition(whole, None, num_fwd_outputs=len(outputs))
    names = [node.name for node in forward.graph.output_node().args[0]]  # type: ignore[union-attr]
    saved = [
        ~int(node.name.removeprefix("tangents_")) if node.name.startswith("tangents_") else names.index(node.name)
        for node in backward.graph.find_nodes(op="placeholder")
        if not is_size(node.meta["val"])
    ]
    tensors = [i for i, value in enumerate(inputs) if not is_size(value)]
    return Differentiable(
        TracedGraph(forward, graph.mode, graph.compiler),
        TracedGraph(backward, graph.mode, graph.compiler),
        len(outputs),
        saved,
        [tensors.index(i) for i in found],
    )


@final
class _Differentiable(Interpreter):
    """Runs the operations of a graph, with conversions of numbers in a form that has a derivative.

    Code is generated for `prims.convert_element_type`, which has none.
    """

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target is torch.ops.prims.convert_element_type.default:
            tensor, dtype = args
            return tensor.to(dtype)
        return super().call_function(target, args, kwargs)


def inductor(module: GraphModule, mode: FakeTensorMode) -> Callable[[list[Any]], Sequence[Any]]:
    """Generate code with torch's inductor, in this process and with its cache on disk."""
    from torch._guards import TracingContext, tracing
    from torch._inductor import config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.virtualized import V

    inputs = [node.meta["val"] for node in module.graph.find_nodes(op="placeholder")]
    # one file of C++ for all operations of a graph: starting the compiler takes longer than most kernels
    in_one_file = not any(isinstance(value, Tensor) and value.device.type != "cpu" for value in inputs)
    output = module.graph.output_node()
    # all outputs keep their strides, which other graphs expect
    output.meta["user_visible_output_idxs"] = range(len(output.args[0]))  # type: ignore[arg-type]
    with (
        config.patch(compile_threads=1, fx_graph_cache=True, cpp_wrapper=in_one_file),
        V.set_fake_mode(mode),
        tracing(TracingContext(mode)),
        torch.no_grad(),
    ):
        code: Callable[[list[Any]], Sequence[Any]] = compile_fx_inner(module, inputs, cpp_wrapper=in_one_file)
    return code


def interpreted(module: GraphModule, mode: FakeTensorMode) -> Callable[[list[Any]], Sequence[Any]]:
    """Run the operations of a graph one by one, without generating code."""
    return lambda inputs: module(*inputs)


@final
class Code:
    """Generated code of a graph.

    Args:
        graph: the graph.
    """

    def __init__(self, graph: TracedGraph) -> None:
        self._sizes = [size_code(value) if is_size(value) else None for value in graph.inputs]
        self._run = graph.compiler(graph.module, graph.mode)

    def __call__(self, sizes: Mapping[str, int], tensors: Iterable[Tensor]) -> Sequence[Any]:
        """Compute the outputs.

        Args:
            sizes: the values of the symbols.
            tensors: the inputs that are tensors.
        """
        given = iter(tensors)
        return self._run([next(given) if code is None else evaluated_size(code, sizes) for code in self._sizes])


def evaluated_size(code: CodeType, symbols: Mapping[str, int]) -> int:
    """Evaluate the expression of a size."""
    value: int = eval(code, {"math": math}, symbols)
    return value


def size_code(size: SymInt | int) -> CodeType:
    """Compile the expression of a size for `eval`, with the names of its symbols as variables."""
    from torch.utils._sympy.printers import PythonPrinter

    expression = size.node.expr if isinstance(size, SymInt) else size
    return compile(PythonPrinter().doprint(expression) if isinstance(size, SymInt) else str(size), "<size>", "eval")


def is_size(value: Any) -> bool:
    """Return True for symbolic and other integers."""
    return isinstance(value, SymInt | int)
