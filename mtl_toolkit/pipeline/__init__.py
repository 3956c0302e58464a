"""Stages: from a configuration to a run directory, and back to a trained network."""

from .data import DataSource, StageData, check_network, check_options, inspect_stage, require_sound
from .load import TrainedStage, load_stage
from .runner import run
from .screen import Screen

__all__ = [
    "DataSource",
    "Screen",
    "StageData",
    "TrainedStage",
    "check_network",
    "check_options",
    "inspect_stage",
    "load_stage",
    "require_sound",
    "run",
]
