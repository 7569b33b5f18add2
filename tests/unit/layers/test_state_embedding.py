"""Total charges and spins as inputs: the embedding, models that read them, and their errors."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from helpers import molecule
from torch import Tensor

from gemnet_blocks.calculator import GemNetCalculator
from gemnet_blocks.data.labelled import LabelledStructures, collate
from gemnet_blocks.errors import StructureError
from gemnet_blocks.layers.embeddings import AtomEmbedding, AtomEmbeddingOptions
from gemnet_blocks.layers.state_embedding import StateEmbedding
from gemnet_blocks.model.gemnet import GemNet
from gemnet_blocks.potential import Potential
from gemnet_blocks.potential.references import References
from gemnet_blocks.spec import Spec, build, load_spec
from gemnet_blocks.structures import Structures, to_ase
from gemnet_blocks.util.charges import NOT_AN_INTEGER, QUANTITIES, state_of

SMALL = {"sizes.edge": 8, "sizes.atom": 8, "blocks.count": 1, "heads.forces.type": "gradient"}
BOTH = {"atom_embedding": {"type": "element", "charge": True, "spin": True}}


def spec_of(**changes: Any) -> Spec:
    return load_spec("symmetric").patch({**SMALL, **changes})


def reading_model() -> GemNet:
    """A model that reads charge and spin, with random embeddings of both."""
    model = build(spec_of(**BOTH), seed=0).double()
    assert model.backbone.state_embedding is not None
    for weight in model.backbone.state_embedding.parameters():
        torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(1))
    return model


def structures_of(*infos: dict[str, Any], atoms: Atoms | None = None) -> Structures:
    many = []
    for info in infos:
        one = (atoms or molecule(4)).copy()
        one.info |= info
        many.append(one)
    return Structures.from_ase(many, ignore=QUANTITIES)


@pytest.mark.parametrize(
    ("info", "state"),
    [
        ({}, {}),
        ({"charge": -1}, {"charge": -1}),
        ({"total_charge": "2", "charge": 2.0}, {"charge": 2}),
        ({"spin": 3}, {"spin": 3}),
        ({"spin": 0}, {"spin": 1}),
        ({"multiplicity": 2}, {"spin": 2}),
        ({"n_unpaired": 2}, {"spin": 3}),
        ({"charge": np.array([1]), "spin": np.int64(2)}, {"charge": 1, "spin": 2}),
        ({"charges": [0.1, -0.1]}, {}),
        ({"charge": 0.5}, {"charge": NOT_AN_INTEGER}),
        ({"charge": "positive"}, {"charge": NOT_AN_INTEGER}),
        ({"charge": 1, "total_charge": 2}, {"charge": NOT_AN_INTEGER}),
    ],
)
def test_states_are_read_from_names_in_use(info: dict[str, Any], state: dict[str, int]) -> None:
    assert state_of(info) == state


def test_embeddings_are_added_to_all_atoms_of_a_structure() -> None:
    embedding, structures = StateEmbedding(5, True, True).double(), structures_of({"charge": 2}, {"spin": 3})
    h = torch.randn(structures.atom_count, 5, dtype=torch.float64)
    assert torch.equal(embedding(h, structures), h)
    for weight in embedding.parameters():
        torch.nn.init.normal_(weight)
    charges, spins = embedding.charges.weight, embedding.multiplicities.weight
    expected = [charges[102] + spins[0], charges[100] + spins[2]]
    torch.testing.assert_close(
        embedding(h, structures) - h, torch.stack([expected[index] for index in structures.structure.tolist()])
    )


def test_models_without_states_are_those_of_neutral_singlets() -> None:
    neutral, charged = structures_of({}), structures_of({"charge": 1, "spin": 2})
    bare, model = build(spec_of(), seed=0).double(), build(spec_of(**BOTH), seed=0).double()
    assert torch.equal(model(charged).energy, bare(neutral).energy)
    model = reading_model()
    energies = model(structures_of({}, {"charge": 0, "spin": 1}, {"charge": 1}, {"spin": 2})).energy
    torch.testing.assert_close(energies[0], energies[1])
    torch.testing.assert_close(energies[:1], model(neutral).energy)
    assert len(set(energies[1:].tolist())) == 3
    model(charged).forces.square().sum().backward()
    assert all(float(weight.grad.abs().sum()) > 0 for weight in model.backbone.state_embedding.parameters())


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"charge": 101}, "structure 1 has a total charge that is not an integer from -100 to 100"),
        ({"charge": 0.5}, "structure 1 has a total charge that is not an integer"),
        ({"multiplicity": 0}, "structure 1 has a spin multiplicity 2S \\+ 1 that is not an integer from 1 to 100"),
        ({"spin": 0.5}, "structure 1 has a spin multiplicity"),
    ],
)
def test_states_out_of_range_are_refused_by_models_that_read_them(info: dict[str, Any], message: str) -> None:
    structures = structures_of({}, info)
    with pytest.raises(StructureError, match=message):
        reading_model()(structures)
    assert build(spec_of(), seed=0).double()(structures).energy.shape == (2,)


def test_states_follow_their_structures() -> None:
    structures = structures_of({"charge": 1}, {"charge": -1}, {})
    assert structures.charge.tolist() == [1, -1, 0]
    assert structures.spin is None
    assert structures[1].charge.tolist() == structures.to(dtype=torch.float32)[1].charge.tolist() == [-1]
    again = Structures.from_ase(to_ase(structures), ignore=QUANTITIES)
    assert again.charge.tolist() == [1, -1, 0]
    items = [
        LabelledStructures(one, None, None, None, torch.tensor([0]))
        for one in (structures_of({}), structures[0], structures_of({"spin": 2}))
    ]
    joined = collate(items).structures
    assert (joined.charge.tolist(), joined.spin.tolist()) == ([0, 1, 0], [1, 1, 2])


class MassEmbedding(AtomEmbedding):
    """A custom embedding that takes numbers alone."""

    class Options(AtomEmbeddingOptions):
        type: str

    def __init__(self, size: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(1, size)

    @classmethod
    def from_options(cls, options: Any, element_count: int, size: int) -> MassEmbedding:
        return cls(size)

    def forward(self, numbers: Tensor) -> Tensor:
        return self.linear(numbers[:, None].to(self.linear.weight.dtype) / 50)


def test_custom_embeddings_of_numbers_take_states_too() -> None:
    for options, reads in (({}, set()), ({"charge": True}, {"charge"})):
        spec = spec_of(atom_embedding={"type": "mass", **options})
        model = build(spec, extra={"mass": MassEmbedding}, seed=0).double()
        assert model.reads == reads
        assert model(structures_of({"charge": 1})).energy.isfinite().all()


def test_calculators_read_charges_and_notice_their_change() -> None:
    model = reading_model()
    potential = Potential(model, spec_of(**BOTH), References(dict.fromkeys((1, 6, 7, 8), 0.0), 1.0, "total"))
    atoms = molecule(4)
    atoms.calc = GemNetCalculator(copy.deepcopy(potential))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        neutral = atoms.get_potential_energy()
        atoms.info["charge"] = 1
        charged = atoms.get_potential_energy()
    assert charged == pytest.approx(model(structures_of({"charge": 1})).energy.item())
    assert charged != pytest.approx(neutral)
