"""Declarative specs: read them, patch them, build models from them."""

from gemnet_blocks.spec.build import Execution, build
from gemnet_blocks.spec.resolve import load_spec
from gemnet_blocks.spec.schema import Spec, json_schema

__all__ = ["Execution", "Spec", "build", "json_schema", "load_spec"]
