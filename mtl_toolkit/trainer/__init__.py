"""Training: the loop, its steps and validation, its progress, optimizers and schedules."""

from .average import WeightAverage
from .loop import Interrupted, Observer, Trainer
from .progress import Progress
from .schedule import Schedule, make_optimizer, option_problems
from .sharpness import Sharpness
from .step import Teacher
from .validation import Feed, Validated, validate

__all__ = [
    "Feed",
    "Interrupted",
    "Observer",
    "Progress",
    "Schedule",
    "Sharpness",
    "Teacher",
    "Trainer",
    "Validated",
    "WeightAverage",
    "make_optimizer",
    "option_problems",
    "validate",
]
