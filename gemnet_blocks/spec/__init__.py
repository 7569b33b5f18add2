"""Declarative specs of architectures: reading, patching, and building models.

>>> from gemnet_blocks.spec import build, list_specs, load_spec
>>> spec = load_spec("gemnet-oc").patch({"interactions.quadruplet": None, "sizes": {"atom": 32, "edge": 32}})
>>> build(spec, seed=0)
GemNet(4 blocks of triplet, atom_edge, edge_atom, atom_atom; 1,429,194 parameters)
>>> list_specs("gemnet-dt*")
['gemnet-dt', 'gemnet-dt-oc22-is2re']
"""

from gemnet_blocks.spec.build import build
from gemnet_blocks.spec.editor import json_schema
from gemnet_blocks.spec.execution import Execution
from gemnet_blocks.spec.files import list_specs
from gemnet_blocks.spec.grafting import graft
from gemnet_blocks.spec.resolve import Spec, load_spec, parse_assignment

__all__ = ["Execution", "Spec", "build", "graft", "json_schema", "list_specs", "load_spec", "parse_assignment"]
