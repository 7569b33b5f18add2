"""Assertions about a single interaction in a small model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from gemnet_blocks.interactions.interaction import Interaction
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.model.block import Block, by_stream
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.spec import Spec, build
from gemnet_blocks.spec.alone import as_extra, completed_options, type_name
from gemnet_blocks.spec.catalog import Catalog
from gemnet_blocks.spec.names import named_edge_sets, unchecked_options
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing.assertions.counterexample import Check, holds, search
from gemnet_blocks.testing.assertions.models import Properties
from gemnet_blocks.testing.assertions.smoothness import crossing, special_structures
from gemnet_blocks.testing.assertions.streams import has_streams
from gemnet_blocks.testing.assertions.symmetry import assert_copyable


def assert_messages(model: GemNet, structures: Structures, silent: bool = True) -> None:
    """Assert that the messages of all interactions have the right shape and are finite.

    Args:
        model: a model with interactions.
        structures: structures of any kind.
        silent: accept messages that are zero everywhere.

    Raises:
        AssertionError: a message is NaN or infinite, or zero everywhere.
        ValueError: a message does not have one row per main edge or atom.
    """
    modules = interactions_of(model)
    for message in (one for found in messages_of(model, modules, structures) for one in found.values()):
        if not bool(message.isfinite().all()):
            raise AssertionError(f"{int((~message.isfinite()).sum())} of {message.numel()} numbers are not finite")
        if not silent and not bool(message.any()):
            raise AssertionError("the message is zero everywhere")


def assert_learning(model: GemNet, structures: Structures, weight: str) -> None:
    """Assert that the gradient of the energy to a weight of an interaction is finite and not zero.

    In models with feature streams, it is the gradient of the energy and of all streams after the last block.

    Args:
        model: a model with interactions.
        structures: structures in which every kind of neighborhood occurs.
        weight: name of the weight in `weights_of(model)`.

    Raises:
        AssertionError: the gradient is zero, NaN or infinite.
    """
    energy = model(structures).energy.sum()
    streams = model.backbone(structures, model.topology(structures)).embeddings.streams if has_streams(model) else {}
    energy = energy + sum(stream.square().sum() for stream in streams.values())
    (gradient,) = torch.autograd.grad(energy, [weights_of(model)[weight]], allow_unused=True)
    if gradient is None or not bool(gradient.any()):
        raise AssertionError("the gradient of this weight is zero: the energy does not depend on it")
    if not bool(gradient.isfinite().all()):
        raise AssertionError("the gradient of this weight is NaN or infinite")


def interactions_of(model: GemNet) -> list[nn.Module]:
    """Return the interactions of all blocks."""
    found: list[nn.Module] = []
    for block in model.backbone.blocks:
        assert isinstance(block, Block)
        found.extend(block.interactions.values())
    return found


def weights_of(model: GemNet) -> dict[str, nn.Parameter]:
    """Return the trained parameters of all interactions by name, including those that blocks share."""
    parts: dict[str, nn.Module] = {}
    for index, block in enumerate(model.backbone.blocks):
        assert isinstance(block, Block)
        parts[f"block {index}"] = block.interactions
    parts["shared geometry"] = model.backbone.geometry.interactions
    return {
        f"{place}: {key}": parameter
        for place, part in parts.items()
        for key, parameter in part.named_parameters()
        if parameter.requires_grad
    }


def messages_of(model: GemNet, modules: list[nn.Module], structures: Structures) -> list[Mapping[str, Tensor]]:
    """Return the messages of interactions by stream during a forward pass of the model."""
    found: list[Mapping[str, Tensor]] = []

    def record(module: nn.Module, _arguments: object, output: Any) -> None:
        assert isinstance(module, Interaction)
        found.append(by_stream(type(module).__name__, module, output))

    with ExitStack() as hooks:
        for module in modules:
            hooks.enter_context(module.register_forward_hook(record))
        model(structures)
    return found


CUTOFF = 3.0
"""Cutoff of edge sets in Å, so short that degenerate cells do not have thousands of edges."""

NAME, SIZE = "tested", 4
"""Name of interactions whose options prescribe none, and the default of their options that are integers."""

MESSAGES = "messages: one row for each main edge or atom, finite"

_SPEC = f"""\
sizes: {{atom: 8, edge: 8, radial: 4, circular: 4, spherical: 4}}
graphs:
  main: {{cutoff: {CUTOFF}}}
  atom: {{cutoff: {CUTOFF}}}
  atom_edge: {{cutoff: {CUTOFF}}}
  quad: {{cutoff: 2.5}}
bases:
  radial: {{type: gaussian, count: 5}}
  envelope: {{type: polynomial, exponent: 5}}
  circular: {{type: legendre, count: 3}}
  spherical: {{type: legendre_outer, count: 3}}
blocks: {{count: 2, before_skip: 1, after_skip: 1, concatenation: 1, update: 1, atom: 1}}
readout: {{type: concatenated, layers: 1, after_atom: 1, network: 1}}
heads: {{energy: {{reduce: sum}}, forces: {{type: gradient}}}}
"""


def assert_interaction(
    interaction: type[Interaction[Any]],
    options: Mapping[str, Any] | None = None,
    *,
    streams: Mapping[str, Any] | None = None,
    examples: int = 15,
    max_atoms: int = 8,
) -> tuple[str, ...]:
    """Assert every property that models require of an interaction, by a search for counterexamples.

    The interaction is tested in a small model in float64 with gradient forces and without other interactions. The
    properties are: messages with a row per main edge or atom; deep copies and pickles; gradients to all weights; finite
    energies and forces; independence of the other structures in the batch; all symmetries, and equivariance of
    every feature stream under rotations, reflections, translations and the order of atoms; no jumps at cutoffs; forces
    that are the gradient of the energy; correct second derivatives; agreement of float32 with float64. The structures
    are generic and degenerate ones, and some of high symmetry. Messages are scaled to size one, and weights that are
    initialized to zero are drawn at random, so that errors affect the energy.

    Args:
        interaction: a subclass of `Interaction`.
        options: options of the interaction as in a spec, without `type`; missing integers are set to 4. Edge sets other
            than main, atom, atom_edge and quad have a cutoff of 3 Å.
        streams: feature streams of the spec that the interaction reads or writes, such as
            `{"vectors": {"irreps": "4x1o"}}`.
        examples: number of examples per property.
        max_atoms: maximum number of atoms per example.

    Returns:
        The names of the properties that were checked.

    Raises:
        CounterExample: a property is violated; the message contains code for the smallest counterexample, and the
            attribute `model` is the small model.
        SpecError: a model with the interaction cannot be built.
        ImportError: hypothesis is not installed.
    """
    from gemnet_blocks.testing import strategies

    name = type_name(interaction, NAME)
    spec, model = _model(interaction, name, options or {}, streams)
    any_structures = strategies.structures(max_atoms, CUTOFF, (1, 8))
    copyable, messages = Check(assert_copyable, model, ()), Check(assert_messages, model)
    with holds("copies", {}, copyable):
        copyable()
    search(messages, MESSAGES, examples, structures=any_structures)
    weights = _check_weights(model)
    _amplify(model)
    properties = Properties(
        model,
        any_structures,
        strategies.generic_structures(max_atoms, CUTOFF, (1, 8), min_atoms=3),
        examples,
        special=special_structures(CUTOFF, (1, 8)),
        smooth_special=special_structures(CUTOFF, (1, 8)),
    )
    checked = (
        "copies",
        MESSAGES,
        *weights,
        *properties.check_predictions(),
        *properties.check_streams(),
        *properties.check_continuity({graph: spec.graphs[graph].cutoff for graph in sorted(spec.graphs_in_use())}),
        *properties.check_independence(),
        *properties.check_kinks(),
        *properties.check_symmetries(),
        *properties.check_gradient_forces(),
        *properties.check_second_derivatives(),
        *properties.check_precision(),
    )
    return tuple(dict.fromkeys(checked))


def interaction_spec(
    interaction: type[Interaction[Any]],
    options: Mapping[str, Any] | None = None,
    streams: Mapping[str, Any] | None = None,
) -> Spec:
    """Return the small spec in which an interaction is tested."""
    name = type_name(interaction, NAME)
    given, extra = completed_options(interaction, name, options, SIZE), as_extra(interaction, name)
    document = yaml.safe_load(_SPEC)
    document["interactions"] = {name: given}
    document["streams"] = dict(streams or {})
    for edge_set in named_edge_sets(unchecked_options(name, given, Catalog(extra))).values():
        document["graphs"].setdefault(edge_set, {"cutoff": CUTOFF})
    return Spec.from_yaml(yaml.safe_dump(document), extra=extra)


def _model(
    interaction: type[Interaction[Any]], name: str, options: Mapping[str, Any], streams: Mapping[str, Any] | None
) -> tuple[Spec, GemNet]:
    """Build the small model in float64, with random weights instead of zeros."""
    spec = interaction_spec(interaction, options, streams)
    model = build(spec, extra=as_extra(interaction, name), seed=0).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, ScaleFactor):
                module.factor.uniform_(0.5, 2, generator=generator)
        for parameter in weights_of(model).values():
            if not bool(parameter.any()):
                size = parameter.shape[-1] if parameter.ndim > 1 else 1
                parameter.normal_(0, max(1, size) ** -0.5, generator=generator)
    return spec, model


def _reference() -> Structures:
    """Return a structure in which every kind of neighborhood occurs."""
    structures, _ = crossing(0.8 * CUTOFF, (1, 8, 8, 1, 8))
    return structures


class _Scaled:
    """Forward hook that multiplies the messages of an interaction to each stream."""

    def __init__(self, factors: Mapping[str, float]) -> None:
        self.factors = dict(factors)

    def __call__(self, module: nn.Module, _arguments: object, output: Any) -> Mapping[str, Tensor]:
        assert isinstance(module, Interaction)
        messages = by_stream(type(module).__name__, module, output)
        return {stream: message * self.factors[stream] for stream, message in messages.items()}


def _amplify(model: GemNet) -> None:
    """Scale messages to size one, block by block."""
    loud = Check(assert_messages, model, options={"silent": False})
    with holds("messages", {"structures": _reference()}, loud):
        loud(structures=_reference())
    for module in interactions_of(model):
        with torch.no_grad():
            (messages,) = messages_of(model, [module], _reference())
        sizes = {stream: float(message.detach().square().mean().sqrt()) for stream, message in messages.items()}
        module.register_forward_hook(_Scaled({stream: 1 / size for stream, size in sizes.items()}))


def _check_weights(model: GemNet) -> tuple[str, ...]:
    check = Check(assert_learning, model, ("structures", "weight"))
    names = list(weights_of(model))
    if has_streams(model):  # which are zero before the first block
        names = [name for name in names if not name.startswith("block 0:")]
    for name in names:
        example = {"structures": _reference(), "weight": name}
        with holds("gradients to weights", example, check):
            check(**example)
    return ("gradients to weights",) if names else ()
