"""Evaluation of predictions against labels: metrics, tables and plots, and calibration of ensembles."""

from gemnet_blocks.evaluation.calibration import calibrate
from gemnet_blocks.evaluation.evaluate import Evaluation, evaluate

__all__ = ["Evaluation", "calibrate", "evaluate"]
