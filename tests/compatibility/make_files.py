"""Write the files that one version leaves behind, for all later versions to read.

    python tests/compatibility/make_files.py

This writes `files/v<version>` with the library as it is installed; run it once for each release and commit the result.
A folder that exists is not touched, as nothing may change what an earlier version has written.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import sys
import tempfile
from pathlib import Path

import torch
import yaml
from make_models import write_models
from make_runs import write_data, write_run, write_studies
from model_cases import SPECS, TINY
from recording import FILES, command_line, write_json

import gemnet_blocks
from gemnet_blocks.spec import load_spec
from gemnet_blocks.training import load_config

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "paper_configs"

MIXED = '''

from gemnet_blocks.layers.dense import Dense
from gemnet_blocks.interactions.message import Message


class MixedOptions(InteractionOptions):
    """Atoms to atoms over the main edges, with the library's own message."""

    type: str
    down: Size


class Mixed(Interaction):
    """h_a ← Dense(Σ_{b→a} message(h_b, rad_ba))."""

    Options, writes, reads = MixedOptions, "atoms", "atoms, their distances"

    def __init__(self, atom_size, down, radial_count, activation):
        super().__init__()
        self.message = Message(atom_size, radial_count, down, activation)
        self.up = Dense(down, atom_size, activation)

    @classmethod
    def shared_geometry(cls, options, context):
        return GatedGeometry("main")

    @classmethod
    def from_options(cls, options, context):
        return cls(context.sizes.atom, options.down, context.radial_count, context.activation)

    def forward(self, embeddings, geometry):
        edges, radial = geometry
        message = self.message(embeddings.atoms, radial, edges.source)
        return self.up(message.new_zeros(edges.atom_count, message.shape[1]).index_add(0, edges.target, message))
'''
"""A part that uses more of the library than those of the documentation."""


def write_user_parts(folder: Path) -> None:
    """Write the interaction and the basis of the documentation into one file, as users copy them."""
    cells = [
        cell
        for page in ("block", "basis")
        for cell in re.findall(
            r"```{code-cell} ipython3\n(.*?)```", (ROOT / f"docs/how-to/{page}.md").read_text(encoding="utf-8"), re.S
        )
        if re.search("^class ", cell, re.M)
    ]
    text = '"""Parts of a user\'s own, as the documentation of this version shows them."""\n\n'
    (folder / "user_parts.py").write_text(text + "\n\n".join(cells).rstrip() + MIXED, encoding="utf-8")


def write_specs(folder: Path) -> None:
    """Write tiny specs and a copy of the published ones, with what this version reads in them."""
    specs = folder / "specs"
    shutil.copytree(CONFIGS, specs / "paper_configs")
    (specs / "tiny.yaml").write_text(TINY, encoding="utf-8")
    for name, text in SPECS.items():
        (specs / f"{name}.yaml").write_text(f"extends: tiny.yaml\n{text}", encoding="utf-8")
    paths = sorted(path for path in specs.rglob("*.yaml") if path.parent.name != "studies")
    found = {path: load_spec(path) for path in paths}
    recorded = {
        path.relative_to(specs).as_posix(): {"content_hash": spec.content_hash, "resolved": json.dumps(spec.to_dict())}
        for path, spec in found.items()
    }
    write_json(folder / "specs.json", recorded)


def write_training_configs(folder: Path) -> None:
    """Write the training config of every page of documentation, with all that this version reads in it."""
    configs = folder / "training_configs"
    configs.mkdir()
    shutil.copy(CONFIGS / "symmetric.yaml", configs)
    for page in ("README.md", "docs/how-to/training.md"):
        for text in re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S):
            if "\ndata:" not in text:
                continue
            path = configs / f"{Path(page).stem.lower()}.yaml"
            path.write_text(text.replace("paper_configs/", ""), encoding="utf-8")
            resolved = load_config(path).to_dict()
            path.with_suffix(".resolved.yaml").write_text(yaml.safe_dump(resolved, sort_keys=False), encoding="utf-8")


def write_imports(folder: Path) -> None:
    """Write every import that the README, the documentation, notebooks and docstrings show."""
    statement = re.compile(r"^\s*(?:>>> )?(from gemnet_blocks[\w.]* import (?:\([^)]*\)|[^\n#]*))", re.M)
    reference = re.compile(r"(?:`~?|python -m )(gemnet_blocks(?:\.\w+)+)")
    shown: set[str] = set()
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
        shown |= {" ".join(line.split()) for line in statement.findall(text)}
        shown |= set(reference.findall(text))
    for path in (ROOT / "gemnet_blocks").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        shown |= {" ".join(line.split()) for line in re.findall(r">>> (from gemnet_blocks.*)", text)}
        shown |= set(re.findall(r"`(gemnet_blocks(?:\.\w+)+)`", text))
    (folder / "imports.txt").write_text("\n".join(sorted(shown)) + "\n", encoding="utf-8")


def write_commands(folder: Path) -> None:
    """Write arguments and options of every command."""
    write_json(folder / "cli_options.json", command_line())


def main() -> None:
    """Write the folder of this version."""
    folder = FILES / f"v{gemnet_blocks.__version__.rpartition('.')[0]}"
    if folder.exists():
        sys.exit(f"{folder} exists, and nothing may change what an earlier version has written")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        write_json(
            made / "made_with.json",
            {
                "gemnet_blocks": gemnet_blocks.__version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
        )
        write_user_parts(made)
        write_specs(made)
        write_training_configs(made)
        write_imports(made)
        write_commands(made)
        write_models(made)
        write_data(made)
        write_run(made)
        write_studies(made)
        shutil.copytree(made, folder)
    print(f"written: {folder}")


if __name__ == "__main__":
    main()
