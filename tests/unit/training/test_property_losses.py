"""Losses, normalization and config checks of further properties."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from labelled_batches import labelled, predicted

from gemnet_blocks.data.labelled import LabelledStructures, collate
from gemnet_blocks.errors import SpecError
from gemnet_blocks.potential.references import Normalization, References
from gemnet_blocks.structures import Prediction, PropertyKind
from gemnet_blocks.training import parse_config
from gemnet_blocks.training.losses import Loss, Measure, PropertyTerm, in_log_units
from gemnet_blocks.training.options import LossOptions
from gemnet_blocks.training.references import fit_references

SCALE = 0.4


def with_properties(counts: list[int]) -> tuple[LabelledStructures, Prediction]:
    """A batch with the labels and predictions of a dipole and of charges."""
    batch, sizes = labelled(counts), {"dipole": (len(counts), 3), "charges": (sum(counts),)}
    labels, values = ({name: torch.randn(size).double() for name, size in sizes.items()} for _ in range(2))
    return replace(batch, properties=labels), replace(predicted(batch), properties=values)


@pytest.mark.parametrize("kind", ["mae", "l2mae", "mse", "rmse", "huber"])
@pytest.mark.parametrize("name", ["dipole", "charges"])
def test_losses_are_those_of_the_formulas(kind: str, name: str) -> None:
    batch, prediction = with_properties([3, 2])
    error = (prediction.properties[name] - batch.properties[name]) / SCALE
    expected = {
        "mae": error.abs().mean(),
        "l2mae": error.norm(dim=1).mean() if name == "dipole" else error.abs().mean(),
        "mse": error.square().mean(),
        "rmse": error.square().mean().sqrt(),
        "huber": torch.where(error.abs() < 0.3, error**2 / 2, 0.3 * (error.abs() - 0.15)).mean(),
    }
    options = LossOptions.model_validate({name: {"type": kind, "delta": 0.3, "weight": 2}})
    loss = options.loss(1.0, {name: SCALE})
    torch.testing.assert_close(loss.value(loss.totals(prediction, batch)), 2 * expected[kind])
    assert options.compared() == [name]


def test_missing_labels_and_predictions_are_named() -> None:
    batch, prediction = with_properties([2])
    term = PropertyTerm("dipole", Measure("mae"))
    with pytest.raises(ValueError, match="the batch has no dipole"):
        term.errors(prediction, replace(batch, properties={}))
    with pytest.raises(ValueError, match="the batch has no predicted dipole"):
        term.errors(replace(prediction, properties={}), batch)


def test_logged_errors_have_no_scale() -> None:
    batch, prediction = with_properties([2, 4])
    errors = LossOptions.model_validate({"dipole": {}}).errors(frozenset({"energy", "dipole"}))
    means = dict(zip(errors.names, errors.means(errors.totals(prediction, batch)).tolist(), strict=True))
    expected = (prediction.properties["dipole"] - batch.properties["dipole"]).abs().mean()
    assert means["dipole"] == pytest.approx(float(expected))
    assert in_log_units({"dipole_mae": 0.5}) == {"dipole_mae": 0.5}


def test_batches_without_atoms_have_no_loss_of_atoms() -> None:
    batch, prediction = with_properties([0])
    loss = Loss([PropertyTerm("charges", Measure("l2mae"))])
    assert loss.value(loss.totals(prediction, batch)) == 0


def test_normalization_by_the_training_set() -> None:
    items = []
    for count in (1, 2, 4):
        value = {"gap": torch.randn(1), "volume": torch.tensor([7.0 * count]), "dipole": torch.randn(1, 3)}
        value |= {"charges": torch.randn(count), "same": torch.full((1,), 5.0)}
        items.append(replace(labelled([count]), properties={name: one.double() for name, one in value.items()}))
    kinds = {
        "gap": PropertyKind(),
        "volume": PropertyKind(extensive=True),
        "dipole": PropertyKind("structure", "vector"),
        "charges": PropertyKind("atom"),
        "same": PropertyKind(),
        "unlabelled": PropertyKind(),
    }
    found = fit_references(items, "total", properties=kinds).properties
    together = collate(items).properties
    for name in ("gap", "charges"):
        assert found[name].mean == pytest.approx(float(together[name].mean()))
        assert found[name].scale == pytest.approx(float(together[name].std(correction=0)))
    assert found["dipole"].mean == 0
    assert found["dipole"].scale == pytest.approx(float(together["dipole"].square().mean().sqrt()))
    # proportional to the number of atoms and constant: nothing remains to be scaled
    for name, mean in (("volume", 7.0), ("same", 5.0)):
        assert found[name].scale == 1.0
        assert found[name].mean == pytest.approx(mean)
    assert "unlabelled" not in found


def test_normalizations_are_stored_with_references() -> None:
    references = References({1: 0.0}, 1.0, "total", properties={"gap": Normalization(0.5, 3.0)})
    assert References.from_dict(references.to_dict()) == references
    assert "properties" not in References({1: 0.0}, 1.0, "total").to_dict()
    for wrong in ({"scale": 0.0}, {"mean": math.nan}):
        with pytest.raises(ValueError, match="Normalization"):
            Normalization(**wrong)


CONFIG = """
model: {{extends: symmetric, heads: {{gap: {{type: property, reduce: mean}}, forces: null}}}}
data: {{files: [a.xyz], units: eV, energy: total, labels: [{labels}], batch: {{structures: 2}}}}
loss: {{{loss}}}
schedule: {{type: plateau, metric: {metric}}}
training: {{steps: 1}}
"""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": "gpa"}, "data.labels.0: must be 'energy', 'forces', 'stress' or 'gap', got 'gpa'; did you mean"),
        ({"loss": "gap2: {type: mae}"}, "loss.gap2: unknown field; did you mean 'gap'"),
        ({"loss": "gap: {type: cosine}"}, "loss.gap.type: must be 'mae', 'l2mae', .* got 'cosine'"),
        ({"loss": "gap: {weight: 0}"}, "loss.gap.weight: must be greater than 0"),
        ({"loss": "gap: {wieght: 1}"}, "loss.gap.wieght: unknown field; did you mean 'weight'"),
        ({"loss": "gap: null"}, "loss: needs at least one of energy, forces, stress and further heads"),
        (
            {"metric": "gpa_mae"},
            "schedule.metric: must be 'loss', .* or 'gap_mae', got 'gpa_mae'; did you mean 'gap_mae'",
        ),
    ],
)
def test_configs_name_what_the_model_predicts(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    entries = {"labels": "gap", "loss": "gap: {type: mse}", "metric": "gap_mae"}
    config = parse_config(CONFIG.format(**entries), tmp_path)
    assert config.loss.properties["gap"].type == "mse"
    with pytest.raises(SpecError, match=message):
        parse_config(CONFIG.format(**{**entries, **changes}), tmp_path)


def test_a_model_without_a_head_has_neither_its_label_nor_its_loss(tmp_path: Path) -> None:
    entries = {"labels": "energy, gap", "loss": "energy: {type: mae}, gap: {type: mse}", "metric": "loss"}
    config = parse_config(CONFIG.format(**entries), tmp_path)
    bare = config.for_model(config.model.patch({"heads.gap": None}))
    assert (bare.data.labels, bare.loss.compared()) == (("energy",), ["energy"])
    assert config.loss.compared() == ["energy", "gap"]
    assert config.for_model(config.model) == config
