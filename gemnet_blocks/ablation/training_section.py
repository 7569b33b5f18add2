"""Data and training of a study, read as the training config that they would be with the base as model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gemnet_blocks.spec.catalog import did_you_mean
from gemnet_blocks.spec.document import Document, Problem, shown
from gemnet_blocks.spec.schema import Spec
from gemnet_blocks.training import config_file as reading
from gemnet_blocks.training.options import TrainingConfig

TRAINED = ("loss", "references", "scales", "optimizer", "schedule", "training")
"""Sections of a training config that a study's `training` may have."""

GIVEN_BY_STUDY: Mapping[str, str] = {
    "steps": "budget",
    "epochs": "budget",
    "minutes": "budget",
    "seed": "seeds",
    "initial_weights": "the study itself: weights are drawn by name",
}
"""Fields of `training.training` that are not the training's to say in a study, and who says them."""


def read_training(document: Document, base: Spec | None) -> tuple[TrainingConfig | None, list[str]]:
    """The training config, with a budget that means nothing, or what is wrong with it.

    Args:
        document: the whole study.
        base: the model; None where it could not be read, which is complained of already.
    """
    problems = [document.located(one) for one in _misplaced(document)]
    rest = _as_config(document)
    rest = Document(rest.data, rest.places if base is not None else {**rest.places, ("model",): ""})
    config, found = reading.validated(rest, base)
    return config, problems + [_named(rest, one) for one in found if one.route[:1] != ("model",)]


def _as_config(document: Document) -> Document:
    """Data and training as a training config has them."""
    training = document.data.get("training")
    sections = dict(training) if isinstance(training, Mapping) else {}
    inner = sections.get("training", {})
    inner = (
        {key: value for key, value in inner.items() if key not in GIVEN_BY_STUDY}
        if isinstance(inner, Mapping)
        else inner
    )
    data: dict[str, Any] = {key: value for key, value in sections.items() if key in TRAINED}
    # validated with some budget; the study's own takes its place
    data["training"] = {**inner, "steps": 1} if isinstance(inner, dict) else inner
    if "data" in document.data:
        data["data"] = document.data["data"]
    places = {route: place for route, place in document.places.items() if route[:1] == ("data",)}
    places |= {route[1:]: place for route, place in document.places.items() if route[:1] == ("training",)}
    return Document(data, places)


def _misplaced(document: Document) -> list[Problem]:
    """What does not belong into a study's `training`."""
    training = document.data.get("training", {})
    if not isinstance(training, Mapping):
        return [Problem(("training",), f"must be a mapping of sections ({', '.join(TRAINED)}), got {shown(training)}")]
    found = []
    for key in training:
        if key in ("model", "data", "output"):
            instead = {"model": "base", "data": "data", "output": "output"}[key]
            found.append(Problem(("training", key), f"is said by `{instead}` of the study: remove it"))
        elif key not in TRAINED:
            hint = did_you_mean(key, TRAINED)
            found.append(Problem(("training", key), f"unknown field{hint}"))
    inner = training.get("training", {})
    for key, who in GIVEN_BY_STUDY.items():
        if isinstance(inner, Mapping) and key in inner:
            found.append(Problem(("training", "training", key), f"is given by {who}: remove it"))
    return found


def _named(rest: Document, problem: Problem) -> str:
    """One line for an error message, with the path in the study."""
    inside = problem.route[:1] not in ((), ("data",))
    place = rest.place(problem.route)
    route = ".".join(("training", *problem.route) if inside else problem.route)
    return ": ".join(part for part in (place, route, problem.message) if part)
