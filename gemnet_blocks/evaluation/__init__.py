"""Evaluation of predictions against labels: metrics, tables and plots."""

from gemnet_blocks.evaluation.evaluate import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
