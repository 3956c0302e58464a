"""Training: the loop, its progress, optimizers and schedules."""

from .loop import Feed, Interrupted, Observer, Trainer
from .progress import Progress
from .schedule import Schedule, make_optimizer, option_problems

__all__ = [
    "Feed",
    "Interrupted",
    "Observer",
    "Progress",
    "Schedule",
    "Trainer",
    "make_optimizer",
    "option_problems",
]
