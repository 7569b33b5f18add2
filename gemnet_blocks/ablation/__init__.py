"""Ablation studies: train variants of an architecture with several seeds and test which differences are significant."""

from gemnet_blocks.ablation.bisection import Bisection, bisect
from gemnet_blocks.ablation.learner import Fit, Learner, Task
from gemnet_blocks.ablation.report.content import write_report
from gemnet_blocks.ablation.results import Difference, RunResult, StudyResults, Variant
from gemnet_blocks.ablation.runs.executors import Executor, HereExecutor, ProcessExecutor, SubmititExecutor
from gemnet_blocks.ablation.study import Study
from gemnet_blocks.ablation.training_learner import TrainingLearner

__all__ = [
    "Bisection",
    "Difference",
    "Executor",
    "Fit",
    "HereExecutor",
    "Learner",
    "ProcessExecutor",
    "RunResult",
    "Study",
    "StudyResults",
    "SubmititExecutor",
    "Task",
    "TrainingLearner",
    "Variant",
    "bisect",
    "write_report",
]
