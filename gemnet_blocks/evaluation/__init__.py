"""Evaluation of predictions against labels: metrics, tables and plots, and calibration of ensembles.

>>> from pathlib import Path
>>> from gemnet_blocks.data import DataOptions, open_data
>>> from gemnet_blocks.evaluation import evaluate
>>> from gemnet_blocks.examples import write_emt_slabs
>>> from gemnet_blocks.potential import Potential, References
>>> from gemnet_blocks.spec import build, load_spec
>>> spec = load_spec("symmetric", {"sizes": {"atom": 8, "edge": 8}})
>>> references = References(per_element=dict.fromkeys((1, 6, 7, 8, 29, 47, 78), 0.0), scale=1.0, meaning="total")
>>> potential = Potential(build(spec, seed=0), spec, references)  # or load_potential("runs/first")
>>> split = {"type": "random", "validation": 1, "test": 2, "seed": 0}
>>> options = {"files": [str(write_emt_slabs("slabs.extxyz", 4))], "units": "eV", "energy": "total", "split": split}
>>> data = open_data(DataOptions.model_validate({**options, "batch": {"structures": 2}}), folder=Path())
>>> evaluate(potential, data.test).errors.structures
2
"""

from gemnet_blocks.evaluation.calibration import calibrate
from gemnet_blocks.evaluation.evaluate import Evaluation, evaluate
from gemnet_blocks.evaluation.kept import KeptPredictions, keep_predictions

__all__ = ["Evaluation", "KeptPredictions", "calibrate", "evaluate", "keep_predictions"]
