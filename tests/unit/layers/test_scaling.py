from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from helpers import GRADIENT_FORCES, KINDS, assert_same_function, molecule, small_spec
from torch import Tensor, nn

from gemnet_blocks.graph.index_sets import TripletRequest
from gemnet_blocks.layers.scaling import ScaleFactor, scale_factor
from gemnet_blocks.model.scale_fitting import fit_scales
from gemnet_blocks.spec import Execution, build
from gemnet_blocks.structures import Structures


class Toy(nn.Module):
    """Two factors, used in the opposite order of their registration."""

    def __init__(self) -> None:
        super().__init__()
        self.second = ScaleFactor()
        self.first = ScaleFactor()
        self.unused = ScaleFactor()

    def forward(self, structures: Structures) -> Tensor:
        x = structures.positions
        y = self.first(3 * x, x)
        return self.second(5 * y)


def mean_variance(x: Tensor) -> float:
    return x.detach().flatten(1).var(dim=0).mean().item()


def batches() -> list[Structures]:
    return [Structures.from_ase([molecule(7, seed=seed), molecule(5, seed=seed + 10)]) for seed in range(2)]


def test_unfitted_factors_change_nothing() -> None:
    scale = ScaleFactor()
    x = torch.randn(4, 3)
    assert not scale.fitted
    assert torch.equal(scale(x), x)
    assert torch.equal(scale(x, torch.randn(2, 7)), x)


def test_fitted_factors_multiply_and_are_stored_but_not_trained() -> None:
    scale = ScaleFactor()
    scale.factor.data.fill_(2.5)
    x = torch.randn(4, 3, requires_grad=True)
    assert scale.fitted
    assert torch.equal(scale(x), 2.5 * x)
    scale(x).sum().backward()
    assert torch.equal(x.grad, torch.full((4, 3), 2.5))
    assert scale.factor.grad is None
    assert not scale.factor.requires_grad
    assert scale.state_dict() == {"factor": torch.tensor(2.5)}


@pytest.mark.parametrize("factor", [0.0, 2.5, -1.5])
@pytest.mark.parametrize("watched", [False, True])
def test_linear_maps_and_products_take_the_factor_with_and_without_hooks(factor: float, watched: bool) -> None:
    scale, layer = ScaleFactor().double(), nn.Linear(3, 4, bias=False).double()
    scale.factor.data.fill_(factor)
    x, weights = (torch.randn(5, size, dtype=torch.float64, requires_grad=True) for size in (4, 3))
    mapped = weights @ layer.weight.T
    by = factor or 1.0
    seen: list[tuple[Tensor, ...]] = []
    if watched:
        scale.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    inputs = [x, weights, layer.weight]
    assert_same_function(scale.of_linear(layer, weights, x) + 0 * x, by * mapped + 0 * x, inputs)
    assert_same_function(scale.of_product(x, layer, weights), by * x * mapped, inputs)
    if watched:
        assert torch.equal(seen[0][0], mapped)
        assert seen[0][1] is x
        assert torch.equal(seen[1][0], x * mapped)
        assert seen[1][1] is x
        assert len(seen) == 2
    else:
        assert not seen


def test_a_factor_in_a_linear_map_is_fitted_to_its_result() -> None:
    class Mapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = ScaleFactor()
            self.layer = nn.Linear(3, 3, bias=False).double()
            nn.init.eye_(self.layer.weight).data.mul_(4)
            self.other = ScaleFactor()

        def forward(self, structures: Structures) -> Tensor:
            x = structures.positions
            y = self.scale.of_linear(self.layer, x, x)
            return self.other.of_product(y, self.layer, torch.ones_like(y))

    values = fit_scales(Mapped(), batches())
    assert list(values) == ["scale", "other"]
    assert list(values.values()) == pytest.approx([1 / 4, 1 / 4])


def test_factors_take_the_variance_of_their_reference_over_samples_averaged_over_features() -> None:
    toy = Toy()
    data = batches()
    values = fit_scales(toy, data)
    assert list(values) == ["first", "second"]  # in the order of use; what is not used is not mentioned
    assert values["first"] == pytest.approx(1 / 3)
    # after the first factor, y has the variance of x
    variance = torch.stack([batch.positions.var(dim=0).mean() for batch in data]).mean()
    assert values["second"] == pytest.approx(float(1 / (5 * variance.sqrt())), rel=1e-5)
    assert toy.first.factor.item() == pytest.approx(1 / 3)
    assert not toy.unused.fitted


def test_fitted_factors_are_left_unless_refitted() -> None:
    toy = Toy()
    toy.first.factor.data.fill_(7)
    assert fit_scales(toy, batches())["first"] == 7
    assert fit_scales(toy, batches(), refit=True)["first"] == pytest.approx(1 / 3)


def test_refitting_starts_from_an_unfitted_model() -> None:
    once, twice = Toy(), Toy()
    fit_scales(twice, [Structures.from_ase(molecule(4))])
    assert fit_scales(twice, batches(), refit=True) == fit_scales(once, batches())


def test_batches_may_be_an_iterator() -> None:
    def stream() -> Iterator[Structures]:
        yield from batches()

    assert fit_scales(Toy(), stream()) == fit_scales(Toy(), batches())


@pytest.mark.parametrize("kind", ["no atoms", "one atom", "no structures"])
def test_a_factor_whose_input_does_not_vary_stays_unfitted(kind: str) -> None:
    assert fit_scales(Toy(), [KINDS[kind]()]) == {"first": 0, "second": 0}


def test_without_batches_nothing_is_fitted() -> None:
    assert fit_scales(Toy(), []) == {}


def test_an_error_in_the_model_leaves_it_usable() -> None:
    class Failing(Toy):
        def forward(self, structures: Structures) -> Tensor:
            if not len(structures):
                raise RuntimeError("nothing here")
            return super().forward(structures)

    model = Failing()
    with pytest.raises(RuntimeError, match="nothing here"):
        fit_scales(model, [*batches(), KINDS["no structures"]()])
    assert model(batches()[0]).shape == (12, 3)


@pytest.mark.parametrize("forces", [{}, GRADIENT_FORCES, {"bases__scale": True}], ids=["direct", "gradient", "bases"])
def test_a_fitted_model_keeps_the_variances_of_all_references(forces: dict[str, object]) -> None:
    model = build(small_spec(blocks__count=1, **forces), seed=0).double()
    data = [Structures.from_ase([molecule(5, seed=seed), molecule(4, seed=seed + 10)]) for seed in range(2)]
    values = fit_scales(model, data)
    scales = {name: module for name, module in model.named_modules() if isinstance(module, ScaleFactor)}
    assert set(values) == set(scales)
    assert all(value > 0 for value in values.values())

    outputs: dict[str, float] = dict.fromkeys(scales, 0.0)
    references = dict(outputs)
    for name, module in scales.items():

        def note(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, name: str = name) -> None:
            reference = inputs[1] if len(inputs) > 1 else None
            outputs[name] += mean_variance(output)
            references[name] += 1.0 if reference is None else mean_variance(reference)

        module.register_forward_hook(note)
    for batch in data:
        model(batch)
    assert outputs == pytest.approx(references, rel=1e-6)
    # and had it not been fitted, it would not
    assert any(abs(value - 1) > 0.2 for value in values.values())


def test_gathered_rows_count_once_per_term_of_the_sum() -> None:
    """Explicit and factorized sums, against variances over the rows that the listed sums gather."""
    spec, structures = small_spec(blocks__count=1), Structures.from_ase(molecule(6))
    found = [
        fit_scales(build(spec, seed=0, execution=Execution(angular=way)).double(), [structures], rows="gathered")
        for way in ("explicit", "factorized")
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-9)
    model = build(spec, seed=0).double()
    distinct = fit_scales(model, [structures])
    assert any(abs(distinct[name] / value - 1) > 0.01 for name, value in found[0].items())
    for name, scale in model.named_modules():
        if isinstance(scale, ScaleFactor):
            scale.factor.data.fill_(found[0][name])
    triplets = TripletRequest("main", "main").build(model.topology(structures).edges)
    seen: list[tuple[Tensor, Tensor]] = []
    contraction = model.backbone.blocks[0].interactions["triplet"].contraction
    contraction.scale.register_forward_hook(lambda _, inputs, output: seen.append((inputs[1], output)))
    model(structures)
    reference, output = seen[0]
    assert mean_variance(output) == pytest.approx(mean_variance(reference[triplets.inner]), rel=1e-9)


def test_other_rows_are_one_error() -> None:
    with pytest.raises(ValueError, match="rows must be one of distinct, gathered, got 'all'"):
        fit_scales(Toy(), batches(), rows="all")  # type: ignore[arg-type]


def test_without_a_scale_factor_nothing_is_fitted_and_nothing_changes() -> None:
    identity, factor = scale_factor(fitted=False), scale_factor(fitted=True)
    assert isinstance(factor, ScaleFactor)
    assert list(identity.state_dict()) == []
    x, layer, weights = torch.randn(3, 2), torch.nn.Linear(4, 2, bias=False), torch.randn(3, 4)
    assert torch.equal(identity(x, x), x)
    torch.testing.assert_close(identity.of_product(x, layer, weights), factor.of_product(x, layer, weights))
