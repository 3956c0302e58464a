"""Judge a trained stage on a dataset, with post-processing chosen on another one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from ..batch import Labels
from ..data import column_bytes, frame_numbers, video_order
from ..evaluation import align, score
from ..plugin import Metric, PostProcessor, Predictions
from ..samples import Samples
from .smooth import postprocessed

Chains = Mapping[str, Sequence[PostProcessor]]


@attrs.frozen(eq=False)
class Judged:
    """Predictions and labels of the same rows, and which sample each row is: int64 [rows]."""

    predictions: Predictions
    labels: Mapping[str, Labels]
    order: np.ndarray


def in_order(predictions: Predictions, samples: Samples) -> Judged:
    """Predictions that `predict` made of these samples, with the samples' labels in their order."""
    order = video_order(samples)
    if len(order) != len(predictions):
        raise ValueError(f"predictions must be of the {len(order)} samples (got {len(predictions)} rows)")
    labels = {task: Labels(one.values[order], one.valid[order]) for task, one in samples.labels().items()}
    return Judged(predictions, labels, order)


def by_name(predictions: Predictions, samples: Samples) -> Judged:
    """Predictions from anywhere, matched with samples by video and frame, else by name.

    A sample without a prediction has NaN.

    Raises:
        DataError: if a frame is predicted twice.
    """
    found = align(
        predictions,
        column_bytes(samples, "video"),
        frame_numbers(samples),
        np.array([samples.id(row) for row in range(len(samples))], np.str_),
    )
    return Judged(found.apply(predictions), samples.labels(), np.arange(len(samples)))


def tune(
    judged: Judged, chains: Chains, metrics: Mapping[str, Sequence[Metric]] | None = None
) -> dict[str, list[PostProcessor]]:
    """Choose the options of post-processors by the scores that a task's head chooses epochs by.

    Args:
        judged: predictions and labels that will not be reported.
        chains: post-processors by task; of each, its variants are tried in turn.
        metrics: by task; a task not named has its head's default metrics.

    Raises:
        DataError: if a task has no labelled row here.
    """
    best: dict[str, list[PostProcessor]] = {}
    for task, chain in chains.items():
        chosen: list[PostProcessor] = []
        for one in chain:
            scores = [
                (_score(judged, task, [*chosen, variant], metrics), variant) for variant in one.variants()
            ]
            # The first of equal ones: the recipe itself comes first.
            chosen.append(max(scores, key=lambda pair: -math.inf if math.isnan(pair[0]) else pair[0])[1])
        best[task] = chosen
    return best


def _score(
    judged: Judged,
    task: str,
    chain: Sequence[PostProcessor],
    metrics: Mapping[str, Sequence[Metric]] | None,
) -> float:
    alone = attrs.evolve(judged.predictions, values={task: judged.predictions.values[task]})
    changed = postprocessed(alone, {task: chain})
    found = score(changed, judged.labels, {task: (metrics or {}).get(task, ())}, missing="skip")[task]
    weights = judged.predictions.heads[task].default_selection()
    known = {name: weight for name, weight in weights.items() if name in found}
    return (
        sum(weight * found[name] for name, weight in known.items()) if known else next(iter(found.values()))
    )
