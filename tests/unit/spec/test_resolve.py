from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_specs import NAMES, PAPER_CONFIGS, SMALL, error_of, small_spec, write
from test_catalog import Step

from gemnet_blocks.basis.radial import SphericalBesselOptions
from gemnet_blocks.interactions.triplet import TripletOptions
from gemnet_blocks.model.heads import GradientForcesOptions
from gemnet_blocks.spec import Spec, build, load_spec, parse_assignment


def test_a_file_alone(tmp_path: Path) -> None:
    assert load_spec(write(tmp_path)) == load_spec(str(write(tmp_path))) == small_spec()


@pytest.mark.parametrize("path", PAPER_CONFIGS, ids=[path.stem for path in PAPER_CONFIGS])
def test_paper_configs_survive_their_yaml(path: Path) -> None:
    spec = load_spec(path)
    assert Spec.from_yaml(spec.to_yaml()) == spec


def test_extends(tmp_path: Path) -> None:
    (tmp_path / "variants" / "deep").mkdir(parents=True)
    write(tmp_path)
    wide = tmp_path / "variants" / "wide.yaml"
    wide.write_text("extends: ../small.yaml\nsizes: {atom: 9}\ninteractions: {quadruplet: null}\n")
    last = tmp_path / "variants" / "deep" / "last.yaml"
    last.write_text("extends: ../wide.yaml\nsizes: {edge: 10}\ninteractions: {quadruplet: {down: 2, up: 2}}\n")
    assert load_spec(wide) == small_spec({"sizes.atom": 9, "interactions.quadruplet": None})
    assert load_spec(last) == small_spec(
        {"sizes": {"atom": 9, "edge": 10}, "interactions.quadruplet": {"down": 2, "up": 2}}
    )


def test_the_base_alone_may_be_incomplete(tmp_path: Path) -> None:
    lines = SMALL.splitlines(keepends=True)
    path = write(tmp_path, base="".join(lines[1:]), full=f"extends: base.yaml\n{lines[0]}")
    assert load_spec(path) == small_spec()


def test_lists_and_values_are_replaced(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        a="extends: small.yaml\ngraphs: {quad: {tags: [0, 1]}}\n",
        b="extends: a.yaml\ngraphs: {quad: {tags: [2], max_neighbors: null}}\nheads: {forces: null}\n",
    )
    spec = load_spec(path)
    assert spec.graphs["quad"].tags == (2,)
    assert spec.graphs["quad"].max_neighbors is None
    assert spec.heads.forces is None


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": "extends: a.yaml"}, "a.yaml:1: extends: files extend each other: a.yaml → a.yaml"),
        (
            {"a": "extends: b.yaml", "b": "extends: c.yaml", "c": "sizes: {}\nextends: b.yaml"},
            "c.yaml:2: extends: files extend each other: b.yaml → c.yaml → b.yaml",
        ),
        ({"a": "\nextends: smal.yaml"}, "a.yaml:2: extends: smal.yaml does not exist; did you mean 'small.yaml'?"),
        ({"a": "extends: folder/xyz.yaml"}, "a.yaml:1: extends: folder/xyz.yaml does not exist"),
        ({"a": "extends: ."}, "a.yaml:1: extends: is a directory"),
        ({"a": "extends: [small.yaml]"}, "a.yaml:1: extends: must be the path of one spec file"),
        ({"a": "extends: null"}, "a.yaml:1: extends: must be the path of one spec file"),
        ({"b": "blocks: 3\nblocks: 3", "a": "extends: b.yaml"}, "b.yaml:2: blocks is written twice: remove one"),
    ],
)
def test_extends_that_fails(tmp_path: Path, files: dict[str, str], message: str) -> None:
    write(tmp_path, **files)
    text = error_of(load_spec, tmp_path / "a.yaml").replace(f"{tmp_path} ", "")
    assert text == message


def test_missing_files(tmp_path: Path) -> None:
    write(tmp_path)
    assert error_of(load_spec, tmp_path / "smal.yaml") == (
        "smal.yaml: there is no such file; did you mean 'small.yaml'?"
    )
    assert error_of(load_spec, tmp_path / "xyz.yaml") == "xyz.yaml: there is no such file"
    assert error_of(load_spec, tmp_path / "no" / "xyz.yaml") == "xyz.yaml: there is no such file"


def test_one_error_lists_every_problem(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        lab="""\
        extends: small.yaml
        size: {atom: 3}
        graphs:
          quad: {cutoff: .inf, within: atm}
        heads: {forces: {copled: true}}
        """,
        mine="""\
        extends: lab.yaml
        sizes: {atom: '12'}
        bases:
          radial: {type: gausian}
        blocks:
          count: 2.5
        interactions:
          quadruplett: null
          quadruplet: {graph: quat, dwn: 3}
          atom_edge.down: 3
        """,
    )
    assert error_of(load_spec, path, {"activation": "relu"}).splitlines() == [
        "mine.yaml:8: interactions.quadruplett: there is nothing of this name to remove; did you mean 'quadruplet'?",
        "lab.yaml:4: graphs.quad.cutoff: must be finite, got inf",
        "mine.yaml:10: interactions.atom_edge.down: is not a name: "
        "in a file, write nested mappings instead of dotted paths",
        "lab.yaml:4: graphs.quad.within: unknown edge set 'atm'; did you mean 'atom'?",
        "mine.yaml:9: interactions.quadruplet.graph: unknown edge set 'quat'; did you mean 'quad'?",
        "mine.yaml:2: sizes.atom: must be an integer, got '12'; remove the quotes",
        "patch: activation: must be 'silu', 'siqu' or 'identity', got 'relu'",
        "mine.yaml:4: bases.radial.type: unknown radial basis 'gausian' (for a custom class, "
        "write `type: module:Class` and allow imports, or pass extra={'gausian': ...}); did you mean 'gaussian'?",
        "mine.yaml:6: blocks.count: must be an integer, got 2.5",
        "mine.yaml:9: interactions.quadruplet.dwn: unknown field; did you mean 'down'?",
        "lab.yaml:5: heads.forces.copled: unknown field; did you mean 'coupled'?",
        "lab.yaml:2: size: unknown field; did you mean 'sizes'?",
    ]


def test_dotted_paths_in_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, a="extends: small.yaml\ninteractions.quadruplet: null\n")
    assert error_of(load_spec, path) == (
        "a.yaml:2: interactions.quadruplet: is not a field: in a file, write nested mappings instead of dotted paths"
    )


# -- ablation ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_null_ablates(tmp_path: Path, name: str) -> None:
    from_file = load_spec(write(tmp_path, a=f"extends: small.yaml\ninteractions: {{{name}: null}}\n"))
    assert list(from_file.interactions) == [other for other in NAMES if other != name]
    assert small_spec({f"interactions.{name}": None}) == from_file
    assert small_spec({"interactions": {name: None}}) == from_file
    assert small_spec().patch(interactions={name: None}) == from_file
    assert small_spec(dict([parse_assignment(f"interactions.{name}=null")])) == from_file
    assert load_spec(write(tmp_path), {f"interactions.{name}": None}) == from_file


def test_an_interaction_goes_with_its_graph() -> None:
    assert "quad" not in small_spec({"interactions.quadruplet": None, "graphs.quad": None}).graphs


def test_null_that_names_nothing(tmp_path: Path) -> None:
    expected = "interactions.quadruplett: there is nothing of this name to remove; did you mean 'quadruplet'?"
    assert error_of(small_spec, {"interactions.quadruplett": None}) == f"patch: {expected}"
    path = write(tmp_path, a="extends: small.yaml\ninteractions:\n  quadruplett: null\n")
    assert error_of(load_spec, path) == f"a.yaml:3: {expected}"
    alone = write(tmp_path, alone=SMALL.replace("  atom_atom: {down: 4, up: 4}", "  quadruplett: null"))
    assert error_of(load_spec, alone) == f"alone.yaml:20: {expected}"


def test_a_graph_that_was_removed_is_said_where(tmp_path: Path) -> None:
    path = write(tmp_path, a="extends: small.yaml\n\ngraphs: {quad: null}\n")
    assert error_of(load_spec, path) == (
        "small.yaml:17: interactions.quadruplet.graph: unknown edge set 'quad'; removed in a.yaml:3"
    )


# -- changes of type --------------------------------------------------------------------------------------------------


def test_a_new_type_keeps_shared_fields(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        a="""\
        extends: small.yaml
        bases:
          radial: {type: spherical_bessel}
          envelope: {type: exponential}
        interactions:
          quadruplet: {type: triplet}
        heads: {forces: {type: gradient, dynamic_scaling: true}}
        """,
    )
    spec = load_spec(path)
    assert spec.bases.radial == SphericalBesselOptions(count=5)
    assert spec.bases.envelope.model_dump() == {"type": "exponential"}
    assert spec.interactions["quadruplet"] == TripletOptions(down=4, up=4)
    assert spec.heads.forces == GradientForcesOptions(dynamic_scaling=True)


def test_the_same_type_keeps_everything() -> None:
    spec = small_spec({"bases.radial.trainable": True})
    assert spec.patch({"bases.radial": {"type": "gaussian"}}) == spec
    assert spec.patch({"interactions.triplet.type": "triplet"}) == spec
    assert spec.patch({"heads.forces.type": "direct"}) == spec


def test_a_known_custom_type_keeps_shared_fields(tmp_path: Path) -> None:
    path = write(tmp_path, a="extends: small.yaml\nbases: {envelope: {type: step}}\n")
    for spec in (load_spec(path, extra={"step": Step}), load_spec(path)):
        assert spec.bases.envelope.model_dump() == {"type": "step"}


# -- patches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"sizes.atom": 9, "sizes.edge": 10},
        {"sizes": {"atom": 9, "edge": 10}},
        {"sizes": {"atom": 9}, "sizes.edge": 10},
        {"sizes.edge": 10, "sizes": {"atom": 9}},
        {"sizes.atom": np.int64(9), "sizes.edge": np.arange(11)[-1]},
    ],
)
def test_ways_to_write_a_patch(changes: dict[str, Any]) -> None:
    before = copy.deepcopy(changes)
    assert small_spec(changes) == small_spec().patch(sizes={"atom": 9, "edge": 10})
    assert changes == before


def test_numbers_of_numpy() -> None:
    assert small_spec({"graphs.main.cutoff": np.float32(3.5)}).graphs["main"].cutoff == 3.5
    assert small_spec({"graphs.quad": {"cutoff": np.linspace(3, 4, 3)[1]}}).graphs["quad"].cutoff == 3.5


def test_lists_of_python() -> None:
    tags = [(1, 2), {1, 2}, np.array([1, 2]), [np.int64(1), 2]]
    assert all(small_spec({"graphs.quad.tags": one}).graphs["quad"].tags == (1, 2) for one in tags)
    waiting = small_spec({"interactions.mine": {"widths": (1, 2), "nested": [{"a.b": np.float64(1)}]}})
    assert Spec.from_yaml(waiting.to_yaml()) == waiting


def test_dotted_paths_may_be_nested() -> None:
    assert small_spec({"interactions": {"triplet.down": 3}}) == small_spec({"interactions.triplet.down": 3})


def test_options_as_values() -> None:
    options = SphericalBesselOptions(count=3)
    assert small_spec({"bases.radial": options}).bases.radial == options


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"": 1}, "patch: '' is not a path: write names separated by dots"),
        ({"sizes..atom": 1}, "patch: 'sizes..atom' is not a path: write names separated by dots"),
        ({"sizes": {".atom": 1}}, "patch: sizes: '.atom' is not a path: write names separated by dots"),
        ({"sizes.atom": 1, "sizes": {"atom": 2}}, "patch: sizes.atom: is changed twice: remove one"),
        ({"sizes": 1, "sizes.atom": 2}, "patch: sizes: is changed twice: remove one"),
        ({"interaction.quadruplet": None}, "patch: interaction: unknown field; did you mean 'interactions'?"),
        ({"sizes.atom.x": 1}, "patch: sizes.atom: must be an integer, got {x: 1}"),
        (
            {"interactions.mine": {"function": len, "place": Path("x")}},
            "patch: interactions.mine.function: must be a number, text, list or mapping, got <built-in function len>",
        ),
        ({"extends": "a.yaml"}, "patch: extends: is not a field of a spec: only files can extend files"),
    ],
)
def test_wrong_patches(changes: dict[str, Any], message: str) -> None:
    assert error_of(small_spec, changes).splitlines()[0] == message


def test_a_patch_remembers_own_classes() -> None:
    spec = Spec.from_yaml(SMALL.replace("type: polynomial, exponent: 5", "type: step"), extra={"step": Step})
    assert type(spec.patch({"blocks.count": 2}).bases.envelope) is Step.Options
    assert "bases.envelope.wdth: unknown field" in error_of(spec.patch, {"bases.envelope.wdth": 2})


# -- assignments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("interactions.quadruplet=null", "interactions.quadruplet", None),
        (" sizes.atom = 12 ", "sizes.atom", 12),
        ("neighbors.tie_tolerance=1e-3", "neighbors.tie_tolerance", 0.001),
        ("bases.radial={type: bernstein, count: 3}", "bases.radial", {"type": "bernstein", "count": 3}),
        ("graphs.quad.tags=[1, 2]", "graphs.quad.tags", [1, 2]),
        ("interactions.mine.formula=a=b", "interactions.mine.formula", "a=b"),
        ("interactions.mine.type=my_lab:Block", "interactions.mine.type", "my_lab:Block"),
        ("activation=''", "activation", ""),
    ],
)
def test_assignments(text: str, path: str, value: Any) -> None:
    assert parse_assignment(text) == (path, value)


@pytest.mark.parametrize("text", ["sizes.atom", "=3", "", "sizes.atom=", " = ", "interactions.triplet= "])
def test_no_assignments(text: str) -> None:
    assert error_of(parse_assignment, text) == (
        f"{text!r} is not an assignment: write path=value, such as interactions.quadruplet=null"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=[1", "a=[1: invalid YAML: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'"),
        (
            "a=!!python/name:os.system",
            "a=!!python/name:os.system: tags (!!python/name:os.system) are not supported: remove it",
        ),
        ("a={b: 1, b: 2}", "a={b: 1, b: 2}: b is written twice: remove one"),
        ("a=*b", "a=*b: aliases (*b) are not supported: write the entry out"),
    ],
)
def test_values_that_are_none(text: str, message: str) -> None:
    assert error_of(parse_assignment, text) == message


EARLIER = SMALL.replace("readout:", "read_out:")


def test_the_earlier_name_of_the_readout_is_read_everywhere(tmp_path: Path) -> None:
    spec = small_spec({"readout.layers": 2})
    write(
        tmp_path,
        old=EARLIER,
        new="extends: old.yaml\nreadout: {layers: 2}\n",
        older="extends: new.yaml\nread_out: {network: 2}\n",
    )
    found = {
        "text and patch": Spec.from_yaml(EARLIER).patch({"readout.layers": 2}),
        "patch of a mapping": small_spec({"read_out": {"layers": 2}}),
        "file that extends": load_spec(tmp_path / "new.yaml"),
        "files and patch": load_spec(tmp_path / "older.yaml", {"read_out.network": 1}),
        "assignment": load_spec(tmp_path / "old.yaml", dict([parse_assignment("read_out.layers=2")])),
    }
    for name, one in found.items():
        assert (one, one.content_hash, one.readout) == (spec, spec.content_hash, spec.readout), name


def test_errors_of_an_earlier_name_point_to_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, old=EARLIER.replace("layers: 1", "layers: -1"))
    assert error_of(load_spec, path) == "old.yaml:21: readout.layers: must be at least 0, got -1"
    unknown = load_spec(tmp_path / "small.yaml").patch({"read_out": {"type": "fancy"}})
    assert error_of(build, unknown).startswith("patch: readout.type: unknown readout 'fancy'")
    for null in ({"read_out": None}, {"readout": None}):
        assert "readout: must be a mapping" in error_of(small_spec, null)


def test_both_names_of_a_section_are_refused(tmp_path: Path) -> None:
    message = "read_out: is the earlier name of 'readout', which is given too: remove one"
    path = write(tmp_path, both=f"{SMALL}read_out: {{layers: 2}}\n")
    assert error_of(load_spec, path) == f"both.yaml:25: {message}"
    assert error_of(small_spec, {"read_out.layers": 2, "readout.network": 2}) == f"patch: {message}"
    assert error_of(load_spec, tmp_path / "small.yaml", {"read_out": None, "readout.network": 2}) == f"patch: {message}"
