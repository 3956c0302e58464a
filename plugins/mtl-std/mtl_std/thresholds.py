"""Thresholds fitted to predictions whose labels are known."""

from __future__ import annotations

import numpy as np


def best_threshold(scores: np.ndarray, positive: np.ndarray, present: float) -> float:
    """The threshold above which scores say yes with the best F1.

    Every division of the scores into two is tried, which is exact: thresholds between the same two
    neighbours decide alike. Of the best ones the nearest to the present threshold is taken (the lower one of
    two), and the present one itself if it is among the best: nothing changes that need not. Elsewhere it
    lies in the middle between two scores, or halves the lowest one.

    A threshold fits the scores that it was found on, and the fewer the positives, the more by chance: F1 on
    the same scores is too good.

    Args:
        scores: probabilities, float32 [rows].
        positive: whose label is yes, bool [rows].
        present: the threshold so far; kept if nothing is positive, or no threshold finds a positive.

    Returns:
        In [0, 1].
    """
    positives = int(positive.sum())
    if not (scores[positive] > 0).any():
        return present
    order = np.argsort(scores, kind="stable")[::-1]
    ranked = scores[order].astype(np.float32)
    # Above each distinct score and below the next higher one: how many say yes, and how many rightly.
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], ranked[-1] > 0))
    hits = np.cumsum(positive[order])[last]
    f1 = 2 * hits / (last + 1 + positives)
    upper = ranked[last]
    lower = np.append(ranked[1:], np.float32(0))[last]
    middle = lower + (upper - lower) / 2
    middle = np.where(middle < upper, middle, lower)  # neighbours in float32 have nothing in between
    holds = (lower <= np.float32(present)) & (np.float32(present) < upper)
    if (f1[holds] == f1.max()).any():
        return present
    best = np.flatnonzero(f1 == f1.max())
    distance = np.abs(middle[best].astype(np.float64) - present)
    return float(middle[best][np.flatnonzero(distance == distance.min())[-1]])
