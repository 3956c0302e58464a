"""Train one network for several tasks from several partly labelled datasets, in stages.

Names are loaded when they are first used, so that the command line starts without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .batch import Batch, Count, HeadOutput, Labels, Sample
    from .config import Config, load_config
    from .data import (
        ConcatSamples,
        LiveStream,
        SequentialPlan,
        StreamLoader,
        TensorSamples,
        TrainPlan,
        collate,
    )
    from .errors import ConfigError, DataError, PluginError, RunError, UnreadableSampleError, UserError, suggestion
    from .hookspecs import EpochFinished, StageFinished, StageStarted, hookimpl
    from .model import MultiTaskModel, Preprocessing, build_model
    from .objective import Losses, Objective, StreamTask
    from .plugin import (
        Architecture,
        Backbone,
        Balancer,
        DataFacts,
        Dataset,
        Head,
        Loss,
        Metric,
        Recipe,
        Sampler,
        Samples,
        TeacherLoss,
    )
    from .registry import Registry
    from . import validators

_MODULES = {
    "batch": ("Batch", "Count", "HeadOutput", "Labels", "Sample"),
    "config": ("Config", "load_config"),
    "data": (
        "ConcatSamples",
        "LiveStream",
        "SequentialPlan",
        "StreamLoader",
        "TensorSamples",
        "TrainPlan",
        "collate",
    ),
    "errors": ("ConfigError", "DataError", "PluginError", "RunError", "UnreadableSampleError", "UserError", "suggestion"),
    "hookspecs": ("EpochFinished", "StageFinished", "StageStarted", "hookimpl"),
    "model": ("MultiTaskModel", "Preprocessing", "build_model"),
    "objective": ("Losses", "Objective", "StreamTask"),
    "plugin": (
        "Architecture",
        "Backbone",
        "Balancer",
        "DataFacts",
        "Dataset",
        "Head",
        "Loss",
        "Metric",
        "Recipe",
        "Sampler",
        "Samples",
        "TeacherLoss",
    ),
    "registry": ("Registry",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted([*_HOME, "validators"])  # noqa: PLE0605 - one list of names, not two


def __getattr__(name: str) -> Any:
    if name == "validators":
        return importlib.import_module(".validators", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
