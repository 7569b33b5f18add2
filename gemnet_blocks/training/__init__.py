"""Training: configs, losses, optimizers, and runs that resume after an interruption."""

from gemnet_blocks.training.config_file import json_schema, load_config, parse_config
from gemnet_blocks.training.failures import Interrupted, NonFiniteError
from gemnet_blocks.training.launch import train
from gemnet_blocks.training.options import TrainingConfig

__all__ = ["Interrupted", "NonFiniteError", "TrainingConfig", "json_schema", "load_config", "parse_config", "train"]
