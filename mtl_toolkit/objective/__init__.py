"""From the outputs of a step to losses: terms of streams and tasks, and couplings of tasks."""

from __future__ import annotations

from .lazy import has_lazy
from .objective import Losses, Objective, StreamTask
from .terms import TaskTerms

__all__ = ["Losses", "Objective", "StreamTask", "TaskTerms", "has_lazy"]
