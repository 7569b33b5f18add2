from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from labelled_batches import labelled, predicted

from gemnet_blocks.structures import Prediction
from gemnet_blocks.training.losses import EnergyTerm, ForcesTerm, Loss, Measure, StressTerm, Totals, norms
from gemnet_blocks.training.options import LossOptions

UNIT = 0.5


def value(options: dict, batch, prediction) -> torch.Tensor:
    loss = LossOptions.model_validate(options).loss(UNIT)
    return loss.value(loss.totals(prediction, batch))


def test_energies_per_atom_and_in_total() -> None:
    batch = labelled([2, 5])
    prediction = predicted(batch)
    error = (prediction.energy - batch.energy) / UNIT
    counts = torch.tensor([2, 5])
    torch.testing.assert_close(value({"energy": {"type": "mae"}}, batch, prediction), (error.abs() / counts).mean())
    torch.testing.assert_close(
        value({"energy": {"type": "mse", "per_atom": False, "weight": 3}}, batch, prediction), 3 * error.square().mean()
    )


@pytest.mark.parametrize("kind", ["mae", "l2mae", "mse", "rmse", "huber"])
@pytest.mark.parametrize("atoms", ["all", "free"])
def test_forces(kind: str, atoms: str) -> None:
    batch = labelled([3, 4], fixed=[1, 2, 5])
    prediction = predicted(batch)
    error = (prediction.forces - batch.forces) / UNIT
    if atoms == "free":
        error = error[[0, 3, 4, 6]]
    expected = {
        "mae": error.abs().mean(),
        "l2mae": error.norm(dim=1).mean(),
        "mse": error.square().mean(),
        "rmse": error.square().mean().sqrt(),
        "huber": torch.where(error.abs() < 0.3, error**2 / 2, 0.3 * (error.abs() - 0.15)).mean(),
    }
    options = {"forces": {"type": kind, "atoms": atoms, "delta": 0.3}}
    torch.testing.assert_close(value(options, batch, prediction), expected[kind])


def test_stresses_per_volume_and_per_atom() -> None:
    batch = labelled([1, 4])
    prediction = predicted(batch)
    error = (prediction.stress - batch.stress) / UNIT
    torch.testing.assert_close(value({"stress": {"per": "volume"}}, batch, prediction), error.abs().mean())
    virials = error * (8.0 / torch.tensor([1.0, 4.0]))[:, None, None]
    torch.testing.assert_close(value({"stress": {"type": "mse"}}, batch, prediction), virials.square().mean())


def test_terms_add_up() -> None:
    batch = labelled([2, 3])
    prediction = predicted(batch)
    both = value({"energy": {"weight": 2}, "forces": {"weight": 5}}, batch, prediction)
    apart = 2 * value({"energy": {}}, batch, prediction) + 5 * value({"forces": {}}, batch, prediction)
    torch.testing.assert_close(both, apart)


def test_weights_change_geometrically_with_the_used_fraction_of_the_budget() -> None:
    batch = labelled([2, 3])
    prediction = predicted(batch)
    options = LossOptions.model_validate({"energy": {"weight": 8, "first_weight": 0.5}, "forces": {"weight": 5}})
    loss = options.loss(1.0)
    energy, forces = loss.means(totals := loss.totals(prediction, batch))
    for fraction, weight in ((0.0, 0.5), (0.5, 2.0), (0.75, 4.0), (1.0, 8.0), (1.1, 8.0)):
        expected = weight * energy + 5 * forces
        torch.testing.assert_close(loss.value(totals, fraction), expected)
        torch.testing.assert_close(loss.local(totals, totals, 1, fraction), expected)
        torch.testing.assert_close(loss.local(totals, totals, 2, fraction), 2 * expected)
    torch.testing.assert_close(loss.value(totals), 8 * energy + 5 * forces)


@pytest.mark.parametrize("kind", ["mae", "l2mae", "mse", "rmse", "huber"])
def test_without_free_atoms_the_loss_is_zero_and_so_is_its_gradient(kind: str) -> None:
    batch = labelled([2, 1], fixed=[0, 1, 2])
    prediction = predicted(batch)
    loss = value({"forces": {"type": kind, "atoms": "free"}}, batch, prediction)
    loss.backward()
    assert loss == 0
    assert prediction.forces is not None
    assert torch.equal(prediction.forces.grad, torch.zeros_like(prediction.forces))


@pytest.mark.parametrize("kind", ["mae", "l2mae", "mse", "rmse", "huber"])
def test_a_perfect_prediction_has_finite_gradients_of_gradients(kind: str) -> None:
    batch = labelled([2])
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    prediction = Prediction(batch.energy, batch.forces * weight)
    (gradient,) = torch.autograd.grad(value({"forces": {"type": kind}}, batch, prediction), weight, create_graph=True)
    assert gradient == 0
    if gradient.requires_grad:
        (second,) = torch.autograd.grad(gradient, weight)
        assert second.isfinite()


def test_norms_are_differentiable_twice() -> None:
    vectors = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(norms, vectors)
    torch.testing.assert_close(norms(vectors), vectors.norm(dim=1))


@pytest.mark.parametrize("kind", ["mae", "l2mae", "mse", "rmse", "huber"])
def test_processes_together_have_the_gradient_of_one(kind: str) -> None:
    """Unequal numbers of atoms, and of free ones, on two processes, whose gradients are averaged."""
    loss = Loss([EnergyTerm(Measure("mse"), 2.0), ForcesTerm(Measure(kind), 3.0, "free"), StressTerm(Measure("mae"))])
    parts = [labelled([2, 7], fixed=[1]), labelled([1], fixed=[0]), labelled([3, 1, 4], fixed=[0, 3])]
    predictions = [predicted(part) for part in parts]
    own = [loss.totals(prediction, part) for prediction, part in zip(predictions, parts, strict=True)]
    everything = Totals(sum(one.sums for one in own), sum(one.counts for one in own))
    leaves = [tensor for one in predictions for tensor in (one.energy, one.forces, one.stress)]
    expected = torch.autograd.grad(loss.value(everything), leaves, retain_graph=True)
    detached = Totals(everything.sums.detach(), everything.counts)
    local = [loss.local(one, detached, len(parts)) for one in own]
    found = torch.autograd.grad(sum(local) / len(parts), leaves)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_missing_labels_are_named() -> None:
    batch = replace(labelled([2]), forces=None)
    with pytest.raises(ValueError, match="the batch has no forces"):
        value({"forces": {}}, batch, predicted(labelled([2])))


def test_errors_for_logs_are_plain_means_in_ev() -> None:
    batch = labelled([2, 3], fixed=[0])
    prediction = predicted(batch)
    errors = LossOptions.model_validate({"forces": {"atoms": "free"}}).errors(frozenset({"energy", "forces", "stress"}))
    assert errors.names == ["energy", "forces"]
    means = errors.means(errors.totals(prediction, batch))
    torch.testing.assert_close(means[1], (prediction.forces - batch.forces)[1:].abs().mean())
    torch.testing.assert_close(means[0], ((prediction.energy - batch.energy).abs() / torch.tensor([2, 3])).mean())
