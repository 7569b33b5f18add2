"""The paper's comparisons as studies: they build at their published size, and run at toy size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from helpers import slow_but

from gemnet_blocks import Structures
from gemnet_blocks.ablation import Fit, Learner, Study, Task
from gemnet_blocks.ablation.search_space import changes
from gemnet_blocks.ablation.search_trials import space_of, with_changes
from gemnet_blocks.ablation.study_file import read_study
from gemnet_blocks.ablation.variants import candidates
from gemnet_blocks.examples import platinum_slab
from gemnet_blocks.spec import build, load_spec
from gemnet_blocks.training.initial_weights import weights_by_name

STUDIES = Path(__file__).parents[2] / "paper_configs" / "studies"
BRIDGES = {"from-gemnet-dt": "bridge", "from-gemnet-t": "bridge", "from-gemnet-q": "bridge-q"}
"""Studies that follow the specs of a folder."""
SEARCHES = ("search-sizes",)
NAMES = sorted(path.stem for path in STUDIES.glob("*.yaml") if path.stem not in ("common", *BRIDGES, *SEARCHES))
SAME = ("neighbors", "ties", "scale-factors")
"""Studies with variants that compute the same on a small structure, or without fitted scale factors."""
QUICK = ("angular-basis", "factorised", "interactions")
"""Studies that also run at toy size in `make test`; the others take longer and run in `make test-slow`."""
TOY = {
    "base.sizes.atom": 8,
    "base.sizes.edge": 12,
    "base.blocks": {"count": 1, "before_skip": 1, "after_skip": 1, "update": 1, "atom": 1},
    "base.bases.radial.count": 8,
    "base.bases.circular.count": 3,
    "base.bases.spherical.count": 3,
    "base.read_out": {"layers": 1, "after_atom": 1, "network": 1},
    "base.interactions": {
        name: {"down": 4, "up": 4} for name in ("triplet", "quadruplet", "atom_edge", "edge_atom", "atom_atom")
    },
    "seeds": 1,
}
BASE = 38_864_438
COUNTS: dict[str, dict[str, int]] = {
    "angular-basis": {"Gaussian": 38864438, "full harmonics": 38864438, "5 functions": 38749750},
    "blocks": {"2 blocks": 21815836, "3 blocks": 30340137, "5 blocks": 47388739, "6 blocks": 55913040},
    "embedding-sizes": {"atoms 128": 31915062, "atoms 512": 61512246, "edges 256": 16934198, "edges 1024": 120473654},
    "envelope": {"exponential": 38864438, "exponent 3": 38864438, "exponent 8": 38864438},
    "factorised": {"explicit": 38864438, "factorised": 38864438},
    "forces": {"coupled forces": 38864438, "gradient forces": 28599345},
    "interactions": {
        "no quadruplets": 37236266,
        "no atom-edge": 37979694,
        "no edge-atom": 37307950,
        "no atom-atom": 38469170,
        "no triplets": 37111342,
        "triplets only": 34399766,
    },
    "neighbors": {
        "main 20 neighbors": 38864438,
        "main 50 neighbors": 38864438,
        "quadruplets 4 neighbors": 38864438,
        "quadruplets 12 neighbors": 38864438,
        "atom-edge 10 neighbors": 38864438,
        "atom-edge 40 neighbors": 38864438,
        "atom-atom 50 neighbors": 38864438,
        "main 6 Å": 38864438,
        "quadruplets 6 Å": 38864438,
        "atom-edge 6 Å": 38864438,
        "all 6 Å": 38864438,
        "quadruplets of all atoms": 38864438,
    },
    "radial-basis": {
        "Bessel": 38865206,
        "Bernstein": 38864444,
        "trainable Gaussians": 38865206,
        "32 Gaussians": 38610998,
    },
    "scale-factors": {
        "none in interactions": 38864398,
        "none in triplets": 38864430,
        "none in quadruplets": 38864426,
        "also of bases": 38864449,
    },
    "symmetric-messages": {
        "nowhere": 38536758,
        "not in triplets": 38733366,
        "not in quadruplets": 38798902,
        "not in atom-edge": 38733366,
    },
    "ties": {"inclusive": 38864438, "inclusive of the next": 38864438, "smooth": 38864438},
}
COUNTS |= dict.fromkeys(("subset-elements", "subset-size"), COUNTS["interactions"])


@dataclass(frozen=True)
class OneStep(Learner):
    """One step of gradient descent on one structure."""

    needs_data: ClassVar[bool] = False

    def fit(self, task: Task, folder: Path) -> Fit:
        execution = task.training.training.execution.execution()
        model = weights_by_name(lambda: build(task.spec, execution=execution), task.seed).double()
        structures = Structures.from_ase(platinum_slab(1, 1))
        losses = []
        for _ in range(2):
            prediction = model(structures)
            assert prediction.forces is not None
            # scale factors are not fitted, so that numbers are large
            loss = (1 + prediction.energy.square().sum() + prediction.forces.square().sum()).log()
            losses.append(float(loss.detach()))
            parameters = [one for one in model.parameters() if one.requires_grad]
            gradients = torch.autograd.grad(loss, parameters)
            norm = torch.stack([one.norm() for one in gradients]).norm()
            with torch.no_grad():
                for one, gradient in zip(parameters, gradients, strict=True):
                    one -= 1e-4 * gradient / norm
        return Fit({"forces_mae": losses[-1], "loss_before": losses[0]})


@pytest.mark.parametrize("name", NAMES)
def test_every_variant_builds_at_its_published_size(name: str) -> None:
    found, problems = candidates(read_study(STUDIES / f"{name}.yaml"))
    assert problems == []
    counts = {one.variant.name: one.parameters for one in found}
    assert counts.pop("base") == BASE
    assert counts == COUNTS[name]


@pytest.mark.parametrize("name", slow_but(NAMES, QUICK))
def test_every_study_runs_at_toy_size(name: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {**TOY}
    if name == "angular-basis":  # which would be as many as the toy has
        changes["base.bases.circular.count"] = changes["base.bases.spherical.count"] = 4
    if name == "embedding-sizes":
        changes["base.sizes.edge"] = 16
    results = Study.from_file(STUDIES / f"{name}.yaml", changes, OneStep(), tmp_path).run("here", progress=False)
    assert results.complete, [run.error for run in results.failed()]
    assert all(run.metrics["forces_mae"] < run.metrics["loss_before"] for run in results.runs)
    base = results.values("base")[0]
    others = [results.values(one.name)[0] for one in results.variants[1:]]
    if name == "factorised":  # the same numbers, computed in two ways
        assert others == pytest.approx([base] * len(others), rel=1e-4)
    else:
        assert all(other != pytest.approx(base, rel=1e-9) for other in others) or name in SAME


@pytest.mark.parametrize("name", NAMES)
def test_headers_say_which_part_of_the_paper_it_is(name: str) -> None:
    heading = [line for line in (STUDIES / f"{name}.yaml").read_text().splitlines() if line.startswith("#")]
    assert "arXiv 2204.02782" in " ".join(heading)
    assert "GemNet-OC paper" in " ".join(heading) or "GemNet-OC code" in " ".join(heading)


@pytest.mark.parametrize("name", SEARCHES)
def test_the_smallest_and_the_largest_trial_of_a_search_build(name: str) -> None:
    study = read_study(STUDIES / f"{name}.yaml")
    space = space_of(study)
    sizes = []
    for index in (0, -1):
        trial = with_changes(study, changes(space, {path: one.examples()[index] for path, one in space.items()}))
        (found,), problems = candidates(trial)
        assert problems == []
        sizes.append(found.parameters)
    assert sizes[0] < sizes[1] < BASE


@pytest.mark.parametrize("name", BRIDGES)
def test_the_bridges_go_through_the_specs_of_their_folder(name: str) -> None:
    study = read_study(STUDIES / f"{name}.yaml")
    found, problems = candidates(study)
    assert not problems
    forces = study.base.heads.forces
    assert forces is not None
    assert [candidate.spec.content_hash for candidate in found] == [
        load_spec(path).patch({"heads.forces": forces.model_dump()}).content_hash
        for path in sorted((STUDIES.parent / BRIDGES[name]).glob("*.yaml"))
    ]
