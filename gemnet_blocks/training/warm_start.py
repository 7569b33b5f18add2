"""Warm starts of runs: the weights of a trained model, new parts that start at zero, and changes of its function."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from ase.data import chemical_symbols

from gemnet_blocks.errors import SpecError, first_few
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.grafting import Grafting
from gemnet_blocks.potential.potential import Potential
from gemnet_blocks.spec.build import build_shapes
from gemnet_blocks.spec.difference import MISSING, differing
from gemnet_blocks.spec.grafting import with_kept_divisors
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.structures import Structures
from gemnet_blocks.training.optimizer import BACKBONE
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.training.starting import Source

_COMPARED_BY_WEIGHTS = ("blocks", "streams", "elements", "atom_embedding", "edge_embedding", "sizes")
"""Sections of specs in which every change that matters shows in the weights, or in the divisors of sums."""


@dataclass(frozen=True, slots=True, eq=False)
class WarmStart:
    """The beginning of a run with the weights of a trained model.

    Attributes:
        source: the file of the trained model, with the architecture that is trained.
        trained: the trained model.
        config: the config of the run.
    """

    source: Source
    trained: Potential
    config: TrainingConfig

    @classmethod
    def of(cls, source: Source, config: TrainingConfig) -> WarmStart:
        """Read the trained model, and choose the divisors of sums with which its function is unchanged.

        Raises:
            StateError: the file cannot be read.
            SpecError: a model cannot be built.
        """
        trained = source.trained(config.model)
        source = source.with_frames_of(trained)
        if config.training.new_weights == "grafted":
            spec = with_kept_divisors(config.model, trained.model)
            source = replace(source, spec=None if spec is config.model else spec.to_dict())
        return cls(source, trained, config)

    def check(self, grafting: Grafting) -> None:
        """Check that the weights of the trained model fit a model.

        Raises:
            SpecError: weights are missing, unexpected or of other shapes; lists them.
        """
        if grafting.problems and self.config.training.new_weights == "grafted":
            raise SpecError(
                f"training.start_from: the weights of {self.source.path} do not fit `model`: "
                f"{first_few(sorted(grafting.problems), 10)}. Draw these weights with training.new_weights: drawn, or "
                f"give `model` the architecture of that file, from which it differs in "
                f"{_differing(self.trained.spec, self.config.model)}"
            )

    def begun(self, model: GemNet, elements: frozenset[int]) -> Begun:
        """Copy the weights into a model, which keeps its floating-point type.

        Warnings name changes of the function of the trained model, and elements that it was not trained on.

        Args:
            model: the model whose weights are set.
            elements: atomic numbers in the data.

        Raises:
            SpecError: weights are missing, unexpected or of other shapes; lists them.
        """
        grafting = Grafting(model, self.trained.model, self.config.training.new_weights)
        self.check(grafting)
        grafting.take()
        reasons = [f"the missing {name.removeprefix(BACKBONE)}" for name in grafting.removed]
        reasons += _changing(self.trained.spec, self.config.model)
        if reasons and not grafting.problems:
            warnings.warn(
                f"training.start_from: the weights of {self.source.path} fit, but were trained with another `model`, "
                f"which differs in {first_few(reasons, 10, ', ')}",
                stacklevel=2,
            )
        self._warn_of(elements)
        drawn = grafting.added if self.config.training.new_weights == "drawn" else []
        return Begun(self, model, grafting, bool(reasons or grafting.problems or drawn))

    def _warn_of(self, elements: frozenset[int]) -> None:
        seen = self.trained.references.per_element.keys()
        if seen and (unknown := sorted(elements - seen)):
            symbols = ", ".join(chemical_symbols[number] for number in unknown)
            warnings.warn(
                f"training.start_from: {self.source.path} was trained without {symbols}: its embeddings of these "
                "elements are random",
                stacklevel=2,
            )


@dataclass(frozen=True, slots=True, eq=False)
class Begun:
    """A model with the weights of a trained one, whose new parts do not yet start at zero.

    Attributes:
        start: the trained model.
        model: the model to train.
        grafting: its new parts.
        changed: whether the function of the trained model is expected to change.
    """

    start: WarmStart
    model: GemNet
    grafting: Grafting
    changed: bool

    def grafted(self, example: Structures) -> Source:
        """Let new parts start at zero, once scale factors are fitted, and check that the function is unchanged.

        A warning says if predictions of a structure change although nothing but parts that start at zero are new.

        Args:
            example: a structure of the training set.

        Returns:
            The source with a description of the weights.
        """
        self.grafting.graft()
        if not self.changed and (change := self._change(example)) > 1e-6:
            warnings.warn(
                f"training.start_from: predictions of the first training structure differ by {change:.1g} from those "
                "of the trained model, although new parts start at zero: check the method last_weights of custom parts",
                stacklevel=2,
            )
        return replace(self.start.source, weights=self.in_words())

    def _change(self, example: Structures) -> float:
        """Return the largest change of energies and forces of the models, absolute or, of large ones, relative."""
        if not example.atom_count or int(example.numbers.max()) > self.start.trained.spec.elements:
            return 0.0  # the trained model cannot compute it
        example = replace(example, charge=None, spin=None)  # which the trained model may refuse
        trained, model = (copy.deepcopy(one).cpu() for one in (self.start.trained.model, self.model))
        model.compiled = False
        dtype = model.backbone.dtype
        predicted = [one.to(dtype).double()(example.to("cpu", torch.float64)) for one in (trained, model)]
        names = ["energy", *["forces"] * (type(trained.forces) is type(model.forces))]
        values = [[getattr(one, name) for name in names] for one in predicted]
        known = [(before, after) for before, after in zip(*values, strict=True) if before is not None]
        changes = [(after - before).abs() / before.abs().clamp(min=1) for before, after in known if before.numel()]
        return max((float(one.detach().max()) for one in changes), default=0.0)

    def in_words(self) -> str | None:
        """Describe the weights that were taken, and those that are new or left out; None if all were taken."""
        grafting = self.grafting
        start = "start at zero" if self.start.config.training.new_weights == "grafted" else "are drawn"
        added, removed = ([name.removeprefix(BACKBONE) for name in one] for one in (grafting.added, grafting.removed))
        told = {f"new parts that {start}": added, "left out": removed, "drawn": grafting.problems}
        rest = [f"{name}: {first_few(which, 12, ', ')}" for name, which in told.items() if which]
        return "; ".join([f"{grafting.taken:,} weights taken", *rest]) if rest else None


def check_start(config: TrainingConfig) -> None:
    """Check that the weights that training begins with fit the model, without building it in memory.

    Raises:
        SpecError: the file is missing, or its weights do not fit.
        StateError: the file is not a model file, or is damaged.
    """
    source = Source.of(config)
    if source is not None:
        start = WarmStart.of(source, config)
        shapes = build_shapes(start.source.spec_of(config.model))
        start.check(Grafting(shapes, start.trained.model, config.training.new_weights))


def _differing(there: Spec, here: Spec) -> str:
    return first_few([one.path for one in differing(there.to_dict(), here.to_dict())], 10, ", ")


def _changing(old: Spec, new: Spec) -> Iterator[str]:
    """Yield the fields of a spec whose changes change the function, although all weights fit."""
    types = {name: getattr(options, "type", name) for name, options in old.interactions.items()}
    replaced = {name for name, options in new.interactions.items() if types.get(name) != options.type}  # type: ignore[attr-defined]
    for one in differing(old.to_dict(), new.to_dict()):
        section, *rest = one.path.split(".")
        of_part = section in ("interactions", "graphs") and (one.old is MISSING or one.new is MISSING)
        if section in _COMPARED_BY_WEIGHTS or of_part or _is_head(section, rest, one.old):
            continue
        if section == "interactions" and (rest[0] in replaced or rest[1:] == ["blocks"]):
            continue
        if one.path == "bases.spherical" and one.old is None:
            continue
        if rest[-1:] != ["initialization"]:
            yield one.path


def _is_head(section: str, rest: list[str], old: Any) -> bool:
    """Return whether a field is that of a new head, or of one that the energy and the forces do not depend on."""
    return section == "heads" and (rest[0] not in ("energy", "forces") or (rest == ["forces"] and old is None))
