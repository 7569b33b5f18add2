"""Variants: the patches of a study applied to its base, and parameter-matched controls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from gemnet_blocks.ablation.options import BASE
from gemnet_blocks.ablation.results import Difference, Variant
from gemnet_blocks.ablation.study_file import StudyDocument
from gemnet_blocks.errors import SpecError
from gemnet_blocks.model.summary import parameter_count
from gemnet_blocks.spec import resolve
from gemnet_blocks.spec.build import build_shapes
from gemnet_blocks.spec.difference import MISSING, differing
from gemnet_blocks.spec.document import Document, Problem, Route, shown
from gemnet_blocks.spec.explain import OptionsTree, problems_of
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.training.options import ExecutionOptions

EXECUTION = "execution"
"""The section of a patch that changes how a model is computed and not the architecture."""

START = "start_from"
"""The entry of a patch that names the file or run whose weights the training of a variant starts from."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A variant whose model can be built.

    Attributes:
        variant: name and changes.
        spec: the whole architecture.
        execution: execution options.
        parameters: number of parameters.
        start_from: the file or run whose weights training starts from; None: random weights.
    """

    variant: Variant
    spec: Spec
    execution: ExecutionOptions
    parameters: int
    start_from: str | None = None

    @property
    def identity(self) -> tuple[str, str, str | None]:
        """A value that is equal for variants with identical runs."""
        return self.spec.content_hash, self.execution.model_dump_json(), self.start_from

    @classmethod
    def checked(
        cls, variant: Variant, spec: Spec, execution: ExecutionOptions, start_from: str | None = None
    ) -> Candidate:
        """Check that the model of a variant can be built, and count its parameters.

        Raises:
            SpecError: the model cannot be built.
        """
        parameters = count_parameters(spec, execution)
        return cls(replace(variant, spec_hash=spec.content_hash), spec, execution, parameters, start_from)


def candidates(study: StudyDocument) -> tuple[list[Candidate], list[str]]:
    """Return the base and its variants, and the problems with them."""
    base_execution = ExecutionOptions() if study.config is None else study.config.training.execution
    base_start = None if study.config is None else study.config.training.start_from
    found: list[Candidate] = []
    problems: list[str] = []
    try:
        base = Variant(BASE, levels=study.levels.get(BASE, {}))
        found.append(Candidate.checked(base, study.base, base_execution, base_start))
    except SpecError as error:
        problems += [f"base: {line}" for line in str(error).splitlines()]
    told: set[str] = set()
    for name, patch in study.patches.items():
        document = _naming_variant(patch, name)
        try:
            found.append(_patched(study, name, document, base_execution, base_start))
        except SpecError as error:
            lines = {line.replace(f"variants.{name}", ""): line for line in str(error).splitlines()}
            # a mistake in a level of a factor concerns all combinations that contain it
            problems += [line for bare, line in lines.items() if name not in study.levels or bare not in told]
            told |= set(lines)
    if not study.options.allow_equal:
        problems += _equal(found)
    return found, problems


def count_parameters(spec: Spec, execution: ExecutionOptions | None = None) -> int:
    """Count the parameters of a spec's model, including scale factors.

    Raises:
        SpecError: the model cannot be built.
    """
    try:
        model = build_shapes(spec, execution=None if execution is None else execution.execution())
        return parameter_count(model)
    except Exception as error:  # a custom component may raise anything
        reason = str(error) if isinstance(error, (SpecError, ImportError)) else f"{type(error).__name__}: {error}"
        raise SpecError(f"cannot be built: {reason}") from error


def differences(base: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield the differences between nested mappings; an entry that only one of them contains is one difference."""
    for one in differing(base, other):
        before, after = (None if value is MISSING else value for value in (one.old, one.new))
        yield Difference(one.path, before, after)


def _patched(
    study: StudyDocument, name: str, document: Document, base_execution: ExecutionOptions, base_start: str | None
) -> Candidate:
    base = study.base
    data = dict(document.data)
    given, start = data.pop(EXECUTION, {}), data.pop(START, base_start)
    changes = Document(data, document.places, document.problems)
    problems: list[str] = []
    spec, execution = base, base_execution
    try:
        spec = resolve.validate(resolve.merge(Document(base.to_dict()), changes, base.catalog), base.catalog)
        resolve.check_known(spec, base.catalog)
    except SpecError as error:
        problems += str(error).splitlines()
    try:
        execution = _execution(base_execution, given, document)
    except SpecError as error:
        problems += str(error).splitlines()
    if not isinstance(start, str | None):
        message = f"must be the path of a model file or of a run, or null for random weights, got {shown(start)}"
        problems.append(document.located(Problem((START,), message)))
    if problems:
        raise SpecError("\n".join(problems))
    before = {**base.to_dict(), EXECUTION: base_execution.model_dump(mode="json"), START: base_start}
    after = {**spec.to_dict(), EXECUTION: execution.model_dump(mode="json"), START: start}
    idle = [document.located(one) for one in _idle(document.data, before, after, ())]
    if not document.data and not study.options.allow_equal:
        idle = [document.located(Problem((), "changes nothing: give a change, or set allow_equal for an A/A study"))]
    if idle:
        raise SpecError("\n".join(idle))
    changed = tuple(differences(before, after))
    variant = Variant(name, patch=document.data, differences=changed, levels=study.levels.get(name, {}))
    try:
        return Candidate.checked(variant, spec, execution, start)
    except SpecError as error:
        raise SpecError(document.located(Problem((), str(error)))) from error


def _execution(base: ExecutionOptions, changes: Any, document: Document) -> ExecutionOptions:
    """Apply the section `execution` of a patch to the execution options of the base."""
    if not isinstance(changes, Mapping):
        message = f"must be a mapping such as {{angular: explicit}}, got {shown(changes)}"
        raise SpecError(document.located(Problem((EXECUTION,), message)))
    try:
        return ExecutionOptions.model_validate({**base.model_dump(), **changes})
    except ValidationError as error:
        found = problems_of(error, Document(dict(changes)), OptionsTree(ExecutionOptions))
        located = [document.located(replace(one, route=(EXECUTION, *one.route))) for one in found]
        raise SpecError("\n".join(located)) from None


def _idle(patch: Mapping[str, Any], before: Any, after: Any, route: Route) -> Iterator[Problem]:
    """Yield the entries of a patch that do not change the base."""
    if not patch and route:
        yield Problem(route, "changes nothing: give a change, or remove the entry")
    for key, value in patch.items():
        here = (*route, str(key))
        old, new = _at(before, key), _at(after, key)
        # a new component may repeat options of the old one, and a type may be repeated for clarity
        fresh = isinstance(value, Mapping) and (old is MISSING or _at(old, "type") != _at(new, "type"))
        if isinstance(value, Mapping) and not fresh:
            yield from _idle(value, old, new, here)
        elif old == new and not (key == "type" and len(patch) > 1):
            yield Problem(here, f"is already {shown(value)} in the base: change it, or remove the entry")


def _at(data: Any, key: str) -> Any:
    return data.get(key, MISSING) if isinstance(data, Mapping) else MISSING


def _equal(found: list[Candidate]) -> list[str]:
    """Return a problem for each variant that equals the base or another variant."""
    first: dict[tuple[str, str, str | None], str] = {}
    problems = []
    for one in found:
        same = first.setdefault(one.identity, one.variant.name)
        if same != one.variant.name:
            problems.append(
                f"variants.{one.variant.name}: computes the same as {same!r}, because the model does not use what "
                "differs: change something else, or set allow_equal for an A/A study"
            )
    return problems


def _naming_variant(patch: Document, name: str) -> Document:
    """Return a patch whose places include the name of the variant."""
    whose = f"variants.{name}"
    places = {route: f"{place}: {whose}" for route, place in patch.places.items()}
    return Document(patch.data, {(): whose, **places}, patch.problems)
