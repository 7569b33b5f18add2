"""JSON Schema of study files, for completion and validation in editors."""

from __future__ import annotations

from typing import Any, get_args

from gemnet_blocks.ablation.options import Matched, StudyOptions
from gemnet_blocks.ablation.study_file import GIVEN_BY_STUDY, TRAINED
from gemnet_blocks.training.config_file import json_schema as training_schema


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of study files.

    Files that extend another contain only the differences and may remove variants with null. Other files must be
    complete, except for variants, which a file that others extend may lack.
    """
    config, study = training_schema(), StudyOptions.model_json_schema()
    definitions = {**study["$defs"], **config["$defs"]}
    options, data = study["properties"], definitions["DataOptions"]
    fixed = [{"type": "integer", "minimum": 1}, {"type": "array", "items": {"type": "integer"}}]
    options["seeds"]["anyOf"] = [*fixed, {"$ref": "#/$defs/SequentialSeeds"}]
    options["match"]["anyOf"].append({"enum": list(get_args(Matched))})
    options["sampler"] = _or_name(options["sampler"], study["$defs"]["SamplerOptions"])
    options["pruning"] = _or_name(options["pruning"], study["$defs"]["PruningOptions"])
    options["metric"]["anyOf"].append({"type": "string"})
    for keyword in ("type", "items", "minItems", "oneOf"):
        options["seeds"].pop(keyword, None)
    patch = options["variants"]["additionalProperties"]
    options["variants"]["additionalProperties"] = {"anyOf": [patch, {"type": "null"}]}
    trained = definitions["TrainingOptions"]
    inner = {name: field for name, field in trained["properties"].items() if name not in GIVEN_BY_STUDY}
    sections = {name: config["properties"][name] for name in TRAINED}
    sections["training"] = {**trained, "properties": inner, "required": []}
    complete = config["else"]["properties"]
    path = {"type": "string", "description": "A study to change: a path relative to this file, or a shipped name."}
    return {
        "$schema": config["$schema"],
        "title": "GemNet study",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "extends": path,
            "base": {**complete["model"], "description": "The base: a spec, its path, or the name of a shipped spec."},
            **options,
            "data": data,
            "training": {
                "type": "object",
                "description": "Sections of a training config, equal for all variants.",
                "properties": sections,
                "additionalProperties": False,
            },
            "version": config["properties"]["version"],
        },
        "if": {"required": ["extends"]},
        "else": {"required": ["base", "budget"], "properties": {"data": complete["data"]}},
        "$defs": definitions,
    }


def _or_name(field: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a field whose options can be replaced by their type alone."""
    alone = {key: value for key, value in field.items() if key not in ("$ref", "anyOf")}
    alternatives = field.get("anyOf") or [{"$ref": field["$ref"]}]
    return {**alone, "anyOf": [*alternatives, {"enum": options["properties"]["type"]["enum"]}]}
