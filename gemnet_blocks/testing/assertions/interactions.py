"""Every property that applies, of one interaction in the smallest model around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, get_args

import torch
import yaml
from pydantic import ValidationError
from torch import Tensor, nn

from gemnet_blocks.interactions.interaction import Interaction
from gemnet_blocks.layers.scaling import ScaleFactor
from gemnet_blocks.model.block import Block
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.spec import Spec, build
from gemnet_blocks.spec.catalog import BUILT_IN, INTERACTION
from gemnet_blocks.structures import Structures
from gemnet_blocks.testing.assertions.counterexample import Check, holds, search
from gemnet_blocks.testing.assertions.models import Properties
from gemnet_blocks.testing.assertions.smoothness import crossing, special_structures
from gemnet_blocks.testing.assertions.symmetry import assert_copyable


def assert_messages(model: GemNet, structures: Structures, silent: bool = True) -> None:
    """The messages of all interactions are of the right shape and finite.

    Args:
        model: a model with interactions.
        structures: of any kind.
        silent: whether messages may be zero everywhere.

    Raises:
        AssertionError: says how many numbers are NaN or infinite, or that all are zero.
        ValueError: a message is not of one row for each main edge or atom.
    """
    modules = interactions_of(model)
    for message in messages_of(model, modules, structures):
        if not bool(message.isfinite().all()):
            raise AssertionError(f"{int((~message.isfinite()).sum())} of {message.numel()} numbers are not finite")
        if not silent and not bool(message.any()):
            raise AssertionError("the message is zero everywhere, whatever its weights")


def assert_learning(model: GemNet, structures: Structures, weight: str) -> None:
    """The energy has a finite gradient to a weight of an interaction, other than zero.

    Args:
        model: a model with interactions.
        structures: in which everything that interactions look for occurs.
        weight: its name in `weights_of(model)`.

    Raises:
        AssertionError: says what is wrong with it.
    """
    energy = model(structures).energy.sum()
    (gradient,) = torch.autograd.grad(energy, [weights_of(model)[weight]], allow_unused=True)
    if gradient is None or not bool(gradient.any()):
        raise AssertionError("the energy does not depend on this weight: its gradient is zero")
    if not bool(gradient.isfinite().all()):
        raise AssertionError("its gradient is NaN or infinite")


def interactions_of(model: GemNet) -> list[nn.Module]:
    """All interactions, block after block."""
    found: list[nn.Module] = []
    for block in model.trunk.blocks:
        assert isinstance(block, Block)
        found.extend(block.interactions.values())
    return found


def weights_of(model: GemNet) -> dict[str, nn.Parameter]:
    """The trained parameters of the interactions, in all blocks and in the parts that blocks share."""
    parts: dict[str, nn.Module] = {}
    for index, block in enumerate(model.trunk.blocks):
        assert isinstance(block, Block)
        parts[f"block {index}"] = block.interactions
    parts["shared geometry"] = model.trunk.geometry.interactions
    return {
        f"{place}: {key}": parameter
        for place, part in parts.items()
        for key, parameter in part.named_parameters()
        if parameter.requires_grad
    }


def messages_of(model: GemNet, modules: list[nn.Module], structures: Structures) -> list[Tensor]:
    """What modules return while the model computes."""
    found: list[Tensor] = []
    with _listening(modules, found):
        model(structures)
    return found


@contextmanager
def _listening(modules: list[nn.Module], to: list[Tensor]) -> Iterator[None]:
    def listen(_module: nn.Module, _arguments: object, output: Tensor) -> None:
        to.append(output)

    handles = [module.register_forward_hook(listen) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


CUTOFF = 3.0
"""Of edge sets, in Å: so short that degenerate cells do not have thousands of edges."""

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
    examples: int = 15,
    max_atoms: int = 8,
) -> tuple[str, ...]:
    """Search for a counterexample to everything that the model relies on in an interaction.

    In a small model in float64 with no other interaction and with gradient forces: messages with a row per main edge
    or atom; deep copies and pickles; gradients to all weights; finite energies and forces; independence of the other
    structures in the batch; all symmetries, on generic and degenerate structures; no jumps at cutoffs; forces that are
    the gradient; second derivatives; float32 near float64. Messages are scaled to size one, weights that start at zero
    are drawn at random, so that what is wrong is seen in the energy. Predictions, symmetries and forces are first
    checked for a few structures of high symmetry, always the same.

    Args:
        interaction: a class that extends `Interaction`, one's own or the library's.
        options: as a spec gives them, without `type`; whole numbers that are required and missing become 4. Edge sets
            that the library does not name (main, atom, atom_edge, quad) get a cutoff of 3 Å.
        examples: to try for each property.
        max_atoms: of each structure that is drawn.

    Returns:
        The names of the properties that were checked, in that order.

    Raises:
        CounterExample: names the property and shows code that makes the smallest counterexample found; has the small
            model as its attribute `model`.
        SpecError: no model can be built with the interaction.
        ImportError: hypothesis or e3nn is not installed.
    """
    from gemnet_blocks.testing import strategies

    name = _name(interaction)
    spec, model = _model(interaction, name, options or {})
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
        *properties.check_continuity({graph: spec.graphs[graph].cutoff for graph in sorted(spec.graphs_in_use())}),
        *properties.check_independence(),
        *properties.check_kinks(),
        *properties.check_symmetries(),
        *properties.check_gradient_forces(),
        *properties.check_second_derivatives(),
        *properties.check_precision(),
    )
    return tuple(dict.fromkeys(checked))


def interaction_spec(interaction: type[Interaction[Any]], options: Mapping[str, Any] | None = None) -> Spec:
    """The small spec that an interaction is tested in."""
    name = _name(interaction)
    given: dict[str, Any] = {field: 4 for field, info in interaction.Options.model_fields.items() if _size(field, info)}
    given |= {"type": name, **(options or {})}
    document = yaml.safe_load(_SPEC)
    document["interactions"] = {name: given}
    with suppress(ValidationError):  # the spec says what is wrong, and where
        for edge_set in interaction.Options.model_validate(given).edge_sets().values():
            document["graphs"].setdefault(edge_set, {"cutoff": CUTOFF})
    return Spec.from_yaml(yaml.safe_dump(document), extra=_extra(interaction, name))


def _size(field: str, info: Any) -> bool:
    return field != "type" and info.is_required() and info.annotation is int


def _name(interaction: type[Interaction[Any]]) -> str:
    """The built-in name, the one that the class's options insist on, or any."""
    choices = get_args(interaction.Options.model_fields["type"].annotation)
    return str(choices[0]) if choices else "tested"


def _extra(interaction: type[Interaction[Any]], name: str) -> dict[str, type]:
    return {} if BUILT_IN[INTERACTION].get(name) is interaction else {name: interaction}


def _model(interaction: type[Interaction[Any]], name: str, options: Mapping[str, Any]) -> tuple[Spec, GemNet]:
    """The spec and its model in float64, with random numbers where there are zeros."""
    spec = interaction_spec(interaction, options)
    model = build(spec, extra=_extra(interaction, name), seed=0).double()
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
    """A structure in which every kind of neighborhood occurs."""
    structures, _ = crossing(0.8 * CUTOFF, (1, 8, 8, 1, 8))
    return structures


class _Scaled:
    """A forward hook that multiplies what a module returns."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, _module: nn.Module, _arguments: object, output: Tensor) -> Tensor:
        return output * self.factor


def _amplify(model: GemNet) -> None:
    """Scale messages to size one, in one block after another."""
    loud = Check(assert_messages, model, options={"silent": False})
    with holds("messages", {"structures": _reference()}, loud):
        loud(structures=_reference())
    for module in interactions_of(model):
        with torch.no_grad():
            (message,) = messages_of(model, [module], _reference())
        module.register_forward_hook(_Scaled(1 / float(message.detach().square().mean().sqrt())))


def _check_weights(model: GemNet) -> tuple[str, ...]:
    """Every weight learns something."""
    check = Check(assert_learning, model, ("structures", "weight"))
    names = list(weights_of(model))
    for name in names:
        example = {"structures": _reference(), "weight": name}
        with holds("gradients to weights", example, check):
            check(**example)
    return ("gradients to weights",) if names else ()
