"""Training: configs, losses, optimizers, and runs that resume after an interruption.

    >>> from gemnet_blocks.examples import write_emt_slabs
    >>> from gemnet_blocks.training import parse_config
    >>> path = write_emt_slabs("slabs.extxyz", 10)
    >>> config = parse_config('''
    ... model: {extends: symmetric, sizes: {atom: 16, edge: 16}}
    ... data:
    ...   files: [slabs.extxyz]
    ...   units: eV
    ...   energy: total
    ...   split: {type: random, validation: 2, test: 3}
    ...   batch: {structures: 4}
    ... loss: {energy: {weight: 0.1}, forces: {}}
    ... training: {steps: 1000}
    ... output: run
    ... ''', ".")
    >>> config.training.steps
    1000

`train(config)` trains the model, resumes if it was interrupted, and returns the path of the model file.
"""

from gemnet_blocks.training.config_file import json_schema, load_config, parse_config
from gemnet_blocks.training.failures import Interrupted, NonFiniteError
from gemnet_blocks.training.launch import train
from gemnet_blocks.training.options import TrainingConfig

__all__ = ["Interrupted", "NonFiniteError", "TrainingConfig", "json_schema", "load_config", "parse_config", "train"]
