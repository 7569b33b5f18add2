"""Everything that a run keeps of the evaluated set is collected while the set is predicted, which is read once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from planted_torsion import PLANTED, InMemory, LinearPotential, labelled
from torch import Tensor

from gemnet_blocks.ablation import evaluated_set
from gemnet_blocks.ablation.evaluated_set import SetCollector
from gemnet_blocks.data.batching import BatchOptions
from gemnet_blocks.data.leakage import summarize
from gemnet_blocks.data.trained_frames import TrainedFrames
from gemnet_blocks.evaluation import evaluate
from gemnet_blocks.structures import Structures


class Trained(LinearPotential):
    """A potential with reference energies and a record of two training structures."""

    def __init__(self) -> None:
        super().__init__(1.1 * PLANTED)
        summary = summarize(InMemory([labelled(2), labelled(3)]), range(2))
        self.frames = TrainedFrames.of({"train": summary, "validation": summary})

    def reference_energy(self, structures: Structures) -> Tensor:
        return -2.0 * structures.atom_counts.double()


@pytest.fixture
def dataset() -> InMemory:
    return InMemory([labelled(seed) for seed in range(6)])


def test_the_set_is_read_once(dataset: InMemory) -> None:
    potential = Trained()
    collector = SetCollector(potential, dataset)
    evaluation = evaluate(potential, dataset, allow_overlap=True, observe=collector)
    details = collector.details(evaluation)
    kept = collector.kept()

    assert dataset.reads == len(dataset)
    assert evaluation.overlap is not None
    assert (evaluation.overlap.structures, evaluation.overlap.trained_on) == (6, 2)
    assert evaluation.overlap == evaluate(potential, dataset, allow_overlap=True, overlap=None).overlap
    assert evaluation.overlap == potential.frames.overlap(dataset)
    assert kept is not None
    assert kept.errors("forces").mean() == pytest.approx(evaluation.errors.forces_mae, rel=1e-6)
    assert kept.errors("energy").mean() == pytest.approx(evaluation.errors.energy_mae_per_atom)
    energies = torch.cat([one.energy for one in dataset.items]).numpy()
    assert details.parity["energy"].label == pytest.approx((energies + 14) / 7, rel=1e-5)
    labels = torch.cat([one.forces for one in dataset.items]).flatten().numpy()
    assert set(details.parity["forces"].label) <= {float(f"{np.float32(one):.6g}") for one in labels}
    assert details.baseline["forces_mae"] == pytest.approx(np.abs(labels).mean())
    assert details.elements["O"]["atoms"] == 12


def test_of_large_sets_evenly_spread_structures_are_kept(dataset: InMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluated_set, "ATOMS_KEPT", 21)
    monkeypatch.setattr(evaluated_set, "STRUCTURES", 2)
    collector = SetCollector(Trained(), dataset)
    evaluate(Trained(), dataset, allow_overlap=True, observe=collector)
    kept = collector.kept()

    assert kept is not None
    assert kept.of_structures["index"].tolist() == [0, 2, 5]
    positions = torch.cat([dataset.items[index].structures.positions for index in (0, 2, 5)])
    np.testing.assert_allclose(kept.of_atoms["positions"], positions, atol=1e-6)
    assert kept.structures.structure.tolist() == [0] * 7 + [1] * 7 + [2] * 7


def test_missing_labels_and_atoms_that_do_not_count_have_no_errors(dataset: InMemory) -> None:
    fixed = torch.tensor([True] + [False] * 6)
    dataset.items[1] = replace(dataset.items[1], energy=None)
    dataset.items[2] = replace(dataset.items[2], structures=replace(dataset.items[2].structures, fixed=fixed))
    collector = SetCollector(Trained(), dataset)
    evaluation = evaluate(
        Trained(), dataset, BatchOptions(structures=1), atoms="free", allow_overlap=True, observe=collector
    )
    kept = collector.kept()

    assert kept is not None
    assert np.flatnonzero(np.isnan(kept.errors("energy"))).tolist() == [1]
    assert np.flatnonzero(np.isnan(kept.errors("forces"))).tolist() == [14]
    assert len(collector.details(evaluation).parity["energy"].label) == 5
