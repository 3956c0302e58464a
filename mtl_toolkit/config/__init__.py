"""The configuration: its tables, how TOML becomes recipes, and the checks between tables."""

from .convert import fields_of, plain
from .load import Loaded, config_from, load_config, recipes_in
from .resolve import own_tasks, stage_tasks
from .schema import (
    Augmentation,
    Config,
    Feed,
    Model,
    Optimizer,
    Plugins,
    Scheduler,
    Stage,
    Stream,
    Task,
    TrainerOptions,
    Validation,
)

__all__ = [
    "Augmentation",
    "Config",
    "Feed",
    "Loaded",
    "Model",
    "Optimizer",
    "Plugins",
    "Scheduler",
    "Stage",
    "Stream",
    "Task",
    "TrainerOptions",
    "Validation",
    "config_from",
    "fields_of",
    "load_config",
    "own_tasks",
    "plain",
    "recipes_in",
    "stage_tasks",
]
