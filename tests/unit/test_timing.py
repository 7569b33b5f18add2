"""Seconds and counts of a prediction."""

from pathlib import Path

import pytest
import torch

from gemnet_blocks import Structures
from gemnet_blocks.demo import platinum_slab
from gemnet_blocks.spec import build, load_spec
from gemnet_blocks.timing import REST, timed_prediction

CONFIGS = Path(__file__).parents[2] / "paper_configs"
SMALL = {"sizes.atom": 8, "sizes.edge": 12, "blocks.count": 2, "bases.radial.count": 8}


@pytest.mark.parametrize("forces", ["direct", "gradient"])
def test_a_timed_prediction_is_the_prediction(forces: str):
    model = build(load_spec(CONFIGS / "gemnet-oc.yaml", {**SMALL, "heads.forces.type": forces}), seed=0).double()
    structures = Structures.from_ase(platinum_slab(2, 2))
    timed = timed_prediction(model, structures)
    with torch.no_grad():
        plain = model(structures)
    torch.testing.assert_close(timed.prediction.energy, plain.energy)
    torch.testing.assert_close(timed.prediction.forces, plain.forces)
    assert timed.counts["edges of main"] > 0
    assert timed.counts["quadruplets through quad"] > 0
    assert all(seconds >= 0 for seconds in timed.seconds.values())
    assert timed.seconds["blocks"] > 0
    assert REST in timed.seconds


def test_no_hook_stays_behind():
    model = build(load_spec(CONFIGS / "triplets-only.yaml", SMALL))
    timed_prediction(model, Structures.from_ase(platinum_slab(1, 2)))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
