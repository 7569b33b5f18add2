"""Compiled models, whose operations are run one by one here; the integration tests generate code."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from helpers import KINDS, ROOT, line, molecule, small_cell
from test_devices import FEW_LAYERS, OnGpu
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.fx import GraphModule

from gemnet_blocks.model.compilation import Compilation
from gemnet_blocks.model.compiled_graph import interpreted
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.model.summary import execution
from gemnet_blocks.spec import Execution, Spec, build, load_spec
from gemnet_blocks.structures import Prediction, Structures


def small_spec(**changes: Any) -> Spec:
    sizes = {"sizes.atom": 8, "sizes.edge": 12, "blocks.count": 1}
    spec = load_spec(ROOT / "paper_configs" / "triplets-only.yaml", {**sizes, **changes})
    return spec.patch(FEW_LAYERS)


def compiled_model(spec: Spec, compiler: Any = interpreted) -> GemNet:
    model = build(spec, seed=0, execution=Execution(compile=True)).double()
    model.compilation = Compilation(compiler)
    return model


def results(model: GemNet, structures: Structures, stress: bool | None = None) -> list[Tensor]:
    """Energies, forces and stresses, and the gradients of a loss of them with respect to weights."""
    model.zero_grad()
    prediction: Prediction = model(structures, stress=stress)
    found = [prediction.energy, prediction.forces, *([] if prediction.stress is None else [prediction.stress])]
    sum(value.square().sum() for value in found).backward()
    return [*(value.detach() for value in found), *(w.grad for w in model.parameters() if w.grad is not None)]


def batches() -> Iterator[Structures]:
    """Batches of different structures, of which the second has only one."""
    yield Structures.from_ase([molecule(6), small_cell()])
    yield Structures.from_ase(molecule(7, seed=1))
    yield Structures.from_ase([small_cell(), molecule(5, seed=2), small_cell()])


GRADIENT = {"heads.forces": {"type": "gradient"}}


def test_all_blocks_share_their_code() -> None:
    """The last block, too, whose embeddings nothing reads."""
    model = compiled_model(small_spec(**{"blocks.count": 2}))
    with torch.no_grad():
        model(Structures.from_ase([molecule(5), molecule(4)]))
    assert model.compilation.generated == 3  # geometry and embeddings, a block, and heads


@pytest.fixture(scope="module")
def trained() -> GemNet:
    """A compiled model with gradient forces that has seen one batch."""
    model = compiled_model(small_spec(**GRADIENT))
    results(model, next(batches()))
    return model


@pytest.mark.slow
def test_one_trace_trains_gradient_forces_on_all_batches(trained: GemNet) -> None:
    eager = build(small_spec(**GRADIENT), seed=0).double()
    generated = trained.compilation.generated
    for structures in batches():
        for found, expected in zip(results(trained, structures), results(eager, structures), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    crystals = Structures.from_ase([small_cell(), small_cell()])
    stressed = results(trained, crystals, stress=True)
    for found, expected in zip(stressed, results(eager, crystals, stress=True), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert (trained.compilation.traced, trained.compilation.generated) == (1, generated)


@pytest.mark.slow
def test_third_derivatives_of_compiled_energies_raise_an_error(trained: GemNet) -> None:
    prediction = trained(next(batches()))
    weights = [weight for weight in trained.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(
        prediction.forces.square().sum(), weights, create_graph=True, materialize_grads=True
    )
    with pytest.raises(NotImplementedError, match="without `compile`"):
        sum(gradient.sum() for gradient in gradients).backward()


@pytest.mark.slow
def test_energies_alone_have_gradients_of_weights(trained: GemNet) -> None:
    eager = build(small_spec(**GRADIENT), seed=0).double()
    gradients = []
    for model in (trained, eager):
        model.zero_grad()
        model(next(batches())).energy.sum().backward()
        gradients.append([w.grad for w in model.parameters() if w.grad is not None and w.grad.any()])
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


class OnGpuWithoutKernels(OnGpu):
    """Run operations on fake GPU tensors; the result of one that lacks a shape function is like its first argument."""

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target is torch.ops.aten._unsafe_masked_index_put_accumulate.default:
            total, mask, indices, values = args
            assert {tensor.device.type for tensor in (total, mask, *indices, values)} == {"cuda"}
            return torch.empty_like(total)
        return super().call_function(target, args, kwargs)


def on_gpu_too(module: GraphModule, mode: FakeTensorMode) -> Any:
    """Run operations one by one; the first time, check that they follow their inputs to a GPU."""
    unchecked = [True]

    def run(inputs: list[Any]) -> Sequence[Any]:
        if unchecked:
            check(inputs)
            unchecked.clear()
        found: Sequence[Any] = module(*inputs)
        return found

    def check(inputs: list[Any]) -> None:
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            moved = [
                torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="cuda") if isinstance(x, Tensor) else x
                for x in inputs
            ]
            for result in OnGpuWithoutKernels(module).run(*moved):
                assert not isinstance(result, Tensor) or result.device.type == "cuda"

    return run


def test_one_trace_trains_direct_forces_on_all_batches_and_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated, used = Compilation.evaluated, []

    def recorded(self: Compilation, *arguments: Any) -> Prediction | None:
        used.append(evaluated(self, *arguments))
        return used[-1]

    monkeypatch.setattr(Compilation, "evaluated", recorded)
    compiled, eager = compiled_model(small_spec(), on_gpu_too), build(small_spec(), seed=0).double()
    generated = []
    for structures in batches():
        for found, expected in zip(results(compiled, structures), results(eager, structures), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
        generated.append(compiled.compilation.generated)
    assert compiled.compilation.traced == 1
    assert generated[0] == generated[-1] > 0  # later batches compile nothing
    assert all(one is not None for one in used)  # and none of them is computed without compiled code


@pytest.mark.parametrize("kind", ["no atoms", "one atom", "no edges", "no structures"])
def test_batches_with_hardly_any_edges_are_not_compiled(kind: str) -> None:
    compiled, eager = compiled_model(small_spec()), build(small_spec(), seed=0).double()
    torch.testing.assert_close(compiled(KINDS[kind]()).energy, eager(KINDS[kind]()).energy)
    assert compiled.compilation.traced == 0


def test_observed_models_are_not_compiled() -> None:
    compiled, seen = compiled_model(small_spec()), []
    compiled.backbone.blocks[0].register_forward_hook(lambda *_: seen.append(True))
    compiled(Structures.from_ase(line(0, 1, 2)))
    assert seen
    assert compiled.compilation.traced == 0


def test_without_a_compiler_the_model_is_computed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("missing-compiler",))
    model, eager = build(small_spec(), seed=0, execution=Execution(compile=True)), build(small_spec(), seed=0)
    structures = next(batches())
    with pytest.warns(UserWarning, match=r"expected a C\+\+ compiler"):
        found = model(structures)
    torch.testing.assert_close(found.energy, eager(structures).energy)
    assert torch.equal(model(structures).energy, found.energy)  # without a second warning


def test_models_that_cannot_be_traced_are_computed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("the size depends on values")

    monkeypatch.setattr("gemnet_blocks.model.compilation.make_fx", fails)
    compiled, eager = compiled_model(small_spec()), build(small_spec(), seed=0).double()
    structures = next(batches())
    with pytest.warns(UserWarning, match="found RuntimeError: the size depends on values"):
        found = compiled(structures)
    torch.testing.assert_close(found.energy, eager(structures).energy)


def test_compilation_changes_neither_summary_nor_weights() -> None:
    compiled = build(small_spec(), seed=0, execution=Execution(compile=True))
    assert execution(compiled)["compiled layers"] == "all"
    assert execution(build(small_spec()))["compiled layers"] == "none"
    assert compiled.state_dict().keys() == build(small_spec()).state_dict().keys()


def test_copies_do_not_contain_compiled_code() -> None:
    model = compiled_model(small_spec())
    model.compilation._traces["code"] = [object()]  # type: ignore[list-item]
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert again.compiled
        assert again.compilation.traced == 0
