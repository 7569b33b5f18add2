"""Ablation studies: train variants of an architecture with several seeds and test which differences are significant.

    >>> from gemnet_blocks.ablation import Study
    >>> from gemnet_blocks.examples import write_emt_slabs
    >>> path = write_emt_slabs("slabs.extxyz", 10)
    >>> split = {"type": "random", "validation": 2, "test": 3}
    >>> data = {"files": [str(path)], "units": "eV", "energy": "total", "split": split, "batch": {"structures": 4}}
    >>> training = {"loss": {"energy": {"weight": 0.1}, "forces": {}}}
    >>> change = {"no quadruplets": {"interactions.quadruplet": None}}
    >>> study = Study(
    ...     "symmetric", change, seeds=6, data=data, training=training, budget={"steps": 1000}, folder="study"
    ... )
    >>> len(study.check().runs)
    12

`study.run()` trains the runs that are missing, and `study.report()` writes the report.
"""

from gemnet_blocks.ablation.bisection import Bisection, bisect
from gemnet_blocks.ablation.learner import Fit, Learner, Task
from gemnet_blocks.ablation.report.content import write_report
from gemnet_blocks.ablation.report.paired_errors import GroupDifference, PairedErrors, paired_errors
from gemnet_blocks.ablation.results import Difference, RunResult, StudyResults, Variant
from gemnet_blocks.ablation.runs.executors import Executor, HereExecutor, ProcessExecutor, SubmititExecutor
from gemnet_blocks.ablation.search import search
from gemnet_blocks.ablation.search_results import SearchResults, SearchTrial
from gemnet_blocks.ablation.study import Study
from gemnet_blocks.ablation.training_learner import TrainingLearner
from gemnet_blocks.ablation.verification import Verification, verify

__all__ = [
    "Bisection",
    "Difference",
    "Executor",
    "Fit",
    "GroupDifference",
    "HereExecutor",
    "Learner",
    "PairedErrors",
    "ProcessExecutor",
    "RunResult",
    "SearchResults",
    "SearchTrial",
    "Study",
    "StudyResults",
    "SubmititExecutor",
    "Task",
    "TrainingLearner",
    "Variant",
    "Verification",
    "bisect",
    "paired_errors",
    "search",
    "verify",
    "write_report",
]
