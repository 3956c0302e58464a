"""Every metric group by group, with the gaps between groups."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from ..batch import Labels
from ..plugin import Head, Metric, Predictions
from .bootstrap import UnitRows, in_units, percentiles, score_units
from .ceiling import right_throughout
from .evaluate import DRAWS
from .grouped import Gap, GroupedEvaluation, GroupScores, GroupValue, LeftOut, TaskGroups, gap_between
from .groups import NONE, Groups
from .recall import Recall, recall_of
from .scoring import LiveScore, Metrics, Missing, TaskRows, choose_metrics, rows_at, scored_rows
from .videos import resampling_units

MIN_ROWS = 30


@attrs.frozen
class Options:
    """How groups are judged."""

    draws: int
    seed: int
    min_rows: int


@attrs.frozen(eq=False)
class Ruler:
    """A metric, with the names of its values, and what each would be if all predictions were right."""

    score: LiveScore
    names: tuple[str, ...]
    ceilings: Mapping[str, float]

    def reaches(self, name: str, ceiling: float) -> bool:
        """Whether a group's ceiling is that of all rows, so that its value can be compared."""
        return math.isclose(ceiling, self.ceilings[name], rel_tol=1e-4, abs_tol=1e-6)


def evaluate_by(
    predictions: Predictions,
    labels: Mapping[str, Labels],
    groups: Groups | np.ndarray | Sequence[object],
    metrics: Metrics | None = None,
    *,
    missing: Missing = "error",
    draws: int = DRAWS,
    seed: int = 0,
    min_rows: int = MIN_ROWS,
) -> GroupedEvaluation:
    """Judge predictions group by group, and say how far the groups are apart.

    For every metric, and for the recall of every class or unit, the gap is the largest value minus the
    smallest, over groups with enough rows (worst-group and subgroup reporting: Buolamwini and Gebru, 2018;
    Sagawa et al., 2020; recall by group is equality of opportunity: Hardt et al., 2016). Left out of it are
    rows of no group, values that are not defined, and metrics that could not be as high as over all rows
    even if every prediction were right, such as macro F1 where a class has no row.

    Intervals are those of `evaluate`: each draw takes whole videos of all groups, and a group has what falls
    into it. That of a gap is over the same draws, for the two groups that it names.

    Args:
        predictions: of some tasks.
        labels: by task, for the same rows.
        groups: of the same rows; values are taken as `Groups.of` does.
        metrics: by task; a task not named has its head's default metrics.
        missing: what to do about labelled rows without a prediction: "skip" leaves them out.
        draws: of the bootstrap; 0 for no intervals.
        seed: of the bootstrap.
        min_rows: rows that a value needs to take part in a gap.

    Raises:
        ConfigError, DataError: as `score`.
    """
    grouping = groups if isinstance(groups, Groups) else Groups.of(groups)
    if len(grouping) != len(predictions):
        raise ValueError(
            f"groups must have {len(predictions)} rows, as the predictions (got {len(grouping)})"
        )
    chosen = choose_metrics(predictions, metrics)
    options = Options(draws, seed, min_rows)
    tasks: dict[str, TaskGroups] = {}
    told: list[str] = []
    for task, places in scored_rows(predictions, labels, missing).items():
        rows = rows_at(predictions.values[task], labels[task], places)
        parts = _split(rows, grouping.take(places), predictions.videos[places], seed)
        tasks[task], warnings = _judge(predictions.heads[task], chosen[task], rows, parts, options)
        told += [f"task {task!r}: {line}" for line in warnings]
    return GroupedEvaluation(min_rows, draws, tasks, tuple(told))


def _split(rows: TaskRows, groups: Groups, videos: np.ndarray, seed: int) -> dict[str, UnitRows]:
    """The rows of each group that has some, those of none last, all with the same resampling units."""
    names, units = resampling_units(videos, seed)
    parts = {}
    for code, name in (*enumerate(groups.names), (-1, NONE)):
        inside = np.flatnonzero(groups.codes == code)
        if len(inside):
            parts[name] = in_units(rows.take(inside), names, units[inside])
    return parts


def _judge(
    head: Head, metrics: Sequence[Metric], rows: TaskRows, parts: Mapping[str, UnitRows], options: Options
) -> tuple[TaskGroups, list[str]]:
    rulers = [_ruler(LiveScore(metric, head), head, rows) for metric in metrics]
    groups, told = {}, []
    for name, units in parts.items():
        found: dict[str, GroupValue] = {}
        for ruler in rulers:
            values, warnings = _metric_values(name, ruler, head, units, options)
            found |= values
            told += [f"group {name!r}: {line}" for line in warnings]
        recall = recall_of(head, units, options.draws, options.seed)
        filled = np.flatnonzero(np.diff(units.bounds))
        groups[name] = GroupScores(
            rows=len(units.rows),
            videos=sum(units.names[unit] != "" for unit in filled),
            metrics=found,
            recall=_recall_values(name, recall, options) if recall else {},
        )
    metric_gaps = _gaps({name: one.metrics for name, one in groups.items()})
    return TaskGroups(groups, metric_gaps, _gaps({name: one.recall for name, one in groups.items()})), told


def _gaps(groups: Mapping[str, Mapping[str, GroupValue]]) -> dict[str, Gap | None]:
    """The gap of each value, from those of each group."""
    names = next(iter(groups.values()))
    return {name: gap_between({group: values[name] for group, values in groups.items()}) for name in names}


def _ruler(score: LiveScore, head: Head, rows: TaskRows) -> Ruler:
    names = tuple(score.of(rows))
    return Ruler(score, names, _ceilings(score, head, rows, names))


def _ceilings(score: LiveScore, head: Head, rows: TaskRows, names: Sequence[str]) -> dict[str, float]:
    """What the metric would be if every prediction were right, by name; empty where that is not known."""
    right = right_throughout(head, rows)
    return {} if right is None else score.of_some(right, names)


def _metric_values(
    group: str, ruler: Ruler, head: Head, units: UnitRows, options: Options
) -> tuple[dict[str, GroupValue], tuple[str, ...]]:
    ceilings = _ceilings(ruler.score, head, units.rows, ruler.names)
    found = score_units(ruler.score, units, options.draws, options.seed, ruler.names)
    rows, values = len(units.rows), {}
    for name, value in found.pooled.items():
        left_out = _left_out(group, value, rows, options.min_rows)
        if not left_out and name in ceilings and not ruler.reaches(name, ceilings[name]):
            left_out = "lower ceiling"
        draws = found.draws[name]
        values[name] = GroupValue(value, rows, percentiles(draws), ceilings.get(name), left_out, draws)
    return values, found.warnings


def _recall_values(group: str, found: Recall, options: Options) -> dict[str, GroupValue]:
    values = {}
    for name, value, rows, draws in zip(
        found.names, found.values.tolist(), found.rows.tolist(), found.draws.T, strict=True
    ):
        left_out = _left_out(group, value, rows, options.min_rows)
        values[name] = GroupValue(value, rows, percentiles(draws), 1.0, left_out, draws)
    return values


def _left_out(group: str, value: float, rows: int, min_rows: int) -> LeftOut | None:
    if group == NONE:
        return "no group"
    if rows < min_rows:
        return "few rows"
    return "undefined" if math.isnan(value) else None
