"""What is said of predictions group by group, and of the gaps between groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs
import numpy as np

from .bootstrap import Interval, percentiles

# Why a value takes no part in the gap.
LeftOut = Literal["no group", "few rows", "lower ceiling", "undefined"]


@attrs.frozen(eq=False)
class GroupValue:
    """A metric, or the recall of a class, in one group.

    Attributes:
        value: NaN where it is not defined.
        rows: labelled rows that it is over; of a recall, those of its class.
        interval: the 95 % interval over videos; None where there is none.
        ceiling: what predictions that are right throughout would have; None where that is not known.
        left_out: why it takes no part in the gap; None if it does.
        draws: the value in each draw of the bootstrap.
    """

    value: float
    rows: int
    interval: Interval | None
    ceiling: float | None
    left_out: LeftOut | None
    draws: np.ndarray = attrs.field(repr=False)

    def to_plain(self) -> dict[str, Any]:
        """In plain JSON types, without the draws."""
        return {
            "value": self.value,
            "rows": self.rows,
            "interval": None if self.interval is None else list(self.interval),
            "ceiling": self.ceiling,
            "left_out": self.left_out,
        }


@attrs.frozen(eq=False)
class Gap:
    """The largest value over the groups minus the smallest.

    Attributes:
        value: the difference, at least 0.
        interval: the 95 % interval of the difference between these two groups, which may reach below 0; None
            where there is none.
        highest: the group with the largest value.
        lowest: the group with the smallest.
    """

    value: float
    interval: Interval | None
    highest: str
    lowest: str

    def to_plain(self) -> dict[str, Any]:
        """In plain JSON types."""
        return attrs.asdict(self) | {"interval": None if self.interval is None else list(self.interval)}


@attrs.frozen(eq=False)
class GroupScores:
    """One task in one group.

    Attributes:
        rows: rows scored.
        videos: videos that they are of; 0 where all are single pictures.
        metrics: by name.
        recall: by class or unit: of its labelled rows, the share that is found. Empty for other tasks.
    """

    rows: int
    videos: int
    metrics: Mapping[str, GroupValue]
    recall: Mapping[str, GroupValue]

    def to_plain(self) -> dict[str, Any]:
        """In plain JSON types."""
        return {
            "rows": self.rows,
            "videos": self.videos,
            "metrics": {name: one.to_plain() for name, one in self.metrics.items()},
            "recall": {name: one.to_plain() for name, one in self.recall.items()},
        }


@attrs.frozen(eq=False)
class TaskGroups:
    """One task in all groups that have a labelled row of it.

    Attributes:
        groups: by name; the rows of no group come last, as "(none)".
        gaps: by metric; None where fewer than two groups can be compared.
        recall_gaps: by class or unit, likewise.
    """

    groups: Mapping[str, GroupScores]
    gaps: Mapping[str, Gap | None]
    recall_gaps: Mapping[str, Gap | None]

    def to_plain(self) -> dict[str, Any]:
        """In plain JSON types."""
        return {
            "groups": {name: one.to_plain() for name, one in self.groups.items()},
            "gaps": {name: one and one.to_plain() for name, one in self.gaps.items()},
            "recall_gaps": {name: one and one.to_plain() for name, one in self.recall_gaps.items()},
        }


@attrs.frozen(eq=False)
class GroupedEvaluation:
    """Predictions of several tasks against their labels, group by group.

    Attributes:
        min_rows: rows that a value needs to take part in a gap.
        draws: draws of the bootstrap.
        tasks: by task, for those that have a labelled row.
        warnings: one line each.
    """

    min_rows: int
    draws: int
    tasks: Mapping[str, TaskGroups]
    warnings: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """In plain JSON types."""
        return {
            "min_rows": self.min_rows,
            "draws": self.draws,
            "tasks": {task: one.to_plain() for task, one in self.tasks.items()},
            "warnings": list(self.warnings),
        }


def gap_between(values: Mapping[str, GroupValue]) -> Gap | None:
    """The gap over the groups that take part in it; None for fewer than two."""
    compared = {name: one for name, one in values.items() if one.left_out is None}
    if len(compared) < 2:
        return None
    highest = max(compared, key=lambda name: compared[name].value)
    lowest = min(reversed(compared), key=lambda name: compared[name].value)
    one, other = compared[highest], compared[lowest]
    # The same draws, so that videos which are in both groups count once; the interval is that of a fixed
    # pair: the largest minus the smallest of each draw would be above 0 whatever the groups.
    common = min(len(one.draws), len(other.draws))
    interval = percentiles(one.draws[:common] - other.draws[:common])
    return Gap(one.value - other.value, interval, highest, lowest)
