"""Judging predictions that are there already: metrics, intervals, confusion, and the files they come from."""

from __future__ import annotations

from .alignment import Alignment, align
from .confusion import Confusion, UnitCounts
from .evaluate import Evaluation, TaskEvaluation, VideoScores, evaluate
from .evaluate_by import evaluate_by
from .grouped import Gap, GroupedEvaluation, GroupScores, GroupValue, TaskGroups
from .groups import Groups
from .predicted_head import AsPredicted
from .prediction_csv import PredictionCsv, read_predictions
from .scoring import score

__all__ = [
    "Alignment",
    "AsPredicted",
    "Confusion",
    "Evaluation",
    "Gap",
    "GroupScores",
    "GroupValue",
    "GroupedEvaluation",
    "Groups",
    "PredictionCsv",
    "TaskEvaluation",
    "TaskGroups",
    "UnitCounts",
    "VideoScores",
    "align",
    "evaluate",
    "evaluate_by",
    "read_predictions",
    "score",
]
