"""The table of a model's layers."""

from pathlib import Path

import pytest

from gemnet_blocks.model.summary import execution, layers, parameter_count
from gemnet_blocks.spec import build, load_spec
from gemnet_blocks.spec.execution import Execution

CONFIGS = Path(__file__).parents[3] / "paper_configs"
SMALL = {"sizes.atom": 8, "sizes.edge": 12, "blocks.count": 2}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_parameters_of_the_layers_add_up_to_those_of_the_model(path: Path):
    model = build(load_spec(path, SMALL))
    assert sum(layer.parameters for layer in layers(model)) == parameter_count(model)


def test_counts_of_repeated_layers():
    rows = {(layer.part, layer.name): layer for layer in layers(build(load_spec(CONFIGS / "gemnet-oc.yaml", SMALL)))}
    assert rows["block", "triplet"].count == 2
    assert rows["readout", "output block"].count == 3
    assert rows["block", "atom_atom"].writes == "atoms"
    assert rows["block", "quadruplet"].writes == "edges"


def test_absent_parts_have_no_row():
    names = {layer.name for layer in layers(build(load_spec(CONFIGS / "triplets-only.yaml", SMALL)))}
    assert "triplet" in names
    assert not names & {"quadruplet", "quad", "atom_edge", "atom_atom"}


def test_models_without_blocks_or_forces_have_a_table():
    model = build(load_spec(CONFIGS / "gemnet-oc.yaml", {**SMALL, "blocks.count": 0, "heads.forces": None}))
    rows = layers(model)
    assert sum(layer.parameters for layer in rows) == parameter_count(model)
    assert "forces" not in {layer.name for layer in rows}


def test_it_says_how_sums_are_computed():
    spec = load_spec(CONFIGS / "gemnet-oc.yaml", SMALL)
    chosen = execution(build(spec, execution=Execution(search="torch", angular={"quadruplet": "explicit"})))
    assert chosen == {
        "neighbor search": "torch",
        "sums over edges": "torch",
        "sums of triplet": "factorized",
        "sums of quadruplet": "explicit",
        "sums of atom_edge": "factorized",
        "sums of edge_atom": "factorized",
        "atoms at once": "at most 128",
        "products of matrices": "float32",
        "memory budget": "none",
        "compiled layers": "none",
    }


def test_the_summary_states_the_memory_limit():
    spec = load_spec(CONFIGS / "gemnet-oc.yaml", SMALL)
    chosen = execution(build(spec, execution=Execution(atoms_at_most=None, memory_budget=8e9)))
    assert chosen["atoms at once"] == "all"
    assert chosen["memory budget"] == "8,000 MB"


def test_it_says_why_sums_are_not_factorised():
    chosen = execution(build(load_spec(CONFIGS / "scaled-bases.yaml", SMALL)))
    assert chosen["sums of triplet"].startswith("explicit: the scale factor")
    assert chosen["neighbor search"] == "automatic"
