"""A small study with real training, of the structures and the model of `training_runs`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, final

import torch
from torch import Tensor
from training_runs import CONFIG, write_structures

from gemnet_blocks.basis.circular import CircularBasis, LegendreOptions
from gemnet_blocks.spec.document import dump, parse_document

VARIANTS = """
  no triplets: {interactions: {triplet: null}}
"""


def study_file(folder: Path, variants: str = VARIANTS, more: str = "", steps: int = 8) -> Path:
    """A study file beside its data."""
    config = parse_document(CONFIG, "config").data
    if not (folder / "structures.xyz").exists():
        write_structures(folder / "structures.xyz")
    (folder / "base.yaml").write_text(dump({**config["model"], "heads": {"forces": {"type": "direct"}}}))
    training = {**config["training"], "validate_every": {"steps": 4}}
    training = {key: value for key, value in training.items() if key not in ("steps", "seed")}
    settings = {
        "base": "base.yaml",
        "data": config["data"],
        "training": {"scales": config["scales"], "loss": config["loss"], "training": training},
        "budget": {"steps": steps},
        "seeds": 2,
    }
    path = folder / "study.yaml"
    path.write_text(dump(settings) + "variants:" + variants + more)
    return path


class OwnOptions(LegendreOptions):
    """Of `OwnCircular`."""

    type: Literal["own"] = "own"  # type: ignore[assignment]


@final
class OwnCircular(CircularBasis):
    """Powers of cosines."""

    Options = OwnOptions

    @classmethod
    def from_options(cls, options: OwnOptions) -> OwnCircular:
        return cls(options.count)

    def forward(self, cos_angle: Tensor) -> Tensor:
        return torch.stack([cos_angle**power for power in range(self.count)], dim=-1)
