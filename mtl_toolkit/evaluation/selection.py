"""Weights of an ensemble's members, from their predictions on samples with labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..plugin import Head, Metric
from .metric_states import parts_of
from .scoring import LiveScore, TaskRows

ROUNDS = 25  # members taken at most, so that weights are multiples of at least a 25th


def greedy_selection(
    values: np.ndarray, score: Callable[[np.ndarray], float], rounds: int = ROUNDS
) -> np.ndarray:
    """How often each member is taken, so that the mean of those taken scores best.

    Forward selection with replacement (Caruana et al., "Ensemble selection from libraries of models",
    ICML 2004): each round adds the member with which the mean scores best, though it may be worse than
    before; in the end the best round counts, the earliest of equals. Of members that score alike the first
    is taken.

    Args:
        values: predictions, float32 [members, rows, columns].
        score: of predictions [rows, columns]; the higher the better, NaN is the worst.
        rounds: how many.

    Returns:
        int64 [members]; each once if no score is a number.
    """
    total = np.zeros(values.shape[1:], np.float64)
    taken = np.zeros(len(values), np.int64)
    best, kept = -math.inf, np.ones(len(values), np.int64)
    for done in range(rounds):
        scores = [score(((total + one) / (done + 1)).astype(np.float32)) for one in values]
        scores = [-math.inf if math.isnan(one) else one for one in scores]
        chosen = int(np.argmax(scores))
        total += values[chosen]
        taken[chosen] += 1
        if scores[chosen] > best:
            best, kept = scores[chosen], taken.copy()
    return kept


class SelectionScore:
    """The score that a head's epochs are chosen by, on predictions of some rows.

    Args:
        head: of the task.
        metrics: the task's; the head's default metrics if these lack what it chooses by.
        target: labels in the head's target type, [rows, ...].
        mask: bool, the shape of `target`.

    Raises:
        ConfigError: if a metric needs raw outputs.
    """

    def __init__(self, head: Head, metrics: Sequence[Metric], target: np.ndarray, mask: np.ndarray) -> None:
        self.weights: Mapping[str, float] = head.default_selection()
        self.live = [LiveScore(metric, head) for metric in selecting_metrics(head, metrics)]
        for part in (part for one in self.live for part in parts_of(one.metric)):
            # One process fits, on all rows; the others do not answer a metric that asks for theirs.
            part.distributed_available_fn = _alone
        self.target, self.mask = target, mask

    def __call__(self, values: np.ndarray) -> float:
        """Of predictions [rows, columns]."""
        found: dict[str, float] = {}
        for one in self.live:
            found |= one.of(TaskRows(values, self.target, self.mask))
        return sum(weight * found[name] for name, weight in self.weights.items())


def selecting_metrics(head: Head, metrics: Sequence[Metric]) -> list[Metric]:
    """The metrics that report what a head chooses epochs by: of those given, else of its default ones."""
    wanted = set(head.default_selection())
    for some in (metrics, head.default_metrics()):
        if wanted <= {name for metric in some for name in metric.outputs(head)}:
            return [metric for metric in some if wanted & set(metric.outputs(head))]
    return []  # a head that chooses by what nothing reports is refused by the conformance checks


def _alone() -> bool:
    return False
