"""Reading of study files; one error lists every problem with its file and line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gemnet_blocks.ablation.factors import Cell, cells
from gemnet_blocks.ablation.options import BASE, SEARCH, StudyOptions
from gemnet_blocks.ablation.search_space import flattened
from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec import resolve
from gemnet_blocks.spec.catalog import Catalog, did_you_mean, search_beside
from gemnet_blocks.spec.document import Document, Problem, Route, check_kind, read_document, shown
from gemnet_blocks.spec.explain import OptionsTree, problems_of
from gemnet_blocks.spec.files import check_found, extended_document, find_document, folder_of
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.spec.versions import in_current_version, with_current_names
from gemnet_blocks.training import config_file as reading
from gemnet_blocks.training.options import TrainingConfig
from gemnet_blocks.util.shipped import shipped_file

if TYPE_CHECKING:
    from os import PathLike


TRAINED = ("loss", "references", "scales", "optimizer", "schedule", "training", "loggers", "callbacks")
"""Sections of a training config that the section `training` of a study may contain."""

GIVEN_BY_STUDY: Mapping[str, str] = {
    "steps": "budget",
    "epochs": "budget",
    "minutes": "budget",
    "seed": "seeds",
    "initial_weights": "the study itself: weights are drawn by name",
}
"""Fields of `training.training` that a study sets elsewhere, and where."""


def read_training(document: Document, base: Spec | None) -> tuple[TrainingConfig | None, list[str]]:
    """Return the training config with a placeholder budget, and the problems with it.

    Args:
        document: the whole study.
        base: the model; None if it could not be read, which is reported separately.
    """
    problems = [document.located(one) for one in _misplaced(document)]
    rest = _as_config(document)
    rest = Document(rest.data, rest.places if base is not None else {**rest.places, ("model",): ""})
    config, found = reading.validated(rest, base)
    return config, problems + [_named(rest, one) for one in found if one.route[:1] != ("model",)]


def _as_config(document: Document) -> Document:
    """Return data and training in the layout of a training config."""
    training = document.data.get("training")
    sections = dict(training) if isinstance(training, Mapping) else {}
    inner = sections.get("training", {})
    inner = (
        {key: value for key, value in inner.items() if key not in GIVEN_BY_STUDY}
        if isinstance(inner, Mapping)
        else inner
    )
    data: dict[str, Any] = {key: value for key, value in sections.items() if key in TRAINED}
    # a placeholder for validation, which the budget of the study replaces
    data["training"] = {**inner, "steps": 1} if isinstance(inner, dict) else inner
    if "data" in document.data:
        data["data"] = document.data["data"]
    places = {route: place for route, place in document.places.items() if route[:1] in ((), ("data",))}
    places |= {route[1:]: place for route, place in document.places.items() if route[:1] == ("training",)}
    return Document(data, places)


def _misplaced(document: Document) -> list[Problem]:
    """Return the entries that do not belong in the section `training` of a study."""
    training = document.data.get("training", {})
    if not isinstance(training, Mapping):
        return [Problem(("training",), f"must be a mapping of sections ({', '.join(TRAINED)}), got {shown(training)}")]
    found = []
    for key in training:
        if key in ("model", "data", "output"):
            instead = {"model": "base", "data": "data", "output": "output"}[key]
            found.append(Problem(("training", key), f"is set by `{instead}` of the study: remove it"))
        elif key not in TRAINED:
            hint = did_you_mean(key, TRAINED)
            found.append(Problem(("training", key), f"unknown field{hint}"))
    inner = training.get("training", {})
    for key, who in GIVEN_BY_STUDY.items():
        if isinstance(inner, Mapping) and key in inner:
            found.append(Problem(("training", "training", key), f"is set by {who}: remove it"))
    return found


def _named(rest: Document, problem: Problem) -> str:
    """Return a line of an error message with the path of the entry in the study."""
    inside = problem.route[:1] not in ((), ("data",))
    place = rest.place(problem.route)
    route = ".".join(("training", *problem.route) if inside else problem.route)
    return ": ".join(part for part in (place, route, problem.message) if part)


_NEEDED: Mapping[Route, str] = {
    ("budget",): "give the training budget of each variant, such as {steps: 1000}",
    ("variants",): "give the changes of each variant, such as {deeper: {blocks.count: 6}}, or factors or a search",
}
"""Required entries and advice on how to write them."""


@dataclass(frozen=True, slots=True)
class StudyDocument:
    """A validated study.

    Attributes:
        options: everything besides base, data and training.
        base: the architecture of the base.
        config: the training config of all variants, with the base as model and a placeholder budget; None if the study
            has neither data nor training.
        patches: the changes of each variant, with the place of every entry.
        folder: the folder that paths are relative to.
        places: file and line of every entry.
        levels: the level of each factor by the name of a variant, in factorial studies.
    """

    options: StudyOptions
    base: Spec
    config: TrainingConfig | None
    patches: Mapping[str, Document]
    folder: Path
    places: Mapping[Route, str]
    levels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def located(self, line: str, whose: str = "") -> str:
        """Add file and line to an error that begins with the path of an entry, such as `loss.forces: ...`.

        The path of an entry of the training config becomes its path in the study: `training.loss.forces`.

        Args:
            line: a line of an error message.
            whose: the base or the variant that the error is about.
        """
        route = tuple(line.partition(": ")[0].split("."))
        if route[0] in TRAINED:
            route, line = ("training", *route), f"training.{line}"
        place = Document({}, self.places).place(route) if route[0] in _FIELDS else ""
        return ": ".join(part for part in (place, whose, line) if part)

    def with_variants(self, patches: Mapping[str, Mapping[str, Any]]) -> StudyDocument:
        """Return a study with other variants, which may be equal, and without controls.

        Raises:
            SpecError: a name or a path is wrong.
        """
        document = resolve.as_document({"variants": dict(patches)})
        kept = {name: value for name, value in self.options.model_dump().items() if name not in SEARCH}
        options = kept | {"variants": {name: dict(one) for name, one in patches.items()}}
        try:
            checked = StudyOptions.model_validate(options | {"match": None, "allow_equal": True})
        except ValidationError as error:
            found = problems_of(error, document, OptionsTree(StudyOptions))
            raise SpecError("\n".join(map(document.located, found))) from error
        documents = {name: with_current_names(resolve.as_document(one)) for name, one in patches.items()}
        return replace(self, options=checked, patches=documents)


_FIELDS = ("base", "data", "training", *StudyOptions.model_fields)
"""The fields of a study."""


def read_study(
    path: str | PathLike[str], patches: Mapping[str, Any] | None = None, catalog: Catalog | None = None
) -> StudyDocument:
    """Read a study file. It cannot run code unless the catalog allows imports.

    A file may start with `extends: other.yaml`, relative to itself, and then contain only what differs: mappings are
    merged, other values are replaced. A budget replaces the whole budget, and null removes a variant or
    a factor.

    Args:
        path: a YAML file; the name of a study that the library ships, such as `studies/neighbors`; or `-`, standard
            input. Paths of specs are relative to the file that contains them; paths of data are relative to this file
            (for names and standard input, to the current folder), even if they come from a file that it extends.
        patches: changes by dotted path, such as `{"seeds": 8, "training.optimizer.learning_rate": 1e-3}`.
        catalog: components that specs may name; None: those of the library. If it allows imports, modules are also
            searched in the folder of the file and in the current folder.

    Raises:
        SpecError: one error that lists every problem with file, line and path, and suggests corrections.
    """
    found = find_document(path)
    check_found(found, path, "a study")
    if catalog is not None and catalog.allow_imports:
        search_beside(found)
    document = _with_extended(found, ())
    base = resolve.NOTHING
    if patches:
        changes = resolve.as_document(patches)
        if isinstance(changes.data.get("base"), Mapping):  # merged by the rules of specs
            base = reading.section(changes, "base")
            data = {key: value for key, value in changes.data.items() if key != "base"}
            changes = Document(data, changes.places, changes.problems)
        document = _overlaid(document, changes)
    return study_of(document, folder_of(Path(path)), base_changes=base, catalog=catalog)


def read_study_of(path: str | PathLike[str], base: Spec, patches: Mapping[str, Any] | None = None) -> StudyDocument:
    """Read data, training, budget and seeds from a study file, for other architectures than those of the file.

    Args:
        path: a YAML file or a name; see `read_study`. It need not have a base and variants.
        base: the base of the study instead of that in the file.
        patches: changes by dotted path.

    Raises:
        SpecError: one error that lists every problem with file, line and path.
    """
    found = find_document(path)
    check_found(found, path, "a study")
    document = _overlaid(_with_extended(found, ()), resolve.as_document(patches or {}))
    rest = {key: value for key, value in document.data.items() if key not in ("base", "variants", "match", *SEARCH)}
    other = replace(document, data={**rest, "variants": {"other": {}}})
    return study_of(other, folder_of(Path(path)), base)


def _with_extended(path: Path, below: Sequence[Path]) -> Document:
    """Read a file and merge it into the file that it extends; `below` lists the files that extend it."""
    document = in_current_version(read_document(path, "a study"))
    check_kind(document, path, "a study")
    if "extends" not in document.data:
        return document
    data = dict(document.data)
    chain = [*below, path.resolve()]
    other = extended_document(document, path.parent, "a study", "must be the path of a study file", chain)
    extended = data.pop("extends")
    relative = Path(extended) if (path.parent / extended).is_file() else other
    below_it = _moved(_with_extended(other, chain), relative.parent)
    changes = _with_current_names(Document(data, document.places, document.problems))
    if isinstance(below_it.data.get("base"), str) and _lacks_sections(changes.data.get("base")):
        raise SpecError(
            f"{document.place(('base',))}: base: is incomplete and would replace the base of the extended study: begin "
            f"it with `extends: {below_it.data['base']}`"
        )
    return _overlaid(below_it, changes)


def _lacks_sections(base: object) -> bool:
    """Return True for a mapping that extends no spec and is not a whole spec."""
    required = (name for name, field in Spec.model_fields.items() if field.is_required())
    return isinstance(base, Mapping) and "extends" not in base and any(name not in base for name in required)


def _moved(document: Document, folder: Path) -> Document:
    """Return a study with the path of its base relative to the parent of `folder`."""
    base = document.data.get("base")
    if isinstance(base, str) and shipped_file(base) is None:
        return replace(document, data={**document.data, "base": str(folder / base)})
    if isinstance(base, Mapping) and isinstance(base.get("extends"), str) and shipped_file(base["extends"]) is None:
        moved = {**base, "extends": str(folder / base["extends"])}
        return replace(document, data={**document.data, "base": moved})
    return document


def _overlaid(below: Document, changes: Document) -> Document:
    """Apply changes to a study."""
    below, changes = _with_current_names(below), _with_current_names(changes)
    data = dict(below.data)
    budget = changes.data.get("budget")
    if isinstance(budget, Mapping) and any(value is not None for value in budget.values()):
        data.pop("budget", None)  # merging would result in two kinds of budgets
    for section in ("variants", "factors"):
        known, changed = data.get(section), changes.data.get(section)
        if isinstance(known, Mapping) and isinstance(changed, Mapping):
            data[section] = {name: value for name, value in known.items() if changed.get(name, value) is not None}
            kept = {name: value for name, value in changed.items() if value is not None or name not in known}
            changes = replace(changes, data={**changes.data, section: kept})
    if all(isinstance(one.data.get("search"), Mapping) for one in (below, changes)):  # entries replace each other
        entries = {**flattened(data.pop("search")), **flattened(changes.data["search"])}
        kept = {path: one for path, one in entries.items() if one is not None}
        changes = replace(changes, data={**changes.data, "search": kept})
    return reading.overlaid(replace(below, data=data), changes)


def _with_current_names(study: Document) -> Document:
    """Convert base and patches to nested keys with current names, so that changes match existing entries."""
    data = dict(study.data)
    if isinstance(base := data.get("base"), Mapping):
        data["base"] = with_current_names(Document(dict(base))).data
    if isinstance(variants := data.get("variants"), Mapping):
        nested = {name: resolve.as_document(patch) for name, patch in variants.items() if isinstance(patch, Mapping)}
        current = {name: with_current_names(one).data for name, one in nested.items() if not one.problems}
        data["variants"] = {**variants, **current}
    return replace(study, data=data)


def study_of(
    document: Document,
    folder: Path,
    spec: Spec | None = None,
    base_changes: Document = resolve.NOTHING,
    catalog: Catalog | None = None,
) -> StudyDocument:
    """Validate the document of a study.

    Args:
        document: the whole study.
        folder: the folder that paths are relative to.
        spec: the base, if the document does not contain it.
        base_changes: changes of the base.
        catalog: components that a base in the document may name; None: those of the library.

    Raises:
        SpecError: one error with every problem.
    """
    problems = [document.located(one) for one in (*document.problems, *document.impossible_numbers())]
    own = Document({key: value for key, value in document.data.items() if key in StudyOptions.model_fields})
    problems += [document.located(one) for one in _unknown(document)]
    if own.data.get("factors"):
        own = replace(own, data={"variants": {}, **own.data})
    if own.data.get("search") is not None:
        own = replace(own, data={"title": "Search", "variants": {}, "seeds": 1, **own.data})
    options = None
    try:
        options = StudyOptions.model_validate(own.data)
    except ValidationError as error:
        found = problems_of(error, document, OptionsTree(StudyOptions))
        problems += [document.located(_with_advice(one)) for one in found]
    base: Spec | None = spec
    read_config: TrainingConfig | None = None
    if spec is None and "base" not in document.data:
        problems.append(document.located(Problem((), "base: is missing: name a spec file or write a spec")))
    needs_config = "data" in document.data or "training" in document.data
    if needs_config or (spec is None and "base" in document.data):
        try:
            base, read_config = _trained(document, folder, spec, base_changes, catalog or Catalog(), needs_config)
        except SpecError as error:
            problems += str(error).splitlines()
    if base is not None and not problems:
        resolve.check_known(base, base.catalog)
    combined: Mapping[str, Cell] = {}
    if options is not None and base is not None and options.factors and not problems:
        combined, found_problems = cells(options.factors, base, options.resolution)
        problems += [document.located(_of_line(line)) for line in found_problems]
        problems += [
            document.located(Problem(("variants", name), "is also a combination of the factors: remove it"))
            for name in options.variants
            if name in combined
        ]
    if problems or options is None or base is None:
        raise SpecError("\n".join(dict.fromkeys(problems)))
    if read_config is not None:
        read_config = read_config.model_copy(update={"model": base}).in_folder(folder)
    patches = {name: _patch(document, name) for name in options.variants}
    place = document.place(("factors",))
    patches |= {name: _combination(one, place) for name, one in combined.items() if name}
    levels = {name or BASE: one.levels for name, one in combined.items()}
    return StudyDocument(options, base, read_config, patches, folder, document.places, levels)


def _of_line(line: str) -> Problem:
    """Turn a line such as `factors.radial: ...` into a problem at this entry."""
    route, _, message = line.partition(": ")
    return Problem(tuple(route.split(".", 1)), message)


def _combination(cell: Cell, place: str) -> Document:
    """Return the changes of a combination of levels; errors in it have the place of the factors."""
    nested = resolve.as_document(cell.patch)
    places = {(): place, **dict.fromkeys(nested.places, place)} if place else {}
    return with_current_names(Document(nested.data, places, nested.problems))


def _trained(
    document: Document, folder: Path, spec: Spec | None, changes: Document, catalog: Catalog, with_config: bool
) -> tuple[Spec, TrainingConfig | None]:
    """Read base and training as a training config whose model is the base."""
    if not with_config:
        return spec or _model(document, changes, catalog, folder), None
    problems: list[str] = []
    base = spec
    if base is None and "base" in document.data:
        try:
            base = _model(document, changes, catalog, folder)
        except SpecError as error:
            problems.append(str(error))
    config, found = read_training(document, base)
    problems += found
    if problems or config is None or base is None:
        raise SpecError("\n".join(dict.fromkeys(problems)))
    return base, config


def _model(document: Document, changes: Document, catalog: Catalog, folder: Path) -> Spec:
    """Read the spec that `base` contains or names."""
    moved = Document(
        {"model": document.data["base"]},
        {("model", *route[1:]): place for route, place in document.places.items() if route[:1] == ("base",)},
    )
    changed = {("model", *route): place for route, place in changes.places.items()}
    patch = Document({"model": changes.data} if changes.data else {}, changed, changes.problems)
    try:
        spec = reading.spec_of(moved, patch, catalog, folder)
    except SpecError as error:
        renamed = re.sub(r"^(: )?model(?=[:.])|(?<=: )model(?=[:.])", "base", str(error), flags=re.MULTILINE)
        raise SpecError(renamed) from None
    if spec is None:
        raise SpecError(document.located(Problem(("base",), "must be a spec or the path of one")))
    return spec


def _unknown(document: Document) -> list[Problem]:
    return [
        Problem((key,), f"unknown field{did_you_mean(key, _FIELDS)}")
        for key in document.data
        if str(key) not in _FIELDS
    ]


def _with_advice(problem: Problem) -> Problem:
    """Add advice to the problem of a missing required entry."""
    advice = _NEEDED.get(problem.route)
    return replace(problem, message=f"is missing: {advice}") if advice and problem.message == "is missing" else problem


def _patch(document: Document, name: str) -> Document:
    """Return the changes of a variant in nested form, with the place of every entry."""
    nested = resolve.as_document(document.data["variants"][name])
    places: dict[Route, str] = {}
    for route, place in document.places.items():
        if route[:2] == ("variants", name):
            parts = tuple(part for key in route[2:] for part in key.split("."))
            for length in range(len(parts) + 1):
                places.setdefault(parts[:length], place)
            places[parts] = place
    return with_current_names(Document(nested.data, places, nested.problems))
