"""The command `demo`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from gemnet_blocks.cli.arguments import as_file
from gemnet_blocks.cli.console import announce, console
from gemnet_blocks.errors import SpecError
from gemnet_blocks.util.shipped import shipped_folder

CONFIGS = Path("paper_configs")
BASE, VARIANT = "gemnet-oc.yaml", "no-quadruplets.yaml"
STUDY = Path("demo-study")
"""The folder of the study in the current folder."""

TINY = {
    "sizes": {"atom": 16, "edge": 16},
    "blocks.count": 1,
    "graphs": {"main": {"cutoff": 3.5}, "quad": {"cutoff": 3.0}},
}
"""Changes of the small model, so that it trains in seconds."""

FRAMES = 4
"""Maximum number of frames that are predicted."""


def demo(
    structures: Annotated[
        Path | None,
        typer.Option(help="Structures in any format of training data, instead of a Pt(111) + methanol slab."),
    ] = None,
    specs: Annotated[
        Path | None, typer.Option(help="The folder of the published specs; by default the installed one.")
    ] = None,
) -> None:
    """Build GemNet-OC and a variant without quadruplets from spec files, and run both."""
    announce("GemNet-OC, a variant without quadruplets, and a small study of their difference")
    from gemnet_blocks.cli.tables import predictions, print_summary
    from gemnet_blocks.model.summary import parameter_count
    from gemnet_blocks.spec import build, load_spec

    specs = specs or _published()
    for name in (BASE, VARIANT):
        if not (specs / name).is_file():
            raise SpecError(f"{specs / name}: there is no such file: give the folder of the published specs")
    frames = _frames(structures)
    for name in (BASE, VARIANT):
        start = time.perf_counter()
        spec = load_spec(specs / name)
        model = build(spec, seed=0).eval()
        seconds = time.perf_counter() - start
        console.rule(Text(str(specs / name), "bold"))
        if name == BASE:
            print_summary(model)
        else:
            console.print("The whole file:")
            console.print((specs / name).read_text(encoding="utf-8").strip(), style="cyan", highlight=False)
        console.print(
            f"{parameter_count(model):,} parameters, built in {seconds:.1f} s, architecture {spec.content_hash[:12]}"
        )
        predictions(model, frames).print()
    console.print("Initial weights (seed 0): these energies and forces are meaningless.", style="yellow")
    if structures is None:
        _ablate(_published() / "symmetric.yaml", STUDY)


def _published() -> Path:
    """The folder of the published specs: in the current folder, or those that the library ships."""
    return CONFIGS if CONFIGS.is_dir() else shipped_folder()


def _ablate(base: Path, folder: Path) -> None:
    """Train a tiny model with and without quadruplets on generated slabs, and report the difference."""
    console.rule(Text("An ablation study", "bold"))
    try:
        import lightning  # noqa: F401
        import matplotlib  # noqa: F401
    except ImportError:
        console.print("This needs more packages: pip install 'gemnet_blocks[notebook]'")
        return
    from gemnet_blocks.ablation import Study
    from gemnet_blocks.examples import write_emt_slabs
    from gemnet_blocks.spec import load_spec

    folder.mkdir(exist_ok=True)
    slabs = write_emt_slabs(folder / "slabs.extxyz", 40)
    study = Study(
        load_spec(base).patch(TINY),
        {"no quadruplets": {"interactions.quadruplet": None}},
        seeds=3,
        data={
            "files": [str(slabs)],
            "units": "eV",
            "energy": "total",
            "split": {"type": "random", "validation": 6, "test": 10},
            "batch": {"structures": 4},
        },
        training={"loss": {"energy": {"weight": 0.1}, "forces": {}}, "training": {"ema": 0.9}},
        budget={"steps": 20},
        folder=folder,
        title="Quadruplets, on slabs by ASE's EMT potential",
    )
    study.run(executor="here")
    console.print(f"report: {study.report()}", soft_wrap=True)
    console.print(
        "Three seeds and 20 steps demonstrate a study; they do not measure the effect of quadruplets.", style="yellow"
    )


def _frames(path: Path | None) -> list[Any]:
    from gemnet_blocks.data.opening import read_atoms
    from gemnet_blocks.examples import platinum_slab
    from gemnet_blocks.util.ase_io import with_tag

    if path is None:
        console.print("Structure: Pt(111) slab with methanol")
        return [platinum_slab()]
    frames = read_atoms(as_file(path))
    if len(frames) > FRAMES:
        console.print(f"{path}: the first {FRAMES} of {len(frames)} structures")
    frames = frames[:FRAMES]
    if not all(frame.has("tags") for frame in frames):
        console.print(f"{path}: no tags; all atoms count as adsorbates (tag 2), with quadruplets around them")
    return [with_tag(frame, 2) for frame in frames]


def __getattr__(name: str) -> Any:
    """Find the slab, which earlier notebooks import from here, without importing it for every command."""
    if name == "platinum_slab":
        from gemnet_blocks.examples import platinum_slab

        return platinum_slab
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
