"""The configuration: its tables, how TOML becomes recipes, and the checks between tables."""

from ..fields import fields_of
from .load import Loaded, check_config, config_from, load_config
from .plain import plain, recipes_in
from .repeats import Repeat, expand, held_out, member_names, repeat_labels, repeat_names, repeats_of
from .resolve import own_tasks, stage_model, stage_tasks
from .schema import Config, Model, Plugins, Task, Tracker, TrainerOptions
from .stages import (
    NETWORK_KEYS,
    OWN_AVERAGE,
    AnyStage,
    Augmentation,
    EnsembleStage,
    ExtractStage,
    Feed,
    Optimizer,
    Scheduler,
    Stage,
    Stream,
    Validation,
    Windows,
)

__all__ = [
    "NETWORK_KEYS",
    "OWN_AVERAGE",
    "AnyStage",
    "Augmentation",
    "Config",
    "EnsembleStage",
    "ExtractStage",
    "Feed",
    "Loaded",
    "Model",
    "Optimizer",
    "Plugins",
    "Repeat",
    "Scheduler",
    "Stage",
    "Stream",
    "Task",
    "Tracker",
    "TrainerOptions",
    "Validation",
    "Windows",
    "check_config",
    "config_from",
    "expand",
    "fields_of",
    "held_out",
    "load_config",
    "member_names",
    "own_tasks",
    "plain",
    "recipes_in",
    "repeat_labels",
    "repeat_names",
    "repeats_of",
    "stage_model",
    "stage_tasks",
]
