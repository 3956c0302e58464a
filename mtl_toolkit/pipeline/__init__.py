"""Stages: from a configuration to a run directory, and back to a trained network."""

from .data import DataSource
from .load import TrainedStage, load_stage
from .losses import build_objective
from .progress_screen import ProgressScreen, duration
from .runner import run
from .screen import Screen
from .survey import StageData, origin_of, survey

__all__ = [
    "DataSource",
    "ProgressScreen",
    "Screen",
    "StageData",
    "TrainedStage",
    "build_objective",
    "duration",
    "load_stage",
    "origin_of",
    "run",
    "survey",
]
