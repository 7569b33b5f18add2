"""Declarative specs of architectures: reading, patching, and building models."""

from gemnet_blocks.spec.build import build
from gemnet_blocks.spec.editor import json_schema
from gemnet_blocks.spec.execution import Execution
from gemnet_blocks.spec.files import list_specs
from gemnet_blocks.spec.resolve import Spec, load_spec, parse_assignment

__all__ = ["Execution", "Spec", "build", "json_schema", "list_specs", "load_spec", "parse_assignment"]
