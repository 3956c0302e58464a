"""Train one network for several tasks from several partly labelled datasets, in stages.

Names are loaded when they are first used, so that the command line starts without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import validators
    from .batch import Batch, Count, Features, HeadOutput, Labels, Sample
    from .batch_norm import in_groups
    from .config import Config, Loaded, check_config, config_from, load_config
    from .data import (
        CachedSamples,
        ConcatSamples,
        LiveStream,
        SequentialPlan,
        StreamLoader,
        TensorSamples,
        TrainPlan,
        collate,
    )
    from .ensemble import Ensemble
    from .errors import (
        ConfigError,
        DataError,
        FileProblems,
        PluginError,
        RunError,
        UnreadableSampleError,
        UserError,
        suggestion,
    )
    from .evaluation import Evaluation, GroupedEvaluation, Groups, evaluate, evaluate_by
    from .files import replacing_file
    from .hookspecs import EpochFinished, StageFinished, StageStarted, StageStopped, StepsLogged, hookimpl
    from .metrics import FeedMetrics
    from .model import MultiTaskModel, build_model
    from .objective import Losses, Objective, StreamTask
    from .pipeline import ProgressScreen, Screen, TrainedStage, build_objective, load_stage, run
    from .plugin import (
        Architecture,
        Backbone,
        Balancer,
        Chain,
        CouplingLoss,
        DataFacts,
        Dataset,
        Detector,
        Head,
        Listing,
        Loss,
        Metric,
        PostProcessor,
        Predictions,
        Recipe,
        Sampler,
        TeacherLoss,
        Temporal,
        Writer,
    )
    from .prediction import parse_listing, predict
    from .preprocessing import Normalise, Preprocessing
    from .registry import Registry
    from .samples import Samples
    from .self_supervision import with_own_targets
    from .trainer import Feed, Interrupted, Observer, Progress, Sharpness, Trainer, WeightAverage, validate

__all__ = [
    "Architecture",
    "Backbone",
    "Balancer",
    "Batch",
    "CachedSamples",
    "Chain",
    "ConcatSamples",
    "Config",
    "ConfigError",
    "Count",
    "CouplingLoss",
    "DataError",
    "DataFacts",
    "Dataset",
    "Detector",
    "Ensemble",
    "EpochFinished",
    "Evaluation",
    "Features",
    "Feed",
    "FeedMetrics",
    "FileProblems",
    "GroupedEvaluation",
    "Groups",
    "Head",
    "HeadOutput",
    "Interrupted",
    "Labels",
    "Listing",
    "LiveStream",
    "Loaded",
    "Loss",
    "Losses",
    "Metric",
    "MultiTaskModel",
    "Normalise",
    "Objective",
    "Observer",
    "PluginError",
    "PostProcessor",
    "Predictions",
    "Preprocessing",
    "Progress",
    "ProgressScreen",
    "Recipe",
    "Registry",
    "RunError",
    "Sample",
    "Sampler",
    "Samples",
    "Screen",
    "SequentialPlan",
    "Sharpness",
    "StageFinished",
    "StageStarted",
    "StageStopped",
    "StepsLogged",
    "StreamLoader",
    "StreamTask",
    "TeacherLoss",
    "Temporal",
    "TensorSamples",
    "TrainPlan",
    "TrainedStage",
    "Trainer",
    "UnreadableSampleError",
    "UserError",
    "WeightAverage",
    "Writer",
    "build_model",
    "build_objective",
    "check_config",
    "collate",
    "config_from",
    "evaluate",
    "evaluate_by",
    "hookimpl",
    "in_groups",
    "load_config",
    "load_stage",
    "parse_listing",
    "predict",
    "replacing_file",
    "run",
    "suggestion",
    "validate",
    "validators",
    "with_own_targets",
]

_MODULES = {
    "batch": ("Batch", "Count", "Features", "HeadOutput", "Labels", "Sample"),
    "batch_norm": ("in_groups",),
    "config": ("Config", "Loaded", "check_config", "config_from", "load_config"),
    "data": (
        "CachedSamples",
        "ConcatSamples",
        "LiveStream",
        "SequentialPlan",
        "StreamLoader",
        "TensorSamples",
        "TrainPlan",
        "collate",
    ),
    "ensemble": ("Ensemble",),
    "errors": (
        "ConfigError",
        "DataError",
        "FileProblems",
        "PluginError",
        "RunError",
        "UnreadableSampleError",
        "UserError",
        "suggestion",
    ),
    "evaluation": ("Evaluation", "GroupedEvaluation", "Groups", "evaluate", "evaluate_by"),
    "files": ("replacing_file",),
    "hookspecs": (
        "EpochFinished",
        "StageFinished",
        "StageStarted",
        "StageStopped",
        "StepsLogged",
        "hookimpl",
    ),
    "metrics": ("FeedMetrics",),
    "model": ("MultiTaskModel", "build_model"),
    "objective": ("Losses", "Objective", "StreamTask"),
    "pipeline": ("ProgressScreen", "Screen", "TrainedStage", "build_objective", "load_stage", "run"),
    "plugin": (
        "Architecture",
        "Backbone",
        "Balancer",
        "Chain",
        "CouplingLoss",
        "DataFacts",
        "Dataset",
        "Detector",
        "Head",
        "Listing",
        "Loss",
        "Metric",
        "PostProcessor",
        "Predictions",
        "Recipe",
        "Sampler",
        "TeacherLoss",
        "Temporal",
        "Writer",
    ),
    "prediction": ("parse_listing", "predict"),
    "preprocessing": ("Normalise", "Preprocessing"),
    "registry": ("Registry",),
    "samples": ("Samples",),
    "self_supervision": ("with_own_targets",),
    "trainer": (
        "Feed",
        "Interrupted",
        "Observer",
        "Progress",
        "Sharpness",
        "Trainer",
        "WeightAverage",
        "validate",
    ),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "validators":
        return importlib.import_module(".validators", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
