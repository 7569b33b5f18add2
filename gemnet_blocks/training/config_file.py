"""Reading of training configs from files, with one error that lists every problem by file and line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gemnet_blocks.errors import SpecError
from gemnet_blocks.spec import resolve
from gemnet_blocks.spec.catalog import Catalog, search_beside
from gemnet_blocks.spec.document import (
    Document,
    Problem,
    Route,
    check_kind,
    parse_document,
    read_document,
    shown,
)
from gemnet_blocks.spec.editor import json_schema as spec_schema
from gemnet_blocks.spec.explain import OptionsTree, problems_of
from gemnet_blocks.spec.files import check_found, existing_document, extended_document, find_document, folder_of
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.spec.versions import VERSION_SCHEMA, in_current_version
from gemnet_blocks.training.options import BUDGETS, MODEL_SCHEMA, TrainingConfig
from gemnet_blocks.training.plugins import plugin_problems

if TYPE_CHECKING:
    from os import PathLike

OPTIONS = OptionsTree(TrainingConfig)
"""The options that each route of a config may have."""


def load_config(
    path: str | PathLike[str],
    patches: Mapping[str, Any] | None = None,
    *,
    extra: Mapping[str, type] | None = None,
    allow_imports: bool = False,
) -> TrainingConfig:
    """Read a training config. Nothing in it can run code, unless imports are allowed.

    A file may start with `extends: other.yaml`, relative to itself, or the name of a shipped config such as
    `extends: recipes/molecule`, and then contain only the differences: mappings are merged, other values are replaced.
    A budget replaces the whole budget, and a `model` that is a path or extends a spec replaces the whole model.

    Args:
        path: a YAML file; the name of a config that the library ships, such as `training/gemnet-oc-is2re`; or `-`,
            standard input. Paths of specs are relative to the file that contains them; all others are relative to this
            file (for names and standard input, to the current folder), even if they come from a file that it extends.
        patches: changes by dotted path, such as `{"training.steps": 100, "model.interactions.quadruplet": None}`.
        extra: custom components by the name that `type` gives them in the model.
        allow_imports: whether types like `my_lab.blocks:GatedTriplet` may be imported, also from modules in the folder
            of the file and in the current folder.

    Raises:
        SpecError: one error that lists every problem with file, line, path and similar names.
    """
    found = find_document(path)
    check_found(found, path, "a training config")
    if allow_imports:
        search_beside(found)
    document = read_document(found, "a training config")
    check_kind(document, found, "a training config")
    return _read(document, patches, folder_of(Path(path)), Catalog().plus(extra, allow_imports), found)


def parse_config(
    text: str,
    folder: str | PathLike[str] = ".",
    *,
    extra: Mapping[str, type] | None = None,
    allow_imports: bool = False,
) -> TrainingConfig:
    """Read a training config from YAML text.

    Args:
        text: the YAML document.
        folder: the folder that paths are relative to.
        extra: custom components by the name that `type` gives them in the model.
        allow_imports: whether types like `my_lab.blocks:GatedTriplet` may be imported.

    Raises:
        SpecError: one error that lists every problem.
    """
    return _read(parse_document(text, "config"), None, Path(folder), Catalog().plus(extra, allow_imports))


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of training configs, for completion and checks in editors."""
    schema = TrainingConfig.model_json_schema()
    model = spec_schema()
    path = {"type": "string", "description": "The path of a spec file."}
    inline = {key: model[key] for key in ("type", "if", "then", "else")}
    described = schema["properties"]["model"].get("description", "")
    assert schema["properties"]["model"].get("title") == MODEL_SCHEMA
    extends = {
        "type": "string",
        "description": "The config to change: a path relative to this file, or the name of a shipped config.",
    }
    schema["properties"] = {"extends": extends, **schema["properties"], "model": {"description": described}}
    schema["properties"]["version"] = VERSION_SCHEMA
    schema["$defs"] = {**schema.get("$defs", {}), **model["$defs"]}
    data = {"required": schema["$defs"]["DataOptions"].pop("required")}
    required = schema.pop("required")
    complete = {"model": {"description": described, "anyOf": [path, inline]}, "data": data}
    changes = {"model": {"anyOf": [path, {"type": "object", **model["then"]}]}}
    return {
        "$schema": model["$schema"],
        **schema,
        "title": "GemNet training",
        "if": {"required": ["extends"]},
        "then": {"properties": changes},
        "else": {"required": required, "properties": complete},
    }


@dataclass(frozen=True, slots=True)
class _Layer:
    """A config, or the differences in a file that extends one.

    Attributes:
        document: the content of the file.
        folder: the folder that paths of specs are relative to.
    """

    document: Document
    folder: Path


def _layers(document: Document, folder: Path, path: Path | None, below: Sequence[Path]) -> list[_Layer]:
    """List a config and the configs that it extends, the last of them first.

    Args:
        document: the config.
        folder: the folder that paths in it are relative to.
        path: its file, if it is one.
        below: the files that extend it.
    """
    document = in_current_version(document)
    data = {key: value for key, value in document.data.items() if key != "extends"}
    layer = _Layer(Document(data, document.places, document.problems), folder)
    if "extends" not in document.data:
        return [layer]
    chain = [*below, *([] if path is None else [path.resolve()])]
    expected = "expected the path of one training config"
    other = extended_document(document, folder if path is None else path.parent, "a training config", expected, chain)
    base = read_document(other, "a training config")
    check_kind(base, other, "a training config")
    return [*_layers(base, other.parent, other, chain), layer]


def _read(
    document: Document,
    patches: Mapping[str, Any] | None,
    folder: Path,
    catalog: Catalog,
    path: Path | None = None,
) -> TrainingConfig:
    layers = _layers(document, folder, path, ())
    changes = resolve.as_document(patches or {})
    problems: list[str] = []
    model = None
    try:
        model = _spec(layers, changes, catalog)
    except SpecError as error:
        problems.append(str(error))
    rest = _without_model(layers[0].document)
    for layer in layers[1:]:
        rest = overlaid(_without_replaced_budget(rest, layer.document), _without_model(layer.document))
    rest = overlaid(rest, _without_model(changes))
    config, found = validated(rest, model)
    if config is not None:
        plugins = plugin_problems(config.loggers, config.callbacks, config.model)
        found += [Problem(tuple(place.split(".")), message) for place, message in plugins.items()]
    problems += [rest.located(problem) for problem in found]
    if problems or config is None:
        raise SpecError("\n".join(dict.fromkeys(problems)))
    return config.in_folder(folder)


def _without_replaced_budget(base: Document, changes: Document) -> Document:
    """Remove the budget of a config if the changes have another one, which would otherwise only add a limit."""
    old, new = base.data.get("training"), changes.data.get("training")
    if not isinstance(old, Mapping) or not isinstance(new, Mapping) or all(new.get(name) is None for name in BUDGETS):
        return base
    kept = {name: value for name, value in old.items() if name not in BUDGETS}
    return replace(base, data={**base.data, "training": kept})


def spec_of(document: Document, changes: Document, catalog: Catalog, folder: Path) -> Spec | None:
    """The spec that a config contains or names, with patches; None without one."""
    return _spec([_Layer(document, folder)], changes, catalog)


def _spec(layers: Sequence[_Layer], changes: Document, catalog: Catalog) -> Spec | None:
    if all("model" not in one.data for one in (*(layer.document for layer in layers), changes)):
        return None
    named = changes.data.get("model")
    if isinstance(named, str):
        last = layers[-1]
        layers = [_Layer(replace(last.document, data={**last.document.data, "model": named}), last.folder)]
    base = resolve.merge(resolve.NOTHING, Document({}), catalog)
    for layer in layers:
        if "model" in layer.document.data:
            base = _model_of(layer, base, catalog)
    if isinstance(named, Mapping):
        base = resolve.merge(base, section(changes, "model"), catalog)
    return resolve.validate(base, catalog)


def _model_of(layer: _Layer, base: Document, catalog: Catalog) -> Document:
    """Return the model of a file that extends a config with the model `base`."""
    document = layer.document
    described = document.data["model"]
    if isinstance(described, str):
        place = f"{document.place(('model',))}: model"
        return resolve.read_with_bases(existing_document(described, layer.folder, place), catalog, ())
    if isinstance(described, Mapping) and "extends" not in described:
        return resolve.merge(base, section(document, "model"), catalog)
    if isinstance(described, Mapping) or described is None:
        return _inline(section(document, "model"), catalog, layer.folder)
    raise SpecError(document.located(Problem(("model",), f"must be a spec or the path of one, got {shown(described)}")))


def _inline(section: Document, catalog: Catalog, folder: Path) -> Document:
    data = dict(section.data)
    extended = data.pop("extends", None)
    changes = Document(data, section.places)
    if "extends" not in section.data:
        return resolve.merge(resolve.NOTHING, changes, catalog)
    place = f"{section.place(('extends',))}: model.extends"
    if not isinstance(extended, str):
        raise SpecError(f"{place}: must be the path of one spec file")
    base = resolve.read_with_bases(existing_document(extended, folder, place), catalog, ())
    return resolve.merge(base, changes, catalog)


def section(document: Document, key: str) -> Document:
    """One section of a document as a document."""
    data = document.data.get(key)
    places = {route[1:]: place for route, place in document.places.items() if route[:1] == (key,)}
    problems = tuple(Problem(one.route[1:], one.message) for one in document.problems if one.route[:1] == (key,))
    return Document(dict(data) if isinstance(data, Mapping) else {}, places, problems)


def _without_model(document: Document) -> Document:
    data = {key: value for key, value in document.data.items() if key != "model"}
    return Document(data, document.places, tuple(one for one in document.problems if one.route[:1] != ("model",)))


def overlaid(base: Document, changes: Document) -> Document:
    """Merge changes into a document: mappings are merged, other values are replaced.

    Options whose `type` changes keep the fields that the new type has too, as parts of a spec do.
    """
    return Document(
        _merged(base.data, changes.data, ()), resolve.merged_places(base, changes), (*base.problems, *changes.problems)
    )


def _merged(old: Mapping[str, Any], new: Mapping[str, Any], route: Route) -> dict[str, Any]:
    merged = dict(_shared_fields(old, new, route) if "type" in new else old)
    for key, value in new.items():
        before = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(before, Mapping)
        merged[key] = _merged(before, value, (*route, key)) if both else value  # type: ignore[arg-type]
    return merged


def _shared_fields(old: Mapping[str, Any], new: Mapping[str, Any], route: Route) -> Mapping[str, Any]:
    """The fields of some options that options of the new type have too."""
    data = dict(new)
    for key in reversed(route):
        data = {key: data}
    known = OPTIONS.fields(route, data)
    if new["type"] == old.get("type") or not known:
        return old
    return {name: value for name, value in old.items() if name in known}


def validated(rest: Document, model: Spec | None) -> tuple[TrainingConfig | None, list[Problem]]:
    """Validate a config; returns the config, or None and its problems."""
    problems = [*rest.problems, *rest.impossible_numbers()]
    data = rest.data if model is None else {**rest.data, "model": model}
    try:
        return TrainingConfig.model_validate(data).with_places(rest.places), problems
    except ValidationError as error:
        known = {problem.route for problem in problems}
        found = problems_of(error, rest, OPTIONS)
        # problems of the model were reported when it was read
        told = known | ({("model",)} if "model" in {route[0] for route in rest.places if route} else set())
        return None, [*problems, *(problem for problem in found if problem.route not in told)]
