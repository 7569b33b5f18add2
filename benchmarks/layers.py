"""Compare the speed of the basic layers with direct implementations of their equations, in one process.

    python benchmarks/layers.py [--edges 5144] [--width 64] [--repeats 10] [--threads 1]

Prints milliseconds of processor time for the forward pass, for the gradient with respect to the inputs, and for the
gradient of this gradient with respect to all weights, as in training with gradient forces. Each number is the minimum
over all repeats.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from gemnet_blocks.aggregation.scatter import Sums
from gemnet_blocks.geometry.edges import EdgeSet
from gemnet_blocks.interactions.message import Message
from gemnet_blocks.layers.dense import Dense
from gemnet_blocks.layers.embeddings import EdgeEmbedding
from gemnet_blocks.layers.residual import residuals
from gemnet_blocks.model.block import AtomUpdate

RADIAL = 16
DEGREE = 30


@dataclass(frozen=True)
class Case:
    """One layer in two implementations.

    Attributes:
        module: the module with the weights.
        layer: the library's implementation.
        plain: the direct implementation of the equation.
        inputs: the inputs, with respect to which the first gradient is computed.
    """

    module: nn.Module
    layer: Callable[..., Tensor]
    plain: Callable[..., Tensor]
    inputs: Sequence[Tensor]


def dense(layer: nn.Module, x: Tensor) -> Tensor:
    """Return silu(W x)/0.6."""
    assert isinstance(layer, Dense)
    return nn.functional.silu(layer.linear(x)) / 0.6


def scaled(scale: nn.Module, x: Tensor) -> Tensor:
    """Multiply x by the scale factor, if it was fitted."""
    assert isinstance(scale.factor, Tensor)
    return x * torch.where(scale.factor == 0, torch.ones_like(scale.factor), scale.factor)


def through(layers: nn.Module, x: Tensor) -> Tensor:
    """Apply residual layers one after another."""
    for layer in layers.children():
        x = (x + dense(layer.second, dense(layer.first, x))) / math.sqrt(2)  # type: ignore[arg-type]
    return x


def cases(edge_count: int, width: int) -> dict[str, Case]:
    """Create all layers, with random edges that are sorted by target."""
    atom_count = max(1, edge_count // DEGREE)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, requires_grad=True)

    atoms, m, radial = random(atom_count, width), random(edge_count, width), random(edge_count, RADIAL)
    source = torch.randint(atom_count, (edge_count,))
    target = torch.randint(atom_count, (edge_count,)).sort().values
    empty = torch.zeros(0)
    edges = EdgeSet(source, target, empty, empty, empty, torch.zeros(atom_count + 1, dtype=torch.long))
    stack, embedding = residuals(4, width), EdgeEmbedding(width, width, width)
    message, update = Message(width, RADIAL, width // 2), AtomUpdate(width, width, RADIAL, 3, Sums())

    def plain_embedding(h: Tensor, x: Tensor) -> Tensor:
        return dense(embedding.dense, torch.cat([h[source], h[target], x], dim=-1))

    def plain_message(x: Tensor, radial: Tensor) -> Tensor:
        return dense(message.down, scaled(message.scale, dense(message.dense, x) * message.radial(radial)))

    def plain_update(x: Tensor, radial: Tensor) -> Tensor:
        summed = x.new_zeros(atom_count, width).index_add(0, target, x * update.radial(radial))
        return through(update.layers, scaled(update.scale, summed))

    return {
        "4 residual layers": Case(stack, stack, lambda x: through(stack, x), [m]),
        "edge embedding": Case(embedding, lambda h, x: embedding(h, x, edges), plain_embedding, [atoms, m]),
        "message": Case(message, message, plain_message, [m, radial]),
        "atom update": Case(update, lambda x, radial: update(x, radial, target, atom_count), plain_update, [m, radial]),
    }


def times(case: Case, function: Callable[..., Tensor]) -> list[float]:
    """Measure the forward pass and the first and second backward passes, in milliseconds."""
    case.module.zero_grad()
    started = [time.process_time()]
    energy = function(*case.inputs).square().sum()
    started.append(time.process_time())
    gradients = torch.autograd.grad(energy, case.inputs, create_graph=True)
    started.append(time.process_time())
    loss = torch.stack([gradient.square().sum() for gradient in gradients]).sum()
    loss.backward(inputs=[weight for weight in case.module.parameters() if weight.requires_grad])
    started.append(time.process_time())
    return [1000 * (end - start) for start, end in pairwise(started)]


def main() -> None:
    """Measure all layers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, default=5144)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{arguments.edges} edges, width {arguments.width}: forward, first and second backward, sum, in ms")
    for name, case in cases(arguments.edges, arguments.width).items():
        least = {function: [math.inf] * 3 for function in (case.plain, case.layer)}
        for _ in range(arguments.repeats + 1):
            for function, best in least.items():
                best[:] = map(min, best, times(case, function))
        plain, layer = least.values()
        for what, best in (("plain", plain), ("here", layer)):
            print(f"{name:20s} {what:6s} {' '.join(f'{value:8.2f}' for value in best)} {sum(best):8.2f}")
        ratios = [before / after for before, after in zip(plain, layer, strict=True)]
        print(f"{'':20s} {'ratio':6s} {' '.join(f'{r:8.2f}' for r in ratios)} {sum(plain) / sum(layer):8.2f}")


if __name__ == "__main__":
    main()
