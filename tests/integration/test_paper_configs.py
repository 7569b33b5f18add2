"""The spec files of published models and their ablations."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from gemnet_blocks import Structures
from gemnet_blocks.examples import platinum_slab
from gemnet_blocks.spec import Spec, build, load_spec
from gemnet_blocks.spec.published import to_published

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


BRIDGE = {
    "0-gemnet-dt": "",
    "1-read-out": "readout",
    "2-update-projection": "blocks.update_projection",
    "3-atom-residuals": "blocks.atom",
    "4-atom-edge": "interactions.atom_edge",
    "5-edge-atom": "interactions.edge_atom",
    "6-atom-atom": "interactions.atom_atom",
    "7-quadruplets": "interactions.quadruplet",
    "8-neighbors": "graphs",
}
"""From GemNet-dT to GemNet-OC: the files in their order, and the one place that each changes."""
STEPS = list(BRIDGE)
BRIDGE_Q = {
    "00-gemnet-q": "",
    "01-radial-functions": "bases.angular_radial",
    "02-gaussians": "bases.radial",
    "03-outer-product": "bases.spherical",
    "04-readout": "readout",
    "05-update-projection": "blocks.update_projection",
    "06-atom-residuals": "blocks.atom",
    "07-atom-edge": "interactions.atom_edge",
    "08-edge-atom": "interactions.edge_atom",
    "09-atom-atom": "interactions.atom_atom",
    "10-periodicity": "neighbors.periodic",
    "11-neighbors": "graphs",
}
"""From GemNet-Q to GemNet-OC."""
STEPS_Q = list(BRIDGE_Q)


@pytest.mark.parametrize("name", [*NAMES, *(f"bridge/{step}" for step in STEPS), "bridge-q/03-outer-product"])
def test_every_spec_runs_and_trains_at_toy_size(name: str):
    model = build(load_spec(CONFIGS / f"{name}.yaml", TOY), seed=0)
    prediction = model(Structures.from_ase(platinum_slab(2, 2)))
    assert prediction.energy.shape == (1,)
    loss = prediction.energy.sum()
    if load_spec(CONFIGS / f"{name}.yaml").heads.forces is not None:
        loss = loss + prediction.forces.square().sum()
    loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("gemnet-oc", 38_864_438),
        ("gemnet-oc-oc22", 38_864_438),
        ("gradient-forces", 28_599_345),
        ("no-quadruplets", 37_236_266),
        ("gemnet-dt", 31_671_825),
        ("gemnet-t", 24_296_973),
        ("gemnet-oc-l-e", 55_913_040),
        ("gp-gemnet-xl", 292_939_552),
        ("gemnet-q", 2_158_499),
        ("gemnet-dq", 2_568_744),
        ("gemnet-2021-t", 1_892_311),
        ("gemnet-2021-dt", 2_302_556),
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
    energies = load_spec(CONFIGS / "gemnet-oc-odac-is2re.yaml")
    assert {rule.cutoff for rule in energies.graphs.values()} == {12.0}
    assert (energies.elements, energies.heads.forces) == (100, None)
    oxides = to_published(load_spec(CONFIGS / "gemnet-dt-oc22-is2re.yaml"))
    assert {name: oxides[name] for name in ("num_radial", "num_blocks", "emb_size_rbf", "emb_size_atom")} == {
        "num_radial": 64,
        "num_blocks": 5,
        "emb_size_rbf": 64,
        "emb_size_atom": 256,
    }
    assert (oxides["cutoff"], oxides["max_neighbors"], oxides["regress_forces"]) == (12.0, 50, False)
    assert not to_published(load_spec(CONFIGS / "gemnet-oc-oc22-degenerate.yaml"))["enforce_max_neighbors_strictly"]
    wide = to_published(load_spec(CONFIGS / "gp-gemnet-xl.yaml"))
    assert (wide["emb_size_edge"], wide["emb_size_trip"], wide["emb_size_bil_trip"]) == (1536, 384, 192)


# -- the bridge from GemNet-Q to GemNet-OC ----------------------------------------------------------------------------


def bridge_q(step: str) -> Spec:
    return load_spec(CONFIGS / "bridge-q" / f"{step}.yaml")


def test_the_bridge_of_quadruplets_has_no_other_files():
    assert sorted(path.stem for path in (CONFIGS / "bridge-q").glob("*")) == STEPS_Q


@pytest.mark.parametrize(("before", "step"), list(pairwise(STEPS_Q)))
def test_each_step_from_gemnet_q_changes_one_place(before: str, step: str):
    one, other = bridge_q(before), bridge_q(step)
    assert without(one.to_dict(), BRIDGE_Q[step]) == without(other.to_dict(), BRIDGE_Q[step])
    assert one.content_hash != other.content_hash
    assert Spec.from_yaml(other.to_yaml()).content_hash == other.content_hash


def test_the_ends_of_the_bridge_from_gemnet_q():
    """GemNet-OC in all but sizes and numbers of layers, which stay those of GemNet-Q."""
    start, end = bridge_q(STEPS_Q[0]), bridge_q(STEPS_Q[-1])
    direct = {"heads.forces": {"type": "direct"}}
    assert start.content_hash == load_spec(CONFIGS / "gemnet-q.yaml").content_hash
    assert start.patch(direct).content_hash == load_spec(CONFIGS / "gemnet-dq.yaml").content_hash
    layers = {"blocks": {"before_skip": 1, "after_skip": 1, "update": 2}, "readout.layers": 2}
    sizes = {"sizes": start.sizes, "elements": 93, **layers}
    assert load_spec(CONFIGS / "gemnet-oc.yaml", sizes).content_hash == end.patch(direct).content_hash


# -- the bridge from GemNet-dT to GemNet-OC ---------------------------------------------------------------------------


def bridge(step: str) -> Spec:
    return load_spec(CONFIGS / "bridge" / f"{step}.yaml")


def without(data: dict[str, Any], place: str) -> dict[str, Any]:
    """A copy without the entry at a dotted path."""
    key, _, rest = place.partition(".")
    if rest:
        return {**data, key: without(data[key], rest)}
    return {name: value for name, value in data.items() if name != key}


def test_the_bridge_has_no_other_files():
    assert sorted(path.stem for path in (CONFIGS / "bridge").glob("*")) == STEPS


@pytest.mark.parametrize(("before", "step"), list(pairwise(STEPS)))
def test_each_step_changes_one_place(before: str, step: str):
    one, other = bridge(before), bridge(step)
    assert without(one.to_dict(), BRIDGE[step]) == without(other.to_dict(), BRIDGE[step])
    assert one.content_hash != other.content_hash


def test_the_bridge_starts_at_gemnet_dt():
    start = load_spec(CONFIGS / "gemnet-dt.yaml")
    assert bridge(STEPS[0]).content_hash == start.content_hash
    gradient = {"heads.forces.type": "gradient"}
    assert bridge(STEPS[0]).patch(gradient).content_hash == load_spec(CONFIGS / "gemnet-t.yaml").content_hash


def test_the_bridge_arrives_at_gemnet_oc():
    """In all but sizes and numbers of layers, which stay those of GemNet-dT."""
    start, end = load_spec(CONFIGS / "gemnet-dt.yaml"), bridge(STEPS[-1])
    sizes = {"sizes": start.sizes, "blocks.count": 3, "blocks.before_skip": 1}
    assert load_spec(CONFIGS / "gemnet-oc.yaml", sizes).content_hash == end.content_hash
    arguments = to_published(end)
    assert all(arguments[f"{name}_interaction"] for name in ("quad", "atom_edge", "edge_atom", "atom"))
    assert (arguments["cutoff"], arguments["max_neighbors"], arguments["num_atom_emb_layers"]) == (12.0, 30, 2)


@pytest.mark.parametrize("step", STEPS)
def test_the_bridge_of_gradient_forces(step: str):
    model = build(bridge(step).patch({**TOY, "heads.forces.type": "gradient"}), seed=0)
    prediction = model(Structures.from_ase(platinum_slab(2, 2)))
    assert prediction.forces is not None
    prediction.forces.square().sum().backward()
