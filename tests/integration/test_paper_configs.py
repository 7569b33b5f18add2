"""The spec files of published models and their ablations."""

from pathlib import Path

import pytest
import torch

from gemnet_blocks import Structures
from gemnet_blocks.demo import platinum_slab
from gemnet_blocks.spec import build, load_spec

CONFIGS = Path(__file__).parents[2] / "paper_configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
TOY = {
    "sizes.atom": 8,
    "sizes.edge": 12,
    "blocks.count": 2,
    "bases.radial.count": 8,
    "bases.circular.count": 3,
    "bases.spherical.count": 3,
}


@pytest.mark.parametrize("name", NAMES)
def test_every_spec_runs_and_trains_at_toy_size(name: str):
    model = build(load_spec(CONFIGS / f"{name}.yaml", TOY), seed=0)
    prediction = model(Structures.from_ase(platinum_slab(2, 2)))
    assert prediction.energy.shape == (1,)
    assert prediction.forces is not None
    (prediction.energy.sum() + prediction.forces.square().sum()).backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("gemnet-oc", 38_864_438),
        ("gemnet-oc-oc22", 38_864_438),
        ("gradient-forces", 28_599_345),
        ("no-quadruplets", 37_236_266),
    ],
)
def test_parameter_counts(name: str, count: int):
    with torch.device("meta"):
        model = build(load_spec(CONFIGS / f"{name}.yaml"))
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_every_ablation_changes_the_architecture():
    hashes = {name: load_spec(CONFIGS / f"{name}.yaml").content_hash for name in NAMES}
    assert hashes.pop("gemnet-oc-oc22") == hashes["gemnet-oc"]
    assert len(set(hashes.values())) == len(hashes)


def test_values_of_the_published_table():
    large = load_spec(CONFIGS / "gemnet-oc-large.yaml")
    assert (large.blocks.count, large.blocks.concatenation, large.sizes.edge) == (6, 4, 1024)
    assert (large.sizes.radial, large.sizes.circular, large.sizes.spherical) == (32, 16, 64)
    widths = {name: (options.down, options.up) for name, options in large.interactions.items()}
    assert widths["triplet"] == (64, 128)
    assert widths["quadruplet"] == (64, 32)
    assert widths["atom_atom"] == (64, 64)
    odac = load_spec(CONFIGS / "gemnet-oc-odac.yaml")
    assert {rule.cutoff for rule in odac.graphs.values()} == {8.0}
    assert (odac.elements, odac.graphs["quad"].tags) == (100, None)
