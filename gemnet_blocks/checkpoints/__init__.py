"""Weights and scale factors from files and from the published implementation.

    >>> from gemnet_blocks.checkpoints import fairchem_state, load_fairchem_state
    >>> from gemnet_blocks.spec import build, load_spec
    >>> spec = load_spec("gemnet-oc").patch({"sizes": {"atom": 8, "edge": 8}, "blocks.count": 1})
    >>> published = fairchem_state(build(spec, seed=1))  # the weights under their published names
    >>> load_fairchem_state(build(spec, seed=0), published).missing
    ()

`convert_checkpoint` converts a whole checkpoint, as `gemnet-blocks convert CHECKPOINT.pt OUT.safetensors` does.
"""

from gemnet_blocks.checkpoints.checkpoint_file import load_scales, read_scale_file
from gemnet_blocks.checkpoints.convert import convert_checkpoint, model_arguments
from gemnet_blocks.checkpoints.fairchem import LoadReport, fairchem_state, load_fairchem_state

__all__ = [
    "LoadReport",
    "convert_checkpoint",
    "fairchem_state",
    "load_fairchem_state",
    "load_scales",
    "model_arguments",
    "read_scale_file",
]
