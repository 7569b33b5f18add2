"""Compiled layers."""

import copy
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gemnet_blocks.errors import SpecError
from gemnet_blocks.model.gemnet import outermost
from gemnet_blocks.model.summary import execution
from gemnet_blocks.spec import build, load_spec
from gemnet_blocks.spec.execution import Execution

SPEC = Path(__file__).parents[3] / "paper_configs" / "triplets-only.yaml"
PATCH = {"sizes.atom": 8, "sizes.edge": 12, "blocks.count": 2}


def small_spec():
    return load_spec(SPEC, PATCH)


SAME_RESULTS = """
import torch
from ase.build import bulk, molecule
from gemnet_blocks.structures import Structures
from gemnet_blocks.spec import build, load_spec
from gemnet_blocks.spec.execution import Execution

spec = load_spec({path!r}, {patch!r})
structures = Structures.from_ase([molecule("CH3CH2OH"), bulk("Cu", cubic=True)])
results = []
for execution in (Execution(), Execution(compile=True)):
    model = build(spec, seed=0, execution=execution)
    prediction = model(structures)
    (prediction.energy.sum() + prediction.forces.square().sum()).backward()
    gradients = [weight.grad for weight in model.backbone.blocks[0].parameters() if weight.grad is not None]
    results.append([prediction.energy, prediction.forces, *gradients])
torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)
"""


@pytest.mark.slow
def test_compiled_layers_change_no_result():
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    # in a process of its own: what checks the shapes in tests cannot be compiled
    code = SAME_RESULTS.format(path=str(SPEC), patch=PATCH)
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "JAXTYPING_DISABLE": "1"}, timeout=300)


def test_compilation_changes_neither_summary_nor_weights():
    compiled = build(small_spec(), seed=0, execution=Execution(compile=True))
    assert execution(compiled)["compiled layers"] == "residual and dense layers"
    assert execution(build(small_spec()))["compiled layers"] == "none"
    assert compiled.state_dict().keys() == build(small_spec()).state_dict().keys()


def test_compiled_models_are_copied_and_pickled():
    compiled = build(small_spec(), seed=0, execution=Execution(compile=True))
    for again in (copy.deepcopy(compiled), pickle.loads(pickle.dumps(compiled))):
        assert execution(again)["compiled layers"] == "residual and dense layers"
        assert all(layer._compiled_call_impl is not None for layer in outermost(again))


def test_gradient_forces_are_not_compiled():
    spec = small_spec().patch({"heads.forces": {"type": "gradient"}})
    with pytest.raises(SpecError, match="second derivatives"):
        build(spec, execution=Execution(compile=True))
