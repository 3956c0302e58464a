"""The submissions to the challenge on learning from synthetic data of ABAW4.

Kollias: ABAW: Learning from Synthetic Data & Multi-Task Learning Challenges. ECCV Workshops 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs
from mtl_std.metrics import MacroF1

from mtl_toolkit import Head, Metric, Writer, hookimpl

from ..databases.lsd import CLASSES
from .parts import Classes, Part
from .rows import Layout
from .table import TableWriter
from .tasks import fitting, or_list, rivals


@attrs.frozen(kw_only=True)
class LsdSubmission(TableWriter):
    """The LSD challenge of ABAW4: one file, `image,expression`, with a class id for each picture.

    The ids are those of anger, disgust, fear, happiness, sadness, surprise; classes are matched by name.
    """

    name: ClassVar[str] = "lsd"
    task: str | None = attrs.field(
        default=None, metadata={"doc": "the task to write; none: the only one with the label expression"}
    )

    def layouts(self) -> tuple[Layout, ...]:
        """One."""
        return (Layout("image,expression", (Classes("expression", CLASSES),)),)

    def chosen(self, heads: Mapping[str, Head]) -> tuple[dict[str, Part], list[str]]:
        """The task, if it is the only one."""
        (layout,) = self.layouts()
        found, problems = self.readable(heads, layout)
        if not found and not problems:
            problems = [f"there is no task with the label {or_list([part.label for part in layout.parts])}"]
        return found, problems

    def readable(self, heads: Mapping[str, Head], layout: Layout) -> tuple[dict[str, Part], list[str]]:
        """The same."""
        found, problems = fitting(heads, layout.parts, () if self.task is None else (self.task,))
        return found, [*problems, *rivals(found, "task")]

    def judged_by(self) -> Mapping[str, Metric]:
        """Macro F1."""
        return {"expression": MacroF1()}


@hookimpl
def mtl_writers() -> list[type[Writer]]:
    """LSD."""
    return [LsdSubmission]
