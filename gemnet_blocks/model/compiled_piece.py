"""Code of the pieces of a model and of their derivatives, as chains of autograd functions.

See `gemnet_blocks.model.compilation` for the functions F, B, C and D.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.autograd.function import FunctionCtx
from torch.fx import Node

from gemnet_blocks.model.compiled_graph import (
    Code,
    Compiler,
    Differentiable,
    TracedGraph,
    differentiated,
    is_size,
    traced,
)
from gemnet_blocks.model.pieces import Piece

Sizes = Mapping[str, int]
"""The values of the symbols in sizes."""


@final
class Call:
    """The derivatives that follow one evaluation of a model.

    Args:
        twice: forces are differentiated once more, as in training.
    """

    def __init__(self, twice: bool = False) -> None:
        self.twice = twice
        self.computes_forces = False

    @contextmanager
    def forces(self) -> Iterator[None]:
        """Derive forces inside: gradients by positions, which may be differentiated once more."""
        self.computes_forces = True
        try:
            yield
        finally:
            self.computes_forces = False


@final
@dataclass(frozen=True, slots=True, eq=False)
class Tracing:
    """The surroundings of a trace.

    Attributes:
        mode: the mode of its fake tensors.
        compiler: generates code.
        weights: the nodes of weights and constants, which forces do not depend on.
    """

    mode: FakeTensorMode
    compiler: Compiler
    weights: frozenset[Node]


class NotCompilableError(Exception):
    """No code can be generated for a model."""


@contextmanager
def building() -> Iterator[None]:
    """Trace operations or generate code inside, for later gradients even in inference mode.

    Raises:
        NotCompilableError: it failed.
    """
    try:
        with torch.inference_mode(False):
            yield
    except Exception as error:  # operations of custom components may depend on values
        message = str(error).strip() or "no message"
        raise NotCompilableError(
            f"expected operations that do not depend on values of tensors, found {type(error).__name__}: "
            f"{message.splitlines()[0]}"
        ) from error


@final
class Units:
    """The code of all pieces; equal pieces share it.

    Attributes:
        built: the number of units of code that were generated.
    """

    def __init__(self) -> None:
        self._units: dict[Hashable, Any] = {}
        self.built = 0

    def evaluate(
        self, tracing: Tracing, piece: Piece, call: Call, sizes: Sizes, tensors: Sequence[Tensor]
    ) -> Sequence[Tensor]:
        """Compute the outputs of a piece, and generate the code for that at the first use.

        Args:
            tracing: the surroundings of the trace.
            piece: the piece.
            call: the derivatives that follow.
            sizes: the values of the symbols.
            tensors: the inputs, contiguous in memory.
        """
        is_weight = [node in tracing.weights for node in piece.inputs]
        key: Hashable = (id(tracing.mode), piece.key, tuple(is_weight))
        needed = [torch.is_grad_enabled() and tensor.requires_grad for tensor in tensors]
        if not any(needed):
            outputs: Sequence[Tensor] = self._found(key, lambda: Code(_graph(tracing, piece)))(sizes, tensors)
            return outputs
        trained = any(one and weight for one, weight in zip(needed, is_weight, strict=True))
        features = [
            tensor.is_floating_point() and not weight for tensor, weight in zip(tensors, is_weight, strict=True)
        ]
        if call.twice:
            wanted = tuple(one or feature for one, feature in zip(needed, features, strict=True))
            twice = self._found((key, wanted, "twice"), lambda: _Twice(_graph(tracing, piece), features, wanted))
            return _Forward.apply(twice, sizes, call, *tensors)[: len(piece.outputs)]
        # without gradients of weights, all blocks share their code, although the first one has constant features
        wanted = tuple(needed if trained else features)
        once = self._found((key, wanted), lambda: _Pair(differentiated(_graph(tracing, piece), wanted)))
        found: Sequence[Tensor] = _Once.apply(once, sizes, *tensors)
        return found

    def _found(self, key: Hashable, build: Any) -> Any:
        if key not in self._units:
            with building():
                self._units[key] = build()
            self.built += 1
        return self._units[key]


def _graph(tracing: Tracing, piece: Piece) -> TracedGraph:
    """Trace a piece for contiguous inputs."""
    fakes = [node.meta["val"] for node in piece.inputs]
    environment = tracing.mode.shape_env
    assert environment is not None
    sizes = [
        environment.create_symintnode(symbol, hint=environment.guarding_hint_or_throw(symbol))
        for symbol in piece.symbols
    ]
    with tracing.mode:
        tensors = [torch.empty(fake.shape, dtype=fake.dtype, device=fake.device) for fake in fakes]
    with torch.no_grad():
        return traced(lambda *inputs: piece(*inputs[len(sizes) :]), [*sizes, *tensors], tracing.mode, tracing.compiler)


@final
class _Pair:
    """Code of a function and of its gradients."""

    def __init__(self, functions: Differentiable) -> None:
        self.forward, self.backward = Code(functions.forward), Code(functions.backward)
        self.outputs = functions.output_count
        self.saved, self.inputs = functions.saved, functions.inputs

    def kept(self, results: Sequence[Tensor]) -> list[Tensor]:
        """The intermediate values that the gradients need."""
        return [results[i] for i in self.saved if i >= 0]

    def arguments(self, kept: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
        """The inputs of the code of the gradients."""
        values = iter(kept)
        return [next(values) if i >= 0 else gradients[~i] for i in self.saved]


Source = tuple[Literal["input", "result", "gradient"], int]


@final
class _Twice:
    """Code of a function whose gradients with respect to its features are differentiated once more.

    Args:
        graph: the function.
        features: the inputs with respect to which forces are derived.
        wanted: the inputs with respect to which a loss is derived.
    """

    def __init__(self, graph: TracedGraph, features: Sequence[bool], wanted: Sequence[bool]) -> None:
        first = differentiated(graph, features)
        outputs = first.forward.outputs
        results = list(outputs[: first.output_count])
        inputs = [
            node for node in first.forward.module.graph.find_nodes(op="placeholder") if not is_size(node.meta["val"])
        ]
        self.sources: list[Source] = []
        for i in first.saved:
            node = outputs[i] if i >= 0 else None
            if node is None:
                self.sources.append(("gradient", ~i))
            elif node in inputs:
                self.sources.append(("input", inputs.index(node)))
            else:
                if node not in results:
                    results.append(node)
                self.sources.append(("result", results.index(node)))
        self.features = first.inputs
        self.outputs = first.output_count
        self.whole = _Pair(differentiated(first.forward.with_outputs(results), wanted))
        floating = [value.is_floating_point() for value in first.backward.inputs if not is_size(value)]
        needed = [
            real and (kind != "input" or wanted[i]) for real, (kind, i) in zip(floating, self.sources, strict=True)
        ]
        self.back = _Pair(differentiated(first.backward, needed))

    def arguments(
        self, inputs: Sequence[Tensor], results: Sequence[Tensor], gradients: Sequence[Tensor]
    ) -> list[Tensor]:
        """The inputs of the gradients with respect to features."""
        values = {"input": inputs, "result": results, "gradient": gradients}
        return [values[kind][i] for kind, i in self.sources]


def _filled(gradients: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> list[Tensor]:
    """Replace missing gradients by zeros, and make all contiguous."""
    return [
        torch.zeros_like(output, memory_format=torch.contiguous_format) if gradient is None else gradient.contiguous()
        for gradient, output in zip(gradients, outputs, strict=True)
    ]


def _placed(values: Sequence[Tensor], places: Sequence[int], before: int, count: int) -> tuple[Tensor | None, ...]:
    """Arrange gradients by the arguments of an autograd function, the first of which are not tensors."""
    found: list[Tensor | None] = [None] * (before + count)
    for place, value in zip(places, values, strict=True):
        found[before + place] = value
    return tuple(found)


class _Once(torch.autograd.Function):
    """A function that is differentiated once."""

    @staticmethod
    def forward(ctx: Any, pair: _Pair, sizes: Sizes, *tensors: Tensor) -> tuple[Tensor, ...]:
        results = pair.forward(sizes, tensors)
        outputs = tuple(results[: pair.outputs])
        kept = pair.kept(results)
        ctx.save_for_backward(*outputs, *kept)
        ctx.pair, ctx.sizes, ctx.count = pair, sizes, len(tensors)
        _leave_out(ctx, outputs)
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        pair: _Pair = ctx.pair
        outputs, kept = ctx.saved_tensors[: pair.outputs], ctx.saved_tensors[pair.outputs :]
        arguments = pair.arguments(kept, _filled(gradients, outputs))
        return _placed(_Last.apply(pair.backward, ctx.sizes, *arguments), pair.inputs, 2, ctx.count)


class _Forward(torch.autograd.Function):
    """F: a function whose results include the intermediate values that its gradients B depend on."""

    @staticmethod
    def forward(ctx: Any, twice: _Twice, sizes: Sizes, call: Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        found = twice.whole.forward(sizes, tensors)
        results = _distinct(found[: twice.whole.outputs])
        kept = twice.whole.kept([*results, *found[twice.whole.outputs :]])
        ctx.save_for_backward(*tensors, *results, *kept)
        ctx.twice, ctx.sizes, ctx.call, ctx.count = twice, sizes, call, len(tensors)
        _leave_out(ctx, results)
        return results

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        twice: _Twice = ctx.twice
        saved, end = ctx.saved_tensors, ctx.count + twice.whole.outputs
        inputs, results, kept = saved[: ctx.count], saved[ctx.count : end], saved[end:]
        if ctx.call.computes_forces:
            filled = _filled(gradients[: twice.outputs], results[: twice.outputs])
            arguments = twice.arguments(inputs, results, filled)
            return _placed(_Backward.apply(twice.back, ctx.sizes, *arguments), twice.features, 3, ctx.count)
        arguments = twice.whole.arguments(kept, _filled(gradients, results))
        return _placed(_Last.apply(twice.whole.backward, ctx.sizes, *arguments), twice.whole.inputs, 3, ctx.count)


class _Backward(torch.autograd.Function):
    """B: gradients with respect to features, which are differentiated once more."""

    @staticmethod
    def forward(ctx: Any, pair: _Pair, sizes: Sizes, *tensors: Tensor) -> tuple[Tensor, ...]:
        results = pair.forward(sizes, tensors)
        outputs = _distinct(results[: pair.outputs])
        ctx.save_for_backward(*outputs, *pair.kept([*outputs, *results[pair.outputs :]]))
        ctx.pair, ctx.sizes, ctx.count = pair, sizes, len(tensors)
        _leave_out(ctx, outputs)
        return outputs

    backward = _Once.backward


class _Last(torch.autograd.Function):
    """C or D: gradients that are not differentiated."""

    @staticmethod
    def forward(ctx: Any, code: Code, sizes: Sizes, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(_distinct(code(sizes, tensors)))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        raise NotImplementedError(
            "compiled models have derivatives up to the gradient of a loss of energies, forces and stresses, but a "
            "higher derivative was requested: build the model without `compile`"
        )


def _leave_out(ctx: FunctionCtx, outputs: Sequence[Tensor]) -> None:
    """Exclude integers and masks from differentiation, and do not make zeros of missing gradients."""
    ctx.mark_non_differentiable(*(output for output in outputs if not output.is_floating_point()))
    ctx.set_materialize_grads(False)


def _distinct(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Make tensors that occur repeatedly into views, because autograd functions must not return a tensor twice."""
    seen: set[int] = set()
    found = []
    for tensor in tensors:
        found.append(tensor.view_as(tensor) if id(tensor) in seen else tensor)
        seen.add(id(tensor))
    return tuple(found)
