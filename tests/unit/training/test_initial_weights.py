"""Initial weights by name."""

from __future__ import annotations

import functools

import pytest
import torch
from helpers import small_spec
from torch import nn

from gemnet_blocks.spec import build
from gemnet_blocks.spec.resolve import Spec
from gemnet_blocks.training.initial_weights import weights_by_name

SEED = 3


def spec() -> Spec:
    return small_spec()


@functools.cache
def base_weights(seed: int = SEED) -> dict[str, torch.Tensor]:
    return weights(spec(), seed)


def weights(spec: Spec, seed: int = SEED) -> dict[str, torch.Tensor]:
    return dict(weights_by_name(lambda: build(spec), seed).named_parameters())


PATCHES = [
    {"interactions": {"quadruplet": None}},
    {"interactions": {"triplet": None}},
    {"interactions": {"atom_edge": None, "atom_atom": None}},
    {"blocks.count": 3},
    {"bases.radial": {"type": "spherical_bessel", "count": 9}},
    {"heads.forces": {"type": "gradient"}},
    {"sizes.atom": 12},
]


@pytest.mark.parametrize("patch", PATCHES, ids=str)
def test_variants_share_all_weights_of_the_same_name_and_shape(patch):
    base, other = base_weights(), weights(spec().patch(patch))
    shared = [name for name in base if name in other and base[name].shape == other[name].shape]
    assert len(shared) > 20
    differing = [name for name in shared if not torch.equal(base[name], other[name])]
    assert differing == []


def test_without_it_variants_share_few():
    first, second = (
        dict(build(one, seed=SEED).named_parameters())
        for one in (spec(), spec().patch({"interactions": {"triplet": None}}))
    )
    equal = [name for name in second if name in first and torch.equal(first[name], second[name])]
    assert len(equal) < 0.7 * len(second)


def test_seeds_differ_in_every_weight_that_is_drawn():
    first, second, again = base_weights(SEED), weights(spec(), 1), weights(spec(), SEED)
    drawn = [name for name, value in build(spec(), seed=0).named_parameters() if value.numel() > 1 and value.std() > 0]
    assert len(drawn) > 20
    fixed = [name for name in drawn if torch.equal(first[name], second[name])]
    # what no seed changes is no chance: other seeds of the usual way leave it, too
    usual = [dict(build(spec(), seed=seed).named_parameters()) for seed in (0, 1)]
    assert fixed == [name for name in drawn if torch.equal(usual[0][name], usual[1][name])]
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_equal_layers_of_different_names_differ():
    found = weights(spec().patch({"blocks.count": 2}))
    pairs = [
        (value, found[name.replace("blocks.0.", "blocks.1.")]) for name, value in found.items() if "blocks.0." in name
    ]
    drawn = [(one, other) for one, other in pairs if one.numel() > 1 and one.std() > 0]
    assert drawn
    assert not any(torch.equal(one, other) for one, other in drawn)


def test_the_distribution_is_that_of_the_layers():
    """He-orthogonal matrices stay standardised, and uniform embeddings within their bounds."""
    model = weights_by_name(lambda: build(spec()), SEED)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and "read_out" not in name and module.weight.shape[1] > 2:
            means = module.weight.mean(dim=1)
            torch.testing.assert_close(means, torch.zeros_like(means), atol=1e-5, rtol=0)
            variances = module.weight.var(dim=1) * module.weight.shape[1]
            torch.testing.assert_close(variances, torch.ones_like(variances), atol=1e-2, rtol=0)
    table = model.backbone.atom_embedding.table.weight
    assert table.abs().max() <= 3**0.5
    assert float(table.detach().var()) == pytest.approx(1, abs=0.2)


class Drawing(nn.Module):
    """A module that draws in ways that others do not: before it registers, by copying, twice, in parts."""

    def __init__(self, first: bool = True) -> None:
        super().__init__()
        if first:
            self.first = nn.Linear(3, 4)
        self.early = nn.Parameter(torch.randn(5))
        self.copied = nn.Parameter(torch.empty(5))
        with torch.no_grad():
            self.copied.copy_(2 * torch.rand(5))
        self.twice = nn.Parameter(torch.empty(2, 3))
        nn.init.normal_(self.twice)
        nn.init.uniform_(self.twice, 5, 6)
        self.parts = nn.Parameter(torch.zeros(2, 3))
        with torch.no_grad():
            self.parts[0].normal_()
            self.parts[1].uniform_()
        self.dropped = nn.Linear(3, 7)
        del self.dropped
        self.register_buffer("buffer", torch.randperm(50))
        self.last = nn.Linear(3, 3)


def test_any_way_to_draw_is_followed():
    full, less = weights_by_name(Drawing, SEED), weights_by_name(lambda: Drawing(first=False), SEED)
    for name in ("early", "copied", "twice", "parts", "buffer"):
        assert torch.equal(getattr(full, name), getattr(less, name)), name
    assert torch.equal(full.last.weight, less.last.weight)
    assert torch.equal(full.last.bias, less.last.bias)
    assert full.twice.min() >= 5
    assert not torch.equal(full.early, weights_by_name(Drawing, SEED + 1).early)
    assert full.parts.unique().numel() == 6


def test_the_global_generator_is_left_as_it_was():
    before = torch.get_rng_state()
    weights(spec())
    assert torch.equal(before, torch.get_rng_state())


def test_models_that_differ_each_time_are_refused():
    made = []

    def make() -> nn.Module:
        made.append(1)
        return nn.Sequential(*(nn.Linear(2, 2) for _ in made))

    with pytest.raises(RuntimeError, match="as many draws of random numbers in both builds of the model, got 2 and 4"):
        weights_by_name(make, SEED)
