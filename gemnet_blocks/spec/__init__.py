"""Declarative specs: read them, patch them, build models from them."""

from gemnet_blocks.spec.build import Execution, build
from gemnet_blocks.spec.editor import json_schema
from gemnet_blocks.spec.resolve import Spec, load_spec, parse_assignment

__all__ = ["Execution", "Spec", "build", "json_schema", "load_spec", "parse_assignment"]
