"""The submissions of ABAW5 and later to a challenge with one task: one file with all frames.

Kollias et al.: ABAW: Valence-Arousal Estimation, Expression Recognition, Action Unit Detection & Emotional
Reaction Intensity Estimation Challenges. CVPR Workshops 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
from mtl_std.metrics import MacroF1, UnitF1

from mtl_toolkit import Head, Metric, Writer, hookimpl

from ..databases.aff_wild2 import EDITIONS
from ..metrics import ValenceArousalScore
from .parts import Part, affect_parts
from .rows import Layout
from .table import TableWriter
from .tasks import fitting, or_list


@attrs.frozen(kw_only=True)
class Abaw5(TableWriter):
    """One task of ABAW5 or later: one file, `image_location,<names>`, then `video/00001.jpg,<prediction>`.

    A task with the label `expression` is written as class ids in the order neutral, anger, disgust, fear,
    happiness, sadness, surprise, other; `valence-arousal` as two numbers; `action-units` as twelve zeros and
    ones. Classes and units are matched by name.
    """

    name: ClassVar[str] = "abaw5"
    task: str | None = attrs.field(
        default=None, metadata={"doc": "the task to write; none: the only one with a label of the edition"}
    )

    def parts(self) -> tuple[Part, ...]:
        """The kinds of labels, with eight classes and twelve units."""
        edition = EDITIONS["abaw5"]
        return affect_parts(edition.classes, edition.units)

    def layouts(self) -> tuple[Layout, ...]:
        """One per kind of label."""
        return tuple(Layout(f"image_location,{part.header}", (part,)) for part in self.parts())

    def chosen(self, heads: Mapping[str, Head]) -> tuple[dict[str, Part], list[str]]:
        """The task, if it is the only one."""
        parts = self.parts()
        found, problems = fitting(heads, parts, self._named())
        if not found and not problems:
            problems = [f"there is no task with the label {or_list([part.label for part in parts])}"]
        elif len(found) > 1:
            problems = [f"task must name the one to write (there are {', '.join(found)})"]
        return found, problems

    def readable(self, heads: Mapping[str, Head], layout: Layout) -> tuple[dict[str, Part], list[str]]:
        """The task with the label of the file, if it is the only one."""
        found, problems = fitting(heads, layout.parts, self._named())
        if len(found) > 1:
            problems = [f"task must name the one to read (there are {', '.join(found)})"]
        return found, problems

    def _named(self) -> tuple[str, ...]:
        return () if self.task is None else (self.task,)

    def judged_by(self) -> Mapping[str, Metric]:
        """Macro F1, mean CCC, mean F1."""
        return {
            "expression": MacroF1(),
            "valence-arousal": ValenceArousalScore(),
            "action-units": UnitF1(),
        }


@hookimpl
def mtl_writers() -> list[type[Writer]]:
    """ABAW5 and later, one task."""
    return [Abaw5]
