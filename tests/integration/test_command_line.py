"""The command line as a user calls it."""

import json
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
import typer
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from potentials import crystal, smooth_potential
from typer.testing import CliRunner

from gemnet_blocks import Structures, cli
from gemnet_blocks.checkpoints import fairchem_state
from gemnet_blocks.cli.completion import config_names, spec_names, study_names
from gemnet_blocks.errors import SpecError, StructureError
from gemnet_blocks.examples import platinum_slab
from gemnet_blocks.potential import save_potential
from gemnet_blocks.spec import build, load_spec
from gemnet_blocks.util.locks import only_writer_of_file, only_writer_to_folder

CONFIGS = Path(__file__).parents[2] / "paper_configs"
SMALL = ["--set", "sizes.atom=8", "--set", "sizes.edge=12", "--set", "blocks.count=1", "--set", "bases.radial.count=8"]


def run(*arguments: object, standard_input: bytes = b"") -> str:
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments], input=standard_input)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_summary_counts_parameters():
    output = run("summary", CONFIGS / "gemnet-oc.yaml")
    assert "38,864,438" in output
    assert "quadruplet" in output


def test_summary_of_an_ablation():
    output = run("summary", CONFIGS / "gemnet-oc.yaml", "--set", "interactions.quadruplet=null")
    assert "37,236,266" in output
    assert "quadruplet" not in output


def test_predict_writes_the_predictions_of_the_model(tmp_path: Path):
    frames = [platinum_slab(2, 2), platinum_slab(1, 3)]
    ase.io.write(tmp_path / "in.traj", frames)
    output = run("predict", CONFIGS / "gemnet-oc.yaml", tmp_path / "in.traj", *SMALL, "--output", tmp_path / "out.xyz")
    assert "initial weights" in output
    spec = load_spec(
        CONFIGS / "gemnet-oc.yaml", {"sizes.atom": 8, "sizes.edge": 12, "blocks.count": 1, "bases.radial.count": 8}
    )
    model = build(spec, seed=0)
    for number, (before, after) in enumerate(zip(frames, ase.io.read(tmp_path / "out.xyz", ":"), strict=True)):
        prediction = model(Structures.from_ase(before))
        assert after.get_potential_energy() == pytest.approx(prediction.energy.item(), rel=1e-5), number
        np.testing.assert_allclose(after.get_forces(), prediction.forces.detach().numpy(), atol=1e-6)


def test_predict_with_published_weights(tmp_path: Path):
    spec = load_spec(CONFIGS / "triplets-only.yaml", {"sizes.atom": 8, "sizes.edge": 12, "blocks.count": 1})
    model = build(spec, seed=5)
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in fairchem_state(model).items()}}, tmp_path / "w.pt"
    )
    ase.io.write(tmp_path / "in.xyz", molecule("CH3OH"))
    arguments = ["--set", "sizes.atom=8", "--set", "sizes.edge=12", "--set", "blocks.count=1"]
    output = run(
        "predict", CONFIGS / "triplets-only.yaml", tmp_path / "in.xyz", *arguments, "--weights", tmp_path / "w.pt"
    )
    assert "initial weights" not in output
    energy = model(Structures.from_ase(molecule("CH3OH"))).energy.item()
    assert f"{energy:.4f}" in output or f"{energy:.3f}" in output


def test_structures_without_tags_need_a_default(tmp_path: Path):
    ase.io.write(tmp_path / "in.xyz", molecule("CH3OH"))
    with pytest.raises(Exception, match="structure 0 has no tags"):
        run("predict", CONFIGS / "gemnet-oc.yaml", tmp_path / "in.xyz", *SMALL)
    assert "quadruplets" in run("predict", CONFIGS / "gemnet-oc.yaml", tmp_path / "in.xyz", *SMALL, "--default-tag", 2)


def test_estimate_and_profile_count_the_same(tmp_path: Path):
    ase.io.write(tmp_path / "in.traj", [platinum_slab(1, 2)] * 2)
    arguments = [CONFIGS / "triplets-only.yaml", tmp_path / "in.traj", *SMALL, "--index", "0", "--task", "train"]
    arguments += ["--execution", "angular=explicit"]
    estimated = run("estimate", *arguments)
    measured = run("profile", *arguments, "--repeats", 1, "--plot", tmp_path / "out.png")
    model = build(load_spec(CONFIGS / "triplets-only.yaml"))
    triplets = model.backbone.graphs(Structures.from_ase(platinum_slab(1, 2)), torch.float32).counts()["triplets"]
    for output in (estimated, measured):
        assert f"{triplets:,}" in output
        assert "interaction triplet" in output
        assert "backward pass" in output
    assert "seconds" not in estimated
    assert "seconds" in measured
    assert (tmp_path / "out.png").is_file()


@pytest.mark.parametrize(("budget", "told"), [("1.0e3", "above"), ("1.0e12", "within")])
def test_estimate_compares_with_a_memory_budget(tmp_path: Path, budget: str, told: str):
    ase.io.write(tmp_path / "in.xyz", molecule("CH3OH"))
    arguments = ["estimate", CONFIGS / "triplets-only.yaml", tmp_path / "in.xyz", *SMALL]
    assert f"{told} the memory budget" in run(*arguments, "--execution", f"memory_budget={budget}")
    assert "memory budget" not in run(*arguments)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("speed=high", "--execution speed: expected one of search, sums, angular"),
        ("angular=fast", "--execution: angular is 'fast': choose one of auto, factorized, explicit"),
        ("compile=perhaps", "--execution: compile is 'perhaps'"),
        ("memory_budget=-1", "--execution: memory_budget"),
        ("search=google", "--execution: search is 'google'"),
    ],
)
def test_executions_that_there_are_not(assignment: str, message: str):
    with pytest.raises(SpecError, match=message):
        run("summary", CONFIGS / "gemnet-oc.yaml", *SMALL, "--execution", assignment)


def test_predictions_are_the_same_however_computed(tmp_path: Path):
    ase.io.write(tmp_path / "in.xyz", molecule("CH3OH"))
    arguments = ["predict", CONFIGS / "triplets-only.yaml", tmp_path / "in.xyz", *SMALL, "--output", tmp_path / "o.xyz"]
    found = []
    for execution in ([], ["--execution", "angular=explicit", "--execution", "memory_budget=0"]):
        run(*arguments, *execution)
        found.append(ase.io.read(tmp_path / "o.xyz").get_forces())
    assert np.allclose(*found, atol=1e-5)


def test_summary_says_how_it_is_computed():
    assert re.search(r"sums of quadruplet +factorized", run("summary", CONFIGS / "gemnet-oc.yaml", *SMALL))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["summary", "nowhere.yaml"], "nowhere.yaml"),
        (["summary", CONFIGS / "gemnet-oc.yaml", "--set", "sizes.edge"], "is not an assignment"),
        (
            ["summary", CONFIGS / "gemnet-oc.yaml", "--set", "interactions.quadruplett=null"],
            "did you mean 'quadruplet'",
        ),
        (["predict", CONFIGS / "gemnet-oc.yaml", "nowhere.xyz"], "nowhere.xyz"),
        (["estimate", CONFIGS / "gemnet-oc.yaml", "nowhere.xyz"], "nowhere.xyz"),
        (["profile", CONFIGS / "gemnet-oc.yaml", "x.xyz", "--plot", "nowhere/y.png"], "a folder that exists"),
        (["predict", CONFIGS / "gemnet-oc.yaml", __file__], "ASE cannot read it"),
        (["predict", CONFIGS / "gemnet-oc.yaml", CONFIGS], "is a folder"),
        (["predict", CONFIGS / "gemnet-oc.yaml", "x.xyz", "--output", "nowhere/y.xyz"], "a folder that exists"),
    ],
)
def test_mistakes_are_one_message(arguments: list[object], message: str, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["gemnet-blocks", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    captured = capsys.readouterr()
    assert stopped.value.code == 1
    assert message in captured.err.replace("\n", "")
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    "atoms",
    [bulk("Cu"), molecule("H2O"), platinum_slab(1, 2), bulk("NaCl", "rocksalt", a=5.64, cubic=True)],
    ids=["primitive cell", "molecule", "slab with tags", "crystal"],
)
def test_the_demo_runs_any_file(atoms, tmp_path: Path):
    """The published models, on structures with and without tags, cells and periodicity."""
    specs = tmp_path / "specs"
    specs.mkdir()
    small = "sizes: {atom: 8, edge: 12}\nblocks: {count: 1}\n"
    (specs / "gemnet-oc.yaml").write_text(f"extends: {json.dumps(str(CONFIGS / 'gemnet-oc.yaml'))}\n{small}")
    (specs / "no-quadruplets.yaml").write_text((CONFIGS / "no-quadruplets.yaml").read_text())
    ase.io.write(tmp_path / "atoms.traj", [atoms] * 6)
    output = run("demo", "--structures", tmp_path / "atoms.traj", "--specs", specs)
    assert "the first 4 of 6 structures" in output
    assert output.count("quadruplets through quad") == 1
    assert output.count("max |force|") == 2


def error_of(*arguments: object, capsys, monkeypatch) -> str:
    monkeypatch.setattr("sys.argv", ["gemnet-blocks", *map(str, arguments)])
    with pytest.raises(SystemExit):
        cli.main()
    return capsys.readouterr().err.replace("\n", "")


def test_warnings_are_one_message(capsys, monkeypatch):
    def warns() -> None:
        warnings.warn("12 structures are large", stacklevel=1)

    monkeypatch.setattr(cli, "app", warns)
    cli.main()
    assert capsys.readouterr().err == "warning: 12 structures are large\n"


def test_errors_of_the_system_are_one_message(capsys, monkeypatch):
    def fails() -> None:
        raise OSError(28, "No space left on device", "run/log.csv")

    monkeypatch.setattr(cli, "app", fails)
    assert error_of(capsys=capsys, monkeypatch=monkeypatch) == "error: run/log.csv: No space left on device"


def test_too_little_memory_is_one_message(capsys, monkeypatch):
    def fails() -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 40000000000000 bytes")

    monkeypatch.setattr(cli, "app", fails)
    assert "error: out of memory" in error_of(capsys=capsys, monkeypatch=monkeypatch)


def test_predictions_are_not_lost_in_a_format_without_them(tmp_path: Path, capsys, monkeypatch):
    ase.io.write(tmp_path / "in.xyz", molecule("CO"))
    arguments = ["predict", CONFIGS / "gemnet-oc.yaml", tmp_path / "in.xyz", "--output", tmp_path / "out.cif"]
    told = error_of(*arguments, capsys=capsys, monkeypatch=monkeypatch)
    assert "out.cif: the format cif cannot store energies and forces" in told


def test_a_frame_that_is_not_there(tmp_path: Path, capsys, monkeypatch):
    ase.io.write(tmp_path / "in.xyz", molecule("CO"))
    arguments = ["predict", CONFIGS / "gemnet-oc.yaml", tmp_path / "in.xyz", "--index", "5"]
    assert "there is no structure at index 5" in error_of(*arguments, capsys=capsys, monkeypatch=monkeypatch)


@pytest.mark.parametrize("kind", ["text", "list", "numbers"])
def test_weights_that_are_none(kind: str, tmp_path: Path, capsys, monkeypatch):
    ase.io.write(tmp_path / "in.xyz", molecule("CO"))
    path = tmp_path / "weights.pt"
    if kind == "text":
        path.write_text("these are no weights")
    else:
        torch.save([1, 2] if kind == "list" else {"a": 1}, path)
    arguments = ["predict", CONFIGS / "triplets-only.yaml", tmp_path / "in.xyz", *SMALL, "--weights", path]
    message = error_of(*arguments, capsys=capsys, monkeypatch=monkeypatch)
    assert "weights.pt" in message
    assert any(words in message for words in ("weights by name", "dictionary of weights", "safely"))


WRONG_PBC = '1\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 pbc=FFF\nCu 0 0 0\n'


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", CONFIGS / "triplets-only.yaml", "FILE"],
        ["estimate", CONFIGS / "triplets-only.yaml", "FILE"],
        ["profile", CONFIGS / "triplets-only.yaml", "FILE"],
        ["draw", CONFIGS / "triplets-only.yaml", "--what", "graphs", "--structures", "FILE", "--output", "x.svg"],
        ["relax", "model.safetensors", "FILE"],
        ["demo", "--specs", CONFIGS, "--structures", "FILE"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_command_reads_structures_alike(arguments: list[object], tmp_path: Path, capsys, monkeypatch):
    (tmp_path / "a.xyz").write_text(WRONG_PBC)
    (tmp_path / "link.xyz").symlink_to("gone.xyz")
    monkeypatch.chdir(tmp_path)
    for name, message in (
        ("a.xyz", "a.xyz, frame 0: periodicity (pbc): expected one truth value or three"),
        ("link.xyz", "link.xyz: is a symbolic link to gone.xyz, which does not exist"),
        ("b*.xyz", "b*.xyz: no file matches this pattern"),
    ):
        given = [name if argument == "FILE" else argument for argument in arguments]
        assert message in error_of(*given, capsys=capsys, monkeypatch=monkeypatch).replace("\n", "")


def test_predict_reads_archives_and_patterns(tmp_path: Path):
    arrays = {"coords": np.eye(3)[None], "nuclear_charges": np.array([8, 1, 1]), "energies": np.zeros(1)}
    for name in ("b.npz", "a.npz"):
        np.savez(tmp_path / name, **arrays)
    run("predict", CONFIGS / "triplets-only.yaml", tmp_path / "*.npz", *SMALL, "--output", tmp_path / "o.xyz")
    frames = ase.io.read(tmp_path / "o.xyz", ":")
    assert [frame.get_chemical_formula() for frame in frames] == ["H2O"] * 2


def test_relax_takes_one_file(tmp_path: Path, capsys, monkeypatch):
    for name in ("a.xyz", "b.xyz"):
        (tmp_path / name).write_text(WRONG_PBC)
    message = error_of("relax", "model.safetensors", tmp_path / "*.xyz", capsys=capsys, monkeypatch=monkeypatch)
    assert "expected one file, found 2 matching files" in message.replace("\n", "")


def test_evaluations_and_relaxations_into_results_that_another_process_writes_are_refused(tmp_path: Path):
    arguments = (tmp_path / "model.safetensors", tmp_path / "in.xyz")
    with (
        only_writer_to_folder(tmp_path / "test", "--output"),
        pytest.raises(SpecError, match=r"--output: .*test is in use by process"),
    ):
        run("evaluate", *arguments, "--output", tmp_path / "test")
    for option in ("--output", "--trajectory"):
        with (
            only_writer_of_file(tmp_path / "out.xyz", option),
            pytest.raises(SpecError, match=rf"{option}: .*out\.xyz is in use by process"),
        ):
            run("relax", *arguments, "--output", tmp_path / "relaxed.xyz", option, tmp_path / "out.xyz")
    assert not list(tmp_path.iterdir())


COMMANDS = typer.main.get_command(cli.app).commands


@pytest.mark.parametrize(("function", "example"), cli.EXAMPLES.items(), ids=lambda one: getattr(one, "__name__", ""))
def test_help_ends_with_an_example_that_the_command_accepts(function, example: str):
    name, *arguments = shlex.split(example.partition(" > ")[0])
    assert name == function.__name__
    output = CliRunner().invoke(cli.app, [name, "--help"], terminal_width=200).output
    assert output.rstrip().endswith(f"gemnet-blocks {example}")
    assert COMMANDS[name].make_context(name, arguments).params
    for given in arguments:
        if given.startswith("--"):
            assert given in output


def test_every_command_has_an_example():
    assert {function.__name__ for function in cli.EXAMPLES} == set(COMMANDS)
    assert {"--version", "--install-completion"} <= set(re.findall("--[a-z-]+", run("--help")))
    assert re.fullmatch(r"gemnet_blocks \S+\n", run("--version"))


def test_shipped_names_are_listed():
    output = run("specs", "*dt*")
    assert re.search(r"gemnet-dt +GemNet-dT, with direct forces", output)
    assert "studies/from-gemnet-dt" in output
    assert "gemnet-oc" not in run("specs", "*dt*", "--names").split()
    assert run("specs", "no-quadruplets", "--show") == (CONFIGS / "no-quadruplets.yaml").read_text(encoding="utf-8")
    with pytest.raises(SpecError, match=r"nothing: no shipped name matches this pattern: .*specs` lists all names"):
        run("specs", "nothing")


def test_schemas_are_printed():
    assert json.loads(run("schema")) == json.loads((CONFIGS / "spec.schema.json").read_text(encoding="utf-8"))


def test_shells_complete_names_and_files(tmp_path: Path, monkeypatch):
    (tmp_path / "bridges").mkdir()
    for name in ("bridge.yaml", "bridges/mine.yaml", "bridge.txt"):
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)
    found = [name for name, _ in spec_names("bridge")]
    assert found[0] == "bridge-q/00-gemnet-q"
    assert found[-2:] == ["bridge.yaml", "bridges/mine.yaml"]
    assert [name for name, _ in study_names("studies/ne")] == ["studies/neighbors"]
    assert dict(config_names("training/gemnet-oc-is"))["training/gemnet-oc-is2re"].startswith("IS2RE")
    words = {"COMP_WORDS": "gemnet-blocks summary gemnet-dt", "COMP_CWORD": "2"}
    completed = python("import sys; from gemnet_blocks import cli; sys.argv = ['gemnet-blocks']; cli.main()", words)
    assert completed.split() == ["gemnet-dt", "gemnet-dt-oc22-is2re"]


def python(program: str, environment: dict[str, str] | None = None) -> str:
    places = {"PYTHONPATH": str(Path(cli.__file__).parents[2]), "_GEMNET_BLOCKS_COMPLETE": "complete_bash"}
    command, variables = [sys.executable, "-c", program], {**places, **(environment or {})}
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout


def test_commands_start_without_heavy_packages():
    heavy = "{'torch', 'ase', 'numpy', 'pydantic', 'lightning', 'matplotlib'}"
    assert python(f"import sys, gemnet_blocks.cli; print(*{heavy} & set(sys.modules))").split() == []


def labelled_crystals(folder: Path) -> Path:
    frames = []
    for shift in (0.0, 0.1, 0.2, 0.3):
        atoms = crystal()
        atoms.positions[0] += shift
        atoms.calc = SinglePointCalculator(atoms, energy=shift, forces=np.zeros((len(atoms), 3)))
        frames.append(atoms)
    ase.io.write(folder / "frames.extxyz", frames)
    return folder / "frames.extxyz"


def predicted(folder: Path, *arguments: object, standard_input: bytes = b"") -> list[float]:
    """The energies that `predict` writes."""
    run("predict", *arguments, "--output", folder / "out.xyz", standard_input=standard_input)
    return [atoms.get_potential_energy() for atoms in ase.io.read(folder / "out.xyz", ":")]


def test_predict_reads_trained_models_and_everything_that_train_reads(tmp_path: Path, monkeypatch):
    potential = smooth_potential()
    save_potential(potential, tmp_path / "best.safetensors")
    path = labelled_crystals(tmp_path)
    frames = ase.io.read(path, ":")
    expected = [potential(Structures.from_ase(atoms)).energy.item() for atoms in frames]
    assert predicted(tmp_path, tmp_path, path) == pytest.approx(expected, rel=1e-6)  # the folder of a run
    monkeypatch.chdir(tmp_path)
    found = predicted(tmp_path, "best.safetensors", "-", "--index", "1:3", standard_input=path.read_bytes())
    assert found == pytest.approx(expected[1:3], rel=1e-6)
    with pytest.raises(StructureError, match="standard input is empty"):
        predicted(tmp_path, "best.safetensors", "-")
    frames[1].set_cell(frames[1].cell.array / 10, scale_atoms=True)
    ase.io.write("in_nm", frames[1], format="vasp")
    found = predicted(tmp_path, "best.safetensors", "in_nm", "--format", "vasp", "--length", "nm")
    assert found == pytest.approx(expected[1:2], rel=1e-6)
    (tmp_path / "train.yaml").write_text(
        "model: symmetric\nloss: {energy: {}, forces: {}}\ntraining: {steps: 1}\noutput: run\n"
        "data: {files: [frames.extxyz], units: eV, energy: total, batch: {structures: 1},"
        " split: {type: random, validation: 1, test: 2, seed: 0}}\n"
    )
    parts = [predicted(tmp_path, "best.safetensors", "train.yaml", "--split", name) for name in ("train", "validation")]
    rest = predicted(tmp_path, "best.safetensors", "train.yaml")
    assert sorted([*parts[0], *parts[1], *rest]) == pytest.approx(sorted(expected), rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["m.safetensors", "a.xyz", "--set", "sizes.edge=8"], "m.safetensors: --set is only for specs"),
        (["symmetric", "a.xyz", "--split", "test"], "a.xyz: --split is only for training configs"),
        (["symmetric", "train.yaml", "--length", "nm"], "train.yaml: --format and --length are for structures"),
        (["symmetric", "a.xyz", "--length", "mile"], "--length: "),
        (["symmetric", "a.xyz", "--format", "extxy"], "format: expected ASE's name of a format"),
    ],
)
def test_options_of_predict_that_do_not_apply(arguments: list[str], message: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ase.io.write("a.xyz", molecule("CO"))
    with pytest.raises(SpecError, match=re.escape(message)):
        run("predict", *arguments)


def test_export_refuses_what_it_cannot_write(tmp_path: Path, capsys, monkeypatch):
    for options, message in (
        (["model.pt2", "--format", "metatomic"], "metatomic only reads TorchScript"),
        (["model.pt2", "--format", "onnx"], "--format onnx: expected torch-export"),
        (["model.pt"], "model.pt: expected a name that ends with .pt2"),
    ):
        arguments = ["export", tmp_path / "model.safetensors", "--output", *options]
        found = error_of(*arguments, capsys=capsys, monkeypatch=monkeypatch)
        assert message in found.replace("\n", ""), found
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_export_writes_a_program(tmp_path: Path):
    unused = {f"interactions__{name}": None for name in ("quadruplet", "atom_edge", "edge_atom", "atom_atom")}
    save_potential(smooth_potential(blocks__count=1, **unused), tmp_path / "model.safetensors")
    output = run("export", tmp_path / "model.safetensors", "--output", tmp_path / "model.pt2", "--dtype", "float32")
    assert "inputs: positions, numbers, cells, periodic, structure, i, j, shifts; cutoff: 3.5 Å" in output
    assert len(torch.export.load(tmp_path / "model.pt2").module().graph.nodes) > 100
