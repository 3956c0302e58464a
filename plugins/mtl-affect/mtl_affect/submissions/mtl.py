"""The submissions to the multi-task challenges of ABAW3, ABAW4 and ABAW7.

Kollias: ABAW: Valence-Arousal Estimation, Expression Recognition, Action Unit Detection & Multi-Task Learning
Challenges. CVPR Workshops 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
from mtl_std.metrics import MacroF1, UnitF1

from mtl_toolkit import Head, Metric, Writer, hookimpl

from ..databases.aff_wild2_labels import CLASSES, UNITS
from ..databases.s_aff_wild2 import HEADER
from ..metrics import ValenceArousalScore
from .parts import Part, affect_parts
from .rows import Layout
from .table import TableWriter
from .tasks import fitting, rivals

REPORTED = {"valence-arousal": "score", "expression": "macro_f1", "action-units": "mean_f1"}


@attrs.frozen(kw_only=True)
class MultiTask(TableWriter):
    """Three tasks of ABAW3, 4 or 7: one file, `image,valence,arousal,expression,aus`, 16 fields a row.

    The class id is in the order neutral, anger, disgust, fear, happiness, sadness, surprise, other; `aus` are
    twelve zeros and ones. Classes and units are matched by name.
    """

    name: ClassVar[str] = "mtl"
    valence_arousal: str | None = attrs.field(
        default=None, metadata={"doc": "the task; none: the only one with the label valence-arousal"}
    )
    expression: str | None = attrs.field(
        default=None, metadata={"doc": "the task; none: the only one with the label expression"}
    )
    action_units: str | None = attrs.field(
        default=None, metadata={"doc": "the task; none: the only one with the label action-units"}
    )

    def layouts(self) -> tuple[Layout, ...]:
        """One."""
        expression, valence_arousal, action_units = affect_parts(CLASSES, UNITS)
        return (Layout(HEADER, (valence_arousal, expression, action_units)),)

    def chosen(self, heads: Mapping[str, Head]) -> tuple[dict[str, Part], list[str]]:
        """The three tasks."""
        (layout,) = self.layouts()
        found, problems = self.readable(heads, layout)
        written = {part.label for part in found.values()}
        for part in layout.parts:
            if part.label not in written and self._named(part) is None:
                problems.append(f"there is no task with the label {part.label!r}")
        return found, problems

    def readable(self, heads: Mapping[str, Head], layout: Layout) -> tuple[dict[str, Part], list[str]]:
        """Those of the three that are there."""
        tasks: dict[str, Part] = {}
        problems: list[str] = []
        for part in layout.parts:
            named = self._named(part)
            found, unfit = fitting(heads, (part,), () if named is None else (named,))
            tasks |= found
            problems += [*unfit, *rivals(found, _option(part))]
        return tasks, problems

    def _named(self, part: Part) -> str | None:
        named: str | None = getattr(self, _option(part))
        return named

    def judged_by(self) -> Mapping[str, Metric]:
        """Mean CCC, macro F1, mean F1."""
        return {
            "valence-arousal": ValenceArousalScore(),
            "expression": MacroF1(),
            "action-units": UnitF1(),
        }

    def scores(self, found: Mapping[str, Mapping[str, float]]) -> Mapping[str, float]:
        """P: mean CCC + macro F1 + mean F1 of the units, if all three are there."""
        if any(metric not in found.get(label, {}) for label, metric in REPORTED.items()):
            return {}
        return {"P": sum(found[label][metric] for label, metric in REPORTED.items())}


def _option(part: Part) -> str:
    return part.label.replace("-", "_")


@hookimpl
def mtl_writers() -> list[type[Writer]]:
    """The multi-task challenge."""
    return [MultiTask]
